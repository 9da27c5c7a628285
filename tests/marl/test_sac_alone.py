"""One agent: the soft actor-critics against a plain one, written here from its equations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from marl.algorithms.sac import SAC
from marl.buffers import Rollout
from marl.critics import TwinQ
from marl.seeding import torch_generator
from tests.marl.replay import collect, config_of
from tests.probes.environment import FunctionEnv, Rules


class Alone(Rules):
    """One agent sees a drifting point and is paid for following it; ends by rule, or by time after 5 steps."""

    features = 2
    max_steps = 5

    def __init__(self, space: spaces.Space) -> None:
        self.actions = space  # type: ignore[misc]

    def start(self, u: np.ndarray) -> np.ndarray:
        return u[:, :1] * 2 - 1

    def obs(self, hidden: np.ndarray, step: np.ndarray) -> np.ndarray:
        return np.stack([hidden[:, 0], step / 5], 1)[:, None]

    def play(self, hidden: np.ndarray, step: np.ndarray, actions: np.ndarray, alive: np.ndarray) -> tuple:
        first = actions.reshape(len(step), -1)[:, :1].astype(float)
        reward = -((first - hidden) ** 2)
        hidden[:] = np.clip(hidden + 0.3 * first - 0.1, -1, 1)
        return reward, hidden > 0.9


LOPSIDED = spaces.Box(np.array([-1, 0], np.float32), np.array([3, 10], np.float32))


class PlainSAC:
    """Soft actor-critic of one agent (Haarnoja et al. 2018), with lists of tensors and nothing else."""

    def __init__(self, made: SAC, space: spaces.Space) -> None:
        self.space, self.config = space, made.config
        self.pi = self._of(made.policy.actors["team"], 0)
        heads = made.critic.heads
        if made.config.critic == "central":
            self.q = [self._of(heads["central"], twin) for twin in range(2)]
        else:
            self.q = [self._of(heads[f"team_{twin}"], 0) for twin in ("first", "second")]
        self.old = [[x.detach().clone() for x in q] for q in self.q]
        self.log_alpha = torch.zeros(1, requires_grad=True)
        config = self.config
        self.pi_adam = torch.optim.Adam(self.pi, config.actor_learning_rate)
        self.q_adam = torch.optim.Adam([x for q in self.q for x in q], config.critic_learning_rate)
        self.alpha_adam = torch.optim.Adam([self.log_alpha], config.temperature_learning_rate)
        self.draws = torch_generator(5, "team", "noise")
        self.indices = torch_generator(5, "team", "replay")
        self.memory: list[tuple] = []

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
        for t in range(rollout.steps):
            for s in range(rollout.seats):
                dead = bool(group.terminated[t, s, 0])
                cut = bool(group.truncated[t, s, 0]) and not dead
                following = final[t, s] if cut else group.obs[t + 1, s, 0]
                action = group.action[t, s, 0]
                if isinstance(self.space, spaces.Box):
                    low, high = (torch.as_tensor(x, dtype=torch.float32) for x in (self.space.low, self.space.high))
                    action = (action - (low + high) / 2) / ((high - low) / 2)
                self.memory.append((group.obs[t, s, 0], action, group.reward[t, s, 0], following, 0.0 if dead else 1.0))

    def batch(self) -> list[Tensor]:
        at = torch.randint(len(self.memory), (self.config.batch_size,), generator=self.indices)
        columns = zip(*(self.memory[int(i)] for i in at), strict=True)
        return [torch.stack([torch.as_tensor(x, dtype=torch.float64) for x in column]) for column in columns]

    def smaller(self, q: list[list[Tensor]], obs: Tensor, action: Tensor) -> Tensor:
        return torch.minimum(*(self.net(torch.cat([obs, action], 1), layers)[:, 0] for layers in q))

    def normal(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.net(obs, self.pi).chunk(2, 1)
        z = torch.randn(len(obs), 1, 2, generator=self.draws)[:, 0]
        spread = torch.distributions.Normal(mean, log_std.exp())
        u = mean + log_std.exp() * z
        return torch.tanh(u), (spread.log_prob(u) - torch.log(1 - torch.tanh(u) ** 2)).sum(1)

    def step(self) -> None:
        obs, action, reward, following, goes_on = self.batch()
        alpha = self.log_alpha.exp().detach()
        discount = self.config.gamma * goes_on
        if isinstance(self.space, spaces.Box):
            with torch.no_grad():
                drawn, log_prob = self.normal(following)
                target = reward + discount * (self.smaller(self.old, following, drawn) - alpha * log_prob)
            taken, wanted = action, -2.0
        else:
            k = int(self.space.n)  # type: ignore[attr-defined]
            taken, wanted = torch.eye(k)[action.long()], config_of("hasac").entropy_per_choice * math.log(k)
            with torch.no_grad():
                p = torch.softmax(self.net(following, self.pi), 1)
                each = torch.stack([self.smaller(self.old, following, torch.eye(k)[[a] * len(p)]) for a in range(k)], 1)
                target = reward + discount * (p * (each - alpha * p.log())).sum(1)
        both = [self.net(torch.cat([obs, taken], 1), layers)[:, 0] for layers in self.q]
        loss = sum(0.5 * ((x - target) ** 2).mean() for x in both)
        self._down(self.q_adam, loss)
        if isinstance(self.space, spaces.Box):
            drawn, log_prob = self.normal(obs)
            loss = (alpha * log_prob - self.smaller(self.q, obs, drawn)).mean()
        else:
            p = torch.softmax(self.net(obs, self.pi), 1)
            each = torch.stack([self.smaller(self.q, obs, torch.eye(k)[[a] * len(p)]) for a in range(k)], 1)
            loss = (p * (alpha * p.log() - each.detach())).sum(1).mean()
            log_prob = (p * p.log()).sum(1)
        self._down(self.pi_adam, loss)
        self._down(self.alpha_adam, -(self.log_alpha * (log_prob.detach() + wanted)).mean())
        for slow, fast in zip(self.old, self.q, strict=True):
            for x, y in zip(slow, fast, strict=True):
                x.copy_(0.9 * x + 0.1 * y.detach())

    @staticmethod
    def _down(adam: torch.optim.Optimizer, loss: Any) -> None:
        adam.zero_grad()
        loss.backward()
        adam.step()


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", ["isac", "masac", "hasac"])
@pytest.mark.parametrize("space", [LOPSIDED, spaces.Discrete(3)], ids=["box", "discrete"])
def test_alone_it_is_plain_soft_actor_critic(name: str, space: spaces.Space, double: None) -> None:
    env = FunctionEnv(Alone(space), 8)
    made = SAC(env.spec, "team", config_of(name, temperature=1.0, max_grad_norm=None), "agent", seed=5)
    plain = PlainSAC(made, space)
    start = [x.detach().clone() for x in plain.pi]
    for rollout in collect(env, made, 4):
        made.buffer.add(rollout, made._paid(rollout))
        plain.remember(rollout)
    assert not all(goes_on for *_, goes_on in plain.memory) and made.buffer.next_final > 0
    for _ in range(50):
        made._learn()
        plain.step()
    actor = made.policy.actors["team"]
    ours = [x[0] for pair in zip(actor.weights, actor.biases, strict=True) for x in pair]
    moved = max(float((a - b).abs().max()) for a, b in zip(ours, start, strict=True))
    assert moved > 0.01
    for a, b in zip(ours, plain.pi, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    made_q = TwinQs(made.critic).layers() + TwinQs(made.target).layers()
    for a, b in zip(made_q, [x for q in plain.q + plain.old for x in q], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    torch.testing.assert_close(made.log_temperature, plain.log_alpha, rtol=0, atol=1e-6)
    assert abs(float(plain.log_alpha)) > 0.01


class TwinQs:
    """The layers of a single agent's critic, first function first."""

    def __init__(self, critic: TwinQ) -> None:
        self.critic = critic

    def layers(self) -> list[Tensor]:
        heads = self.critic.heads
        pairs = [(heads["central"], i) for i in range(2)] if self.critic.central else [(h, 0) for h in heads.values()]
        return [x[i] for head, i in pairs for pair in zip(head.weights, head.biases, strict=True) for x in pair]
