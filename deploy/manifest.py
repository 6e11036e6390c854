"""The contract of an exported policy: what its numbers are, in which order, units and frames, at which rate.

A manifest is a tree of frozen dataclasses and travels in the bundle as JSON. Reading is strict: a file of
another schema, with a key too many or too few or a value of the wrong type is refused, never guessed at. What
the policy sees and does is identified by name, in the order of ``Manifest.observation_labels``.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from roborl.errors import ConfigError, CorruptFile, check_count, check_in, check_range

SCHEMA_VERSION = 1
READABLE_VERSIONS = (1,)

ACTION_LAW = "ctrl = clip(start + scale * clip(action, low, high), limits), start = previous ctrl if moves else default"
"""The law of `ActionTerm.control`; a control with a lead is kept within it before the limits."""


@dataclass(frozen=True)
class ObservationTerm:
    """One named part of the observation, ``obs[start:stop]``: ``history`` readings of ``labels`` each."""

    name: str
    """The term's name, unique in the manifest, without a comma."""
    start: int
    """Where it begins in the observation."""
    stop: int
    """Where it ends, exclusive."""
    labels: tuple[str, ...]
    """The names of the entries of one reading; ``stop - start == history * len(labels)``."""
    unit: str
    """SI unit of the entries before scaling; empty where they have none."""
    frame: str
    """The frame in which they are expressed; empty where they have none."""
    source: dict[str, Any]
    """Where the numbers come from, as the task describes it."""
    scale: float
    """What a reading is multiplied by before it stands in the observation."""
    history: int
    """How many readings are given, oldest first, one control step apart; at a reset all are the first one."""
    delay: int
    """Control steps by which a reading was late in training."""
    on_hardware: bool
    """Whether a robot can measure or know it."""

    def __post_init__(self) -> None:
        """Check the term by itself."""
        _check_name("observation term", self.name)
        check_count(f"history of {self.name!r}", self.history, 1)
        check_count(f"delay of {self.name!r}", self.delay, 0)
        check_count(f"start of {self.name!r}", self.start, 0)
        _check_finite(f"scale of {self.name!r}", self.scale)
        width = self.history * len(self.labels)
        if not width or self.stop - self.start != width:
            raise ConfigError(
                f"observation term {self.name!r} must span history x labels = {width} > 0 entries, "
                f"got [{self.start}, {self.stop})"
            )


@dataclass(frozen=True)
class ActionTerm:
    """One entry of the action; what the actuator gets follows from ``Manifest.action_law``."""

    name: str
    """The entry's name, as the actuator's, without a comma."""
    low: float
    """Lower bound, in ``unit``."""
    high: float
    """Upper bound, in ``unit``."""
    unit: str
    """SI unit of the action."""
    default: float
    """The control at action 0, where the control does not move."""
    scale: float
    """Control units for one unit of the action."""
    moves: bool = False
    """Whether the control moves on from the one before: ``previous + scale * action``."""
    lead: float = 0.0
    """How far a control that moves may be from the position of the joint of this name; 0: any."""
    limits: tuple[float, ...] = ()
    """What the control is clipped to at last, the lower limit first; empty: nothing."""

    def __post_init__(self) -> None:
        """Check the term by itself."""
        _check_name("action", self.name)
        for name in ("low", "high", "default", "scale"):
            _check_finite(f"{name} of action {self.name!r}", getattr(self, name))
        if self.low >= self.high:
            raise ConfigError(f"action {self.name!r} needs low < high, got [{self.low:g}, {self.high:g}]")
        check_range(f"lead of action {self.name!r}", self.lead, 0.0)
        for limit in (self.lead, *self.limits):
            _check_finite(f"a limit of action {self.name!r}", limit)
        if self.limits and not (len(self.limits) == 2 and self.limits[0] < self.limits[1]):
            raise ConfigError(f"action {self.name!r} needs no limits or two, the lower one first, got {self.limits}")

    def control(self, action: float, previous: float, joint: float) -> float:
        """Return the actuator's control.

        Args:
            action: the entry of the action, before it is clipped to its bounds.
            previous: the control before.
            joint: the position of the joint of this name; it counts where there is a lead.
        """
        action = min(max(action, self.low), self.high)
        control = (previous if self.moves else self.default) + self.scale * action
        if self.lead > 0.0:
            control = min(max(control, joint - self.lead), joint + self.lead)
        return min(max(control, self.limits[0]), self.limits[1]) if self.limits else control


@dataclass(frozen=True)
class Manifest:
    """What a robot's controller must honour to run the policy; see the module's text."""

    task: str
    """The task's id."""
    learner: str
    """The learner's name."""
    observations: tuple[ObservationTerm, ...]
    """The parts of the observation, in order, without gaps."""
    actions: tuple[ActionTerm, ...]
    """The entries of the action, in order."""
    control_rate_hz: float
    """How often the policy acts; 0 where it is not known."""
    model_sha256: str
    """Hash of the simulated model (64 lowercase hexadecimal digits); empty where the model is not known."""
    action_law: str = ACTION_LAW
    """How an action becomes the actuators' control: `ACTION_LAW`, which `ActionTerm.control` computes, or in words."""
    action_delay: tuple[int, int] = (0, 0)
    """Control steps between choice and effect in training, shortest and longest."""
    quaternion_order: str = "wxyz"
    """The order of a quaternion's entries wherever an observation holds one."""
    history_order: str = "oldest_first"
    """The direction of the history axis; a term's readings are laid end to end."""
    joint_names: tuple[str, ...] = ()
    """The robot's joints; the arrays below follow their order."""
    default_joint_pos: tuple[float, ...] = ()
    """The default pose (rad, m); empty or one for each joint."""
    joint_stiffness: tuple[float, ...] = ()
    """Position gains (N m/rad, N/m); empty or one for each joint."""
    joint_damping: tuple[float, ...] = ()
    """Velocity gains (N m s/rad, N s/m); empty or one for each joint."""
    command_names: tuple[str, ...] = ()
    """The commands that the task follows."""
    run_path: str = ""
    """The run that the policy comes from."""
    training: dict[str, Any] = field(default_factory=dict)
    """What is worth knowing of the training: steps, seed, return; JSON."""
    schema_version: int = SCHEMA_VERSION
    """The version of this layout."""

    def __post_init__(self) -> None:
        """Check the contract as a whole."""
        check_in("schema_version", self.schema_version, READABLE_VERSIONS)
        check_in("quaternion_order", self.quaternion_order, ("wxyz", "xyzw"))
        check_in("history_order", self.history_order, ("oldest_first",))
        check_range("control_rate_hz", self.control_rate_hz, 0.0)
        _check_finite("control_rate_hz", self.control_rate_hz)
        if not self.observations or not self.actions:
            raise ConfigError("a manifest needs at least one observation term and one action, got none")
        _check_unique("observation terms", (term.name for term in self.observations))
        _check_unique("actions", (term.name for term in self.actions))
        _check_unique("joints", self.joint_names)
        position = 0
        for term in self.observations:
            if term.start != position:
                raise ConfigError(f"term {term.name!r} must start at {position}, got {term.start}")
            position = term.stop
        for name in ("default_joint_pos", "joint_stiffness", "joint_damping"):
            values = getattr(self, name)
            if values and len(values) != len(self.joint_names):
                raise ConfigError(f"{name} needs {len(self.joint_names)} values, got {len(values)}")
        if self.model_sha256 and not _is_digest(self.model_sha256):
            raise ConfigError(f"model_sha256 must be 64 lowercase hexadecimal digits, got {self.model_sha256!r}")
        shortest, longest = self.action_delay
        check_count("action_delay's shorter end", shortest, 0)
        check_count("action_delay's longer end", longest, shortest)

    @property
    def observation_width(self) -> int:
        """The number of entries of an observation."""
        return self.observations[-1].stop

    @property
    def observation_labels(self) -> tuple[str, ...]:
        """One name for each entry of an observation: ``term.label``; with history ``term.label@t-age``."""
        labels: list[str] = []
        for term in self.observations:
            for age in reversed(range(term.history)):
                when = f"@t-{age}" if term.history > 1 else ""
                labels += [f"{term.name}.{label}{when}" for label in term.labels]
        return tuple(labels)

    @property
    def action_names(self) -> tuple[str, ...]:
        """The names of the action's entries, in order."""
        return tuple(term.name for term in self.actions)

    def to_json(self) -> str:
        """Return the manifest as JSON, floats in full precision, in a canonical form: sorted keys, no spaces.

        Raises:
            ConfigError: a source or the training summary holds what JSON cannot say.
        """
        try:
            return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"the manifest cannot be written as JSON: {error}") from error

    @staticmethod
    def from_json(text: str) -> Manifest:
        """Read a manifest.

        Raises:
            CorruptFile: no JSON, another schema version, an unknown or missing key, a value of the wrong type
                or outside what is allowed; says which.
        """
        data = _load_object(text)
        version = data.get("schema_version")
        if version not in READABLE_VERSIONS or isinstance(version, bool):
            raise CorruptFile(
                f"the manifest has schema_version {version!r}; this roborl reads {_join(READABLE_VERSIONS)}"
            )
        try:
            return _decode(Manifest, data, "manifest")
        except ConfigError as error:
            raise CorruptFile(f"the manifest is not valid: {error}") from error


def ecosystem_metadata(manifest: Manifest) -> dict[str, str]:
    """Return the metadata that other tools read: mjlab's keys, ``,`` between entries, full precision."""
    terms, actions = manifest.observations, manifest.actions
    lists: dict[str, Iterable[Any]] = {
        "joint_names": manifest.joint_names,
        "joint_stiffness": manifest.joint_stiffness,
        "joint_damping": manifest.joint_damping,
        "default_joint_pos": manifest.default_joint_pos,
        "command_names": manifest.command_names,
        "observation_names": (term.name for term in terms),
        "observation_terms_scale": (term.scale for term in terms),
        "observation_terms_history_length": (term.history for term in terms),
        "observation_terms_flatten_history_dim": (True for _ in terms),
        "action_scale": (action.scale for action in actions),
    }
    metadata = {key: _join(values, ",") for key, values in lists.items()}
    return {key: text for key, text in {"run_path": manifest.run_path, **metadata}.items() if text}


def _load_object(text: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        if len(set(keys)) < len(keys):
            raise ValueError(f"a key stands twice among {_join(keys)}")
        return dict(pairs)

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not a number")

    try:
        data = json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise CorruptFile(f"the manifest is no JSON: {error}") from error
    if not isinstance(data, dict):
        raise CorruptFile(f"the manifest must be a JSON object, got {type(data).__name__}")
    return data


def _decode(hint: Any, value: Any, where: str) -> Any:
    """Return a JSON value as the annotated type ``hint``; dataclasses need exactly their fields' keys."""
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        names = [f.name for f in dataclasses.fields(hint)]
        got = value if isinstance(value, dict) else {}
        missing, unknown = [n for n in names if n not in got], [n for n in got if n not in names]
        if missing or unknown or not isinstance(value, dict):
            raise CorruptFile(
                f"{where} must have exactly the keys of schema version {SCHEMA_VERSION} "
                f"(missing: {_join(missing) or 'none'}; unknown: {_join(unknown) or 'none'})"
            )
        return typing.cast(type, hint)(**{n: _decode(hints[n], got[n], f"{where}.{n}") for n in names})
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        inner = typing.get_args(hint)
        if inner[-1] is Ellipsis:
            inner = (inner[0],) * len(value)
        if len(inner) == len(value):
            return tuple(_decode(h, v, f"{where}[{i}]") for i, (h, v) in enumerate(zip(inner, value, strict=True)))
    elif hint is float and type(value) in (float, int):
        return float(value)
    elif type(value) is (typing.get_origin(hint) or hint):
        return value
    name = str(hint) if isinstance(hint, types.GenericAlias) else hint.__name__
    raise CorruptFile(f"{where} must be {name}, got {value!r:.80}")


def _check_name(kind: str, name: str) -> None:
    # Other tools read lists of names with "," between them.
    if not name or "," in name:
        raise ConfigError(f"the name of an {kind} must not be empty or hold a comma, got {name!r}")


def _check_finite(what: str, value: float) -> None:
    if not math.isfinite(value):
        raise ConfigError(f"{what} must be finite, got {value!r}")


def _check_unique(what: str, names: Iterable[str]) -> None:
    names = list(names)
    if len(set(names)) < len(names):
        raise ConfigError(f"the names of {what} must be unique, got {_join(names)}")


def _is_digest(text: str) -> bool:
    return len(text) == 64 and all(c in "0123456789abcdef" for c in text)


def _join(items: Iterable[Any], separator: str = ", ") -> str:
    return separator.join(map(str, items))
