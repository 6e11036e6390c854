"""What is learned in tests/bench/learning.py: every case, and whom it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

WALKERS = ("HalfCheetah", "Hopper", "Walker2d", "Ant")
MOST_SEEDS = 10
"""Of a comparison that its first seeds leave open."""


@dataclass(frozen=True)
class Peer:
    """A learner of somebody else's."""

    library: str
    """ "sbx" or "stable_baselines3"."""
    algorithm: str
    settings: Mapping[str, Any]
    """Keyword arguments of its class."""
    normalized: bool = False
    """Whether observations and rewards are normalised as our on-policy learners do it (VecNormalize)."""
    num_envs: int = 1
    """Environments side by side."""
    annealed: bool = False
    """Whether its step size falls linearly to 0."""
    env_options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of its environment, where the default is not our task."""


@dataclass(frozen=True)
class Case:
    """A learner on a task, with what is wanted of it."""

    name: str
    task: str
    steps: int
    seeds: int
    """The first ones, from 0 on; see `MOST_SEEDS`."""
    learner: str = "sac"
    episodes: int = 20
    """Over which the final policy is judged."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Options of `roborl train`."""
    peer: Peer | None = None
    """Who learns instead of us."""
    wanted: str = ""
    """Of its returns, where there is something to reach."""
    no_worse_than: Case | None = None
    """Whose returns it is compared with."""
    published: int | None = None
    """The mean return that somebody else's of the name has reached."""

    @property
    def sides(self) -> tuple[Case, Case]:
        """Whom it is compared with, and itself."""
        assert self.no_worse_than is not None
        return self.no_worse_than, self


WIDE = {"batch_size": 256, "learning_starts": 1000, "policy_kwargs": {"net_arch": [256, 256]}}
"""Our off-policy defaults, as the peers call them."""

PEERS = {
    "sac": Peer("sbx", "SAC", WIDE | {"learning_rate": 3e-4, "qf_learning_rate": 3e-4}),
    # SBX moves TD3's targets at every step of the critics, twice as fast as published
    "td3": Peer("stable_baselines3", "TD3", WIDE | {"learning_rate": 1e-3}),
    "ddpg": Peer("sbx", "DDPG", WIDE | {"learning_rate": 1e-3, "qf_learning_rate": 1e-3}),
    "crossq": Peer(
        "sbx",
        "CrossQ",
        {
            "batch_size": 256,
            "learning_starts": 1000,
            "policy_kwargs": {"net_arch": {"pi": [256, 256], "qf": [256, 256]}},
        },
    ),
    "ppo": Peer("stable_baselines3", "PPO", {"n_steps": 256}, normalized=True, num_envs=8),
}
"""Each with our defaults."""

ENV_OPTIONS = {"Ant": {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0.0}}
"""What makes an environment of Gymnasium's our task: by default ours leaves contact forces out."""

PLAIN = {"num_envs": 8, "init_log_std": 0.0, "no_anneal": True, "normalize_advantage": True, "clip_together": True}
"""The peer's defaults for PPO, where a task's own settings are others."""

PRESET_PEER = replace(
    PEERS["ppo"],
    settings={
        "n_steps": 32,
        "learning_rate": 3e-4,
        "normalize_advantage": False,
        "policy_kwargs": {"log_std_init": -0.5},
    },
    num_envs=64,
    annealed=True,
)
"""PPO with our settings for Gymnasium's walkers."""

PUBLISHED = {
    "trpo": (4471, 2046, 3827, 2867),
    "npg": (3485, 1915, 2503, 2358),
    "a2c": (1830, 1253, 1092, 3485),
    "reinforce": (1139, 416, 441, 1108),
}
"""Tianshou's benchmark, v2 and v3 of the walkers: the best mean return within 1,000,000 steps, REINFORCE's within
10,000,000; ours are final policies'."""

TARGETS = (
    *(
        Case(f"{learner}-pendulum", "roborl/PendulumSwingup-v1", steps, 5, learner, 100, wanted=f"mean at least {low}")
        for learner, steps, low in (
            *(("sac", 20_000, -165), ("ddpg", 20_000, -165), ("td3", 20_000, -165)),
            *(("ppo", 100_000, -190), ("trpo", 100_000, -190)),
        )
    ),
    *(
        Case(f"{learner}-inverted-pendulum", "roborl/InvertedPendulum-v1", steps, 3, learner, wanted="1000")
        for learner, steps in (
            *(("sac", 20_000), ("ddpg", 20_000), ("td3", 20_000)),
            *(("ppo", 100_000), ("trpo", 100_000), ("npg", 100_000), ("a2c", 300_000), ("reinforce", 1_000_000)),
        )
    ),
    Case("sac-cartpole-swingup", "roborl/CartpoleSwingup-v1", 100_000, 5, wanted="at least 800 in each seed"),
    Case("sac-cartpole-track", "roborl/CartpoleTrack-v1", 100_000, 3, wanted="as well as MPPI on the true simulator"),
    Case("ppo-cartpole-swingup", "roborl/CartpoleSwingup-v1", 1_000_000, 3, "ppo", wanted="at least 750"),
    Case(
        "recurrent-ppo-hidden-velocities",
        "roborl/CartpoleSwingup-v1",
        1_000_000,
        3,
        "recurrent_ppo",
        settings={"num_envs": 16, "option": "hidden_velocities=true"},
        wanted="80% of PPO's that sees them, at least 600",
    ),
    Case(
        "crossq-wide-halfcheetah",
        "roborl/HalfCheetah-v1",
        100_000,
        1,
        "crossq",
        settings={"critic_hidden": "2048,2048", "precision": "bfloat16"},
        wanted="the published width",
    ),
)
"""Where there is something to reach."""


def beside(
    name: str,
    env: str,
    steps: int,
    seeds: int,
    learner: str,
    peer: Peer,
    settings: Mapping[str, Any] | None = None,
    wanted: str = "",
) -> Case:
    """Return our case with a peer's settings on one of Gymnasium's environments, which names the peer's."""
    name, theirs = f"{name}-{env.lower()}", replace(peer, env_options=ENV_OPTIONS.get(env, {}))
    first = Case(f"{name}-peer", f"{env}-v5", steps, seeds, learner, peer=theirs)
    task, settings = f"roborl/{env}-v1", settings or {}
    return Case(name, task, steps, seeds, learner, settings=settings, wanted=wanted, no_worse_than=first)


BESIDE_PEERS = (
    *(
        beside("ppo-preset", env, 1_000_000, 5, "ppo", PRESET_PEER, wanted=wanted)
        for env, wanted in zip(WALKERS, ("at least 5000", "at least 2400", "at least 3400", ""), strict=True)
    ),
    *(beside("ppo", env, 1_000_000, 5, "ppo", PEERS["ppo"], PLAIN) for env in WALKERS),
    beside("sac", "HalfCheetah", 100_000, 10, "sac", PEERS["sac"]),
    *(
        beside(learner, env, 100_000, 3, learner, PEERS[learner])
        for learner, envs in (
            *(("sac", ("Hopper", "Walker2d")), ("td3", ("HalfCheetah",)), ("ddpg", ("HalfCheetah",))),
            ("crossq", ("HalfCheetah", "Hopper", "Walker2d")),
        )
        for env in envs
    ),
)
"""Beside a peer's learner with the same settings."""


def rounded(case: Case) -> Case:
    """Return a case again, with products in bfloat16."""
    return replace(
        case, name=f"{case.name}-bfloat16", settings={"precision": "bfloat16"}, wanted="", no_worse_than=case
    )


BESIDE_FLOAT32 = tuple(
    rounded(case)
    for case in (*TARGETS, *BESIDE_PEERS)
    if case.name in ("sac-pendulum", "sac-cartpole-swingup", "sac-cartpole-track", "sac-halfcheetah")
)
"""With the products of an update rounded, beside the same in float32."""

BESIDE_PUBLISHED = tuple(
    Case(f"{learner}-{env.lower()}", f"roborl/{env}-v1", 1_000_000, 3, learner, published=published)
    for learner, results in PUBLISHED.items()
    for env, published in zip(WALKERS, results, strict=True)
)
"""Beside what is published."""

CASES = (
    *TARGETS,
    *(side for case in BESIDE_PEERS for side in case.sides),
    *BESIDE_FLOAT32,
    *BESIDE_PUBLISHED,
)
"""All of them."""
