"""The replay buffer against a plain loop over lives, at every place of a ring that has gone round several times."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from environments.errors import NumericalFailure, UsageError
from marl.buffers import Rollout
from marl.policy_spec import PolicySpec
from marl.replay_buffer import ReplayBuffer
from marl.seeding import torch_generator
from tests.marl.rings import CAPACITY, GAMMA, LENGTH, WAIT, filled, paid, rollouts, sample_of, tensors
from tests.marl.rollouts import GAMES, copied, kind_of, make, same_bits, spoil
from tests.probes.environment import FunctionEnv, Rules


def places(buffer: ReplayBuffer, total: int) -> tuple[Tensor, list[int]]:
    """Every place that may be sampled, and its step in the whole history, seat by seat."""
    steps = range(total - buffer.size, total - buffer.max_wait)
    at = [step % buffer.length * buffer.seats + seat for step in steps for seat in range(buffer.seats)]
    return torch.tensor(at), [step for step in steps for _ in range(buffer.seats)]


@dataclass
class History:
    """All rollouts as one, without a ring: step -> what happened."""

    reward: np.ndarray  # [T, S, K]
    ended: np.ndarray  # [T, S, K]
    cut: np.ndarray  # [T, S, K]
    acts: np.ndarray  # [T+1, S, K]
    obs: np.ndarray  # [T+1, S, ...] of the first group
    finals: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]  # (step, seat) -> obs and state of the final view
    state: np.ndarray


def whole(spec: PolicySpec, history: list[Rollout], per_agent: bool) -> History:
    def joined(of: Any) -> np.ndarray:
        return np.concatenate([np.asarray(of(rollout)) for rollout in history])

    def side_by_side(name: str) -> Any:
        return lambda r: torch.cat([getattr(r.groups[g.name], name)[: r.steps] for g in spec.groups], 2).numpy()

    acting = joined(side_by_side("acting"))
    acting = np.concatenate([acting, np.concatenate([history[-1].groups[g.name].acting[-1:] for g in spec.groups], 2)])
    terminated, truncated = joined(side_by_side("terminated")), joined(side_by_side("truncated"))
    over = joined(lambda r: r.episode_over)[..., None]
    first = spec.groups[0].name
    finals = {}
    for number, rollout in enumerate(history):
        last = rollout.finals
        for row in range(len(last.step)):
            key = (number * rollout.steps + int(last.step[row]), int(last.seat[row]))
            finals[key] = (last.obs[first][row].numpy(), last.state[row].numpy())
    return History(
        reward=joined(lambda r: paid(spec, r, per_agent)),
        ended=(terminated | truncated) if per_agent else over,
        cut=(truncated & ~terminated)
        if per_agent
        else over & joined(lambda r: r.episode_truncated)[..., None] & (truncated & ~terminated).any(2, keepdims=True),
        acts=acting if per_agent else acting.any(2, keepdims=True),
        obs=np.concatenate([joined(lambda r: r.groups[first].obs[:-1]), history[-1].groups[first].obs[-1:]]),
        finals=finals,
        state=np.concatenate([joined(lambda r: r.state[:-1]), history[-1].state[-1:]]),
    )


def slow(told: History, step: int, seat: int, row: int, decisions: int) -> tuple[float, float, Any]:
    """Reward, discount and the view to bootstrap from: its step, or ("final", step)."""
    total, factor, made = 0.0, 1.0, 0
    best: tuple[float, float, Any] | None = None
    for at in range(step, len(told.reward)):
        total += factor * float(told.reward[at, seat, row])
        if told.ended[at, seat, row]:
            cut = bool(told.cut[at, seat, row])
            return total, GAMMA * factor if cut else 0.0, ("final", at) if cut else None
        if told.acts[at + 1, seat, row]:
            factor *= GAMMA
            made += 1
            best = (total, factor, at + 1)
            if made == decisions:
                return best
        else:
            factor *= WAIT
    assert best is not None, "a sample whose outcome is not known"
    return best


@pytest.mark.parametrize("decisions", [1, 3, 8])
@pytest.mark.parametrize("per_agent", [True, False])
@pytest.mark.parametrize("name", list(GAMES))
def test_targets_are_those_of_a_plain_loop(name: str, per_agent: bool, decisions: int) -> None:
    _, buffer, history = filled(name, per_agent)
    total = len(history) * LENGTH
    assert buffer.size == buffer.length - 1 < total, "the ring went round"
    told = whole(buffer.spec, history, per_agent)
    at, steps = places(buffer, total)
    reward, discount, then = buffer._look_ahead(at, decisions, GAMMA, WAIT)
    first = buffer.spec.groups[0].name
    members = buffer.spec.members(buffer.spec.groups[0])
    kinds = set()
    for i, step in enumerate(steps):
        seat = int(at[i]) % buffer.seats
        for row in range(reward.shape[1]):
            if not told.acts[step, seat, row]:
                continue
            wanted = slow(told, step, seat, row, decisions)
            assert float(reward[i, row]) == pytest.approx(wanted[0], abs=1e-4)
            assert float(discount[i, row]) == pytest.approx(wanted[1], abs=1e-6)
            kinds.add(type(wanted[2]))
            if wanted[2] is None:
                continue
            views = buffer._views(then[i, row : row + 1])
            assert int(views.seat[0]) == seat
            if isinstance(wanted[2], int):
                obs, state = told.obs[wanted[2], seat], told.state[wanted[2], seat]
                own = slice(None)
            else:
                obs, state = told.finals[wanted[2][1], seat]
                own = views.acting[0, :members].numpy()  # others' final views were never written
                assert views.acting[0].any()
            np.testing.assert_array_equal(views.obs[first][0].numpy()[own], obs[own])
            np.testing.assert_array_equal(views.state[0].numpy(), state)
    assert int in kinds
    assert (tuple in kinds) == bool(told.cut.any())


@pytest.mark.parametrize("per_agent", [True, False])
@pytest.mark.parametrize("name", list(GAMES))
def test_a_sample_is_its_parts(name: str, per_agent: bool) -> None:
    """What `sample` returns is what stands at the places that it drew."""
    _, buffer, _ = filled(name, per_agent)
    sample = sample_of(buffer)
    at, use = buffer._draw(200, torch_generator(0, "test"))
    reward, discount, then = buffer._look_ahead(at, 3, GAMMA, WAIT)
    assert torch.equal(sample.use, use) and bool(use.all())
    assert torch.equal(sample.reward, reward) and torch.equal(sample.discount, discount)
    assert same_bits(tensors(sample.now), tensors(buffer._views(at)))
    for row in range(then.shape[1]):
        wanted, which = buffer._views(then[:, row]), sample.which[:, row]
        assert torch.equal(sample.then.acting[which], wanted.acting)
        assert torch.equal(sample.then.state[which], wanted.state)
        for group in wanted.obs:
            assert torch.equal(sample.then.obs[group][which], wanted.obs[group])


class Chain(Rules):
    """Five steps paid 1, 2, 4, 8, 16; ends by rule or by time."""

    def __init__(self, by_rule: bool, steps: int = 5) -> None:
        self.by_rule, self.steps = by_rule, steps
        self.max_steps = None if by_rule else steps  # type: ignore[misc]

    def obs(self, hidden: np.ndarray, step: np.ndarray) -> np.ndarray:
        return step[:, None, None].astype(float)

    def play(self, hidden: np.ndarray, step: np.ndarray, actions: np.ndarray, alive: np.ndarray) -> tuple:
        last = step[:, None] == self.steps - 1
        return 2.0 ** step[:, None], last & self.by_rule


@pytest.mark.parametrize("by_rule", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_a_chain_counts_its_steps(by_rule: bool, steps: int) -> None:
    """With gamma 1/2 every discounted reward of 1, 2, 4, 8, 16 is 1: the return counts them, wherever it is cut."""
    env = FunctionEnv(Chain(by_rule, steps), 3)
    spec = PolicySpec.of(env.spec, "team")
    buffer = ReplayBuffer(spec, False, 3 * 11, 0)
    for rollout in rollouts(env, "team", 5, 4):
        buffer.add(rollout, paid(spec, rollout, False))
    at, _ = places(buffer, 20)
    age = buffer._views(at).obs["team"][:, 0, 0]
    newest = (buffer.head - at // 3) % buffer.length
    for decisions in (1, 2, 3, 10):
        reward, discount, then = buffer._look_ahead(at, decisions, 0.5, 0.5)
        reach = torch.minimum(torch.minimum(steps - age, newest.float()), torch.tensor(float(decisions)))
        torch.testing.assert_close(reward[:, 0], reach * 2.0**age)
        ends = age + reach == steps
        torch.testing.assert_close(discount[:, 0], torch.where(ends & by_rule, 0.0, 0.5**reach))
        seen = buffer._views(then[:, 0]).obs["team"][:, 0, 0]
        bootstraps = ~(ends & by_rule)
        assert torch.equal(seen[bootstraps], (age + reach)[bootstraps])


def test_three_steps_of_a_chain_by_hand() -> None:
    """P22: the return of the whole chain is 5; three steps of it are 3 + V(s3) / 8."""
    env = FunctionEnv(Chain(True), 1)
    spec = PolicySpec.of(env.spec, "team")
    buffer = ReplayBuffer(spec, False, 50, 0)
    for rollout in rollouts(env, "team", 2, 5):
        buffer.add(rollout, paid(spec, rollout, False))
    start = torch.tensor([0])
    assert [x.tolist() for x in buffer._look_ahead(start, 9, 0.5, 0.5)[:2]] == [[[5.0]], [[0.0]]]
    assert [x.tolist() for x in buffer._look_ahead(start, 3, 0.5, 0.5)] == [[[3.0]], [[0.125]], [[3]]]


def test_both_ends_at_once_are_a_termination() -> None:
    class Both(Rules):
        max_steps = 1

    env = FunctionEnv(Both(), 2)
    spec = PolicySpec.of(env.spec, "team")
    for per_agent in (True, False):
        buffer = ReplayBuffer(spec, per_agent, 20, 0)
        for rollout in rollouts(env, "team", 1):
            buffer.add(rollout, paid(spec, rollout, per_agent))
        assert not sample_of(buffer).discount.any()


@pytest.mark.parametrize("name", ["toy/siege", "toy/noughts"])
def test_every_decision_is_drawn_equally_often(name: str) -> None:
    """Chi-square over 1e5 draws; nothing else is used: not the newest views, nobody's turn, not another's seat."""
    env = make(name)
    spec = PolicySpec.of(env.spec, kind_of(name))
    buffer = ReplayBuffer(spec, False, CAPACITY, env.spec.max_wait)
    seats = 8 * spec.teams
    mine = torch.rand(LENGTH, seats, generator=torch_generator(0, "mine")) < 0.7
    for rollout in rollouts(env, kind_of(name), 4):
        buffer.add(replace(rollout, mine=mine), paid(spec, rollout, False))
    every, _ = places(buffer, 4 * LENGTH)
    useful = every[buffer._at("mine", every) & buffer._at("acting", every).any(1)]
    assert 20 < len(useful) < len(every)
    drawn, use = buffer._draw(100_000, torch_generator(1, "draw"))
    assert float(use.float().mean()) > 0.99
    counts = torch.bincount(drawn[use], minlength=buffer.length * buffer.seats)
    assert set(counts.nonzero().squeeze(1).tolist()) == set(useful.tolist())
    expected = int(use.sum()) / len(useful)
    chi = float(((counts[useful] - expected) ** 2 / expected).sum())
    assert chi < len(useful) + 4 * math.sqrt(2 * len(useful))


def test_where_nobody_decides_nothing_is_used() -> None:
    _, buffer, _ = filled("particle/spread", False)
    buffer.arrays["mine"][:] = False
    sample = sample_of(buffer)
    assert not sample.use.any()


@pytest.mark.parametrize("name", ["toy/noughts", "toy/siege", "particle/speaker_listener", "toy/dock"])
def test_what_is_stored_keeps_its_type_and_is_a_copy(name: str) -> None:
    _, buffer, history = filled(name, True)
    before = [x.clone() for x in buffer.arrays.values()]
    for rollout in history:
        for group in buffer.spec.groups:
            rows = rollout.groups[group.name]
            assert buffer.arrays[f"obs/{group.name}"].dtype == rows.obs.dtype
            assert buffer.arrays[f"action/{group.name}"].dtype == rows.action.dtype
            spoil(rows.obs, torch.ones(rows.acting.shape, dtype=torch.bool), 7.0)
            spoil(rows.action, torch.ones(rows.acting[:-1].shape, dtype=torch.bool), 7.0)
        rollout.state[:] = -7.0
    assert same_bits(before, list(buffer.arrays.values()))


class Codes(Rules):
    """What everybody sees, and is paid, says who and when it is."""

    teams = {"team": 3}  # noqa: RUF012
    state_size = 1
    max_steps = 6

    def obs(self, hidden: np.ndarray, step: np.ndarray) -> np.ndarray:
        copies = np.arange(len(step))[:, None]
        return (1e6 * step[:, None] + 1e3 * copies + np.arange(3))[..., None]

    def state(self, hidden: np.ndarray, step: np.ndarray) -> np.ndarray:
        return 1e6 * step[:, None] + 1e3 * np.arange(len(step))[:, None]

    def play(self, hidden: np.ndarray, step: np.ndarray, actions: np.ndarray, alive: np.ndarray) -> tuple:
        return self.obs(hidden, step)[..., 0], np.zeros((len(step), 1), bool)


def test_no_axis_is_mixed_up_with_another() -> None:
    """In every sample, what stands in a row is of one step, one copy and one agent; what follows is a step later."""
    env = FunctionEnv(Codes(), 5)
    spec = PolicySpec.of(env.spec, "team")
    buffer = ReplayBuffer(spec, True, 5 * 17, 0)
    for rollout in rollouts(env, "team", 6):
        buffer.add(rollout, paid(spec, rollout, True))
    sample = sample_of(buffer, 500, 1)
    codes = sample.now.obs["team"][..., 0]
    assert torch.equal(codes % 1000, torch.arange(3).expand_as(codes).float())
    assert torch.equal(sample.reward, codes)
    assert torch.equal(sample.now.state, codes[:, :1])
    assert torch.equal(sample.now.seat, (codes[:, 0] % 1_000_000 / 1000).long())
    later = sample.then.obs["team"][sample.which[:, 0]][..., 0]
    assert torch.equal(later, codes + 1e6)  # also where the time limit cut: that is the final view, not the next start
    assert float(later.max()) == 6e6 + 4e3 + 2


@pytest.mark.parametrize("name", ["toy/meet", "toy/siege", "particle/spread"])
@pytest.mark.parametrize("count", [1, 7])
def test_saved_and_loaded_it_samples_the_same(name: str, count: int) -> None:
    """Both before and after the ring is full; and what is stored later goes to the same places."""
    env, buffer, history = filled(name, False, count)
    saved = buffer.state_dict()
    other = ReplayBuffer(buffer.spec, False, CAPACITY, env.spec.max_wait)
    other.load_state_dict(copied(saved))
    assert same_bits(tensors(sample_of(buffer)), tensors(sample_of(other)))
    for each in (buffer, other):
        for rollout in history:
            each.add(rollout, paid(each.spec, rollout, False))
    assert same_bits(tensors(sample_of(buffer)), tensors(sample_of(other)))
    assert same_bits(list(buffer.arrays.values()), list(other.arrays.values()))


def test_an_empty_buffer_is_saved_as_well() -> None:
    _, buffer, _ = filled("particle/spread", False)
    empty = ReplayBuffer(buffer.spec, False, CAPACITY, 0)
    assert not empty.ready
    buffer.load_state_dict(empty.state_dict())
    assert not buffer.ready and buffer.nbytes == 0


@pytest.mark.parametrize("garbage", [math.nan, 1e6])
@pytest.mark.parametrize("name", ["toy/siege", "toy/noughts"])
def test_what_stands_where_nobody_acts_changes_no_bit(name: str, garbage: float) -> None:
    env, buffer, history = filled(name, False, 3)
    other = ReplayBuffer(buffer.spec, False, CAPACITY, env.spec.max_wait)
    spoiled = 0
    for rollout in history:
        poisoned = copied(rollout)
        for group, rows in poisoned.groups.items():
            last = poisoned.finals
            alive = (rows.truncated & ~rows.terminated)[last.step, last.seat]
            spoil(rows.obs, ~rows.acting, garbage)
            spoil(rows.action, ~rows.acting[:-1], garbage)
            spoil(last.obs[group], ~alive, garbage)
            if rows.action_mask is not None:
                spoil(rows.action_mask, ~rows.acting, garbage)
                spoil(last.action_mask[group], ~alive, garbage)
            spoiled += int((~rows.acting).sum())
        other.add(poisoned, paid(buffer.spec, poisoned, False))
    assert spoiled > 50
    assert same_bits(list(buffer.arrays.values()), list(other.arrays.values()))
    assert same_bits(list(buffer.finals.values()), list(other.finals.values()))


@pytest.mark.parametrize("where", ["obs", "reward", "state", "final"])
@pytest.mark.parametrize("garbage", [math.nan, math.inf])
def test_what_is_not_finite_is_not_stored(where: str, garbage: float) -> None:
    _, buffer, history = filled("particle/spread", False)
    before, head = [x.clone() for x in buffer.arrays.values()], buffer.head
    bad = copied(history[0])
    target = {"state": bad.state, "final": bad.finals.state}.get(where)
    (getattr(bad.groups["agent"], where) if target is None else target)[1, 0] = garbage
    with pytest.raises(NumericalFailure, match="not finite") as caught:
        buffer.add(bad, paid(buffer.spec, bad, False))
    assert caught.value.batch is bad
    assert same_bits(before, list(buffer.arrays.values())) and buffer.head == head


def test_final_views_are_kept_as_long_as_they_can_be_needed() -> None:
    """Their ring grows where lives are short, and shrinks never; numbers of views that are gone are not kept."""
    env = make("particle/spread", num_envs=40)  # episodes of 5 steps
    spec = PolicySpec.of(env.spec, "team")
    buffer = ReplayBuffer(spec, False, 40 * 30, 0)
    history: list[Rollout] = []
    for rollout in rollouts(env, "team", 12):
        buffer.add(rollout, paid(spec, rollout, False))
        alive = int((buffer.arrays["ended"] == 2).sum())
        stale = int((buffer.arrays["ended"][buffer.head] == 2).sum())  # of the oldest row, which gave way
        assert buffer.next_final - buffer.first_final == alive - stale
        history.append(rollout)
        told = whole(spec, history, False)
        at, steps = places(buffer, len(history) * LENGTH)
        cut = (buffer._at("ended", at) == 2).squeeze(1)
        then = buffer._look_ahead(at, 1, GAMMA, WAIT)[2][:, 0]
        seen = buffer._views(then[cut])
        keys = [(steps[i], int(at[i]) % 40) for i in cut.nonzero().squeeze(1).tolist()]
        if keys:
            np.testing.assert_array_equal(seen.obs["agent"].numpy(), np.stack([told.finals[key][0] for key in keys]))
    assert len(buffer.finals["acting"]) == 256 >= buffer.next_final - buffer.first_final > 64


def test_a_buffer_holds_a_rollout_at_least() -> None:
    with pytest.raises(UsageError, match="buffer_size 40 is less than a rollout; it must be at least 48"):
        filled("particle/spread", False, capacity=40)
    filled("particle/spread", False, capacity=48)


def test_their_ring_grows_when_it_has_gone_round() -> None:
    """Long lives for a while, then short ones: what is kept of the long ones is still theirs."""
    buffer = None
    for steps, count in ((5, 9), (1, 1)):
        env = FunctionEnv(Chain(False, steps), 20)
        spec = PolicySpec.of(env.spec, "team")
        buffer = buffer or ReplayBuffer(spec, False, 20 * 8, 0)
        for rollout in rollouts(env, "team", count, 4):
            buffer.add(rollout, paid(spec, rollout, False))
    assert buffer is not None and buffer.first_final % 64 > 0 and len(buffer.finals["acting"]) > 64
    numbers = torch.arange(buffer.first_final, buffer.next_final) % len(buffer.finals["acting"])
    assert buffer.finals["obs/team"][numbers].flatten().tolist() == [5.0] * 20 + [1.0] * 80
