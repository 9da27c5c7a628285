"""One agent: the deterministic learners against plain DDPG and TD3, written here from their equations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from marl.algorithms.ddpg import DDPG
from marl.buffers import Rollout
from marl.seeding import torch_generator
from tests.marl.replay import FAMILIES, collect, config_of
from tests.marl.test_sac_alone import LOPSIDED, Alone
from tests.probes.environment import FunctionEnv


class PlainTD3:
    """TD3 of one agent (Fujimoto et al. 2018, algorithm 1), or DDPG (Lillicrap et al. 2016), with lists of tensors."""

    def __init__(self, made: DDPG, twin: bool, noise: float, delay: int) -> None:
        self.noise, self.delay, self.config = noise, delay, made.config
        self.pi = self._of(made.policy.actors["team"], 0)
        heads = made.critic.heads
        if made.config.critic == "central":
            self.q = [self._of(heads["central"], i) for i in range(2 if twin else 1)]
        else:
            self.q = [self._of(heads[f"team_{name}"], 0) for name in (("first", "second") if twin else ("first",))]
        self.slow_pi = [x.detach().clone() for x in self.pi]
        self.slow_q = [[x.detach().clone() for x in q] for q in self.q]
        self.pi_adam = torch.optim.Adam(self.pi, self.config.actor_learning_rate)
        self.q_adam = torch.optim.Adam([x for q in self.q for x in q], self.config.critic_learning_rate)
        self.draws = torch_generator(5, "team", "noise")
        self.indices = torch_generator(5, "team", "replay")
        self.memory: list[tuple] = []
        self.count = 0

    @staticmethod
    def _of(network: Any, stack: int) -> list[Tensor]:
        pairs = zip(network.weights, network.biases, strict=True)
        return [x.detach()[stack].clone().requires_grad_() for pair in pairs for x in pair]

    @staticmethod
    def net(x: Tensor, layers: list[Tensor]) -> Tensor:
        for i in range(0, len(layers), 2):
            x = x @ layers[i] + layers[i + 1]
            x = torch.relu(x) if i < len(layers) - 2 else x
        return x

    def remember(self, rollout: Rollout) -> None:
        group, last = rollout.groups["team"], rollout.finals
        final = {
            (int(t), int(s)): last.obs["team"][i, 0] for i, (t, s) in enumerate(zip(last.step, last.seat, strict=True))
        }
        low, high = (torch.as_tensor(x, dtype=torch.float32) for x in (LOPSIDED.low, LOPSIDED.high))
        for t in range(rollout.steps):
            for s in range(rollout.seats):
                dead = bool(group.terminated[t, s, 0])
                cut = bool(group.truncated[t, s, 0]) and not dead
                following = final[t, s] if cut else group.obs[t + 1, s, 0]
                action = (group.action[t, s, 0] - (low + high) / 2) / ((high - low) / 2)
                self.memory.append((group.obs[t, s, 0], action, group.reward[t, s, 0], following, 0.0 if dead else 1.0))

    def step(self) -> None:
        at = torch.randint(len(self.memory), (self.config.batch_size,), generator=self.indices)
        columns = zip(*(self.memory[int(i)] for i in at), strict=True)
        obs, action, reward, following, goes_on = (
            torch.stack([torch.as_tensor(x, dtype=torch.float64) for x in column]) for column in columns
        )
        with torch.no_grad():
            then = torch.tanh(self.net(following, self.slow_pi))
            if self.noise:
                moved = self.noise * torch.randn(then.shape, generator=self.draws)
                then = torch.clip(then + torch.clip(moved, -0.5, 0.5), -1, 1)
            values = [self.net(torch.cat([following, then], 1), q)[:, 0] for q in self.slow_q]
            target = reward + self.config.gamma * goes_on * torch.stack(values).min(0).values
        loss = sum(0.5 * ((self.net(torch.cat([obs, action], 1), q)[:, 0] - target) ** 2).mean() for q in self.q)
        self._down(self.q_adam, loss)
        self.count += 1
        if self.count % self.delay:
            return
        now = torch.tanh(self.net(obs, self.pi))
        self._down(self.pi_adam, -self.net(torch.cat([obs, now], 1), self.q[0]).mean())
        for slow, fast in zip([self.slow_pi, *self.slow_q], [self.pi, *self.q], strict=True):
            for x, y in zip(slow, fast, strict=True):
                x.copy_(0.9 * x + 0.1 * y.detach())

    @staticmethod
    def _down(adam: torch.optim.Optimizer, loss: Any) -> None:
        adam.zero_grad()
        loss.backward()
        adam.step()


def layers(network: Any, stack: int) -> list[Tensor]:
    return [x.detach()[stack] for pair in zip(network.weights, network.biases, strict=True) for x in pair]


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("critic", ["central", "local"])
@pytest.mark.parametrize("name", FAMILIES["ddpg"])
def test_alone_it_is_plain_ddpg_or_td3(name: str, critic: str, double: None) -> None:
    env = FunctionEnv(Alone(LOPSIDED), 8)
    made = DDPG(env.spec, "team", config_of(name, critic=critic, max_grad_norm=None), "agent", seed=5)
    td3 = name.endswith("td3")
    plain = PlainTD3(made, twin=td3, noise=0.2 if td3 else 0.0, delay=2 if td3 else 1)
    start = [x.detach().clone() for x in plain.pi]
    for rollout in collect(env, made, 4):
        made.buffer.add(rollout, made._paid(rollout))
        plain.remember(rollout)
    assert not all(goes_on for *_, goes_on in plain.memory) and made.buffer.next_final > 0
    for _ in range(50):
        made._learn()
        plain.step()
    pairs = [(made.policy, plain.pi), (made.target_policy, plain.slow_pi)]
    ours = [(layers(policy.actors["team"], 0), theirs) for policy, theirs in pairs]
    for critics, qs in ((made.critic, plain.q), (made.target, plain.slow_q)):
        heads = list(critics.heads.values())
        stacks = [(heads[0], i) for i in range(len(qs))] if critic == "central" else [(head, 0) for head in heads]
        ours += [(layers(head, i), q) for (head, i), q in zip(stacks, qs, strict=True)]
    assert len(ours) == (6 if td3 else 4)
    for mine, theirs in ours:
        for x, y in zip(mine, theirs, strict=True):
            torch.testing.assert_close(x, y.detach(), rtol=0, atol=1e-6)
    moved = max(float((x - y).abs().max()) for x, y in zip(ours[0][0], start, strict=True))
    assert moved > 0.01
