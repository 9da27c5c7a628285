"""What the off-policy learners with actors have in common: critics, their targets and their step.

An algorithm says what its actors do (`_targets`, `_learn`).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import ClassVar

from torch import Tensor, nn

from environments.spec import AgentGroup, EnvSpec
from marl import losses
from marl.adam import Adam
from marl.algorithms.off_policy import OffPolicy
from marl.config_replay import ActorCriticConfig
from marl.critics import TwinQ
from marl.judges import Judge, taken
from marl.networks import compute_by, layered
from marl.policy import Policy
from marl.policy_spec import PolicySpec
from marl.replay_buffer import Sample
from marl.seeding import torch_generator


class ActorCritic(OffPolicy):
    """Learner of one kind of team, off-policy, of actors and critics."""

    MODULES: ClassVar[tuple[str, ...]] = ("policy", "critic", "target", "norm")
    config: ActorCriticConfig

    def __init__(
        self,
        env: EnvSpec,
        spec: PolicySpec,
        config: ActorCriticConfig,
        reward: str,
        seed: int,
        threads: int,
        engine: str,
        summed: bool = False,
        functions: int = 2,
    ) -> None:
        """As `OffPolicy`; `summed` and `functions` as `TwinQ` takes them."""
        super().__init__(env, spec, config, reward, seed, threads, engine)
        central = config.critic == "central"
        rows = 1 if central and reward != "agent" else len(self.agents)
        generator = torch_generator(seed, spec.kind, "critic")
        network = config.critic_network, config.critic_dropout
        seen = env.critic_size(spec.kind)
        self.critic = TwinQ(spec, seen, central, rows, config.hidden, summed, generator, functions, *network)
        compute_by(self.engine, self.critic)
        self.target = deepcopy(self.critic).requires_grad_(False)
        self.generators |= {name: torch_generator(seed, spec.kind, name) for name in ("noise", "order", "dropout")}
        for critic in (self.critic, self.target):
            critic.draw_from(self.generators["dropout"])
        self.parts = self._parts()
        self.optimisers = {
            f"actor_{i}": Adam(part, config.actor_learning_rate, config.adam_eps) for i, part in enumerate(self.parts)
        }
        shape = {
            "of": "actions",
            "state_size": seen,
            "central": central,
            "rows": rows,
            "hidden": list(config.hidden),
            "functions": functions,
            "network": config.critic_network,
            "norm": config.value_norm,
        }
        parts = {"q": self.critic} | ({} if self.norm is None else {"norm": self.norm})
        self.policy.judge = Judge(shape, nn.ModuleDict(parts))
        self.judging: list[Tensor] = list(self.critic.parameters())
        """The critics' parameters, looked up once: that takes as long as a small network's step."""
        self.judged_by: list[Tensor] = list(self.target.parameters())
        """The same of what targets are made of."""
        self.optimisers["critic"] = Adam(self.judging, config.critic_learning_rate, config.adam_eps)

    def _parts(self) -> list[list[Tensor]]:
        """Parameters that are stepped together: all, or agent by agent views of the policy's own."""
        if self.config.order == "at_once":
            return [list(self.policy.acting_parameters())]
        parts: list[list[Tensor]] = []
        for group, i in self.agents:
            parts.append([x.data[i].requires_grad_() for x in self.policy.acting_parameters_of(group)])
        return parts

    def _critic_step(self, sample: Sample) -> dict[str, float]:
        """One step of the critics; metrics."""
        critic = self.critic
        use = sample.use.unsqueeze(1)
        if critic.rows == len(self.agents) and (self.reward == "agent" or not critic.central):
            use = use & sample.now.acting
        q = critic(critic.see(sample.now), self._remembered(sample))
        told = self._regress("critic", q, self._targets(sample), use, self.judging, sample)
        critic.project()
        value = losses.masked_sum(self._raw(q[0].detach()), use) / use.sum().clamp(min=1)
        return {"critic_loss": told[0], "critic_gradient": told[1], "q": float(value)}

    def _remembered(self, sample: Sample) -> list[Tensor]:
        """The sample's actions as `TwinQ` takes them."""
        return taken(self.policy, sample.action, sample.now.acting, self.judging[0].dtype)


def outputs_of(policy: Policy, group: AgentGroup, obs: Tensor, part: Sequence[Tensor]) -> Tensor:
    """One agent's network `[B, 1, K]`, from one of `OffPolicy.parts`."""
    sees = group.name in policy.encoders
    own = len(list(policy.actors[group.name].parameters())) if sees else len(part)  # the encoder's come behind
    fed = policy.encoders.fed(group.name, obs, part[0].dtype, part[own:])
    engine = getattr(policy.actors[group.name], "engine", None)
    return layered(fed.flatten(1), part[:own], policy.spec.activation, engine).unsqueeze(1)
