"""The deterministic learners part by part: targets, actors, exploring, and what must not matter."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import environments
from environments.errors import NumericalFailure, UsageError
from marl.acting import View
from marl.algorithms.ddpg import DDPG, Noisy
from marl.critics import TwinQ
from marl.distributions import Deterministic
from tests.marl.remembering import sample_of
from tests.marl.replay import FAMILIES, Perilous, collect, config_of, learner, make, ready
from tests.marl.rollouts import same_bits, shaken
from tests.probes.environment import FunctionEnv, Rules

Patch = pytest.MonkeyPatch


def points(policy: Any, made: DDPG, views: Any) -> list[Tensor]:
    """What a policy's agents do in normalised units, whether they act or not."""
    return [
        torch.tanh(policy.actors[group.name](views.obs[group.name]))[:, i].detach()
        for group in made.spec.groups
        for i in range(made.spec.members(group))
    ]


@pytest.mark.parametrize("name", FAMILIES["ddpg"])
def test_discrete_actions_are_refused_in_one_line(name: str) -> None:
    env = environments.make("particle/spread", 2)
    with pytest.raises(
        UsageError, match=r"cannot learn Discrete actions, which 'agent_0' has .*: train with ia"
    ) as told:
        DDPG(env.spec, "team", config_of(name), "agent", seed=0)
    assert "\n" not in str(told.value) and name not in str(told.value)


# --- targets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES["ddpg"])
def test_targets_bootstrap_from_what_was_cut_and_not_from_what_ended(name: str, monkeypatch: Patch) -> None:
    """With V = 7 everywhere, gamma .9 and r = 1: 7.3 after a time limit, 1 after an end by the rules or by both."""
    for rule in (True, False):

        class Step(Rules):
            max_steps = 1
            actions = Perilous.actions

            def play(self, hidden: Any, step: Any, actions: Any, alive: Any, by_rule: bool = rule) -> tuple:
                return np.ones((len(step), 1)), np.full((len(step), 1), by_rule)

        env = FunctionEnv(Step(), 8)
        made = DDPG(env.spec, "team", config_of(name, gamma=0.9), "agent", seed=5)
        for rollout in collect(env, made, 2):
            made.buffer.add(rollout, made._paid(rollout))
        monkeypatch.setattr(made.target, "smaller", lambda seen, acting, values: torch.full(acting.shape, 7.0))
        torch.testing.assert_close(made._targets(sample_of(made)), torch.full((64, 1), 1.0 if rule else 7.3))


def test_targets_of_teams_and_agents(monkeypatch: Patch) -> None:
    """y = r + gamma Q', a team's or an agent's own; local critics' mean of those that still act."""
    for name, reward, critic in itertools.product(
        FAMILIES["ddpg"], ["agent", "team_sum", "team_mean"], ["central", "local"]
    ):
        made = ready(name, "perilous", reward, gamma=0.5, critic=critic)
        sample = sample_of(made)
        rows = made.critic.rows
        assert rows == (1 if critic == "central" and reward != "agent" else 3)
        given = torch.arange(1.0, rows + 1)
        monkeypatch.setattr(made.target, "smaller", lambda seen, acting, values, q=given: q.expand(len(acting), len(q)))
        target = made._targets(sample)
        for b in range(64):
            acts = sample.then.acting[sample.which[b]]
            for k in range(rows):
                value, column = given[k], k if reward == "agent" else 0
                if rows == 3 and reward != "agent" and not acts[0][k]:
                    value = given[acts[0]].mean() if bool(acts[0].any()) else torch.tensor(0.0)
                wanted = sample.reward[b, column] + sample.discount[b, column] * value
                torch.testing.assert_close(target[b, k], wanted)
        assert set(sample.discount.unique().tolist()) == ({0.0, 0.5} if reward == "agent" else {0.5})
        assert not bool(sample.then.acting.all())


@pytest.mark.parametrize("deviation", [0.2, 50.0])
def test_target_actions_are_the_slow_policys_moved_by_clipped_noise(deviation: float, monkeypatch: Patch) -> None:
    """a' = clip(mu'(o') + clip(s z, -c, c), -1, 1), with z drawn agent by agent; zeros where nobody acts."""
    made = ready("hatd3", reward="team_sum", target_noise=deviation, target_noise_clip=0.3)
    made.target_policy.actors["team"].biases[-1].data += torch.tensor([2.0, -2.0])  # near the bounds
    sample = sample_of(made)
    views, looked = sample.then, []

    def smaller(seen: Any, acting: Tensor, values: list[Tensor]) -> Tensor:
        looked.extend(values)
        return torch.zeros(len(acting), 1)

    monkeypatch.setattr(made.target, "smaller", smaller)
    again = torch.Generator()
    again.set_state(made.generators["noise"].get_state())
    made._targets(sample)
    slow = points(made.target_policy, made, views)
    moved = []
    for i, (got, y) in enumerate(zip(looked, slow, strict=True)):
        noise = np.clip(deviation * torch.randn(y.shape, generator=again).numpy(), -0.3, 0.3)
        wanted = np.clip(y.numpy() + noise, -1, 1) * views.acting[:, i : i + 1].numpy()
        np.testing.assert_allclose(got.numpy(), wanted, atol=1e-6)
        moved.append((got - y)[views.acting[:, i]].abs())
    largest = float(torch.cat(moved).max())
    assert largest == pytest.approx(0.3, abs=1e-6)
    assert float(torch.cat(looked).abs().max()) <= 1.0
    assert not torch.allclose(slow[0], points(made.policy, made, views)[0], atol=0.05)


def test_without_target_noise_no_number_is_drawn() -> None:
    made = ready("haddpg")
    before = made.generators["noise"].get_state()
    made._targets(sample_of(made))
    assert torch.equal(before, made.generators["noise"].get_state())


@pytest.mark.parametrize("reward", ["agent", "team_sum"])
def test_targets_take_the_smaller_of_two_and_actors_the_first(reward: str) -> None:
    made = ready("matd3", reward=reward)
    sample = sample_of(made)
    seen, actions = made.critic.see(sample.now), made._remembered(sample)
    first, second = made.critic(seen, actions)
    torch.testing.assert_close(made.critic.smaller(seen, sample.now.acting, actions), torch.minimum(first, second))
    torch.testing.assert_close(made.critic.first(seen, actions), first)
    assert bool((first < second).any()) and bool((first > second).any())
    local = ready("matd3", reward=reward, critic="local")
    seen = local.critic.see(sample.now)
    torch.testing.assert_close(local.critic.first(seen, actions), local.critic(seen, actions)[0])
    alone: TwinQ = ready("maddpg", reward=reward).critic
    assert alone(alone.see(sample.now), actions).shape[0] == 1
    assert sum(p.numel() for p in alone.parameters()) * 2 == sum(p.numel() for p in made.critic.parameters())


# --- delay ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "due"), [("maddpg", [1, 2, 3, 4]), ("hatd3", [2, 4]), ("matd3", [2, 4])])
def test_actors_and_targets_move_every_so_many_updates(name: str, due: list[int]) -> None:
    made = ready(name, polyak=0.25)
    made.target_policy.load_state_dict(made.policy.state_dict())  # as the first update would
    for update in range(1, 5):
        before = {part: copy.deepcopy(getattr(made, part)) for part in made.MODULES if part != "norm"}
        metrics = made._learn()
        assert made.updates == update and ("actor_gradient" in metrics) == (update in due)
        assert not same_bits([*before["critic"].parameters()], [*made.critic.parameters()])
        for part in ("policy", "target", "target_policy"):
            still = same_bits([*before[part].parameters()], [*getattr(made, part).parameters()])
            assert still == (update not in due), part
        for slow, fast in (("target", "critic"), ("target_policy", "policy")) if update in due else ():
            trio = (before[slow], getattr(made, slow), getattr(made, fast))
            for old, now, new in zip(*(module.parameters() for module in trio), strict=True):
                torch.testing.assert_close(now, 0.75 * old + 0.25 * new)


def test_target_actors_start_from_the_weights_that_a_run_starts_from() -> None:
    """Which come after the learner was made."""
    made = ready("hatd3")
    assert not same_bits([*made.target_policy.parameters()], [*made.policy.parameters()])
    made._learn()
    assert same_bits([*made.target_policy.parameters()], [*made.policy.parameters()])


def test_each_step_moves_its_own_part_alone() -> None:
    for name in FAMILIES["ddpg"]:
        made = ready(name)
        sample = sample_of(made)
        steps = {"critic": lambda m=made, s=sample: m._critic_step(s)}
        climb = made._all_at_once if made.config.order == "at_once" else made._one_by_one
        steps["policy"] = lambda climb=climb, s=sample: climb(s, s.now.acting)
        for moved, step in steps.items():
            before = {part: copy.deepcopy(getattr(made, part)) for part in made.MODULES if part != "norm"}
            step()
            changed = [
                part
                for part, old in before.items()
                if not same_bits([*old.parameters()], [*getattr(made, part).parameters()])
            ]
            assert changed == [moved]


# --- actors ---------------------------------------------------------------------------------------------------------


class Pair(Rules):
    """Two agents, one number each."""

    teams = {"team": 2}  # noqa: RUF012
    memory = 2
    max_steps = 4
    actions = Perilous.actions

    def start(self, u: np.ndarray) -> np.ndarray:
        return u[:, :2]

    def obs(self, hidden: np.ndarray, step: np.ndarray) -> np.ndarray:
        return hidden[..., None]

    def play(self, hidden: np.ndarray, step: np.ndarray, actions: np.ndarray, alive: np.ndarray) -> tuple:
        return np.zeros((len(step), 1)), np.zeros((len(step), 1), bool)


def meet(actions: list[Tensor]) -> Tensor:
    """Q of a pair that is to sum to 1 in the first dimension and to multiply to 1/4 in the second; of each agent's
    own place too, so that they do not take turns for the same."""
    first, second = actions
    return -((first[:, 0] + second[:, 0] - 1) ** 2) - (first[:, 1] * second[:, 1] - 0.25) ** 2 - 0.1 * first[:, 0] ** 2


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
@pytest.mark.parametrize("name", ["haddpg", "hatd3"])
def test_the_second_agent_sees_what_the_first_has_become(name: str, order: list[int], monkeypatch: Patch) -> None:
    """By hand, in both orders: a step of one agent against the other's present action, and then the other's."""
    env = FunctionEnv(Pair(), 8)
    made = DDPG(env.spec, "team", config_of(name, actor_learning_rate=0.05, max_grad_norm=None), "team_sum", seed=5)
    shaken(made.policy)
    for rollout in collect(env, made, 3):
        made.buffer.add(rollout, made._paid(rollout))
    sample = sample_of(made)
    seed = next(s for s in range(99) if torch.randperm(2, generator=torch.Generator().manual_seed(s)).tolist() == order)
    made.generators["order"].manual_seed(seed)
    monkeypatch.setattr(made.critic, "begun", lambda *_: None)
    monkeypatch.setattr(made.critic, "first", lambda seen, actions: meet(actions).unsqueeze(1))

    def by_hand(fresh: bool) -> list[list[Tensor]]:
        actor = made.policy.actors["team"]
        nets = [[x.data[i].clone().requires_grad_() for x in (*actor.weights, *actor.biases)] for i in range(2)]

        def act(i: int) -> Tensor:
            w1, w2, b1, b2 = nets[i]
            return torch.tanh(torch.relu(sample.now.obs["team"][:, i] @ w1 + b1) @ w2 + b2)

        old = [act(i).detach() for i in range(2)]
        for i in order:
            other = (act(1 - i) if fresh else old[1 - i]).detach()
            adam = torch.optim.Adam(nets[i], 0.05)
            (-meet([act(i), other] if i == 0 else [other, act(i)]).mean()).backward()
            adam.step()
        return nets

    wanted, stale = by_hand(fresh=True), by_hand(fresh=False)
    made._one_by_one(sample, sample.now.acting)
    actor = made.policy.actors["team"]
    first, second = order
    for i in range(2):
        for x, y in zip((*actor.weights, *actor.biases), wanted[i], strict=True):
            torch.testing.assert_close(x.data[i], y.data, rtol=1e-4, atol=1e-6)
    assert all(torch.equal(x, y) for x, y in zip(wanted[first], stale[first], strict=True))
    assert any(float((x - y).detach().abs().max()) > 1e-3 for x, y in zip(wanted[second], stale[second], strict=True))


@pytest.mark.parametrize("name", ["maddpg", "hatd3"])
def test_who_does_not_act_does_nothing_in_anybodys_eyes(name: str, monkeypatch: Patch) -> None:
    """The critic sees zeros for it, from the first agent's step to the last."""
    made = ready(name, reward="team_sum")
    sample = sample_of(made)
    acting, looked, first = sample.now.acting, [], made.critic.first

    def look(seen: Any, actions: list[Tensor]) -> Tensor:
        looked.append(torch.stack([a.detach() for a in actions], 1))
        return first(seen, actions)

    monkeypatch.setattr(made.critic, "begun", lambda *_: None)
    monkeypatch.setattr(made.critic, "first", look)
    (made._all_at_once if name == "maddpg" else made._one_by_one)(sample, acting)
    assert len(looked) == 3 and not bool(acting.all())
    for actions in looked:
        assert not bool(actions[~acting].any()) and bool((actions[acting] != 0).all(1).any())


@pytest.mark.parametrize("reward", ["agent", "team_sum"])
@pytest.mark.parametrize("parameters", ["shared", "per_agent"])
def test_at_once_each_agent_moves_against_what_the_others_did(parameters: str, reward: str) -> None:
    """The gradient is the sum over agents of that of Q at its own new action and the others' remembered ones."""
    made = ready("maddpg", "perilous", reward, parameters=parameters, max_grad_norm=None)
    sample = sample_of(made)
    acting, seen = sample.now.acting, made.critic.see(sample.now)
    assert not bool(acting.all())
    whole = [torch.zeros_like(x) for x in made.parts[0]]
    for r in range(3):
        given = made._remembered(sample)
        mine = torch.tanh(made.policy.actors["team"](sample.now.obs["team"]))[:, r]
        rows = acting[:, r]
        given[r] = torch.where(rows.unsqueeze(1), mine, 0.0)
        q = made.critic(seen, given)[0][rows, r if reward == "agent" else 0]
        for x, y in zip(whole, torch.autograd.grad(-q.mean(), made.parts[0]), strict=True):
            x += y
    made._all_at_once(sample, acting)
    for x, y in zip(made.parts[0], whole, strict=True):
        assert x.grad is not None
        torch.testing.assert_close(x.grad, y, rtol=1e-4, atol=1e-7)
    assert max(float(x.abs().max()) for x in whole) > 1e-4


def test_the_order_is_a_fresh_permutation_of_the_learners_own(monkeypatch: Patch) -> None:
    seen = []
    for _ in range(2):
        made = ready("haddpg")
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


# --- exploring ------------------------------------------------------------------------------------------------------


def test_noise_is_of_the_bounds_and_stays_within_them() -> None:
    """In bounds [-1, .5] x [0, 10] noise of deviation .1 is one of .075 and .5, and never leaves them."""
    env = FunctionEnv(Perilous(), 4000)
    made = DDPG(env.spec, "team", config_of("hatd3", exploration_noise=0.1), "agent", 5)
    view = View(torch.zeros(4000, 3, 2), None, torch.ones(4000, 3, dtype=torch.bool))
    u = torch.rand(4000, 3, 2, generator=torch.Generator().manual_seed(0)).clamp(1e-6, 1 - 1e-6)
    assert isinstance(made.actor.actor, Noisy)
    moved = made.actor.actor.step({"team": view}, {"team": u})["team"]
    still = made.actor.actor.step({"team": view}, {"team": u}, greedy=True)["team"]
    noise = (moved.action - still.action).flatten(0, 1)
    np.testing.assert_allclose(noise.std(0), [0.075, 0.5], rtol=0.03)
    np.testing.assert_allclose(noise.mean(0), [0, 0], atol=0.02)
    torch.testing.assert_close(still.action, made.policy.step({"team": view}, {"team": u})["team"].action)
    part = View(view.obs[7:9], None, view.acting[7:9])
    few = made.actor.actor.step({"team": part}, {"team": u[7:9]})["team"]
    torch.testing.assert_close(few.action, moved.action[7:9])
    made.policy.actors["team"].biases[-1].data[:] = torch.tensor([9.0, -9.0])  # against the bounds
    edge = made.actor.actor.step({"team": view}, {"team": u})["team"].action
    assert float(edge[..., 0].max()) == 0.5 and float(edge[..., 1].min()) == 0.0
    share = (edge[..., 0] == 0.5).float().mean()
    assert 0.45 < float(share) < 0.55 and float(edge[..., 0].min()) < 0.4


def test_it_first_plays_at_random_and_then_by_itself() -> None:
    env = make("hatd3", "perilous", 200)
    made = learner(env, "hatd3", warmup_steps=2400, buffer_size=200 * 30)
    assert made.actor.exploring
    rollouts = []
    for _ in range(3):
        rollouts += collect(env, made, 1)
        made.steps += 1200
        made.actor.exploring = made.steps < made.config.warmup_steps
    for rollout, uniform in zip(rollouts, [True, True, False], strict=True):
        action = rollout.groups["team"].action[..., 1][rollout.groups["team"].acting[:-1]]
        wide = float(action.std()) > 2.5  # of uniform numbers 2.89, of the first policy's with its noise .5
        assert wide == uniform
        assert float(action.min()) >= 0 and float(action.max()) <= 10


def test_a_deterministic_head_is_one_point() -> None:
    output = torch.tensor([[-30.0, 0.0, 0.5]])
    centre, half = torch.tensor([-0.25, 5.0, 1.0]), torch.tensor([0.75, 5.0, 2.0])
    point = Deterministic(output, centre, half)
    wanted = torch.tensor([[-1.0, 5.0, 1 + 2 * math.tanh(0.5)]])
    torch.testing.assert_close(point.mode(), wanted)
    torch.testing.assert_close(point.sample(torch.rand(1, 3)), wanted)
    assert point.log_prob(wanted).tolist() == [0.0] and point.entropy().tolist() == [0.0]
    assert point.deviation().tolist() == [[0.0, 0.0, 0.0]]


# --- what must not matter -------------------------------------------------------------------------------------------


def test_what_is_not_finite_stops_training_and_changes_nothing() -> None:
    made = ready("hatd3")
    made._learn()
    made.critic.heads["central"].weights[0].data[0, 0, 0] = math.nan
    kept = [x.clone() for x in (*made.policy.parameters(), *made.target.parameters())]
    with pytest.raises(NumericalFailure, match="loss or gradient of critic is not finite") as caught:
        made._learn()
    assert caught.value.batch is not None and made.updates == 1
    assert same_bits(kept, [x.clone() for x in (*made.policy.parameters(), *made.target.parameters())])
