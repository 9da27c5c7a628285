"""Settings of training, as frozen dataclasses, and the table of algorithms. Imports no torch.

Those of the learners from a replay buffer stand in `config_replay`, what all of them check in `config_checks`.

The command line is generated from these classes: the default is on the line, the sentence below it says what the
setting is, with unit and range. Derived numbers are properties; a value out of range is a UsageError.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Literal

from marl.config_checks import check_above, check_choices, check_counts, check_range, check_widths, require
from marl.config_replay import DDPGConfig, SACConfig

RewardMode = Literal["agent", "team_sum", "team_mean"]


@dataclass(frozen=True)
class PPOConfig:
    """Settings of the PPO family (IPPO, MAPPO)."""

    box: ClassVar[str] = "gaussian"  # `PolicySpec.box` of its policies
    critic: Literal["local", "central"] = "central"
    """What values are predicted from: each agent's own observation, or the global state."""
    parameters: Literal["shared", "per_agent"] = "shared"
    """One network for all agents of a group, or one for each."""
    agent_id: bool = True
    """Let shared networks see which agent they act for."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers of actor and critic; each 1 to 65536."""
    activation: Literal["tanh", "relu"] = "tanh"
    """What follows every hidden layer."""
    rollout_length: int = 128
    """Steps of every copy between two updates; at least 1."""
    epochs: int = 4
    """Passes over every rollout; at least 1."""
    minibatches: int = 4
    """Parts into which every pass is cut, one gradient step each; at least 1."""
    learning_rate: float = 1e-3
    """Step size of Adam at the start; at least 0."""
    anneal: bool = True
    """Let the learning rate fall linearly to 0 at the end of training."""
    adam_eps: float = 1e-5
    """Adam's epsilon; above 0."""
    gamma: float = 0.99
    """Discount per step; 0 to 1."""
    gae_lambda: float = 0.95
    """How far advantages look along the rollout (GAE's lambda); 0 to 1."""
    clip: float = 0.2
    """How far the probability ratio may move before its gradient is cut; above 0."""
    entropy: float = 0.01
    """Weight of the entropy bonus; at least 0."""
    value_coefficient: float = 0.5
    """Weight of the value loss; at least 0."""
    value_loss: Literal["huber", "mse"] = "huber"
    """Error of the value function."""
    huber_delta: float = 10.0
    """Normalised error beyond which Huber's loss grows linearly; above 0."""
    value_clip: float | None = None
    """How far a value prediction may move per update, in normalised units, or none; above 0."""
    value_norm: bool = True
    """Predict values in units of their running mean and deviation."""
    advantage_norm: Literal["batch", "minibatch", "agent", "none"] = "batch"
    """Over what advantages are normalised: the rollout, each minibatch, each agent's part of the rollout, or not."""
    max_grad_norm: float = 0.5
    """Largest gradient norm, of actor and critic apart; above 0."""
    target_kl: float | None = None
    """Mean divergence from the acting policy after which no further pass is made, or none; above 0."""

    def __post_init__(self) -> None:
        check_choices(self)
        check_widths(self.hidden)
        check_counts(self, "rollout_length", "epochs", "minibatches")
        check_range(self, 0.0, math.inf, "learning_rate", "entropy", "value_coefficient")
        check_range(self, 0.0, 1.0, "gamma", "gae_lambda")
        check_above(self, 0.0, "adam_eps", "clip", "huber_delta", "value_clip", "max_grad_norm", "target_kl")


Settings = PPOConfig | SACConfig | DDPGConfig
"""Settings of some algorithm."""


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run, whatever the algorithm."""

    seed: int = 0
    """Seed that everything random in the run comes from; 0 to 2^63 - 1."""
    total_steps: int = 10_000_000
    """Environment steps of the whole run, all copies together; at least 1."""
    num_envs: int = 128
    """Copies of the environment that are stepped at once; 1 to 1048576."""
    threads: int = 2
    """Processor threads; 1 to 1024. Runs repeat bit for bit only with the same number."""
    device: Literal["cpu"] = "cpu"
    """Where networks live."""
    engine: Literal["auto", "fused", "torch"] = "auto"
    """How networks are computed: by compiled functions where there are any, by them or not at all, or by torch."""
    reward: RewardMode | None = None
    """Each agent its own reward, or the team's sum or mean for all its members; none: as the scenario says."""
    max_minutes: float | None = None
    """Minutes after which the run ends cleanly, to be resumed, or none; above 0."""
    checkpoint_every: int = 1_000_000
    """Environment steps between two checkpoints; at least 1. The end of a run is always saved."""
    eval_every: int | None = None
    """Environment steps between two evaluations on episodes never trained on, or none; at least 1."""
    eval_episodes: int = 100
    """Episodes of every evaluation; at least 1."""
    record: int = 0
    """Episodes that are written as replays at the end of the run; 0 to 256."""
    tensorboard: bool = False
    """Also write TensorBoard event files into the run's folder."""
    wandb: bool = False
    """Also log to Weights & Biases; it can neither slow nor end the run."""
    wandb_mode: Literal["offline", "online"] = "offline"
    """Keep W&B's data in the run's folder until `wandb sync`, or send it at once."""
    wandb_project: str = "marl"
    """Project that W&B files the run under."""

    def __post_init__(self) -> None:
        check_choices(self)
        check_counts(self, "total_steps", "checkpoint_every", "eval_every", "eval_episodes")
        for name, low, high in (
            ("seed", 0, 2**63 - 1),
            ("num_envs", 1, 2**20),
            ("threads", 1, 1024),
            ("record", 0, 256),
        ):
            value = getattr(self, name)
            require(low <= value <= high, f"{name} must be {low} to {high}, not {value}")
        check_above(self, 0.0, "max_minutes")


@dataclass(frozen=True)
class Algorithm:
    """A point in the grid of learners: what is known of it without importing torch."""

    name: str
    summary: str
    family: Literal["ppo", "sac", "ddpg", "td3"]
    """Its core (the last two share one), and so its settings and whether it learns from rollouts or a replay buffer."""
    critic: Literal["local", "central"]
    order: Literal["at_once", "agent_by_agent"]
    """Whether the agents of a team are updated at once or one after the other."""
    actions: tuple[str, ...]
    """Kinds of actions it can learn, by gymnasium's names."""
    recurrent: bool
    learner: str
    """`module:class` of the learner, imported when a run is built."""
    config: Settings
    compiled: bool
    """Whether the compiled engine can compute its gradients."""

    def engine(self, asked: str) -> Literal["fused", "torch"]:
        """How gradients are computed where that was asked for. UsageError where it cannot be."""
        require(asked != "fused" or self.compiled, f"{self.name} has no compiled gradients: leave --engine out")
        return "fused" if self.compiled and asked != "torch" else "torch"

    def load(self) -> Any:
        """The learner's class; imports torch."""
        module, name = self.learner.split(":")
        return getattr(importlib.import_module(module), name)


def _ppo(name: str, summary: str, critic: Literal["local", "central"]) -> Algorithm:
    actions = ("Discrete", "MultiDiscrete", "Box")
    config, learner = PPOConfig(critic=critic), "marl.algorithms.ppo:PPO"
    return Algorithm(name, summary, "ppo", critic, "at_once", actions, False, learner, config, compiled=True)


def _sac(name: str, summary: str, critic: Literal["local", "central"], **settings: Any) -> Algorithm:
    config = SACConfig(critic=critic, **settings)
    actions = ("Discrete", "MultiDiscrete", "Box")
    learner = "marl.algorithms.sac:SAC"
    return Algorithm(name, summary, "sac", critic, config.order, actions, False, learner, config, compiled=False)


def _ddpg(name: str, summary: str, family: Literal["ddpg", "td3"], **settings: Any) -> Algorithm:
    plain: dict[str, Any] = {"twin": False, "target_noise": 0.0, "policy_delay": 1} if family == "ddpg" else {}
    config = DDPGConfig(**plain, **settings)
    learner = "marl.algorithms.ddpg:DDPG"
    return Algorithm(name, summary, family, "central", config.order, ("Box",), False, learner, config, compiled=False)


ALGORITHMS: dict[str, Algorithm] = {
    "ippo": _ppo("ippo", "PPO; every agent's value from its own observation", "local"),
    "mappo": _ppo("mappo", "PPO; values from the global state, used in training only", "central"),
    "isac": _sac("isac", "soft actor-critic, every agent for itself", "local", order="at_once", parameters="shared"),
    "masac": _sac(
        "masac",
        "soft actor-critic; soft Q of the state and all actions, agents updated at once",
        "central",
        order="at_once",
    ),
    "hasac": _sac(
        "hasac", "soft actor-critic; soft Q of the state and all actions, agents updated one by one", "central"
    ),
    "maddpg": _ddpg(
        "maddpg",
        "deterministic actors; Q of the state and all actions, agents updated at once",
        "ddpg",
        order="at_once",
    ),
    "matd3": _ddpg(
        "matd3",
        "deterministic actors; twin Q, smoothed targets, delayed actors, agents updated at once",
        "td3",
        order="at_once",
    ),
    "haddpg": _ddpg(
        "haddpg", "deterministic actors; Q of the state and all actions, agents updated one by one", "ddpg"
    ),
    "hatd3": _ddpg(
        "hatd3", "deterministic actors; twin Q, smoothed targets, delayed actors, agents updated one by one", "td3"
    ),
}
"""Every algorithm by name."""


def algorithm(name: str) -> Algorithm:
    """The algorithm of that name. UsageError names the nearest one."""
    if name not in ALGORITHMS:
        from environments.errors import nearest

        require(False, f"unknown algorithm {name!r}{nearest(name, ALGORITHMS)}")
    return ALGORITHMS[name]


def to_json(config: Any) -> dict[str, Any]:
    """A config dataclass as plain JSON data."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()}


def changed(config: Any, values: Mapping[str, Any]) -> Any:
    """`config` with those fields replaced. UsageError on an unknown field, a wrong type or a value out of range."""
    known = {field.name for field in fields(config)}
    for name in values:
        if name not in known:
            from environments.errors import nearest

            require(False, f"unknown setting {name!r}{nearest(name, known)}")
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    try:
        return replace(config, **plain)
    except TypeError as error:
        require(False, f"a setting has a wrong type: {error}")
