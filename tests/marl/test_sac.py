"""The soft actor-critics, part by part, against what was written independently."""

from __future__ import annotations

import copy
import itertools
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from environments.errors import NumericalFailure, UsageError
from environments.spec import TeamKind
from environments.vector import StepBuffers, VectorEnv, allocate
from marl import checkpoint, policy
from marl.algorithms.sac import SAC, Hopes
from marl.buffers import Rollout
from marl.collector import Collector, Seats
from marl.config import ALGORITHMS, SACConfig
from marl.critics import TwinQ
from marl.distributions import Categorical, SquashedGaussian
from marl.replay_buffer import Sample
from marl.seeding import torch_generator
from marl.trainer import Trainer
from tests.marl.rollouts import GAMES, copied, kind_of, make, same_bits, shaken, spoil
from tests.marl.test_trainer import digest, run
from tests.probes.environment import FunctionEnv, Rules

SMALL = SACConfig(
    hidden=(16,),
    rollout_length=6,
    warmup_steps=48,
    updates_per_step=4 / 48,
    batch_size=64,
    buffer_size=8 * 40,
    polyak=0.1,
    temperature_learning_rate=1e-2,
)


def config_of(name: str, **changed: Any) -> SACConfig:
    known = ALGORITHMS[name].config
    place: dict[str, Any] = {each: getattr(known, each) for each in ("critic", "order", "parameters")}
    return replace(SMALL, **{**place, **changed})


def learner(env: VectorEnv, name: str, game: str = "", reward: str = "agent", **changed: Any) -> SAC:
    return SAC(env.spec, kind_of(game), config_of(name, **changed), reward, seed=5)


def collect(env: VectorEnv, made: SAC, count: int) -> list[Rollout]:
    """Consecutive rollouts of what a learner plays, the others being as untrained."""
    seats = {}
    for kind in env.spec.kinds:
        actor = made.actor if kind.name == made.spec.kind else SAC(env.spec, kind.name, SMALL, "agent", 0).actor
        seats[kind.name] = Seats.all(actor, env.num_envs * kind.teams)
    collector = Collector(env, seats, made.config.rollout_length, noise_key=9)
    return [copied(collector.collect()[made.spec.kind]) for _ in range(count)]


def ready(game: str, name: str, reward: str = "agent", **changed: Any) -> SAC:
    """A learner that remembers a few rollouts and has not learnt yet."""
    env = make(game)
    made = learner(env, name, game, reward, **changed)
    shaken(made.policy)
    for rollout in collect(env, made, 5):
        made.buffer.add(rollout, made._paid(rollout))
    return made


def sample_of(made: SAC, count: int = 64) -> Sample:
    return made.buffer.sample(count, made.config.n_step, made.config.gamma, made.wait, torch_generator(0, "test"))


def parameters(made: SAC) -> list[Tensor]:
    """Everything that an update may change."""
    found: list[Tensor] = []

    def add(x: Any) -> None:
        if isinstance(x, dict):
            for value in x.values():
                add(value)
        elif isinstance(x, list | tuple):
            for value in x:
                add(value)
        elif isinstance(x, Tensor):
            found.append(x.clone())

    state = made.state_dict()
    for name in ("policy", "critic", "target", "optimisers", "temperature", "team_temperature", "norm"):
        add(state[name])
    return found


# --- one agent: plain soft actor-critic, written here from its equations --------------------------------------------


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
            taken, wanted = torch.eye(k)[action.long()], SMALL.entropy_per_choice * math.log(k)
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


# --- targets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["isac", "masac", "hasac"])
def test_targets_bootstrap_from_what_was_cut_and_not_from_what_ended(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With V = 7 everywhere, gamma .9 and r = 1: 7.3 after a time limit, 1 after an end by the rules."""
    for rule in (True, False):

        class Step(Rules):
            max_steps = 1

            def play(self, hidden: Any, step: Any, actions: Any, alive: Any, by_rule: bool = rule) -> tuple:
                return np.ones((len(step), 1)), np.full((len(step), 1), by_rule)

        env = FunctionEnv(Step(), 8)
        made = SAC(env.spec, "team", config_of(name, gamma=0.9, temperature=1e-9), "agent", seed=5)
        for rollout in collect(env, made, 2):
            made.buffer.add(rollout, made._paid(rollout))
        monkeypatch.setattr(made.target, "smaller", lambda seen, acting, values: torch.full(acting.shape, 7.0))
        torch.testing.assert_close(made._targets(sample_of(made)), torch.full((64, 1), 1.0 if rule else 7.3))


def test_targets_by_hand_of_teams_and_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    """y = r + gamma (Q - sum_i alpha_i log pi_i) for a team, with an agent's own term where it has its own reward."""
    alpha = torch.tensor([0.5, 2.0, 4.0])
    for name, reward in itertools.product(["isac", "masac", "hasac"], ["agent", "team_sum"]):
        made = ready("particle/spread", name, reward, gamma=0.5, expectation="own")
        made.log_temperature.data = alpha.log()
        sample = sample_of(made)
        monkeypatch.setattr(
            made, "_log_probs", lambda acts, acting: torch.tensor([-1.0, -2.0, -3.0]).expand(acting.shape)
        )
        rows = made.critic.rows
        monkeypatch.setattr(
            made.target, "smaller", lambda seen, acting, values, k=rows: torch.arange(1.0, k + 1).expand(len(acting), k)
        )
        if rows == 1:
            wanted = sample.reward + sample.discount * (1 + 0.5 + 4 + 12)
        else:
            wanted = sample.reward + sample.discount * torch.tensor([1 + 0.5, 2 + 4.0, 3 + 12.0])
        torch.testing.assert_close(made._targets(sample), wanted)
        assert wanted.shape == (64, rows) and sorted(set(sample.discount.flatten().tolist())) == [0.5]


def test_a_team_temperature_weighs_the_summed_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    made = ready("particle/spread", "hasac", "team_sum", critic_temperature="team", gamma=0.5)
    made.log_team_temperature.data.fill_(math.log(3.0))
    sample = sample_of(made)
    monkeypatch.setattr(made, "_log_probs", lambda acts, acting: torch.tensor([-1.0, -2.0, -3.0]).expand(acting.shape))
    monkeypatch.setattr(made.target, "smaller", lambda seen, acting, values: torch.zeros(len(acting), 1))
    torch.testing.assert_close(made._targets(sample), sample.reward + sample.discount * 18.0)
    before = float(made.log_team_temperature)
    made._temperature_step(sample, torch.full((64, 3), 9.0), sample.now.acting)  # far too little entropy
    assert float(made.log_team_temperature) > before


def test_the_smaller_of_both_is_expected() -> None:
    """Of each joint action its smaller Q, and then the expectation: not the smaller of two expectations."""
    made = ready("toy/meet", "masac", "team_sum", expectation="joint")
    sample = sample_of(made, 7)
    critic, now = made.critic, sample.now
    seen = critic.see(now)
    sizes = [int(g.action_space.n) for g in critic.members]  # type: ignore[attr-defined]
    table = critic.tables(seen, now.acting)["central"]
    probs = torch.stack([torch.softmax(torch.randn(7, sizes[0]), 1) for _ in sizes])
    wanted = torch.zeros(7, 1)
    for j, joint in enumerate(itertools.product(*(range(size) for size in sizes))):
        hots = [
            torch.eye(size)[[k] * 7] * now.acting[:, i : i + 1]
            for i, (k, size) in enumerate(zip(joint, sizes, strict=True))
        ]
        first, second = critic(seen, hots)
        torch.testing.assert_close(torch.minimum(first, second), table[:, j])
        weight = math.prod(probs[i][:, k] for i, k in enumerate(joint))
        wanted += weight.unsqueeze(1) * torch.minimum(first, second)
    torch.testing.assert_close(critic.smaller(seen, now.acting, list(probs)), wanted)


@pytest.mark.parametrize("game", ["toy/meet", "toy/siege"])
@pytest.mark.parametrize("reward", ["agent", "team_sum"])
def test_summing_and_drawing_agree(game: str, reward: str) -> None:
    """P38: the mean over many draws is the sum over all joint actions, and over an agent's own."""
    made = ready(game, "masac", reward, expectation="drawn")
    joint = ready(game, "masac", reward, expectation="joint")
    joint.critic.load_state_dict(made.critic.state_dict(), strict=False)
    joint.policy.load_state_dict(made.policy.state_dict())
    views = sample_of(made, 6).now
    seen = made.critic.see(views)
    draws = []
    with torch.no_grad():
        for _ in range(6000):
            acts = [made._acts(group, views) for group in made.spec.groups]
            draws.append(made.critic.smaller(seen, views.acting, made._values(acts, views.acting)))
        acts = [joint._acts(group, views) for group in made.spec.groups]
        summed = joint.critic.smaller(seen, views.acting, joint._values(acts, views.acting))
    drawn = torch.stack(draws)
    error = drawn.std(0) / math.sqrt(len(draws)) + 1e-6
    assert float(((drawn.mean(0) - summed).abs() / error).max()) < 4.5
    assert float(drawn.std(0).max()) > 1e-3


def test_own_actions_one_by_one() -> None:
    """`own` is the critic at each of an agent's actions, whatever its place in the team."""
    made = ready("toy/siege", "hasac", "agent", expectation="own")
    sample = sample_of(made, 5)
    critic, now = made.critic, sample.now
    values = made._remembered(sample)
    seen = critic.see(now)
    for agent, group in enumerate(critic.members):
        table = critic.own(agent, seen, now.acting[:, agent], values)
        hots = critic.get_buffer(f"joint_{group.name}")
        for j in range(len(hots)):
            changed = list(values)
            changed[agent] = hots[j].expand(5, -1) * now.acting[:, agent : agent + 1]
            torch.testing.assert_close(table[:, j], critic(seen, changed).amin(0))


# --- actors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("game", ["particle/spread", "toy/siege", "toy/dock"])
@pytest.mark.parametrize("reward", ["agent", "team_sum"])
def test_at_once_each_agent_climbs_its_own_hope(game: str, reward: str) -> None:
    """The gradient of all agents at once is that of each alone, the others' actions standing still."""
    made = ready(game, "masac", reward, parameters="per_agent", expectation="drawn")
    sample = sample_of(made)
    acting = sample.now.acting
    if game == "toy/siege":
        assert not bool(acting.all())
    share = acting / acting.sum(0).clamp(min=1)
    seen = made.critic.see(sample.now)
    acts = [made._acts(group, sample.now) for group in made.spec.groups]
    values = made._values(acts, acting)
    hopes = Hopes(made, sample.now, seen, {})
    together = torch.autograd.grad(hopes.of_all(values, [None] * len(values), share), made.parts[0], retain_graph=True)
    alone = [torch.zeros_like(x) for x in made.parts[0]]
    for r in range(len(values)):
        others = [x if i == r else x.detach() for i, x in enumerate(values)]
        column = r if made.critic.rows > 1 else 0
        hope = (share[:, r] * hopes.of(others)[:, column]).sum()
        parts = torch.autograd.grad(hope, made.parts[0], retain_graph=True, allow_unused=True)
        alone = [x if y is None else x + y for x, y in zip(alone, parts, strict=True)]
    for x, y in zip(together, alone, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-7)
    assert max(float(x.abs().max()) for x in together) > 1e-5


def test_the_next_agent_sees_what_the_last_one_has_become(monkeypatch: pytest.MonkeyPatch) -> None:
    made = ready("toy/dock", "hasac", "team_sum", actor_learning_rate=0.05)
    sample = sample_of(made)
    views, orders, looked = sample.now, [], []
    noises: list[Tensor] = []
    whole_noise, whole_of = made._noise, Hopes.of_one

    def noise(*arguments: Any) -> Tensor:
        noises.append(whole_noise(*arguments))
        return noises[-1]

    def of_one(self: Hopes, agent: int, values: list[Tensor], probs: Any) -> Tensor:
        orders.append(agent)
        looked.append([x.detach().clone() for x in values])
        return whole_of(self, agent, values, probs)

    monkeypatch.setattr(made, "_noise", noise)
    monkeypatch.setattr(Hopes, "of_one", of_one)
    before = copy.deepcopy(made.policy)
    made._actor_steps(sample, views.acting)
    assert sorted(orders) == list(range(len(made.agents)))
    for turn, agent in enumerate(orders):
        for other, (group, i) in enumerate(made.agents):
            acted = made.policy if other in orders[:turn] else before
            chosen = acted.distribution(group, views.obs[group.name], None)
            assert isinstance(chosen, SquashedGaussian)
            u = chosen.mean[:, i] + chosen.log_std[:, i].exp() * noises[other][:, 0]
            torch.testing.assert_close(looked[turn][other], torch.tanh(u), rtol=1e-5, atol=1e-6)
        if turn:
            assert not torch.allclose(looked[turn][orders[turn - 1]], looked[turn - 1][orders[turn - 1]])
        assert looked[turn][agent].shape == (64, 2)


def test_the_order_is_a_fresh_permutation_of_the_learners_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for _ in range(2):
        made = ready("particle/spread", "hasac")
        whole, orders = made._step, []

        def step(name: str, *rest: Any, whole: Any = whole, orders: list = orders, **more: Any) -> float:
            if name.startswith("actor"):
                orders.append(int(name.removeprefix("actor_")))
            return float(whole(name, *rest, **more))

        monkeypatch.setattr(made, "_step", step)
        torch.manual_seed(len(seen))  # nothing global matters
        for _ in range(40):
            made._learn()
        seen.append([tuple(orders[i : i + 3]) for i in range(0, len(orders), 3)])
    assert seen[0] == seen[1] and set(seen[0]) == set(itertools.permutations(range(3)))


@pytest.mark.parametrize("name", ["isac", "masac", "hasac"])
def test_each_step_moves_its_own_part_alone(name: str) -> None:
    made = ready("particle/spread", name)
    sample = sample_of(made)

    def parts() -> dict[str, list[Tensor]]:
        return {
            "policy": [x.clone() for x in made.policy.parameters()],
            "critic": [x.clone() for x in made.critic.parameters()],
            "target": [x.clone() for x in made.target.parameters()],
            "temperature": [made.log_temperature.detach().clone()],
        }

    acting = sample.now.acting
    for moved, step in {
        "critic": lambda: made._critic_step(sample),
        "policy": lambda: made._actor_steps(sample, acting),
        "temperature": lambda: made._temperature_step(sample, torch.ones(64, 3), acting),
    }.items():
        before = parts()
        step()
        after = parts()
        assert [part for part in before if not same_bits(before[part], after[part])] == [moved]


def test_targets_follow_slowly() -> None:
    made = ready("particle/spread", "hasac", polyak=0.25)
    old = [x.clone() for x in made.target.parameters()]
    made._learn()
    for before, after, new in zip(old, made.target.parameters(), made.critic.parameters(), strict=True):
        torch.testing.assert_close(after, 0.75 * before + 0.25 * new)
    assert made.updates == 1


def test_gradients_are_clipped_agent_by_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    made = ready("particle/spread", "hasac", max_grad_norm=1e-3)
    made._learn()
    for part in (*made.parts, list(made.critic.parameters())):
        norm = torch.stack([p.grad.norm() for p in part if p.grad is not None]).norm()
        assert float(norm) == pytest.approx(1e-3, rel=1e-3)


# --- temperatures ---------------------------------------------------------------------------------------------------


def test_entropy_targets_are_of_legal_actions() -> None:
    env = make("toy/siege")
    made = learner(env, "hasac", "toy/siege", entropy_per_choice=0.5)
    group = made.spec.groups[0]
    sizes = group.action_space.nvec.tolist()  # type: ignore[attr-defined]
    made.buffer.add(collect(env, made, 1)[0], torch.zeros(6, 8, len(made.agents)))
    views = made.buffer._views(torch.arange(48))
    mask = views.action_mask[group.name]
    assert mask is not None
    mask[0, 0] = False
    mask[0, 0, [0, sizes[0]]] = True  # one legal action for each choice
    mask[1, 0] = True
    mask[2, 0] = True
    mask[2, 0, 0] = False
    wanted = made._wanted(views)
    assert float(wanted[0, 0]) == 0.0
    assert float(wanted[1, 0]) == pytest.approx(0.5 * sum(math.log(n) for n in sizes))
    assert float(wanted[2, 0]) == pytest.approx(0.5 * (math.log(sizes[0] - 1) + sum(math.log(n) for n in sizes[1:])))
    boxes = learner(make("toy/dock"), "hasac", entropy_per_dimension=-0.5)
    empty = replace(views, acting=torch.ones(3, len(boxes.agents), dtype=torch.bool), action_mask={"cart": None})
    assert boxes._wanted(empty).tolist() == [[-1.0] * len(boxes.agents)] * 3
    discrete = learner(make("particle/spread"), "hasac", entropy_per_choice=0.98)
    everywhere = replace(empty, acting=torch.ones(1, 3, dtype=torch.bool), action_mask={"agent": None})
    assert discrete._wanted(everywhere)[0].tolist() == pytest.approx([1.577] * 3, abs=1e-3)


def test_temperatures_rise_where_entropy_is_missing_and_fall_where_it_abounds() -> None:
    made = ready("particle/spread", "hasac")
    sample = sample_of(made)
    wanted = made._wanted(sample.now)
    before = made.log_temperature.detach().clone()
    log_prob = -wanted + torch.tensor([1.0, -1.0, 0.0])
    made._temperature_step(sample, log_prob, sample.now.acting)
    assert torch.sign(made.log_temperature.detach() - before).tolist() == [1.0, -1.0, 0.0]
    fixed = ready("particle/spread", "hasac", temperature_learning_rate=0.0, temperature=0.2)
    fixed._temperature_step(sample, log_prob, sample.now.acting)
    torch.testing.assert_close(fixed.log_temperature.detach().exp(), torch.full((3,), 0.2))


# --- what must not matter -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("garbage", [math.nan, 1e6])
@pytest.mark.parametrize("game", ["toy/siege", "toy/noughts"])
@pytest.mark.parametrize("name", ["isac", "masac", "hasac"])
def test_garbage_where_nobody_acts_changes_no_bit(name: str, game: str, garbage: float) -> None:
    ends = []
    for spoiled in (False, True):
        env = make(game)
        made = learner(env, name, game, "team_sum", n_step=2, value_norm=True)
        for rollout in collect(env, made, 4):
            for group in rollout.groups.values() if spoiled else ():
                spoil(group.obs, ~group.acting, garbage)
                spoil(group.action, ~group.acting[:-1], garbage)
                assert not bool(group.acting.all())
            made.update(rollout, 0.0)
        assert made.updates > 4
        ends.append(parameters(made))
    assert same_bits(*ends)


def test_another_players_seats_are_not_learnt_from() -> None:
    ends = []
    for reward in (0.0, 1e3):
        env = make("particle/spread")
        made = learner(env, "hasac")
        mine = torch.zeros(6, 8, dtype=torch.bool)
        mine[:, :3] = True
        for rollout in collect(env, made, 4):
            rollout.groups["agent"].reward[:, 3:] = reward
            made.update(replace(rollout, mine=mine), 0.0)
        ends.append(parameters(made))
    assert same_bits(*ends)


@pytest.mark.parametrize(("where", "garbage"), [("reward", math.nan), ("obs", math.inf)])
def test_what_is_not_finite_stops_training_and_changes_nothing(where: str, garbage: float) -> None:
    env = make("particle/spread")
    made = learner(env, "hasac")
    rollouts = collect(env, made, 3)
    made.update(rollouts[0], 0.0)
    made.update(rollouts[1], 0.0)
    before = parameters(made)
    getattr(rollouts[2].groups["agent"], where)[3, 2, 1] = garbage
    with pytest.raises(NumericalFailure, match="not finite"):
        made.update(rollouts[2], 0.0)
    made.critic.heads["central"].weights[0].data[0, 0, 0] = garbage
    kept = [x.clone() for x in made.policy.parameters()]
    with pytest.raises(NumericalFailure, match="not finite") as caught:
        made._learn()
    assert caught.value.batch is not None
    made.critic.heads["central"].weights[0].data[0, 0, 0] = before[0].flatten()[0]
    assert same_bits(kept, [x.clone() for x in made.policy.parameters()])


# --- exploring, counting, refusing ----------------------------------------------------------------------------------


def test_it_first_plays_at_random_and_then_by_itself() -> None:
    env = make("toy/meet")
    made = learner(env, "hasac", warmup_steps=96)
    uniform, chosen = [], []
    for number in range(4):
        rollout = collect(env, made, 1)[0]
        group = rollout.groups[made.spec.groups[0].name]
        legal = torch.ones(1) if group.action_mask is None else group.action_mask[:-1].sum(-1)
        acts = group.acting[:-1]
        same = torch.allclose(group.log_prob[acts], -legal.float().log()[acts], atol=1e-5)
        (uniform if made.actor.exploring else chosen).append(same)
        metrics = made.update(rollout, 0.0)
        assert metrics["updates"] == (0 if number == 0 else 4)
        shaken(made.policy, number)
    assert uniform == [True, True] and not any(chosen)


def test_updates_are_as_many_as_steps_make_due() -> None:
    """48 steps a rollout and one update in 20: 2, 2, 3, 2, 3 ... the remainder is not lost."""
    env = make("particle/spread")
    made = learner(env, "hasac", updates_per_step=0.05, warmup_steps=0)
    counts = [int(made.update(rollout, 0.0)["updates"]) for rollout in collect(env, made, 10)]
    assert counts == [2, 2, 3, 2, 3, 2, 2, 3, 2, 3]
    two = make("toy/noughts")  # two teams a copy: a step of the environment is two of seats
    twins = SAC(two.spec, "player", config_of("hasac", updates_per_step=0.05, warmup_steps=0), "agent", 5)
    assert [int(twins.update(rollout, 0.0)["updates"]) for rollout in collect(two, twins, 3)] == [2, 2, 3]


class Endless(Rules):
    """Actions without bounds."""

    actions = spaces.Box(-np.inf, np.inf, (2,), np.float32)


def test_what_it_cannot_do_is_said_in_one_line() -> None:
    with pytest.raises(UsageError, match="group 'team': its actions"):
        SAC(FunctionEnv(Endless(), 2).spec, "team", SMALL, "agent", 0)
    with pytest.raises(UsageError, match="agent by agent needs --parameters per_agent"):
        replace(SMALL, parameters="shared")
    with pytest.raises(UsageError, match="group 'cart' has continuous actions"):
        ready("toy/dock", "hasac", expectation="joint")
    with pytest.raises(UsageError, match="buffer_size 20 is less than a rollout"):
        ready("particle/spread", "hasac", buffer_size=20)


# --- kinds of agents together ---------------------------------------------------------------------------------------


class Hint(Rules):
    """The speaker sees a bit and says one; the listener hears it and is paid for a number near 2.5 or -.5."""

    teams = {"speaker": 1, "listener": 1}  # noqa: RUF012
    memory = 2

    def start(self, u: np.ndarray) -> np.ndarray:
        return np.stack([(u[:, 0] < 0.5) * 1.0, np.full(len(u), -1.0)], 1)

    def obs(self, hidden: np.ndarray, step: np.ndarray) -> np.ndarray:
        return hidden[:, :, None]

    def play(self, hidden: np.ndarray, step: np.ndarray, actions: np.ndarray, alive: np.ndarray) -> tuple:
        second = step[:, None] == 1
        wanted = np.where(hidden[:, :1] > 0, 2.5, -0.5)
        paid = np.where(second, -np.abs(actions[:, 1:] - wanted), 0.0)
        hidden[:, 1] = actions[:, 0]
        return paid, second


class MixedEnv(FunctionEnv):
    """A discrete speaker and a continuous listener, in one team."""

    def __init__(self, num_envs: int) -> None:
        super().__init__(Hint(), num_envs)
        speaker, listener = self.spec.groups
        box = spaces.Box(np.array([-1], np.float32), np.array([3], np.float32))
        groups = replace(speaker, kind="team"), replace(listener, kind="team", action_space=box)
        self.spec = replace(self.spec, groups=groups, kinds=(TeamKind("team", ("speaker", "listener")),))
        self.clock["score"], self._teams = np.zeros((num_envs, 1)), np.zeros(2, np.int64)
        self.buffers = allocate(self.spec, num_envs)
        self._show(self.buffers)

    def step(self, actions: Any, out: StepBuffers | None = None) -> StepBuffers:
        return super().step({"speaker": actions["speaker"], "listener": actions["listener"][..., 0]}, out)


@pytest.mark.parametrize("name", ["masac", "hasac"])
def test_a_discrete_speaker_and_a_continuous_listener_learn_to_talk(name: str, tmp_path: Path) -> None:
    """-1.5 a game is the best without a word; a speaker whose critic does not see the listener often says none."""
    env = MixedEnv(64)
    settings = {
        "hidden": (32,),
        "warmup_steps": 1000,
        "updates_per_step": 0.05,
        "batch_size": 256,
        "buffer_size": 50_000,
        "actor_learning_rate": 3e-3,
        "critic_learning_rate": 1e-2,
        "temperature": 0.1,
        "temperature_learning_rate": 0.0,
        "rollout_length": 8,
    }
    made = SAC(env.spec, "team", config_of(name, **settings), "team_sum", seed=1)
    collector = Collector(env, {"team": Seats.all(made.actor, 64)}, 8, 3)
    while made.updates < 600:
        made.update(collector.collect()["team"], 0.0)
    made.policy.save(tmp_path / "team.safetensors")
    loaded = policy.load(tmp_path / "team.safetensors")
    assert loaded.spec.box == "squashed"
    listened = Collector(env, {"team": Seats.all(loaded, 64)}, 8, 4).collect()["team"].groups["listener"]
    per_game = float(listened.reward.sum() / (64 * 4))
    assert per_game > -0.75, per_game
    assert set(loaded.act({"speaker_0": np.array([1.0], np.float32)}, greedy=True)) == {"speaker_0"}


# --- going on -------------------------------------------------------------------------------------------------------

CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("toy/dock", "hasac", "team_mean", {"drift": "kl", "n_step": 3}),
    ("toy/siege", "masac", "team_sum", {"critic_temperature": "team", "value_norm": True}),
    ("particle/tag", "isac", "agent", {}),
    ("toy/noughts", "hasac", "agent", {"n_step": 2, "expectation": "own"}),
]


def trainer_of(game: str, name: str, reward: str, changed: dict[str, Any], seed: int = 0) -> Trainer:
    env = make(game, seed=seed)
    config = config_of(name, **{"buffer_size": 8 * 20 * 2, "warmup_steps": 60, **changed})
    learners = {kind.name: SAC(env.spec, kind.name, config, reward, seed) for kind in env.spec.kinds}
    return Trainer(env, learners, {}, total_steps=5000, rollout_length=6, seed=seed)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[1]}-{case[0]}")
@pytest.mark.parametrize("done", [1, 5])
def test_an_interruption_changes_no_bit(case: tuple, done: int) -> None:
    """In the warm-up and after it; with the ring of memories filling and full."""
    whole = trainer_of(*case)
    run(whole, done)
    saved = copy.deepcopy(whole.state_dict())
    metrics = run(whole, 4)
    resumed = trainer_of(*case, seed=9)
    resumed.collector.noise_key = whole.collector.noise_key
    run(resumed, 2)
    before = digest(saved)
    resumed.load_state_dict(saved)
    assert run(resumed, 4) == metrics
    assert digest(resumed.state_dict()) == digest(whole.state_dict())
    assert digest(saved) == before, "what was loaded was written into"


PARTS = ["policy", "critic", "target", "optimisers", "temperature", "norm", "generators", "counters", "buffer"]


@pytest.mark.parametrize("part", [*PARTS, "team_temperature", "earlier"])
def test_every_part_of_the_state_matters(part: str) -> None:
    """Each part left out shows: so none of them is there in vain, and the comparison can see them."""
    case = CASES[0] if part in ("earlier", "counters") else CASES[1]
    whole, other = trainer_of(*case), trainer_of(*case, seed=9)
    run(whole, 4)
    run(other, 5)
    saved = copy.deepcopy(whole.state_dict())
    team = min(whole.learners)
    saved["learners"][team][part] = copy.deepcopy(other.state_dict()["learners"][team][part])
    resumed = trainer_of(*case)
    resumed.load_state_dict(saved)
    run(resumed, 2)
    run(whole, 2)
    states = [trainer.state_dict()["learners"][team] for trainer in (whole, resumed)]
    rest = [{k: v for k, v in state.items() if k != part} for state in states]
    assert digest(rest[0]) != digest(rest[1])


ELSEWHERE = """
import sys
from pathlib import Path
from marl import checkpoint
from tests.marl.test_sac import CASES, trainer_of
from tests.marl.test_trainer import digest, run
for case in range(2):
    trainer = trainer_of(*CASES[case])
    trainer.load_state_dict(checkpoint.load(Path(sys.argv[1]) / str(case))[1])
    run(trainer, 3)
    print(digest(trainer.state_dict()["learners"]))
"""


def test_another_process_goes_on_bit_for_bit(tmp_path: Path) -> None:
    wanted = []
    for case in range(2):
        trainer = trainer_of(*CASES[case])
        run(trainer, 4)
        checkpoint.save(tmp_path / str(case), trainer.steps, trainer.state_dict())
        run(trainer, 3)
        wanted.append(digest(trainer.state_dict()["learners"]))
    command = [sys.executable, "-c", ELSEWHERE, str(tmp_path)]
    told = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert told.stdout.split() == wanted


@pytest.mark.parametrize("game", list(GAMES))
@pytest.mark.parametrize("name", ["isac", "masac", "hasac"])
def test_every_kind_of_agent_can_be_trained(name: str, game: str) -> None:
    env = make(game)
    made = learner(env, name, game, "team_mean" if game != "toy/noughts" else "agent")
    before = [x.clone() for x in made.policy.parameters()]
    for rollout in collect(env, made, 3):
        metrics = made.update(rollout, 0.0)
    assert all(math.isfinite(value) for value in metrics.values()) and metrics["updates"] > 0
    assert all(not torch.equal(x, y) for x, y in zip(before, made.policy.parameters(), strict=True))
    for group in made.spec.groups:
        chosen = made.policy.distribution(
            group, torch.zeros(1, made.spec.members(group), *group.observation_space.shape), None
        )
        if isinstance(chosen, Categorical):
            assert not bool(chosen.probs.isnan().any())
    assert isinstance(made.critic, nn.Module)
