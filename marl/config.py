"""All settings of training, as frozen dataclasses, and the table of algorithms. Imports no torch.

The command line is generated from these classes: the default is on the line, the sentence below it says what the
setting is, with unit and range. Derived numbers are properties; a value out of range is a UsageError.
"""

from __future__ import annotations

import importlib
import math
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Literal

RewardMode = Literal["agent", "team_sum", "team_mean"]


def require(ok: bool, message: str) -> None:
    """UsageError with that message unless `ok`.

    Imported here and not above because `import environments` takes longer than all else that `--help` does.
    """
    if not ok:
        from environments.errors import UsageError

        raise UsageError(message)


def _check_choices(config: Any) -> None:
    """Fields declared as Literal hold one of its values; also where they do not come from the command line."""
    for name, hint in typing.get_type_hints(type(config)).items():
        for part in (hint, *typing.get_args(hint)):
            if typing.get_origin(part) is Literal:
                value, known = getattr(config, name), typing.get_args(part)
                optional = type(None) in typing.get_args(hint) and value is None
                require(optional or value in known, f"{name} must be one of {', '.join(known)}, not {value!r}")


def _check_widths(hidden: tuple[int, ...]) -> None:
    require(
        len(hidden) > 0 and all(1 <= width <= 65536 for width in hidden),
        f"hidden must be widths of 1 to 65536, not {hidden}",
    )


def _check_counts(config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        require(value is None or value >= 1, f"{name} must be at least 1, not {value}")


def _check_range(config: Any, low: float, high: float, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        reach = f"{low:g} to {high:g}" if math.isfinite(high) else f"at least {low:g} and finite"
        require(low <= value <= high and math.isfinite(value), f"{name} must be {reach}, not {value}")


def _check_above(config: Any, low: float, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        require(value is None or low < value, f"{name} must be above {low:g}, not {value}")


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
        _check_choices(self)
        _check_widths(self.hidden)
        _check_counts(self, "rollout_length", "epochs", "minibatches")
        _check_range(self, 0.0, math.inf, "learning_rate", "entropy", "value_coefficient")
        _check_range(self, 0.0, 1.0, "gamma", "gae_lambda")
        _check_above(self, 0.0, "adam_eps", "clip", "huber_delta", "value_clip", "max_grad_norm", "target_kl")


@dataclass(frozen=True)
class OffPolicyConfig:
    """Settings that learners from a replay buffer have in common."""

    box: ClassVar[str]  # `PolicySpec.box` of their policies
    critic: Literal["local", "central"] = "central"
    """What Q values are predicted from: each agent's own observation and action, or the state and all actions."""
    order: Literal["at_once", "agent_by_agent"] = "agent_by_agent"
    """Agents of a team are updated at once, or one after the other in a fresh random order, each seeing the last."""
    parameters: Literal["shared", "per_agent"] = "per_agent"
    """One network for all agents of a group, or one for each; agent by agent needs the latter."""
    agent_id: bool = True
    """Let shared networks see which agent they act for."""
    hidden: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers of actors and critics; each 1 to 65536."""
    activation: Literal["tanh", "relu"] = "relu"
    """What follows every hidden layer."""
    rollout_length: int = 8
    """Steps of every copy between two visits to the replay buffer; at least 1."""
    buffer_size: int = 1_000_000
    """Joint samples (a team at one step) that are remembered; at least a rollout."""
    warmup_steps: int = 10_000
    """Environment steps of uniformly random legal actions before the first update; at least 0."""
    updates_per_step: float = 0.05
    """Updates per environment step; above 0."""
    batch_size: int = 1000
    """Joint samples per update; at least 1."""
    actor_learning_rate: float = 5e-4
    """Step size of the actors' Adam; at least 0."""
    critic_learning_rate: float = 5e-4
    """Step size of the critics' Adam; at least 0."""
    adam_eps: float = 1e-8
    """Adam's epsilon; above 0."""
    gamma: float = 0.99
    """Discount per step; 0 to 1."""
    n_step: int = 5
    """Own decisions whose rewards a target sums before it bootstraps; at least 1."""
    polyak: float = 0.005
    """Part of the way that target networks move towards the networks each time; above 0, to 1."""
    value_loss: Literal["huber", "mse"] = "mse"
    """Error of the critics."""
    huber_delta: float = 10.0
    """Error beyond which Huber's loss grows linearly; above 0."""
    value_norm: bool = False
    """Predict values in units of their running mean and deviation."""
    max_grad_norm: float | None = 10.0
    """Largest gradient norm of each actor, and of the critics together, or none; above 0."""

    def __post_init__(self) -> None:
        _check_choices(self)
        _check_widths(self.hidden)
        _check_counts(self, "rollout_length", "buffer_size", "batch_size", "n_step")
        _check_range(self, 0.0, math.inf, "actor_learning_rate", "critic_learning_rate", "warmup_steps")
        _check_range(self, 0.0, 1.0, "gamma", "polyak")
        _check_above(self, 0.0, "updates_per_step", "adam_eps", "polyak", "huber_delta", "max_grad_norm")
        alone = self.order == "agent_by_agent" and self.parameters == "shared"
        require(not alone, "agent by agent needs --parameters per_agent: an agent's step would move the others' too")


@dataclass(frozen=True)
class SACConfig(OffPolicyConfig):
    """Settings of the soft actor-critic family (ISAC, MASAC, HASAC)."""

    box: ClassVar[str] = "squashed"
    temperature: float = 1.0
    """Weight of the entropy, at the start or throughout; above 0."""
    temperature_learning_rate: float = 3e-4
    """Step size of the temperatures' Adam; 0 keeps them fixed."""
    entropy_per_dimension: float = -1.0
    """Entropy that each dimension of a Box action is led to, in nats, bounds scaled to [-1, 1]; finite."""
    entropy_per_choice: float = 0.3
    """Entropy that each discrete choice is led to, as a part of the logarithm of its legal actions; 0 to 1."""
    critic_temperature: Literal["agents", "team"] = "agents"
    """What weighs entropy in targets: each agent's temperature, or one more, of the team's summed entropy."""
    expectation: Literal["auto", "joint", "own", "drawn"] = "auto"
    """Over discrete actions: sum over the team's, sum over an agent's own and draw others', or draw all."""
    drift: Literal["none", "kl"] = "none"
    """What holds a policy back: nothing, or its divergence from an earlier one (mirror descent)."""
    drift_weight: float = 1.0
    """Weight of the drift; at least 0."""
    drift_updates: int = 10
    """Updates after which the policy that the drift looks at is taken anew; at least 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_counts(self, "drift_updates")
        _check_range(self, 0.0, math.inf, "temperature_learning_rate", "drift_weight")
        _check_range(self, 0.0, 1.0, "entropy_per_choice")
        _check_range(self, -math.inf, math.inf, "entropy_per_dimension")
        _check_above(self, 0.0, "temperature")
        team = self.critic_temperature == "team" and self.critic == "local"
        require(not team, "a local critic has no team temperature: set --critic-temperature agents")


@dataclass(frozen=True)
class DDPGConfig(OffPolicyConfig):
    """Settings of the deterministic policy gradient family (MADDPG, MATD3, HADDPG, HATD3)."""

    box: ClassVar[str] = "deterministic"
    twin: bool = True
    """Two Q functions, the smaller of which targets bootstrap from, or one."""
    exploration_noise: float = 0.1
    """Deviation of the noise that is added to what agents play in training, bounds scaled to [-1, 1]; at least 0."""
    target_noise: float = 0.2
    """Deviation of the noise that is added to actions in targets, bounds scaled to [-1, 1]; at least 0."""
    target_noise_clip: float = 0.5
    """Largest size of that noise; at least 0."""
    policy_delay: int = 2
    """Updates of the critics for each update of actors and targets; at least 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_counts(self, "policy_delay")
        _check_range(self, 0.0, math.inf, "exploration_noise", "target_noise", "target_noise_clip")


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
        _check_choices(self)
        _check_counts(self, "total_steps", "checkpoint_every", "eval_every", "eval_episodes")
        for name, low, high in (
            ("seed", 0, 2**63 - 1),
            ("num_envs", 1, 2**20),
            ("threads", 1, 1024),
            ("record", 0, 256),
        ):
            value = getattr(self, name)
            require(low <= value <= high, f"{name} must be {low} to {high}, not {value}")
        _check_above(self, 0.0, "max_minutes")


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
