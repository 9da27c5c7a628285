"""What the value-based learners must keep to: targets, masks, who counts, exploring, what follows what."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from environments.errors import NumericalFailure, UsageError
from environments.spec import AgentGroup
from marl.algorithms.q_learning import QLearning
from marl.buffers import Rollout
from marl.collector import Collector
from marl.policy import Policy
from marl.policy_spec import choices
from marl.replay_buffer import Sample, Views
from marl.seats import Seats
from marl.seeding import torch_generator
from tests.marl.remembering import parameters, sample_of
from tests.marl.replay import FAMILIES, collect, config_of, learner, ready
from tests.marl.rollouts import copied, make, same_bits
from tests.marl.test_sac_alone import Alone
from tests.probes.environment import FunctionEnv, Rules

GAMES = ["toy/meet", "toy/siege", "particle/speaker_listener", "toy/noughts"]
"""Masks; deaths, absences and several choices; two groups in one team; turns and two teams of a kind."""


# --- targets --------------------------------------------------------------------------------------------------------


def legal_best(values: Tensor, mask: Tensor | None) -> int:
    """The first best of the legal actions, by hand."""
    found = None
    for k, value in enumerate(values.tolist()):
        if (mask is None or bool(mask[k])) and (found is None or value > values[found]):
            found = k
    assert found is not None
    return found


Said = Callable[[Policy, AgentGroup], Tensor]
"""What a policy says of the agents of a group at one view, `[n, sum K]`."""


def utilities(made: QLearning, said: Said, view: Views) -> list[float]:
    """What the target networks say of what the judges of actions would do, for each agent of one view, by hand."""
    judge = made.policy if made.config.double else made.target_policy
    found: list[float] = []
    for group in made.spec.groups:
        praised, paid = said(judge, group), said(made.target_policy, group)
        mask = view.action_mask[group.name]
        for i in range(made.spec.members(group)):
            total, first = 0.0, 0
            for size in choices(group.action_space):
                part = slice(first, first + size)
                best = legal_best(praised[i, part], None if mask is None else mask[0, i, part])
                total += float(paid[i, first + best])
                first += size
            found.append(total if bool(view.acting[0, len(found)]) else 0.0)
    return found


def hoped(made: QLearning, said: Said, view: Views) -> list[float]:
    """What targets bootstrap from at one view: a value for each agent, or the team's."""
    own, acting = utilities(made, said, view), view.acting[0].tolist()
    if made.target_mixer is not None:
        return [float(made.target_mixer(torch.tensor([own]), view))]
    if made.reward == "agent" or len(own) == 1:
        return own
    alive = [x for x, acts in zip(own, acting, strict=True) if acts]
    return [x if acts else sum(alive) / max(len(alive), 1) for x, acts in zip(own, acting, strict=True)]


def by_hand(made: QLearning, sample: Sample) -> Tensor:
    """Every target, one after the other."""
    rows = []
    for b, pay in enumerate(sample.reward):
        row = []
        for k in range(len(made.agents) if made.mixer is None else 1):
            c = min(k, len(pay) - 1)
            view = copied(sample.then, lambda x, at=int(sample.which[b, c]): x[at : at + 1])

            def said(policy: Policy, group: AgentGroup, view: Views = view) -> Tensor:
                found: Tensor = policy.actors[group.name](view.obs[group.name].flatten(2).float())[0]
                return found

            row.append(float(pay[c]) + float(sample.discount[b, c]) * hoped(made, said, view)[k])
        rows.append(row)
    return torch.tensor(rows)


@torch.no_grad()
@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize(
    ("name", "reward"), [("iql", "agent"), ("iql", "team_mean"), ("vdn", "team_sum"), ("qmix", "team_mean")]
)
def test_targets_are_those_of_the_equation(name: str, reward: str, game: str, double: bool) -> None:
    made = ready(name, game, reward, double=double, n_step=2, gamma=0.9)
    sample = sample_of(made, 32)
    target, wanted = made._targets(sample), by_hand(made, sample)
    endless = game == "particle/speaker_listener"
    assert bool((sample.discount == 0).any()) != endless and bool((sample.discount > 0).any())
    torch.testing.assert_close(target.expand_as(wanted), wanted, rtol=1e-4, atol=1e-4)


def test_the_present_values_choose_and_the_earlier_ones_pay() -> None:
    """A table: the present networks praise action 1 of 3; the earlier ones know it to be worth 5, and 2 worth 9."""
    targets = {}
    for double in (True, False):
        made = ready("iql", "toy/meet", "agent", double=double, gamma=0.5)
        for policy, said in ((made.policy, [0.0, 7.0, 1.0]), (made.target_policy, [1.0, 5.0, 9.0])):
            actor = policy.actors["agent"]
            for parameter in actor.parameters():
                parameter.data.zero_()
            size = actor.biases[-1].shape[1]
            actor.biases[-1].data[0, :3] = torch.tensor(said)
            actor.biases[-1].data[0, 3:size] = -1.0
        sample = sample_of(made)
        legal = torch.ones_like(sample.then.action_mask["agent"])  # type: ignore[arg-type]
        free = replace(sample, then=replace(sample.then, action_mask={"agent": legal}))
        barred = legal.clone()
        barred[:, :, 1] = False
        tied = replace(sample, then=replace(sample.then, action_mask={"agent": barred}))
        targets[double] = [(made._targets(x) - x.reward)[x.discount > 0].unique().tolist() for x in (free, tied)]
    assert targets[True] == [[2.5], [4.5]]  # 1 is worth 5; where it is illegal 2 is praised more than 0, and worth 9
    assert targets[False] == [[4.5], [4.5]]


def test_several_choices_of_an_agent_are_summed_and_the_dead_are_worth_nothing() -> None:
    made = ready("vdn", "toy/siege")
    sample = sample_of(made)
    (group,) = made.spec.groups
    sizes = choices(group.action_space)
    assert len(sizes) > 1 and not bool(sample.now.acting.all())
    said = made.policy.describe(group, sample.now.obs[group.name]).detach()
    wanted = torch.zeros(len(sample.use), made.spec.members(group))
    for b, i in itertools.product(range(wanted.shape[0]), range(wanted.shape[1])):
        if sample.now.acting[b, i]:
            chosen = sample.action[group.name][b, i].tolist()
            starts = [sum(sizes[:d]) for d in range(len(sizes))]
            wanted[b, i] = sum(float(said[b, i, first + a]) for first, a in zip(starts, chosen, strict=True))
    torch.testing.assert_close(made._values(made.policy, sample.now, sample.action), wanted)


# --- what follows what ----------------------------------------------------------------------------------------------


def test_targets_follow_by_their_part_when_they_are_due() -> None:
    made = ready("qmix", "particle/spread", polyak=0.25, target_period=3)
    made._learn()  # the first update begins with targets that are the networks
    networks = [x.detach().clone() for x in made.learnt]
    for number in range(2, 8):
        slow = [*made.target_policy.parameters(), *made.target_mixer.parameters()]  # type: ignore[union-attr]
        before = [x.clone() for x in slow]
        made._learn()
        if number % 3:
            assert same_bits(before, slow)
        else:
            for old, new, fast in zip(before, slow, made.learnt, strict=True):
                torch.testing.assert_close(new, 0.75 * old + 0.25 * fast.detach(), rtol=0, atol=1e-6)
    assert not any(torch.equal(x, y) for x, y in zip(networks, made.learnt, strict=True))


def test_a_part_of_one_copies() -> None:
    made = ready("vdn", "particle/spread", polyak=1.0, target_period=2)
    made._learn()
    assert not same_bits(list(made.target_policy.parameters()), list(made.policy.parameters()))
    made._learn()
    assert same_bits(list(made.target_policy.parameters()), list(made.policy.parameters()))


def test_targets_start_from_the_weights_that_a_run_starts_from() -> None:
    """Which come after the learner was made."""
    made = ready("iql", "particle/spread", learning_rate=0.0)
    assert not same_bits(list(made.target_policy.parameters()), list(made.policy.parameters()))
    made._learn()
    for slow, fast in zip(made.target_policy.parameters(), made.policy.parameters(), strict=True):
        torch.testing.assert_close(slow, fast.detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", FAMILIES["q"])
def test_nothing_flows_into_the_targets(name: str) -> None:
    made = ready(name, "particle/spread")
    target = made._targets(sample_of(made))
    assert not target.requires_grad
    made._learn()
    assert all(x.grad is None for x in made.target_policy.parameters())
    assert all(float(x.grad.abs().max()) > 0 for x in made.learnt if x.grad is not None and x.dim() > 2)


def test_alone_each_agent_moves_its_own_parameters() -> None:
    """IQL of separate networks: another agent's pay changes nothing of mine; a sum shares what is learnt."""
    for name, reward, shared in (("iql", "agent", False), ("vdn", "team_sum", True)):
        ends = []
        for pay in (0.0, 5.0):
            made = ready(name, "particle/spread", reward, parameters="per_agent", max_grad_norm=None)
            sample = sample_of(made)
            paid = sample.reward.clone()
            paid[:, -1] += pay
            made._draw = lambda paid=paid, sample=sample: replace(sample, reward=paid)  # type: ignore[method-assign]
            made._learn()
            ends.append([x.detach().clone() for x in made.policy.actors["agent"].weights])
        for a, b in zip(*ends, strict=True):
            assert torch.equal(a[0], b[0]) != shared
            assert not torch.equal(a[2], b[2])


def test_gradients_are_cut_to_their_largest_norm() -> None:
    made = ready("qmix", "particle/spread", max_grad_norm=1e-3)
    assert made._learn()["value_gradient"] > 1e-3
    assert math.sqrt(sum(float(x.grad.square().sum()) for x in made.learnt)) <= 1.001e-3  # type: ignore[union-attr]


# --- who counts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reward", ["agent", "team_sum"])
def test_alone_only_decisions_are_learnt_from(reward: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []
    for garbage in (0.0, 1e6):
        made = ready("iql", "toy/siege", reward, value_norm=True)
        sample = sample_of(made)
        idle = ~sample.now.acting
        assert bool(idle.any())
        target = made._targets(sample).masked_fill(idle, garbage)
        monkeypatch.setattr(made, "_targets", lambda sample, target=target: target)
        made._draw = lambda sample=sample: sample  # type: ignore[method-assign]
        told = made._learn()
        ends.append([*parameters(made), *(torch.tensor(x) for x in (*told.values(), *made.norm.moments))])  # type: ignore[union-attr]
    assert same_bits(*ends)


@pytest.mark.parametrize("name", FAMILIES["q"])
def test_samples_that_are_not_used_move_nothing(name: str) -> None:
    made = ready(name, "particle/spread")
    unused = replace(sample_of(made), use=torch.zeros(64, dtype=torch.bool))
    made._draw = lambda: unused  # type: ignore[method-assign]
    before = [x.detach().clone() for x in made.learnt]
    made._learn()
    assert same_bits(before, [x.detach() for x in made.learnt])


def test_what_is_not_finite_stops_training_and_changes_nothing() -> None:
    env = make("particle/spread")
    made = learner(env, "qmix")
    rollouts = collect(env, made, 3)
    for rollout in rollouts[:2]:
        made.update(rollout, 0.0)
    before = parameters(made)
    rollouts[2].groups["agent"].reward[3, 2, 1] = math.nan
    with pytest.raises(NumericalFailure, match="not finite"):
        made.update(rollouts[2], 0.0)
    assert same_bits(before, parameters(made))
    made.target_policy.actors["agent"].biases[0].data[0, 0] = math.nan
    with pytest.raises(NumericalFailure, match="loss or gradient of values is not finite") as caught:
        made._learn()
    assert caught.value.batch is not None
    assert same_bits(before[:4], parameters(made)[:4])


# --- exploring ------------------------------------------------------------------------------------------------------


def test_epsilon_falls_with_the_steps_after_the_warm_up() -> None:
    env = make("particle/spread")
    made = learner(env, "vdn", epsilon=0.8, final_epsilon=0.2, epsilon_steps=96)
    told = []
    for rollout in collect(env, made, 5):
        assert made.actor.exploring == (made.steps < 48)
        metrics = made.update(rollout, 0.0)
        told.append(made.curious.epsilon)
        assert metrics.get("epsilon", told[-1]) == told[-1]
    assert told == pytest.approx([0.8, 0.5, 0.2, 0.2, 0.2])  # 48 steps a rollout
    assert made.policy.spec.epsilon == 0.2


class Barred(Rules):
    """Five actions of which what would be best is illegal."""

    actions = spaces.Discrete(5)
    masked = True

    def mask(self, hidden: np.ndarray, step: np.ndarray) -> np.ndarray:
        return np.array([[[True, False, True, True, False]]])


@pytest.mark.parametrize("epsilon", [0.0, 0.4, 1.0])
def test_ten_thousand_draws_are_legal_and_as_random_as_epsilon_says(epsilon: float) -> None:
    env = FunctionEnv(Barred(), 500)
    made = QLearning(env.spec, "team", config_of("iql", warmup_steps=0), "agent", 0)
    made.policy.actors["team"].biases[-1].data[0] = torch.tensor([0.0, 9.0, 1.0, 2.0, 8.0])
    made.curious.epsilon = epsilon
    made.actor.exploring = False
    rollout = Collector(env, {"team": Seats.all(made.actor, 500)}, 20, 3).collect()["team"]
    share = torch.bincount(rollout.groups["team"].action.flatten(), minlength=5) / 10_000
    wanted = torch.tensor([1, 0, 1, 1, 0]) * epsilon / 3 + (1 - epsilon) * torch.eye(5)[3]
    assert share[1] == 0 and share[4] == 0
    torch.testing.assert_close(share, wanted, rtol=0, atol=0.02)


def test_what_is_drawn_depends_on_the_noise_alone() -> None:
    """Not on who else is in the batch; greedy play not even on that."""
    made = ready("qmix", "toy/siege")
    views = {g.name: x for g, x in zip(made.spec.groups, _views(made), strict=True)}
    generator = torch_generator(3, "noise")
    noise = {name: torch.rand(*view.acting.shape, 2, generator=generator) for name, view in views.items()}
    whole = made.actor.step(views, noise)
    for name, view in views.items():
        assert whole[name].action.unique(dim=1).shape[0] > 1
        for row in (0, 5):
            part = {name: type(view)(*(None if x is None else x[row : row + 1] for x in view))}
            one = made.actor.step(part, {name: noise[name][row : row + 1]})[name]
            assert torch.equal(one.action[0], whole[name].action[row])
        made.actor.exploring = False
        best = made.actor.step(views, noise, greedy=True)[name]
        assert torch.equal(best.action, made.policy.step(views, noise, greedy=True)[name].action)


def _views(made: QLearning) -> list[Any]:
    from marl.acting import View

    now = sample_of(made).now
    return [View(now.obs[g.name], now.action_mask[g.name], now.acting) for g in made.spec.groups]


# --- refusing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vdn", "qmix"])
def test_a_mix_needs_a_teams_reward(name: str) -> None:
    env = make("particle/spread")
    with pytest.raises(UsageError, match=r"3 agents of 'team' each earn their own reward.*train with iql"):
        learner(env, name, reward="agent")
    learner(make("toy/noughts"), name, "toy/noughts", "agent")  # one agent is its team


def test_continuous_actions_are_refused() -> None:
    with pytest.raises(UsageError, match=r"discrete actions, and 'cart_0' has Box.*ippo"):
        learner(make("toy/dock"), "iql", "toy/dock")


# --- one agent ------------------------------------------------------------------------------------------------------


class PlainDQN:
    """Double Q-learning of one agent (van Hasselt et al. 2016), with lists of tensors and nothing else."""

    def __init__(self, made: QLearning) -> None:
        self.config = made.config
        network = made.policy.actors["team"]
        pairs = zip(network.weights, network.biases, strict=True)
        self.q = [x.detach()[0].clone().requires_grad_() for pair in pairs for x in pair]
        self.slow = [x.detach().clone() for x in self.q]
        self.adam = torch.optim.Adam(self.q, self.config.learning_rate)
        self.indices = torch_generator(5, "team", "replay")
        self.memory: list[tuple] = []
        self.count = 0

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
        for t, s in itertools.product(range(rollout.steps), range(rollout.seats)):
            dead = bool(group.terminated[t, s, 0])
            cut = bool(group.truncated[t, s, 0]) and not dead
            following = final[t, s] if cut else group.obs[t + 1, s, 0]
            entry = group.obs[t, s, 0], group.action[t, s, 0], group.reward[t, s, 0], following, 0.0 if dead else 1.0
            self.memory.append(entry)

    def step(self) -> None:
        at = torch.randint(len(self.memory), (self.config.batch_size,), generator=self.indices)
        columns = zip(*(self.memory[int(i)] for i in at), strict=True)
        obs, action, reward, following, goes_on = (
            torch.stack([torch.as_tensor(x, dtype=torch.float64) for x in column]) for column in columns
        )
        with torch.no_grad():
            judge = self.q if self.config.double else self.slow
            best = self.net(following, judge).argmax(1, keepdim=True)
            target = reward + self.config.gamma * goes_on * self.net(following, self.slow).gather(1, best)[:, 0]
        own = self.net(obs, self.q).gather(1, action.long().unsqueeze(1))[:, 0]
        self.adam.zero_grad()
        (0.5 * (own - target).square().mean()).backward()
        self.adam.step()
        self.count += 1
        if self.count % self.config.target_period == 0:
            for slow, fast in zip(self.slow, self.q, strict=True):
                slow.copy_((1 - self.config.polyak) * slow + self.config.polyak * fast.detach())


@pytest.mark.parametrize(("polyak", "period"), [(0.1, 1), (1.0, 7)])
@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("name", ["iql", "vdn"])
def test_alone_it_is_plain_q_learning(name: str, double: bool, polyak: float, period: int) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        env = FunctionEnv(Alone(spaces.Discrete(3)), 8)
        config = config_of(name, double=double, polyak=polyak, target_period=period, max_grad_norm=None)
        made = QLearning(env.spec, "team", config, "agent", seed=5)
        plain = PlainDQN(made)
        start = [x.detach().clone() for x in plain.q]
        for rollout in collect(env, made, 4):
            made.buffer.add(rollout, made._paid(rollout))
            plain.remember(rollout)
        assert not all(goes_on for *_, goes_on in plain.memory) and made.buffer.next_final > 0
        for _ in range(50):
            made._learn()
            plain.step()
        for policy, theirs in ((made.policy, plain.q), (made.target_policy, plain.slow)):
            network = policy.actors["team"]
            ours = [x.detach()[0] for pair in zip(network.weights, network.biases, strict=True) for x in pair]
            for x, y in zip(ours, theirs, strict=True):
                torch.testing.assert_close(x, y.detach(), rtol=0, atol=1e-6)
        assert max(float((x - y.detach()).abs().max()) for x, y in zip(start, plain.q, strict=True)) > 0.01
    finally:
        torch.set_default_dtype(torch.float32)
