"""Settings of the learners from rollouts, which they forget after an update. Imports no torch."""

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


@dataclass(frozen=True)
class RolloutConfig:
    """Settings that learners from rollouts have in common."""

    box: ClassVar[str] = "gaussian"  # `PolicySpec.box` of their policies
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
    recurrent: Literal["none", "gru"] = "none"
    """Layers that remember, in actor and critic, behind the hidden ones and as wide as the last of them."""
    recurrent_layers: int = 1
    """Number of layers that remember; 1 to 64."""
    chunk_length: int = 16
    """Steps through which gradients of what remembers go back; a divisor of the rollout's length."""
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
    returns: Literal["gae", "nstep", "vtrace"] = "gae"
    """How returns are estimated: from all lengths (GAE), from n own decisions, or corrected for an older policy."""
    gae_lambda: float = 0.95
    """How far advantages look along the rollout (lambda of GAE and of V-trace); 0 to 1."""
    n_step: int = 5
    """Own decisions whose rewards an n-step return sums before it bootstraps; at least 1."""
    rho_clip: float = 1.0
    """Largest weight of an error in V-trace: which policy is valued; above 0."""
    trace_clip: float = 1.0
    """Largest weight that V-trace hands on to earlier decisions: how fast it learns; above 0."""
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

    def __post_init__(self) -> None:
        check_choices(self)
        check_widths(self)
        check_counts(self, "rollout_length", "epochs", "minibatches", "n_step")
        check_range(self, 0.0, math.inf, "learning_rate", "value_coefficient")
        check_range(self, 0.0, 1.0, "gamma", "gae_lambda")
        check_above(self, 0.0, "adam_eps", "huber_delta", "value_clip", "max_grad_norm", "rho_clip", "trace_clip")
        check_recurrent(self)

    @property
    def span(self) -> int:
        """Steps that are trained together: a chunk's of a recurrent learner, else each alone."""
        return 1 if self.recurrent == "none" else self.chunk_length


@dataclass(frozen=True)
class PPOConfig(RolloutConfig):
    """Settings of the PPO family (IPPO, MAPPO, HAPPO)."""

    order: Literal["at_once", "agent_by_agent"] = "at_once"
    """Agents of a team are updated at once, or one after the other in a fresh random order, each seeing the last."""
    trust_region: Literal["clip", "dpo", "mdpo", "fixpo"] = "clip"
    """What keeps a policy near the one that acted: clipped ratios, or a divergence, weighed as those papers do."""
    clip: float = 0.2
    """How far the probability ratio may move before its gradient is cut (clip); above 0."""
    kl_target: float = 0.02
    """Mean divergence of an agent's update that the two weights are led to (dpo); above 0."""
    kl_weight: float = 1.0
    """Weight of the divergence, at the start (mdpo, fixpo); above 0."""
    kl_bound: float = 0.2
    """Largest divergence that an update may leave in any state (fixpo); above 0."""
    entropy: float = 0.01
    """Weight of the entropy bonus; at least 0."""
    target_kl: float | None = None
    """Mean divergence from the acting policy after which no further pass is made, or none; above 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, 0.0, math.inf, "entropy")
        check_above(self, 0.0, "clip", "kl_target", "kl_weight", "kl_bound", "target_kl")
        _check_order(self.order, self.parameters)


@dataclass(frozen=True)
class A2CConfig(PPOConfig):
    """Settings of the advantage actor-critic (IA2C, MAA2C): PPO that looks at every rollout once, as a whole."""

    rollout_length: int = 16
    """Steps of every copy between two updates; at least 1."""
    epochs: int = 1
    """Passes over every rollout: 1."""
    minibatches: int = 1
    """Parts into which a pass is cut: 1."""
    gae_lambda: float = 1.0
    """How far advantages look along the rollout (lambda of GAE and of V-trace); 0 to 1."""
    advantage_norm: Literal["batch", "minibatch", "agent", "none"] = "none"
    """Over what advantages are normalised: the rollout, each minibatch, each agent's part of the rollout, or not."""

    def __post_init__(self) -> None:
        super().__post_init__()
        once = self.epochs == self.minibatches == 1
        require(once, "an advantage actor-critic makes one step per rollout: with more it is ippo or mappo")
        own = self.trust_region == "clip"
        require(own, "an advantage actor-critic has no trust region: with one it is ippo or mappo")


@dataclass(frozen=True)
class DPOConfig(PPOConfig):
    """Settings of decentralised policy optimisation."""

    trust_region: Literal["clip", "dpo", "mdpo", "fixpo"] = "dpo"
    """What keeps a policy near the one that acted: its own rule."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.trust_region == "dpo", f"dpo is its trust region: with {self.trust_region} it is ippo")


@dataclass(frozen=True)
class TRPOConfig(RolloutConfig):
    """Settings of trust region policy optimisation (HATRPO). Passes, parts, Adam and clipping are the critic's."""

    order: ClassVar[Literal["at_once", "agent_by_agent"]] = "agent_by_agent"
    parameters: Literal["shared", "per_agent"] = "per_agent"
    """One network for each agent; a shared one is refused."""
    kl_radius: float = 0.01
    """Mean divergence that an agent's update may reach; above 0."""
    conjugate_steps: int = 10
    """Steps of the conjugate gradient; at least 1."""
    damping: float = 0.1
    """Part of the identity that is added to the Fisher matrix; at least 0."""
    backtracks: int = 15
    """Step sizes that are tried, each 0.8 of the one before, until one is accepted; at least 1."""
    accept: float = 0.5
    """Part of the gain that the gradient promises which a step must reach; 0 to 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "conjugate_steps", "backtracks")
        check_range(self, 0.0, math.inf, "damping")
        check_range(self, 0.0, 1.0, "accept")
        check_above(self, 0.0, "kl_radius")
        _check_order(self.order, self.parameters)


def _check_order(order: str, parameters: str) -> None:
    alone = order == "agent_by_agent" and parameters == "shared"
    require(not alone, "agent by agent needs --parameters per_agent: an agent's step would move the others' too")
