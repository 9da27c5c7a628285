"""Settings of training, as frozen dataclasses, and the table of algorithms. Imports no torch.

Those of learners stand in `config_rollout` and `config_replay`, what all of them check in `config_checks`.

The command line is generated from these classes: the default is on the line, the sentence below it says what the
setting is, with unit and range. Derived numbers are properties; a value out of range is a UsageError.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from environments.errors import nearest
from marl.config_checks import check_above, check_choices, check_counts, check_device, check_within, require
from marl.config_replay import DDPGConfig, QConfig, SACConfig
from marl.config_rollout import A2CConfig, DPOConfig, PPOConfig, TRPOConfig
from marl.config_self_play import SelfPlayConfig

if TYPE_CHECKING:
    from environments.spec import AgentGroup

RewardMode = Literal["agent", "team_sum", "team_mean"]


Settings = PPOConfig | TRPOConfig | SACConfig | DDPGConfig | QConfig
"""Settings of some algorithm."""


@dataclass(frozen=True)
class TrainConfig(SelfPlayConfig):
    """Settings of a training run, whatever the algorithm."""

    seed: int = 0
    """Seed that everything random in the run comes from; 0 to 2^63 - 1."""
    total_steps: int = 10_000_000
    """Environment steps of the whole run, all copies together; at least 1."""
    num_envs: int = 128
    """Copies of the environment that are stepped at once; 1 to 1048576."""
    threads: int = 2
    """Processor threads; 1 to 1024. Runs repeat bit for bit only with the same number."""
    workers: int | None = None
    """Processes that step somebody else's environment, 0 for only the training one, none: as threads; to 1024."""
    max_faults: int = 10
    """Failures of somebody else's environment after which the run gives up; 0 to 1M."""
    device: str = "cpu"
    """Where gradients are computed, by torch: cpu, cuda or cuda:N. Policies act on the processor all the same."""
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
    eval_greedy: bool = False
    """Take the likeliest actions in evaluations instead of sampled ones."""
    eval_record: int = 1
    """Episodes of every evaluation that are written as replays, which `marl watch RUN` shows as they appear; 0 to 256.

    None while recording has taken more than 2 % of the run's time."""
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
            ("eval_record", 0, 256),
            ("workers", 0, 1024),
            ("max_faults", 0, 10**6),
        ):
            value = getattr(self, name)
            if value is not None:
                check_within(name, value, low, high)
        check_above(self, 0.0, "max_minutes")
        check_device(self)
        self.check_self_play()


@dataclass(frozen=True)
class Algorithm:
    """A point in the grid of learners: what is known of it without importing torch."""

    name: str
    summary: str
    family: Literal["a2c", "ppo", "trpo", "sac", "ddpg", "td3", "q"]
    """Its core (ddpg and td3 share one), and so its settings and whether it learns from rollouts or a replay buffer."""
    critic: Literal["local", "central", "sum", "monotone"]
    """What values are of: an agent's own view, the state, or a sum or a mix of the agents' own."""
    order: Literal["at_once", "agent_by_agent"]
    """Whether the agents of a team are updated at once or one after the other."""
    actions: tuple[str, ...]
    """Kinds of actions it can learn, by gymnasium's names."""
    recurrent: bool
    """Whether its networks may have layers that remember."""
    learner: str
    """`module:class` of the learner, imported when a run is built."""
    config: Settings
    compiled: bool
    """Whether the compiled engine can compute its gradients."""

    @property
    def sharing(self) -> Literal["either", "per_agent"]:
        """Whether agents of a group may share a network or have one each, or must have one each."""
        return "per_agent" if self.order == "agent_by_agent" else "either"

    def slow(self, config: Settings, images: bool = False, device: str = "cpu") -> str | None:
        """Why the compiled engine cannot compute its gradients with those settings, or none where it can.

        `images`: agents see pictures.
        """
        if device != "cpu":
            return "compiled gradients are the processor's"
        if not self.compiled:
            return f"{self.name} has no compiled gradients"
        if images:
            return "networks that see images have no compiled gradients"
        if getattr(config, "recurrent", "none") != "none":
            return "recurrent networks have no compiled gradients"
        if getattr(config, "critic_network", "plain") != "plain":
            return "critics that are no plain perceptrons have no compiled gradients"
        region = getattr(config, "trust_region", "clip")
        return None if region == "clip" else f"trust region {region} has no compiled gradients"

    def engine(
        self, asked: str, config: Settings, images: bool = False, device: str = "cpu"
    ) -> Literal["fused", "torch"]:
        """How gradients are computed where that was asked for. UsageError where it cannot be."""
        why = self.slow(config, images, device)
        require(asked != "fused" or why is None, f"{why}: leave --engine out")
        return "fused" if why is None and asked != "torch" else "torch"

    def load(self) -> Any:
        """The learner's class; imports torch."""
        module, name = self.learner.split(":")
        return getattr(importlib.import_module(module), name)


def _on_policy(
    name: str, summary: str, family: Literal["a2c", "ppo", "trpo"], config: PPOConfig | TRPOConfig
) -> Algorithm:
    actions = ("Discrete", "MultiDiscrete", "Box")
    learner = "marl.algorithms.trpo:TRPO" if family == "trpo" else "marl.algorithms.ppo:PPO"
    compiled = family != "trpo"
    return Algorithm(name, summary, family, config.critic, config.order, actions, True, learner, config, compiled)


def _sac(name: str, summary: str, critic: Literal["local", "central"], **settings: Any) -> Algorithm:
    config = SACConfig(critic=critic, **settings)
    actions = ("Discrete", "MultiDiscrete", "Box")
    learner = "marl.algorithms.sac:SAC"
    return Algorithm(name, summary, "sac", critic, config.order, actions, False, learner, config, compiled=True)


def _ddpg(name: str, summary: str, family: Literal["ddpg", "td3"], **settings: Any) -> Algorithm:
    plain: dict[str, Any] = {"twin": False, "target_noise": 0.0, "policy_delay": 1} if family == "ddpg" else {}
    config = DDPGConfig(**plain, **settings)
    learner = "marl.algorithms.ddpg:DDPG"
    return Algorithm(name, summary, family, "central", config.order, ("Box",), False, learner, config, compiled=True)


def _q(name: str, summary: str, mixer: Literal["none", "sum", "monotone"]) -> Algorithm:
    config, actions = QConfig(mixer=mixer), ("Discrete", "MultiDiscrete")
    learner = "marl.algorithms.q_learning:QLearning"
    return Algorithm(name, summary, "q", config.critic, "at_once", actions, True, learner, config, compiled=False)


ALGORITHMS: dict[str, Algorithm] = {
    "ia2c": _on_policy(
        "ia2c", "one gradient step per rollout; values from own observations", "a2c", A2CConfig(critic="local")
    ),
    "maa2c": _on_policy(
        "maa2c",
        "one gradient step per rollout; values from the global state, used in training only",
        "a2c",
        A2CConfig(),
    ),
    "ippo": _on_policy("ippo", "PPO; every agent's value from its own observation", "ppo", PPOConfig(critic="local")),
    "mappo": _on_policy("mappo", "PPO; values from the global state, used in training only", "ppo", PPOConfig()),
    "happo": _on_policy(
        "happo",
        "PPO; values from the global state, agents updated one by one, each weighing what the last have changed",
        "ppo",
        PPOConfig(order="agent_by_agent", parameters="per_agent"),
    ),
    "hatrpo": _on_policy(
        "hatrpo",
        "natural gradient steps of bounded divergence; values from the global state, agents updated one by one",
        "trpo",
        TRPOConfig(),
    ),
    "dpo": _on_policy(
        "dpo",
        "decentralised policy optimisation: IPPO held by divergences, no clipping",
        "ppo",
        DPOConfig(critic="local"),
    ),
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
    "iql": _q("iql", "values of actions, every agent for itself", "none"),
    "vdn": _q("vdn", "values of actions; the team's is the sum of its agents'", "sum"),
    "qmix": _q(
        "qmix", "values of actions; the team's is a monotone mix of its agents' that knows the state", "monotone"
    ),
}
"""Every algorithm by name."""


def algorithm(name: str) -> Algorithm:
    """The algorithm of that name. UsageError names the nearest one."""
    if name not in ALGORITHMS:
        require(False, f"unknown algorithm {name!r}{nearest(name, ALGORITHMS)}")
    return ALGORITHMS[name]


def unfit(actions: Collection[str], groups: Iterable[AgentGroup]) -> AgentGroup | None:
    """The first group whose agents have another kind of actions; kinds by gymnasium's names."""
    return next((group for group in groups if type(group.action_space).__name__ not in actions), None)


def check_actions(
    learner: str, actions: Collection[str], groups: Sequence[AgentGroup], others: Callable[[], Iterable[str]] = tuple
) -> None:
    """UsageError where an agent has actions of a kind that a learner cannot learn: whose, which, and what would work,
    `others` being ways besides other algorithms."""
    group = unfit(actions, groups)
    if group is not None:
        space, able = group.action_space, (a.name for a in ALGORITHMS.values() if unfit(a.actions, groups) is None)
        ways = ", or ".join([f"train with {', '.join(able)}", *others()])
        kind = type(space).__name__
        require(False, f"{learner} cannot learn {kind} actions, which {group.agents[0]!r} has ({space}): {ways}")


def to_json(config: Any) -> dict[str, Any]:
    """A config dataclass as plain JSON data."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()}


def changed(config: Any, values: Mapping[str, Any]) -> Any:
    """`config` with those fields replaced. UsageError on an unknown field, a wrong type or a value out of range."""
    known = {field.name for field in fields(config)}
    for name in values:
        if name not in known:
            require(False, f"unknown setting {name!r}{nearest(name, known)}")
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    try:
        return replace(config, **plain)
    except TypeError as error:
        require(False, f"a setting has a wrong type: {error}")
