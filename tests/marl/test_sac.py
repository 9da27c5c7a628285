"""The soft actor-critics part by part: targets, actors, temperatures, and what must not matter."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from environments.errors import NumericalFailure
from marl.algorithms.sac import SAC, Hopes
from marl.distributions import SquashedGaussian
from tests.marl.remembering import parameters, sample_of
from tests.marl.replay import collect, config_of, learner, ready
from tests.marl.rollouts import make, same_bits
from tests.probes.environment import FunctionEnv, Rules

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
        made = ready(name, "particle/spread", reward, gamma=0.5, expectation="own")
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
    made = ready("hasac", "particle/spread", "team_sum", critic_temperature="team", gamma=0.5)
    made.log_team_temperature.data.fill_(math.log(3.0))
    sample = sample_of(made)
    monkeypatch.setattr(made, "_log_probs", lambda acts, acting: torch.tensor([-1.0, -2.0, -3.0]).expand(acting.shape))
    monkeypatch.setattr(made.target, "smaller", lambda seen, acting, values: torch.zeros(len(acting), 1))
    torch.testing.assert_close(made._targets(sample), sample.reward + sample.discount * 18.0)
    before = float(made.log_team_temperature.detach())
    made._temperature_step(sample, torch.full((64, 3), 9.0), sample.now.acting)  # far too little entropy
    assert float(made.log_team_temperature.detach()) > before


def test_the_smaller_of_both_is_expected() -> None:
    """Of each joint action its smaller Q, and then the expectation: not the smaller of two expectations."""
    made = ready("masac", "toy/meet", "team_sum", expectation="joint")
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


@pytest.mark.parametrize("hidden", [(8,), (8, 8)])
def test_what_others_do_may_be_added_first(hidden: tuple[int, ...]) -> None:
    """Q and its gradient by one agent's action are the same where the rest of the first product was made before."""
    made = ready("hasac", "perilous", "agent", hidden=hidden, expectation="drawn")
    critic = made.critic.double()
    sample = sample_of(made, 7)
    seen, actions = critic.see(sample.now), [x.double() for x in made._remembered(sample)]
    assert len(actions) > 1
    for agent, action in enumerate(actions):
        own = action.clone().requires_grad_()
        chosen = [*actions[:agent], own, *actions[agent + 1 :]]
        wanted, begun = critic(seen, chosen), critic.begun(seen)
        found = critic.beside(begun, agent, chosen)
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
        slopes = [torch.autograd.grad(q.square().sum(), own)[0] for q in (wanted, found)]
        torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-12, atol=1e-12)
        assert (slopes[0] != 0).any()


@pytest.mark.parametrize("game", ["toy/meet", "toy/siege"])
@pytest.mark.parametrize("reward", ["agent", "team_sum"])
def test_summing_and_drawing_agree(game: str, reward: str) -> None:
    """P38: the mean over many draws is the sum over all joint actions, and over an agent's own."""
    made = ready("masac", game, reward, expectation="drawn")
    joint = ready("masac", game, reward, expectation="joint")
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
    made = ready("hasac", "toy/siege", "agent", expectation="own")
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
    made = ready("masac", game, reward, parameters="per_agent", expectation="drawn")
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
    made = ready("hasac", "toy/dock", "team_sum", actor_learning_rate=0.05)
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
        made = ready("hasac", "particle/spread")
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
    made = ready(name, "particle/spread")
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
    made = ready("hasac", "particle/spread", polyak=0.25)
    old = [x.clone() for x in made.target.parameters()]
    made._learn()
    for before, after, new in zip(old, made.target.parameters(), made.critic.parameters(), strict=True):
        torch.testing.assert_close(after, 0.75 * before + 0.25 * new)
    assert made.updates == 1


def test_gradients_are_clipped_agent_by_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    made = ready("hasac", "particle/spread", max_grad_norm=1e-3)
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
    made = ready("hasac", "particle/spread")
    sample = sample_of(made)
    wanted = made._wanted(sample.now)
    before = made.log_temperature.detach().clone()
    log_prob = -wanted + torch.tensor([1.0, -1.0, 0.0])
    made._temperature_step(sample, log_prob, sample.now.acting)
    assert torch.sign(made.log_temperature.detach() - before).tolist() == [1.0, -1.0, 0.0]
    fixed = ready("hasac", "particle/spread", temperature_learning_rate=0.0, temperature=0.2)
    fixed._temperature_step(sample, log_prob, sample.now.acting)
    torch.testing.assert_close(fixed.log_temperature.detach().exp(), torch.full((3,), 0.2))


# --- what must not matter -------------------------------------------------------------------------------------------


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


def test_only_decisions_move_a_critic_and_a_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the target, the log-probability or the temperature of one who does not act."""
    for name, reward in (("isac", "team_sum"), ("isac", "agent"), ("hasac", "agent")):
        ends = []
        for garbage in (0.0, 1e6):
            made = ready(name, "toy/siege", reward)
            sample = sample_of(made)
            idle = ~sample.now.acting
            assert bool(idle.any())
            target = made._targets(sample).masked_fill(idle, garbage)
            monkeypatch.setattr(made, "_targets", lambda sample, target=target: target)
            made._critic_step(sample)
            log_prob = torch.full(idle.shape, -1.0).masked_fill(idle, garbage)
            made._temperature_step(sample, log_prob, sample.now.acting)
            ends.append(parameters(made))
        assert same_bits(*ends)
    wanted = made._wanted(sample.now)
    before = made.log_temperature.detach().clone()
    made = ready("hasac", "toy/siege")
    made._temperature_step(sample, torch.where(idle, 0.0, -wanted), sample.now.acting)  # entropies are at their targets
    torch.testing.assert_close(made.log_temperature.detach(), torch.zeros_like(before), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["isac", "masac", "hasac"])
def test_samples_that_are_not_used_move_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ready(name, "particle/spread")
    unused = replace(sample_of(made), use=torch.zeros(64, dtype=torch.bool))
    monkeypatch.setattr(made.buffer, "sample", lambda *arguments: unused)
    before = [x.clone() for x in (*made.policy.parameters(), *made.critic.parameters())]
    made._learn()
    assert same_bits(before, [x.clone() for x in (*made.policy.parameters(), *made.critic.parameters())])
    assert not bool(made.log_temperature.any())


def test_a_dead_member_of_a_team_expects_what_the_living_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Local critics under team reward: the team is paid for what a member did also when that is gone."""
    made = ready("isac", "particle/spread", "team_sum", gamma=0.5, temperature=1e-9)
    sample = sample_of(made)
    acting = torch.tensor([True, False, True]).expand(len(sample.then.acting), 3)
    sample = replace(sample, then=replace(sample.then, acting=acting))
    values = torch.tensor([3.0, 100.0, 5.0]).expand(len(acting), 3)
    monkeypatch.setattr(made.target, "smaller", lambda seen, acting, actions: values)
    torch.testing.assert_close(made._targets(sample), sample.reward + 0.5 * torch.tensor([3.0, 4.0, 5.0]))
