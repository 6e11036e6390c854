from __future__ import annotations

from typing import NamedTuple

import pytest
import torch

from roborl.errors import CorruptFile
from roborl.nn.tree import flatten, from_vector, overwrite, to_vector, tree_map, unflatten


class Pair(NamedTuple):
    left: dict[str, list[torch.Tensor]]
    right: tuple[torch.Tensor, ...]


def example() -> Pair:
    return Pair({"a": [torch.zeros(2), torch.ones(3)]}, (torch.arange(4),))


def test_tree_map_keeps_the_structure_and_its_classes() -> None:
    doubled = tree_map(lambda x, y: x + y, example(), example())
    assert isinstance(doubled, Pair)
    assert isinstance(doubled.left["a"], list)
    assert torch.equal(doubled.left["a"][1], torch.full((3,), 2.0))
    assert torch.equal(doubled.right[0], torch.tensor([0, 2, 4, 6]))


def test_flatten_names_every_leaf_by_its_path() -> None:
    assert list(flatten(example())) == ["left/a/0", "left/a/1", "right/0"]


def test_unflatten_is_the_inverse_of_flatten_in_any_order() -> None:
    tree = example()
    back = unflatten(tree, dict(reversed(flatten(tree).items())))
    assert isinstance(back, Pair)
    assert all(torch.equal(x, y) for x, y in zip(flatten(tree).values(), flatten(back).values(), strict=True))


def test_unflatten_names_what_is_missing_and_what_is_surplus() -> None:
    flat = flatten(example())
    flat["other"] = flat.pop("left/a/1")
    with pytest.raises(CorruptFile, match=r"missing \['left/a/1'\], surplus \['other'\]"):
        unflatten(example(), flat)


@pytest.mark.parametrize("wrong", [torch.zeros(4), torch.zeros(3, dtype=torch.float64)])
def test_unflatten_refuses_another_shape_or_dtype(wrong: torch.Tensor) -> None:
    with pytest.raises(CorruptFile, match=r"'left/a/1' must be torch.float32 of shape \(3,\), got torch.float"):
        unflatten(example(), flatten(example()) | {"left/a/1": wrong})


def test_overwrite_puts_a_tree_into_the_memory_of_another_and_returns_its_scalars() -> None:
    into = {"a": torch.zeros(2), "b": [torch.zeros(()), torch.ones(1)]}
    kept = into["a"]
    changed = overwrite(into, {"a": torch.tensor([1.0, 2.0]), "b": [torch.tensor(3.0), torch.tensor([4.0])]})
    assert into["a"] is kept and kept.tolist() == [1.0, 2.0] and into["b"][1].tolist() == [4.0]
    assert [scalar.item() for scalar in changed] == [3.0] and into["b"][0].item() == 0.0


def test_none_is_a_tree_without_leaves() -> None:
    tree = {"memory": None, "w": torch.ones(1)}
    assert list(flatten(tree)) == ["w"] and flatten(None) == {}
    assert tree_map(torch.clone, tree) == tree and tree_map(torch.clone, None) is None
    assert unflatten(tree, flatten(tree)) == tree


def test_a_vector_holds_all_numbers_of_a_tree_in_order_and_gives_the_tree_back() -> None:
    tree = {"w": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "more": [torch.tensor(5.0), torch.tensor([6.0])]}
    vector = to_vector(tree)
    assert vector.tolist() == [1, 2, 3, 4, 5, 6]
    back = from_vector(tree, vector + 1)
    assert back["w"].tolist() == [[2, 3], [4, 5]] and back["more"][0].item() == 6 and back["more"][1].tolist() == [7]
