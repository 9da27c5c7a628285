"""PPO written plainly with torch: what training is measured against."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Discrete
from torch import Tensor, nn

import environments
from environments.spec import EnvSpec
from scenarios.scenario import Scenario

STEPS, EPOCHS, MINIBATCHES, WIDTH = 128, 4, 4, 64
"""The measured shape: steps of every copy, passes, gradient steps per pass, width of both hidden layers."""


def plain_can(spec: EnvSpec) -> bool:
    """True where the plain loop is enough: one team of one group of discrete actions."""
    return len(spec.groups) == 1 and spec.kinds[0].teams == 1 and isinstance(spec.groups[0].action_space, Discrete)


class Plain:
    """PPO with a shared actor and a shared critic of the agent's own observation, as one would first write it.

    For one team of one group with discrete actions whose agents never die. Each step copies what the environment shows
    and runs both networks; each minibatch is one forward and backward pass; torch does its own threading.
    """

    def __init__(self, scenario: Scenario, copies: int, threads: int) -> None:
        torch.set_num_threads(threads)
        self.env = environments.make(scenario.environment, copies, num_threads=threads, **scenario.options)
        (group,) = self.env.spec.groups
        width = int(np.prod(group.observation_space.shape))
        space: Any = group.action_space
        self.generator = torch.Generator().manual_seed(0)
        self.actor, self.critic = _network(width, int(space.n)), _network(width, 1)
        self.parameters = [*self.actor.parameters(), *self.critic.parameters()]
        self.optimiser = torch.optim.Adam(self.parameters, lr=7e-4, eps=1e-5)
        self.name = group.name
        self.obs = self._seen()

    def iteration(self) -> None:
        """Collect, estimate advantages, update."""
        obs, actions, log_probs, values, rewards, ends = self._collect()
        with torch.no_grad():
            after = self.critic(self.obs).squeeze(-1)
        advantage = torch.zeros_like(rewards)
        running = torch.zeros_like(after)
        for t in reversed(range(STEPS)):
            delta = rewards[t] + 0.99 * after * ~ends[t] - values[t]
            running = delta + 0.99 * 0.95 * running * ~ends[t]
            advantage[t] = running
            after = values[t]
        flat = [x.flatten(0, 2) for x in (obs, actions, log_probs, advantage, advantage + values)]
        for _ in range(EPOCHS):
            order = torch.randperm(len(flat[0]), generator=self.generator)
            for index in order.chunk(MINIBATCHES):
                self._update(*(x[index] for x in flat))

    def _collect(self) -> tuple[Tensor, ...]:
        rows: list[tuple[Tensor, ...]] = []
        for _ in range(STEPS):
            with torch.no_grad():
                log_p = self.actor(self.obs).log_softmax(-1)
                value = self.critic(self.obs).squeeze(-1)
                chosen = torch.multinomial(log_p.exp().flatten(0, 1), 1, generator=self.generator).view(value.shape)
            out = self.env.step({self.name: chosen.int().numpy()}).groups[0]
            end = torch.from_numpy(out.terminated | out.truncated)
            log_prob = log_p.gather(-1, chosen.unsqueeze(-1)).squeeze(-1)
            rows.append((self.obs, chosen, log_prob, value, torch.from_numpy(out.reward.copy()), end))
            self.obs = self._seen()
        return tuple(torch.stack(column) for column in zip(*rows, strict=True))

    def _update(self, obs: Tensor, actions: Tensor, old: Tensor, advantage: Tensor, target: Tensor) -> None:
        log_p = self.actor(obs).log_softmax(-1)
        ratio = (log_p.gather(-1, actions.unsqueeze(-1)).squeeze(-1) - old).exp()
        normal = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        gain = torch.minimum(ratio * normal, ratio.clamp(0.8, 1.2) * normal).mean()
        entropy = -(log_p.exp() * log_p).sum(-1).mean()
        error = (self.critic(obs).squeeze(-1) - target).square().mean()
        self.optimiser.zero_grad()
        (0.5 * error - gain - 0.01 * entropy).backward()
        nn.utils.clip_grad_norm_(self.parameters, 0.5)
        self.optimiser.step()

    def _seen(self) -> Tensor:
        return torch.from_numpy(self.env.buffers.groups[0].obs.copy())


def _network(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, outputs)
    )
