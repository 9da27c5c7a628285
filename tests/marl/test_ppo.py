"""PPO, exactly: ratios of one, garbage that changes no bit, gradients against a plain loss, and every switch."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from environments.errors import NumericalFailure, UsageError
from environments.spec import AgentGroup
from environments.vector import VectorEnv
from marl.algorithms import on_policy, ppo
from marl.algorithms.ppo import PPO
from marl.buffers import Rollout
from marl.config import PPOConfig
from marl.engine import fused
from tests.marl import rollouts
from tests.marl.rollouts import GAMES, SMALL, collect, copied, kind_of, learner, make, parameters, rollout_of, same_bits
from tests.probes.environment import FunctionEnv, Rules

MODES = [
    {"critic": critic, "parameters": sharing, "agent_id": agent_id, "reward": reward}
    for critic, (sharing, agent_id), reward in itertools.product(
        ("local", "central"),
        (("shared", True), ("shared", False), ("per_agent", True)),
        ("agent", "team_sum", "team_mean"),
    )
]


ENGINES = ["fused", "torch"]


def config_of(mode: dict, **settings: object) -> PPOConfig:
    return replace(SMALL, **{k: v for k, v in mode.items() if k != "reward"}, **settings)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", GAMES)
def test_the_ratio_is_one_as_long_as_nothing_is_learnt(name: str, engine: str) -> None:
    """Every decision of two epochs, in every mode, at learning rate 0: none moves beyond the bound."""
    env = make(name)
    for mode in MODES:
        made = learner(env, name, config_of(mode, learning_rate=0.0, clip=1e-5), mode["reward"], engine=engine)
        before = [p.clone() for p in made.policy.acting_parameters()]
        metrics = made.update(collect(env, {kind_of(name): [made.policy]}, warm=0)[kind_of(name)], 0.0)
        assert metrics["trained"] > 0.1
        assert metrics["clipped"] == 0.0
        assert same_bits(before, list(made.policy.acting_parameters()))
    rollouts.shaken(made.policy, 4)
    moved = made.update(collect(env, {kind_of(name): [learner(env, name).policy]}, warm=0)[kind_of(name)], 0.0)
    assert moved["clipped"] > 0.5  # what was found to be 0 can be something else


def updated(name: str, rollout: Rollout, mode: dict, engine: str = "fused", **settings: object) -> list[Tensor]:
    """All that a fresh learner holds after an update."""
    made = learner(make_once(name), name, config_of(mode, **settings), mode["reward"], engine=engine)
    made.update(rollout, 0.0)
    return parameters(made)


def make_once(name: str) -> VectorEnv:
    return rollout_of(name)[0]


def spoil_who_does_not_act(rollout: Rollout, garbage: float) -> int:
    """Everything about those who do not act is garbage, and final views of lives that were not cut."""
    spoilt = 0
    for name, group in rollout.groups.items():
        idle = ~group.acting
        spoilt += int(idle.sum())
        for x, rows in (
            (group.obs, idle),
            (group.action_mask, idle),
            (group.action, idle[:-1]),
            (group.log_prob, idle[:-1]),
        ):
            if x is not None:
                rollouts.spoil(x, rows, garbage)
        cut = (group.truncated & ~group.terminated)[rollout.finals.step, rollout.finals.seat]
        rollouts.spoil(rollout.finals.obs[name], ~cut, garbage)
        spoilt += int((~cut).sum())
    return spoilt


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("garbage", [math.nan, 1e6])
@pytest.mark.parametrize("name", ["toy/siege", "toy/noughts"])
def test_who_does_not_act_changes_no_bit(name: str, garbage: float, engine: str) -> None:
    for mode in MODES:
        _, rollout = rollout_of(name)
        clean = updated(name, rollout, mode, engine)
        assert spoil_who_does_not_act(rollout, garbage) > 20
        assert same_bits(updated(name, rollout, mode, engine), clean), mode


@pytest.mark.parametrize("garbage", [math.nan, 1e6, math.inf])
@pytest.mark.parametrize("name", ["toy/meet", "toy/siege", "toy/noughts", "particle/speaker_listener"])
def test_other_policies_change_no_bit(name: str, garbage: float) -> None:
    """In seats where another policy plays everything may be garbage, its pay and its ends included."""
    for mode in MODES:
        _, rollout = rollout_of(name, players=2)
        clean = updated(name, rollout, mode)
        assert rollout.mine is not None
        foreign = ~rollout.mine[0]
        assert bool((rollout.mine == rollout.mine[0]).all())
        for group in rollout.groups.values():
            for x in (group.obs, group.action, group.log_prob, group.reward):
                rollouts.spoil(x, (slice(None), foreign), garbage)  # type: ignore[arg-type]
        if name != "toy/noughts":  # two seats share their copy's state
            rollouts.spoil(rollout.state, (slice(None), foreign), garbage)  # type: ignore[arg-type]
        for x in rollout.finals.obs.values():
            rollouts.spoil(x, foreign[rollout.finals.seat], garbage)
        assert same_bits(updated(name, rollout, mode), clean), mode


def test_another_policy_in_the_next_episode_changes_no_bit() -> None:
    """Who sits in a seat changes where episodes end: what comes after is garbage to what came before."""
    for mode in MODES:
        _, rollout = rollout_of("toy/noughts")
        episode = torch.cat([torch.zeros(1, rollout.seats), rollout.episode_over[:-1].long().cumsum(0)])
        rollout = replace(rollout, mine=episode % 2 == 0)
        clean = updated("toy/noughts", rollout, mode)
        group = rollout.groups["player"]
        foreign = ~rollout.mine
        for x in (group.obs[:-1], group.log_prob, group.reward):
            rollouts.spoil(x, foreign, math.nan)
        last = foreign[-1] ^ rollout.episode_over[-1]
        rollouts.spoil(group.obs[-1], last, math.nan)
        assert int(foreign.sum()) > 30
        assert same_bits(updated("toy/noughts", rollout, mode), clean), mode


@pytest.mark.parametrize("name", ["toy/siege", "toy/noughts"])
@pytest.mark.parametrize("reward", ["agent", "team_sum"])
def test_pay_to_those_who_do_not_act_counts(name: str, reward: str) -> None:
    mode = {"critic": "central", "reward": reward}
    _, rollout = rollout_of(name)
    clean = updated(name, rollout, mode)
    group = next(iter(rollout.groups.values()))
    idle = ~group.acting[:-1]
    group.reward[idle] += 1.0
    if (
        name == "toy/siege" and reward == "agent"
    ):  # the dead and the absent: their life is over, nobody is to be praised
        assert same_bits(updated(name, rollout, mode), clean)
    else:
        assert not same_bits(updated(name, rollout, mode), clean)


def test_one_team_is_not_touched_by_the_other() -> None:
    for garbage in (math.nan, 1e6):
        results = []
        for spoilt in (False, True):
            env = make("particle/tag")
            made = learner(env, "particle/tag")
            both = collect(env, {"adversary": [made.policy]})
            if spoilt:
                for group in both["good"].groups.values():
                    for x in (group.obs, group.action, group.log_prob, group.reward, group.terminated, group.truncated):
                        rollouts.spoil(x, torch.ones(x.shape, dtype=torch.bool), garbage)
            made.update(both["adversary"], 0.0)
            results.append(parameters(made))
        assert same_bits(*results)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["particle/spread", "toy/siege", "toy/dock"])
def test_threads_and_blocks(name: str, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread and two give the same bits; any size of block gives the same up to rounding."""
    monkeypatch.setattr(on_policy, "BLOCK_SAMPLES", 7)
    monkeypatch.setattr(fused, "PART", 7)
    mode = {"critic": "central", "reward": "team_mean"}
    _, rollout = rollout_of(name)
    results = []
    for threads in (1, 2, 3):
        made = learner(make_once(name), name, config_of(mode), mode["reward"], threads, engine)
        made.update(rollout, 0.0)
        results.append(parameters(made))
    assert same_bits(results[0], results[1])
    assert same_bits(results[0], results[2])
    monkeypatch.setattr(on_policy, "BLOCK_SAMPLES", 10_000)
    monkeypatch.setattr(fused, "PART", 10_000)
    for a, b in zip(updated(name, rollout, mode, engine), results[0], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def plain_choice(made: PPO, group: AgentGroup, outputs: Tensor, mask: Tensor | None, action: Tensor) -> tuple:
    """Log-probability and entropy of one agent's action, by the book."""
    space = group.action_space
    if isinstance(space, spaces.Box):
        low, high = (torch.from_numpy(x).double() for x in (space.low, space.high))
        mean = (low + high) / 2 + (high - low) / 2 * outputs
        deviation = (high - low) / 2 * made.policy.log_std[group.name][0].exp()
        normal = torch.distributions.Normal(mean, deviation)
        return normal.log_prob(action).sum(), normal.entropy().sum()
    sizes = space.nvec.tolist() if isinstance(space, spaces.MultiDiscrete) else [int(space.n)]
    log_prob, entropy, first = torch.zeros(()), torch.zeros(()), 0
    for size, chosen in zip(sizes, action.reshape(-1).tolist(), strict=True):
        legal = [k for k in range(size) if mask is None or mask[first + k]]
        part = torch.distributions.Categorical(logits=outputs[[first + k for k in legal]])
        log_prob = log_prob + part.log_prob(torch.tensor(legal.index(chosen)))
        entropy = entropy + part.entropy()
        first += size
    return log_prob, entropy


def plain_values(made: PPO, batch: ppo.Batch, b: int) -> Tensor:
    """Values of one joint sample, one per agent or one for the seat."""
    value, spec = made.value, made.spec
    if not value.shape.central:
        return torch.cat(
            [value.heads[g.name](batch.obs[g.name][b : b + 1].flatten(2).double())[0, :, 0] for g in spec.groups]
        )
    seat = [float(batch.seat[b] % spec.teams == k) for k in range(spec.teams)] if spec.teams > 1 else []
    return value.heads["central"](torch.cat([batch.state[b], torch.tensor(seat, dtype=torch.float64)])[None])[0, :, 0]


def plain_loss(made: PPO, batch: ppo.Batch, index: Tensor) -> Tensor:
    """The loss of a minibatch, decision by decision, as the papers write it."""
    config, clip, delta = made.config, made.config.clip, made.config.huber_delta
    surrogates, entropies, errors = [], [], []
    for b in index.tolist():
        first = 0
        for group in made.spec.groups:
            outputs = made.policy.actors[group.name](batch.obs[group.name][b : b + 1].flatten(2).double())[0]
            mask = batch.action_mask[group.name]
            for i in range(made.spec.members(group)):
                if batch.use[b, first + i]:
                    own = None if mask is None else mask[b, i]
                    log_prob, entropy = plain_choice(made, group, outputs[i], own, batch.action[group.name][b, i])
                    ratio, a = torch.exp(log_prob - batch.log_prob[b, first + i]), batch.advantage[b, first + i]
                    surrogates.append(torch.min(ratio * a, torch.clip(ratio, 1 - clip, 1 + clip) * a))
                    entropies.append(entropy)
            first += made.spec.members(group)
        for r, value in enumerate(plain_values(made, batch, b)):
            if batch.use_value[b, r]:
                error = abs(value - batch.target[b, r])
                errors.append(error**2 / 2 if error <= delta else delta * (error - delta / 2))
    mean_surrogate, mean_entropy, mean_error = (torch.stack(x).mean() for x in (surrogates, entropies, errors))
    return -mean_surrogate - config.entropy * mean_entropy + config.value_coefficient * mean_error


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("toy/siege", {"critic": "central", "reward": "team_sum", "parameters": "per_agent"}),
        ("toy/siege", {"critic": "local", "reward": "agent"}),
        ("toy/dock", {"critic": "central", "reward": "agent"}),
        ("toy/noughts", {"critic": "central", "reward": "agent"}),
        ("particle/speaker_listener", {"critic": "local", "reward": "team_mean"}),
    ],
)
def test_gradients_are_those_of_a_plain_float64_loss(
    name: str, mode: dict, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "PART", 5)
    monkeypatch.setattr(on_policy, "BLOCK_SAMPLES", 5)
    env, rollout = rollout_of(name)
    settings = {"max_grad_norm": 1e9, "learning_rate": 0.0, "value_clip": None, "huber_delta": 0.5, "entropy": 0.1}
    made = learner(env, name, config_of(mode, **settings), mode["reward"], engine=engine)
    batch = made.prepare(rollout)
    rollouts.shaken(made.policy, 11)  # ratios other than 1, some of them clipped
    index = batch.use.any(1).nonzero().squeeze(1)[::3]
    metrics = made._step(batch, index)
    found = [p.grad.clone() for p in made.parameters if p.grad is not None]
    assert 0 < float(metrics["clipped"]) < 1

    made.policy.double()
    exact = copied(batch, lambda x: x.double() if x.dtype == torch.float32 else x)
    loss = plain_loss(made, exact, index)
    wanted = torch.autograd.grad(loss, made.parameters)
    assert float(metrics["loss"]) == pytest.approx(loss.item(), rel=1e-4)
    for have, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(have.double(), want, rtol=1e-3, atol=1e-5 * float(want.abs().max()) + 1e-7)


@pytest.mark.parametrize("scope", ["batch", "minibatch", "agent", "none"])
def test_scopes_of_advantage_normalisation(scope: str, monkeypatch: pytest.MonkeyPatch) -> None:
    env, rollout = rollout_of("toy/siege")
    made = learner(env, "toy/siege", replace(SMALL, advantage_norm=scope, minibatches=1, epochs=1), engine="torch")
    raw = learner(env, "toy/siege", replace(SMALL, advantage_norm="none")).prepare(copied(rollout))
    batch = made.prepare(copied(rollout))
    use = batch.use

    def parts(x: Tensor) -> list[Tensor]:
        return [x[:, n][use[:, n]] for n in range(use.shape[1])] if scope == "agent" else [x[use]]

    if scope in ("batch", "agent"):
        for own, other in zip(parts(batch.advantage), parts(raw.advantage), strict=True):
            torch.testing.assert_close(own, (other - other.mean()) / other.std(unbiased=False), rtol=1e-4, atol=1e-4)
    else:
        assert torch.equal(batch.advantage[use], raw.advantage[use])
    seen: list[Tensor] = []
    whole = ppo.losses.ppo_clip_loss
    monkeypatch.setattr(ppo.losses, "ppo_clip_loss", lambda r, a, c: (seen.append(a.clone()), whole(r, a, c))[1])
    index = use.any(1).nonzero().squeeze(1)[::2]
    made._step(batch, index)
    used = torch.cat(seen)[use[index]]
    if scope == "minibatch":
        assert abs(float(used.mean())) < 1e-5
        assert float(used.std(unbiased=False)) == pytest.approx(1, abs=1e-3)
    else:
        assert torch.equal(used, batch.advantage[index][use[index]])


def test_value_clipping_at_infinity_is_none() -> None:
    _, rollout = rollout_of("particle/spread")
    mode = {"critic": "local", "reward": "agent"}
    none, infinite, tight = (updated("particle/spread", rollout, mode, value_clip=c) for c in (None, 1e30, 1e-3))
    for a, b in zip(none, infinite, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert max(float((a - b).abs().max()) for a, b in zip(none, tight, strict=True)) > 1e-3


def test_a_value_is_clipped_around_what_the_network_said() -> None:
    """In the network's own units, whatever the scale was then and is now: nothing is clipped before anything moved."""
    env, rollout = rollout_of("particle/spread")
    made = learner(env, "particle/spread", replace(SMALL, critic="local"))
    made.value.adapt(torch.tensor([-50.0, -30.0]), torch.tensor([True, True]))
    batch = made.prepare(rollout)
    said = made.value(batch.obs, batch.state, batch.seat)
    torch.testing.assert_close(batch.old_value, said, rtol=1e-5, atol=1e-5)
    assert said.abs().max().item() < 5  # and not in units of reward


class Idle(Rules):
    """Nobody is ever paid."""


def test_the_entropy_bonus_raises_entropy() -> None:
    found = {}
    for weight in (0.0, 0.1):
        env = FunctionEnv(Idle(), 16)
        made = PPO(env.spec, "team", replace(SMALL, entropy=weight, learning_rate=0.02), "agent", 0)
        made.policy.actors["team"].biases[-1].data[:] = torch.tensor([1.5, -1.5])
        history = [made.update(collect(env, {"team": [made.policy]}, warm=0)["team"], 0.0)["entropy"] for _ in range(8)]
        found[weight] = history[-1] - history[0]
    assert abs(found[0.0]) < 1e-4  # nothing to learn: nothing is learnt
    assert found[0.1] > 0.2


def test_gradients_are_clipped_by_part() -> None:
    env, rollout = rollout_of("particle/spread")
    made = learner(env, "particle/spread", replace(SMALL, max_grad_norm=1e-3, learning_rate=0.0))
    batch = made.prepare(rollout)
    metrics = made._step(batch, torch.arange(40))
    for part, name in zip(made.parts, ("policy_gradient", "value_gradient"), strict=True):
        assert float(metrics[name]) > 1e-2  # as they were
        norm = torch.stack([p.grad.norm() for p in part if p.grad is not None]).norm()
        assert float(norm) == pytest.approx(1e-3, rel=1e-3)
    acting = {id(p) for p in made.parts[0]}
    assert not acting & {id(p) for p in made.parts[1]}
    assert len(made.parameters) == len({id(p) for p in made.policy.parameters()})


@pytest.mark.parametrize(
    ("divergences", "epochs"), [([0.0, 0.3], 1), ([0.3, 0.0], 1), ([0.0, 0.1], 3), ([0.09, 0.1], 3)]
)
def test_passes_stop_at_the_mean_divergence(divergences: list, epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean over all minibatches of a pass counts, not the last one."""
    env, rollout = rollout_of("particle/spread")
    made = learner(env, "particle/spread", replace(SMALL, epochs=3, minibatches=2, target_kl=0.1))
    monkeypatch.setattr(PPO, "_steps", lambda self, *rest: {"kl": divergences})
    assert made.update(rollout, 0.0)["epochs"] == epochs


def test_the_learning_rate_falls_to_0() -> None:
    env, rollout = rollout_of("particle/spread")
    made = learner(env, "particle/spread", replace(SMALL, anneal=True, learning_rate=0.01))
    assert made.update(rollout, 0.25)["learning_rate"] == pytest.approx(0.0075)
    before = [p.clone() for p in made.parameters]
    assert made.update(rollout, 1.0)["learning_rate"] == 0.0
    assert same_bits(before, [p.detach() for p in made.parameters])
    assert learner(env, "particle/spread").update(rollout, 0.5)["learning_rate"] == SMALL.learning_rate


@pytest.mark.parametrize(
    ("where", "garbage"),
    [("reward", math.nan), ("reward", math.inf), ("obs", math.nan), ("obs", math.inf), ("log_prob", math.nan)],
)
def test_what_is_not_finite_stops_training_and_changes_nothing(where: str, garbage: float) -> None:
    for mode in ({"critic": "local", "reward": "agent"}, {"critic": "central", "reward": "team_mean"}):
        env, rollout = rollout_of("particle/spread")
        made = learner(env, "particle/spread", config_of(mode, minibatches=1), mode["reward"])
        before = [p.clone() for p in made.policy.parameters()]
        getattr(rollout.groups["agent"], where)[3, 2, 1] = garbage
        with pytest.raises(NumericalFailure, match="not finite") as caught:
            made.update(rollout, 0.0)
        assert same_bits(before, list(made.policy.parameters()))
        assert caught.value.batch is not None
        assert "tensor" not in str(caught.value)


def test_a_learner_without_seats_or_with_few_decisions() -> None:
    env, rollout = rollout_of("particle/spread")
    made = learner(env, "particle/spread", replace(SMALL, minibatches=50))
    nobody = replace(rollout, mine=torch.zeros(rollout.steps, rollout.seats, dtype=torch.bool))
    before = parameters(made)
    assert made.update(nobody, 0.0)["trained"] == 0.0
    assert same_bits(parameters(made), before)
    mine = torch.zeros(rollout.steps, rollout.seats, dtype=torch.bool)
    mine[:, 0] = True  # 12 joint samples for 50 minibatches
    metrics = made.update(replace(rollout, mine=mine), 0.0)
    assert all(math.isfinite(value) for value in metrics.values())
    assert not same_bits(parameters(made), before)


def test_a_rollout_must_outlast_a_wait() -> None:
    env = make("toy/noughts")
    with pytest.raises(UsageError, match="rollout_length must be above 1"):
        PPO(env.spec, "player", replace(SMALL, rollout_length=1), "agent", 0)


def test_only_decisions_before_the_edge_are_trained() -> None:
    env, rollout = rollout_of("toy/noughts")
    batch = learner(env, "toy/noughts").prepare(rollout)
    use = batch.use.view(rollout.steps, rollout.seats)
    acting = rollout.groups["player"].acting[:-1].squeeze(2)
    assert not bool(use[-1].any())
    assert torch.equal(use[:-1], acting[:-1])


def test_returns_of_noughts_are_those_of_its_games() -> None:
    """Without discount and with lambda 1 the target of every decision is the game's result for who decided."""
    env, rollout = rollout_of("toy/noughts", length=40)
    made = learner(env, "toy/noughts", replace(SMALL, gamma=1.0, gae_lambda=1.0, value_norm=False, rollout_length=40))
    batch = made.prepare(rollout)
    group = rollout.groups["player"]
    target, use = batch.target.view(40, -1), batch.use.view(40, -1)
    checked = 0
    for seat in range(rollout.seats):
        ends = rollout.episode_over[:, seat].nonzero().squeeze(1).tolist()
        for first, last in zip([0, *(end + 1 for end in ends)], ends, strict=False):
            result = float(group.reward[last, seat, 0])
            for t in range(first, last + 1):
                if use[t, seat]:
                    assert float(target[t, seat]) == pytest.approx(result, abs=1e-5)
                    checked += 1
    assert checked > 150
    losses = group.reward.squeeze(2) == -1
    assert bool((losses & ~group.acting[:-1].squeeze(2)).any())  # some were told on the other's move


class Codes(Rules):
    """What everybody sees says who and when it is."""

    teams = {"team": 3}  # noqa: RUF012
    state_size = 1
    max_steps = 6

    def start(self, u: np.ndarray) -> np.ndarray:
        return np.arange(len(u))[:, None] * 0.0 + u[:, :1]

    def obs(self, hidden: np.ndarray, step: np.ndarray) -> np.ndarray:
        copies = np.arange(len(step))[:, None]
        return (1e6 * step[:, None] + 1e3 * copies + np.arange(3))[..., None]

    def state(self, hidden: np.ndarray, step: np.ndarray) -> np.ndarray:
        return 1e6 * step[:, None] + 1e3 * np.arange(len(step))[:, None]

    def play(self, hidden: np.ndarray, step: np.ndarray, actions: np.ndarray, alive: np.ndarray) -> tuple:
        return self.obs(hidden, step)[..., 0], np.zeros((len(step), 1), bool)


@pytest.mark.parametrize("critic", ["local", "central"])
def test_no_axis_is_mixed_up_with_another(critic: str) -> None:
    """In every minibatch, what stands in a row is of one step, one copy and one agent."""
    env = FunctionEnv(Codes(), 5)
    settings = replace(SMALL, critic=critic, gamma=0.0, gae_lambda=0.0, value_norm=False, advantage_norm="none")
    made = PPO(env.spec, "team", settings, "agent", 0)
    rollout = collect(env, {"team": [made.policy]})["team"]
    group = rollout.groups["team"]
    group.log_prob[:] = group.obs[:-1, ..., 0]
    group.action[:] = group.obs[:-1, ..., 0].int()
    for name in ("values", "none"):
        batch = made.prepare(rollout)
        rows = 0
        for index in made.minibatches(made.trained(batch, made.turns[0])):
            part = batch.take(index)
            codes = part.obs["team"][..., 0]
            assert torch.equal(codes % 1000, torch.arange(3).expand_as(codes).float()), name
            for other in (part.log_prob, part.action["team"].float(), part.target):
                torch.testing.assert_close(other, codes, rtol=1e-6, atol=1e-3)
            assert torch.equal(part.state, codes[:, :1])
            assert torch.equal(part.seat, (codes[:, 0] % 1_000_000 / 1000).long())
            torch.testing.assert_close(part.advantage + part.old_value, part.target, rtol=1e-6, atol=1e-1)
            rows += len(index)
        assert rows == rollout.steps * rollout.seats
