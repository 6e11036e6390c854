"""Trees of tensors: nested dicts, lists, tuples and NamedTuples whose leaves are tensors.

A learner's whole state is one tree: it is mapped over here, and named for a checkpoint by `flatten`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from roborl.errors import CorruptFile

#: A tensor, None (a tree without leaves), or a dict, list, tuple or NamedTuple of trees. (Not a recursive alias:
#: NamedTuples would not fit it.)
Tree = Any


def tree_map(function: Callable[..., Any], *trees: Tree) -> Tree:
    """Apply a function to the leaves that stand at the same place in trees of one shape.

    Args:
        function: takes as many leaves as there are trees.
        *trees: trees of the same structure; the first one says which.

    Returns:
        A tree of the same structure (and the same NamedTuple classes) with the function's values.
    """
    first = trees[0]
    if isinstance(first, dict):
        return {name: tree_map(function, *(tree[name] for tree in trees)) for name in first}
    if isinstance(first, tuple | list):
        children = [tree_map(function, *members) for members in zip(*trees, strict=True)]
        return _like(first, children)
    return None if first is None else function(*trees)


def overwrite(target: Tree, source: Tree) -> list[torch.Tensor]:
    """Copy every tensor of a tree into the tensor at its place in another, 0-d tensors excepted.

    At the end of a compiled function this makes its results appear in the memory of its arguments: nothing is
    allocated, and few tensors are made or freed at a call. 0-d tensors are left to the caller: the compiler
    (torch 2.13) computes such scalars anew wherever they are used, after they have been overwritten too.

    Returns:
        The 0-d tensors of ``source``, in the order of `scalars`.
    """
    for into, new in zip(flatten(target).values(), flatten(source).values(), strict=True):
        if into.ndim:
            into.copy_(new)
    return scalars(source)


def scalars(tree: Tree) -> list[torch.Tensor]:
    """Return the 0-d tensors of a tree."""
    return [leaf for leaf in flatten(tree).values() if leaf.ndim == 0]


def flatten(tree: Tree) -> dict[str, torch.Tensor]:
    """Name every leaf by its path, as "critic/0/w" for ``tree.critic[0]["w"]``.

    Args:
        tree: a tree whose dict keys are strings without "/".

    Returns:
        Path to tensor, in the order of the tree; the tensors are not copied.
    """
    flat: dict[str, torch.Tensor] = {}

    def visit(node: Tree, path: tuple[str, ...]) -> None:
        if node is None:
            return
        if not isinstance(node, dict | tuple | list):
            flat["/".join(path)] = node
            return
        for name, child in _children(node):
            assert "/" not in name, f"the name {name!r} contains '/', which separates the names of a path"
            visit(child, (*path, name))

    visit(tree, ())
    return flat


def unflatten(like: Tree, flat: Mapping[str, torch.Tensor]) -> Tree:
    """Put named tensors back into a tree: the inverse of `flatten`.

    Args:
        like: a tree that shows the structure, shapes and dtypes that are expected.
        flat: path to tensor, as `flatten` made it, in any order.

    Returns:
        A tree of the structure of ``like`` with the tensors of ``flat``.

    Raises:
        CorruptFile: names are missing or surplus, or a tensor has another shape or dtype.
    """
    expected = flatten(like)
    missing, surplus = sorted(expected.keys() - flat.keys()), sorted(flat.keys() - expected.keys())
    if missing or surplus:
        raise CorruptFile(f"tensors do not fit: missing {missing or 'none'}, surplus {surplus or 'none'}")
    for name, leaf in expected.items():
        got = flat[name]
        if got.shape != leaf.shape or got.dtype != leaf.dtype:
            raise CorruptFile(
                f"tensor {name!r} must be {leaf.dtype} of shape {tuple(leaf.shape)}, "
                f"got {got.dtype} of shape {tuple(got.shape)}"
            )

    def build(node: Tree, path: tuple[str, ...]) -> Tree:
        if isinstance(node, dict):
            return {name: build(child, (*path, name)) for name, child in node.items()}
        if isinstance(node, tuple | list):
            return _like(node, [build(child, (*path, name)) for name, child in _children(node)])
        return None if node is None else flat["/".join(path)]

    return build(like, ())


def to_vector(tree: Tree) -> torch.Tensor:
    """Return all the numbers of a tree in one vector (n,), in the order of `flatten`."""
    return torch.cat([leaf.reshape(-1) for leaf in flatten(tree).values()])


def from_vector(like: Tree, vector: torch.Tensor) -> Tree:
    """Return the tree of the structure and shapes of ``like`` whose numbers stand in a vector: `to_vector` undone."""
    leaves = flatten(like)
    parts = vector.split([leaf.numel() for leaf in leaves.values()])
    return unflatten(like, {name: part.view(leaves[name].shape) for name, part in zip(leaves, parts, strict=True)})


def _children(node: Tree) -> Iterable[tuple[str, Tree]]:
    """Return (name, child) pairs: keys of a dict, fields of a NamedTuple, positions of a list or tuple."""
    if isinstance(node, dict):
        return node.items()
    names = getattr(node, "_fields", None) or map(str, range(len(node)))
    return zip(names, node, strict=True)


def _like(node: Tree, children: list[Tree]) -> Tree:
    """Return the children in a list, tuple or NamedTuple, as ``node`` is."""
    if hasattr(node, "_fields"):
        return type(node)(*children)
    return children if isinstance(node, list) else tuple(children)
