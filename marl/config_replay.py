"""Settings of the learners from a replay buffer, as frozen dataclasses. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from marl.config_checks import (
    check_above,
    check_choices,
    check_counts,
    check_range,
    check_recurrent,
    check_widths,
    require,
)


def chunks_of_sequence(span: int, lead: int, max_wait: int) -> int:
    """Chunks of `span` steps before the newest view that a sample may begin: then it is warmed up by `lead` steps, and
    whoever decided in it has had the longest wait to decide again."""
    return -(-(lead + span + max_wait) // span)


@dataclass(frozen=True)
class OffPolicyConfig:
    """Settings that learners from a replay buffer have in common."""

    box: ClassVar[str]  # `PolicySpec.box` of their policies
    parameters: Literal["shared", "per_agent"] = "per_agent"
    """One network for all agents of a group, or one for each."""
    agent_id: bool = True
    """Let shared networks see which agent they act for."""
    hidden: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers of every agent's and critic's network; each 1 to 65536."""
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
    adam_eps: float = 1e-8
    """Adam's epsilon; above 0."""
    gamma: float = 0.99
    """Discount per step; 0 to 1."""
    n_step: int = 5
    """Own decisions whose rewards a target sums before it bootstraps; at least 1."""
    polyak: float = 0.005
    """Part of the way that target networks move towards the networks each time; above 0, to 1."""
    value_loss: Literal["huber", "mse"] = "mse"
    """Error of what is predicted."""
    huber_delta: float = 10.0
    """Error beyond which Huber's loss grows linearly; above 0."""
    value_norm: bool = False
    """Predict values in units of their running mean and deviation."""
    max_grad_norm: float | None = 10.0
    """Largest gradient norm of what is stepped at once (an actor, all critics), or none; above 0."""

    def __post_init__(self) -> None:
        check_choices(self)
        check_widths(self)
        check_counts(self, "rollout_length", "buffer_size", "batch_size", "n_step")
        check_range(self, 0.0, math.inf, "warmup_steps")
        check_range(self, 0.0, 1.0, "gamma", "polyak")
        check_above(self, 0.0, "updates_per_step", "adam_eps", "polyak", "huber_delta", "max_grad_norm")

    @property
    def span(self) -> int:
        """Steps that are sampled together: a chunk's of a recurrent learner, else each alone."""
        return 1

    @property
    def lead(self) -> int:
        """Steps before them that only bring up to date what is carried."""
        return 0

    def check_buffer(self, seats: int, max_wait: int) -> None:
        """UsageError where the memory is too small to be sampled, of so many seats that may wait so many steps."""
        sequence = self.span * chunks_of_sequence(self.span, self.lead, max_wait)
        what = "a rollout" if sequence <= self.rollout_length else f"a sequence of {sequence} steps"
        least = seats * max(sequence, self.rollout_length)
        require(self.buffer_size >= least, f"{what} has {least} samples: set --buffer-size to that or more")


@dataclass(frozen=True)
class ActorCriticConfig(OffPolicyConfig):
    """Settings that learners of actors and critics from a replay buffer have in common."""

    critic: Literal["local", "central"] = "central"
    """What Q values are predicted from: each agent's own observation and action, or the state and all actions."""
    order: Literal["at_once", "agent_by_agent"] = "agent_by_agent"
    """Agents of a team are updated at once, or one after the other in a fresh random order, each seeing the last; the
    latter needs parameters per_agent."""
    actor_learning_rate: float = 5e-4
    """Step size of the actors' Adam; at least 0."""
    critic_learning_rate: float = 5e-4
    """Step size of the critics' Adam; at least 0."""
    critic_network: Literal["plain", "droq", "simba"] = "plain"
    """Critics are plain perceptrons, have dropout and layer normalisation (DroQ), or live on a sphere (SimbaV2)."""
    critic_dropout: float = 0.01
    """Share of hidden numbers that DroQ's critics leave out at each use; 0 to 0.9."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 0.0, math.inf, "actor_learning_rate", "critic_learning_rate")
        check_range(self, 0.0, 0.9, "critic_dropout")
        even = self.critic_network != "simba" or (len(self.hidden) > 1 and len(set(self.hidden)) == 1)
        require(even, f"critics on a sphere need equal widths, one more than blocks, not --hidden {self.hidden}")
        alone = self.order == "agent_by_agent" and self.parameters == "shared"
        require(not alone, "agent by agent needs --parameters per_agent: an agent's step would move the others' too")


@dataclass(frozen=True)
class SACConfig(ActorCriticConfig):
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
    """Updates after which the policy that drift and neighbourhood look at is taken anew; at least 1."""
    kl_radius: float | None = None
    """Largest mean divergence from that policy that an actor's step may lead to, in nats, or none; above 0."""
    fixed_order: bool = False
    """Agent by agent: always from the first to the last, instead of in a fresh random order."""
    later_agents: Literal["present", "answering"] = "present"
    """What an agent counts on from those after it: that they play as they do, or that they answer what it does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "drift_updates")
        check_range(self, 0.0, math.inf, "temperature_learning_rate", "drift_weight")
        check_range(self, 0.0, 1.0, "entropy_per_choice")
        check_range(self, -math.inf, math.inf, "entropy_per_dimension")
        check_above(self, 0.0, "temperature", "kl_radius")
        answering = self.later_agents == "answering" and self.order == "at_once"
        require(not answering, "nobody is later where agents are updated at once: set --later-agents present")
        team = self.critic_temperature == "team" and self.critic == "local"
        require(not team, "a local critic has no team temperature: set --critic-temperature agents")


@dataclass(frozen=True)
class DDPGConfig(ActorCriticConfig):
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
        check_counts(self, "policy_delay")
        check_range(self, 0.0, math.inf, "exploration_noise", "target_noise", "target_noise_clip")


@dataclass(frozen=True)
class QConfig(OffPolicyConfig):
    """Settings of the value-based family (IQL, VDN, QMIX)."""

    box: ClassVar[str] = "gaussian"  # there are none: actions are discrete
    parameters: Literal["shared", "per_agent"] = "shared"
    """One network for all agents of a group, or one for each."""
    recurrent: Literal["none", "gru"] = "none"
    """Layers that remember, in the agents' networks, behind the hidden ones and as wide as the last of them."""
    recurrent_layers: int = 1
    """Number of layers that remember; 1 to 64."""
    chunk_length: int = 8
    """Steps that are learnt from as one, and through which gradients of what remembers go back; a divisor of the
    rollout's length."""
    burn_in: int = 0
    """Steps before a chunk that are taken again first, without learning from them, so that what was carried long ago
    becomes what it would be now; at least 0."""
    polyak: float = 0.01
    """Part of the way that target networks move towards the networks each time; above 0, to 1 (a copy)."""
    mixer: Literal["none", "sum", "monotone"] = "monotone"
    """What is predicted: each agent's value, or the team's: their sum, or a mix that rises with each and knows the
    state."""
    mixer_width: int = 32
    """Width of the mix; at least 1."""
    mixer_hidden: tuple[int, ...] = (64,)
    """Widths of the hidden layers of the network that makes the mix's weights from the state; each 1 to 65536."""
    double: bool = True
    """Let the present networks choose the action whose value a target takes from the earlier ones."""
    target_period: int = 1
    """Updates between two moves of the target networks; at least 1."""
    learning_rate: float = 5e-4
    """Step size of Adam; at least 0."""
    epsilon: float = 1.0
    """Share of uniformly random legal actions after the warm-up; 0 to 1."""
    final_epsilon: float = 0.05
    """Share that it falls to, and that play without --greedy keeps to; 0 to 1."""
    epsilon_steps: int = 100_000
    """Environment steps after the warm-up in which it falls there, linearly; at least 1."""

    @property
    def critic(self) -> Literal["local", "sum", "monotone"]:
        """What values are of, as `Algorithm` says it."""
        return "local" if self.mixer == "none" else self.mixer

    @property
    def span(self) -> int:
        """As `OffPolicyConfig` says."""
        return 1 if self.recurrent == "none" else self.chunk_length

    @property
    def lead(self) -> int:
        """As `OffPolicyConfig` says."""
        return 0 if self.recurrent == "none" else self.burn_in

    def __post_init__(self) -> None:
        super().__post_init__()
        check_widths(self, "mixer_hidden")
        check_counts(self, "mixer_width", "target_period", "epsilon_steps")
        check_range(self, 0.0, math.inf, "learning_rate", "burn_in")
        check_recurrent(self)
        chunk = f"a chunk of {self.span} steps needs --batch-size {self.span} or more, not {self.batch_size}"
        require(self.batch_size >= self.span, chunk)
        check_range(self, 0.0, 1.0, "epsilon", "final_epsilon")
