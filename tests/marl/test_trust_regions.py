"""Trust regions: what each costs and how its weights move, by hand; divergences exact; bounds that hold."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from environments.errors import UsageError
from marl.algorithms.ppo import PPO
from marl.collector import Collector
from marl.config import ALGORITHMS, PPOConfig
from marl.seats import Seats
from marl.trust_regions import REGIONS, Clip, Decentralised, FixUp, MirrorDescent, TrustRegion
from tests.marl.rollouts import SMALL, collect, kind_of, make, rollout_of, same_bits, shaken

RATIO, ADVANTAGE = torch.tensor([[1.5, 0.5]]), torch.tensor([[2.0, -1.0]])
KL = torch.tensor([[0.04, 0.25]])


def test_losses_by_hand() -> None:
    """-rho A is -3 and .5; to it comes each instance's own weighing of divergences .04 and .25."""
    log_ratio = RATIO.log()

    def cost(region: TrustRegion, weights: Tensor) -> list[float]:
        return region.loss(log_ratio, ADVANTAGE, KL, weights)[0].tolist()

    assert cost(Clip(0.2), torch.zeros(0, 2)) == pytest.approx([-2.4, 0.8])
    two = torch.tensor([[1.0, 2.0], [10.0, 0.0]])
    assert cost(Decentralised(0.02), two) == pytest.approx([-3 + 0.2 + 0.4, 0.5 + 2 * 0.5], rel=1e-5)
    assert cost(MirrorDescent(1.0), torch.tensor([[2.0, 4.0]])) == pytest.approx([-3 + 0.08, 0.5 + 1.0])
    assert cost(FixUp(0.2, 1.0), torch.tensor([[2.0, 4.0]])) == pytest.approx([-3 + 0.08, 0.5 + 1.0])
    assert set(REGIONS) == {"clip", "dpo", "mdpo", "fixpo"}
    for name, build in REGIONS.items():
        region = build(PPOConfig(trust_region=name))
        assert region.start(3).shape[1] == 3
        assert (region.limit is not None) == (name == "fixpo")


def test_both_weights_of_dpo_double_and_halve() -> None:
    """Target .02: the divergence's weight moves beyond .03 and below .0133, its root's beyond .212 and below .094."""
    region = Decentralised(0.02)
    ones, use = region.start(4), torch.ones(2, 4, dtype=torch.bool)
    #              far above, within, far below, mixed: roots .02 and .2 have mean .11, within; their squares .0202, too
    moved = torch.tensor([[0.2, 0.02, 0.001, 0.0004], [0.2, 0.02, 0.001, 0.04]])
    assert region.updated(ones, moved, use).tolist() == [[2.0, 1.0, 0.5, 1.0], [2.0, 1.0, 0.5, 1.0]]
    slightly = torch.full((2, 4), 0.035)  # .035 > .03, but sqrt(.035) = .187 < 1.5 sqrt(.02) = .212
    assert region.updated(ones, slightly, use).tolist() == [[1.0] * 4, [2.0] * 4]
    dead = torch.tensor([[True] * 4, [False] * 4])
    assert region.updated(ones, torch.tensor([[0.02] * 4, [math.nan] * 4]), dead).tolist() == [[1.0] * 4] * 2
    edge = torch.tensor([[1e-3] * 4, [1e3] * 4])
    assert region.updated(edge, torch.tensor([[0.0, 0.0, 9.0, 9.0]] * 2), use).tolist() == [
        pytest.approx([1e-3, 1e-3, 2e-3, 2e-3]),
        pytest.approx([500.0, 500.0, 1e3, 1e3]),
    ]


def test_weights_of_the_others() -> None:
    mirror = MirrorDescent(2.0)
    start = mirror.start(2)
    assert start.tolist() == [[2.0, 2.0]]
    assert mirror.begin(start, 0.5).tolist() == [[4.0, 4.0]]  # the step is half what it was
    assert mirror.begin(start, 1.0).tolist() == [[pytest.approx(200.0)] * 2]
    fix = FixUp(0.2, 1.0)
    assert fix.stepped(fix.start(1), 0.04).item() == pytest.approx(1.0)  # where it is to be: a fifth of the bound
    assert fix.stepped(fix.start(1), 0.4).item() == pytest.approx(1.27)
    assert fix.stepped(torch.full((1, 1), 0.001), 0.0).item() == 0.0


@pytest.mark.parametrize("direction", ["dpo", "mdpo"])
@pytest.mark.parametrize("game", ["toy/meet", "toy/dock", "toy/siege", "particle/speaker_listener"])
def test_divergences_are_exact(game: str, direction: str) -> None:
    """Against torch's own, choice by choice, from the old policy to the new one or back; 0 where nobody decides."""
    env, rollout = rollout_of(game)
    settings = replace(SMALL, trust_region=direction, parameters="per_agent")
    made = PPO(env.spec, kind_of(game), settings, "agent", 5, engine="torch")
    shaken(made.policy)
    batch = made.prepare(rollout)
    before = {g.name: plain(made, g, batch) for g in made.spec.groups}
    shaken(made.policy, 9)
    after = {g.name: plain(made, g, batch) for g in made.spec.groups}
    with torch.no_grad():
        found = made.divergences(batch, made.turns[0])
    wanted = []
    for name, old in before.items():
        pairs = zip(old, after[name], strict=True)
        ordered = [(a, b) if direction == "dpo" else (b, a) for a, b in pairs]
        wanted.append(sum(summed(torch.distributions.kl_divergence(a, b)) for a, b in ordered))
    exact = torch.where(batch.use, torch.cat(wanted, 1), 0.0)
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-5)
    assert float(found.max()) > 0.05


def summed(x: Tensor) -> Tensor:
    return x if x.dim() == 2 else x.sum(-1)


def plain(made: PPO, group, batch) -> list[torch.distributions.Distribution]:  # type: ignore[no-untyped-def]
    """A group's distributions as torch has them, one for each choice."""
    with torch.no_grad():
        chosen = made.policy.distribution(group, batch.obs[group.name], batch.action_mask[group.name])
    if hasattr(chosen, "mean"):
        return [torch.distributions.Normal(chosen.mean, chosen.log_std.exp())]
    parts = getattr(chosen, "parts", [chosen])
    # torch's divergence of two impossible actions is NaN: give them the same tiny probability
    return [torch.distributions.Categorical(probs=part.probs.clamp(min=1e-30)) for part in parts]


@pytest.mark.parametrize("order", ["at_once", "agent_by_agent"])
def test_the_bound_of_fixpo_holds_after_every_update(order: str) -> None:
    """In every state of the rollout, for every agent, though steps are far too large; its own steps are counted."""
    env = make("toy/siege")
    bound = 0.02
    sharing = "per_agent" if order == "agent_by_agent" else "shared"
    config = replace(SMALL, trust_region="fixpo", kl_bound=bound, learning_rate=0.03, order=order, parameters=sharing)
    made = PPO(env.spec, "guard", config, "team_sum", 5)
    mended = 0.0
    for _ in range(6):
        rollout = collect(env, {"guard": [made.policy]}, warm=0)["guard"]
        told = made.update(rollout, 0.0)
        batch = made.prepare(rollout)  # of the policy after the update: what it acted like stands in the rollout
        assert told["divergence_largest"] <= bound
        assert 0 < told["divergence"] < told["divergence_largest"]
        mended += told["mending"]
        with torch.no_grad():
            ratio = (made.evaluate(batch)[0] - batch.log_prob)[batch.use].exp()
        assert abs(float(ratio.max()) - 1) < 1.0
    assert mended > 0, "the test is too easy"


def test_mending_takes_few_steps() -> None:
    """Fewer than one in twenty of those that learn, where the bound is near: most of it is used, and it is held."""
    env, bound = make("particle/spread", 32), 0.05
    passes = {"epochs": 4, "minibatches": 4, "rollout_length": 25, "learning_rate": 3e-3}
    made = PPO(env.spec, "team", replace(SMALL, trust_region="fixpo", kl_bound=bound, **passes), "team_mean", 5)
    collector = Collector(env, {"team": Seats.all(made.policy, 32)}, 25, 3)
    told = [made.update(collector.collect()["team"], 0.0) for _ in range(40)]
    assert sum(row["mending"] for row in told) / 40 < 0.05
    used = sorted(row["divergence_largest"] / bound for row in told)
    assert used[20] > 0.2 and used[-1] <= 1.0


def test_a_policy_that_cannot_be_mended_is_pulled_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half the way from the old policy, as often as it takes; at last the old one itself."""
    env, rollout = rollout_of("particle/spread")
    config = replace(SMALL, trust_region="fixpo", kl_bound=1e-3, learning_rate=0.1)
    made = PPO(env.spec, "team", config, "agent", 5, engine="torch")
    monkeypatch.setattr(PPO, "minibatches", limited(PPO.minibatches, config.epochs))
    told = made.update(rollout, 0.0)
    assert told["pulls"] >= 1 and told["mending"] == 0.0
    assert told["divergence_largest"] <= 1e-3
    before = [x.detach().clone() for x in made.policy.acting_parameters()]
    monkeypatch.setattr(PPO, "_learn", strayed(PPO._close))
    monkeypatch.setattr(
        PPO, "divergences", lambda self, batch, turn: torch.ones(len(batch.seat), 3) * moved(made, before)
    )
    assert made.update(rollout, 0.0)["pulls"] == 30
    assert same_bits(before, [x.detach() for x in made.policy.acting_parameters()])


def limited(whole, passes: int):  # type: ignore[no-untyped-def]
    """Minibatches of the first passes alone: none is left to mend with."""
    calls = []

    def planted(self: PPO, trained):  # type: ignore[no-untyped-def]
        calls.append(1)
        return whole(self, trained) if len(calls) <= passes else []

    return planted


def strayed(close):  # type: ignore[no-untyped-def]
    """A turn that leads astray."""

    def planted(self: PPO, batch, turn, factor, told):  # type: ignore[no-untyped-def]
        before = [x.detach().clone() for x in turn.parameters]
        shaken(self.policy)
        return close(self, batch, turn, before, 1)

    return planted


def moved(made: PPO, before: list[Tensor]) -> float:
    """Whether anything is not as it was."""
    return float(not same_bits(before, [x.detach() for x in made.policy.acting_parameters()]))


def test_what_is_asked_for_is_possible() -> None:
    with pytest.raises(UsageError, match="dpo is its trust region: with clip it is ippo"):
        replace(ALGORITHMS["dpo"].config, trust_region="clip")
    with pytest.raises(UsageError, match="trust region mdpo has no compiled gradients: leave --engine out"):
        ALGORITHMS["ippo"].engine("fused", replace(ALGORITHMS["ippo"].config, trust_region="mdpo"))
    assert ALGORITHMS["happo"].engine("auto", ALGORITHMS["happo"].config) == "fused"
    assert ALGORITHMS["dpo"].engine("auto", ALGORITHMS["dpo"].config) == "torch"
