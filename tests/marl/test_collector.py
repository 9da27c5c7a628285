"""The collector: rollouts are what happened, bit for bit, whoever sits where and however copies are batched."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

import environments
from environments.spec import AgentGroup, EnvSpec, TeamKind
from environments.vector import GroupBuffers, VectorEnv
from marl import whole_rollouts
from marl.buffers import Rollout
from marl.collector import Collector, EpisodeStatistics
from marl.engine import rollout as compiled
from marl.policy import Policy
from marl.policy_spec import PolicySpec
from marl.seats import Seats, by_seat, legal_action
from tests.marl.retold import Retold
from tests.marl.rollouts import GAMES, copied, make, shaken

LENGTH = 12


def policies(spec: EnvSpec, seed: int = 0) -> dict[str, Policy]:
    made = {}
    for kind in spec.kinds:
        network = PolicySpec.of(spec, kind.name, hidden=(8,))
        made[kind.name] = shaken(Policy(network, torch.Generator().manual_seed(seed)), seed + 1)
    return made


def collector_of(env: VectorEnv, players: int = 1, noise_key: int = 3) -> Collector:
    """With several players, all with equal weights, in changing seats."""
    seats = {}
    for kind in env.spec.kinds:
        count = env.num_envs * kind.teams
        actors = [policies(env.spec)[kind.name] for _ in range(players)]
        seats[kind.name] = Seats(actors, (np.arange(count) * 7 % 5 % players).astype(np.int16))
    return Collector(env, seats, LENGTH, noise_key)


def same(a: Rollout, b: Rollout) -> bool:
    """Two rollouts equal in every bit, but for final views of lives that did not end: nobody writes those."""
    for rollout in (a, b):
        for name, group in rollout.groups.items():
            ended = (group.terminated | group.truncated)[rollout.finals.step, rollout.finals.seat]
            rollout.finals.obs[name][~ended] = 0
            mask = rollout.finals.action_mask[name]
            if mask is not None:
                mask[~ended] = True
    left: list[Tensor] = []
    right: list[Tensor] = []
    copied(a, lambda x: (left.append(x), x)[1])
    copied(b, lambda x: (right.append(x), x)[1])
    return len(left) == len(right) > 0 and all(
        x.dtype == y.dtype and x.numpy().tobytes() == y.numpy().tobytes() for x, y in zip(left, right, strict=True)
    )


def seated(x: np.ndarray, kind: TeamKind) -> np.ndarray:
    """One step's array `[E, m*n, ..]` by seat."""
    return by_seat(torch.from_numpy(x), kind, 0).numpy()


def told(env: VectorEnv, kind: TeamKind, state: np.ndarray, name: str) -> np.ndarray:
    """`[S, D]`: the state, then what each of the team's agents that plays is told of it, seat by seat and agent by
    agent; at the end of a life what it was told last, and the others what they see now."""
    rows = []
    for seat in range(env.num_envs * kind.teams):
        copy, team = divmod(seat, kind.teams)
        row = list(state[copy])
        for spec, shown in zip(env.spec.groups, env.buffers.groups, strict=True):
            members = len(spec.agents) // kind.teams if spec.name in kind.groups else 0
            for n in range(team * members, (team + 1) * members):
                over = shown.terminated[copy, n] or shown.truncated[copy, n]
                final = name == "final_agent_state" and over
                source = shown.final_agent_state if final else shown.agent_state
                row += list(source[copy, n] if final or shown.acting[copy, n] else np.zeros(spec.agent_state_size))
        rows.append(row)
    return np.array(rows, np.float32).reshape(len(rows), -1)


def check_view(env: VectorEnv, kind: TeamKind, rollout: Rollout, t: int) -> None:
    for name in kind.groups:
        shown = env.buffers.groups[[g.name for g in env.spec.groups].index(name)]
        group = rollout.groups[name]
        np.testing.assert_array_equal(group.obs[t], seated(shown.obs, kind))
        np.testing.assert_array_equal(group.acting[t], seated(shown.acting, kind))
        if group.action_mask is not None:
            np.testing.assert_array_equal(group.action_mask[t], seated(shown.action_mask, kind))
    np.testing.assert_array_equal(rollout.state[t], told(env, kind, env.buffers.state, "agent_state"))


def check_events(env: VectorEnv, kind: TeamKind, rollout: Rollout, t: int) -> int:
    places = zip(rollout.finals.step.tolist(), rollout.finals.seat.tolist(), strict=True)
    listed = {place: row for row, place in enumerate(places)}
    checked = 0
    for name in kind.groups:
        shown = env.buffers.groups[[g.name for g in env.spec.groups].index(name)]
        group = rollout.groups[name]
        for event in ("reward", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(group, event)[t], seated(getattr(shown, event), kind))
        final_obs, final_mask = seated(shown.final_obs, kind), seated(shown.final_mask, kind)
        masks = rollout.finals.action_mask[name]
        assert (masks is None) == (group.action_mask is None)
        for seat, n in np.argwhere(seated(shown.truncated, kind)):
            row = listed[t, int(seat)]
            np.testing.assert_array_equal(rollout.finals.obs[name][row, n], final_obs[seat, n])
            if masks is not None:
                np.testing.assert_array_equal(masks[row, n], final_mask[seat, n])
            last = told(env, kind, env.buffers.final_state, "final_agent_state")[seat]
            np.testing.assert_array_equal(rollout.finals.state[row], last)
            checked += 1
    over, cut = env.buffers.episode_over, env.buffers.episode_truncated
    np.testing.assert_array_equal(rollout.episode_over[t], np.repeat(over, kind.teams))
    np.testing.assert_array_equal(rollout.episode_truncated[t], np.repeat(cut, kind.teams))
    return checked


class Telling(Retold):
    """An environment whose agents are each told something of their own; what the others are told is garbage."""

    own = frozenset({"agent_state", "final_agent_state"})

    def __init__(self, env: VectorEnv) -> None:
        super().__init__(env, [replace(group, agent_state_size=2) for group in env.spec.groups])

    def retell(self, group: AgentGroup, theirs: GroupBuffers, mine: GroupBuffers) -> None:
        ended = theirs.terminated | theirs.truncated
        for view, rows, own in (
            (theirs.obs, theirs.acting, mine.agent_state),
            (theirs.final_obs, ended, mine.final_agent_state),
        ):
            own[..., 0] = view.reshape(*rows.shape, -1).sum(2)
            own[..., 1] = np.arange(1, rows.shape[1] + 1)
            own[~rows] = np.nan


@pytest.mark.parametrize("name", [*GAMES, "telling toy/siege", "telling toy/noughts", "telling toy/meet"])
def test_a_rollout_played_again_is_what_happened(name: str) -> None:
    envs = [make(name.removeprefix("telling ")) for _ in range(2)]
    one, again = [cast(VectorEnv, Telling(env)) if name.startswith("telling") else env for env in envs]
    collector = collector_of(one)
    finals = 0
    for _ in range(3):
        rollouts = collector.collect()
        for t in range(LENGTH):
            actions = {}
            for kind in again.spec.kinds:
                check_view(again, kind, rollouts[kind.name], t)
                for group in (again.spec.group(g) for g in kind.groups):
                    stored = rollouts[kind.name].groups[group.name].action[t].numpy()
                    whole = stored.reshape(again.num_envs, len(group.agents), *stored.shape[2:])
                    actions[group.name] = legal_action(group, whole)
            again.step(actions)
            for kind in again.spec.kinds:
                finals += check_events(again, kind, rollouts[kind.name], t)
        for kind in again.spec.kinds:
            check_view(again, kind, rollouts[kind.name], LENGTH)
    assert (finals > 0) == (again.spec.max_steps is not None)


def test_every_rollout_begins_where_the_last_one_ended() -> None:
    collector = collector_of(make("toy/siege"))
    before = copied(collector.collect())
    after = collector.collect()
    for kind, rollout in after.items():
        for name, group in rollout.groups.items():
            assert torch.equal(group.obs[0], before[kind].groups[name].obs[-1])
            assert torch.equal(group.acting[0], before[kind].groups[name].acting[-1])
        assert torch.equal(rollout.state[0], before[kind].state[-1])


@pytest.mark.parametrize("name", ["toy/dock", "toy/noughts", "toy/siege", "particle/speaker_listener"])
def test_who_sits_where_does_not_matter_if_all_are_equal(name: str) -> None:
    one, three = collector_of(make(name)), collector_of(make(name), players=3)
    for _ in range(2):
        alone, mixed = one.collect(), three.collect()
        for kind, rollout in alone.items():
            assert rollout.mine is None
            assert mixed[kind].mine is not None
            seats = three.seats[kind].policy_of
            np.testing.assert_array_equal(mixed[kind].mine, np.repeat([seats == 0], LENGTH, 0))
            for group, other in zip(rollout.groups.values(), mixed[kind].groups.values(), strict=True):
                if group.action.dtype == torch.int32:
                    assert torch.equal(group.action, other.action)
                torch.testing.assert_close(group.action, other.action, rtol=1e-4, atol=1e-5)
                torch.testing.assert_close(group.log_prob, other.log_prob, rtol=1e-4, atol=1e-5)


def test_a_change_of_seats_is_stored_with_the_steps() -> None:
    collector = collector_of(make("toy/meet"), players=2)
    first = collector.collect()["team"].mine.clone()  # type: ignore[union-attr]
    collector.seats["team"].policy_of = 1 - collector.seats["team"].policy_of
    assert torch.equal(collector.collect()["team"].mine, ~first)
    collector.seats["team"].policy_of = np.zeros(8, np.int16)
    assert collector.collect()["team"].mine is None


@pytest.mark.parametrize("name", ["toy/noughts", "toy/siege", "particle/tag"])
def test_a_copy_plays_the_same_games_in_any_batch(name: str) -> None:
    def play(first: int, count: int) -> dict[str, Rollout]:
        env = environments.make(name, num_envs=count, seed=4, first_copy=first, num_threads=1, **GAMES[name])
        collector = collector_of(env)
        collector.collect()
        return copied(collector.collect())

    whole, parts = play(0, 6), (play(0, 2), play(2, 4))
    for kind, rollout in whole.items():
        for group in rollout.groups:
            for field in ("obs", "action", "reward", "terminated"):
                joined = torch.cat([getattr(part[kind].groups[group], field) for part in parts], 1)
                assert torch.equal(joined, getattr(rollout.groups[group], field)), field


@pytest.mark.parametrize("name", ["toy/noughts", "toy/siege", "particle/tag"])
def test_statistics_are_plain_sums(name: str) -> None:
    collector = collector_of(make(name))
    spec, copies = collector.env.spec, collector.env.num_envs
    open_return, open_length = np.zeros((copies, spec.num_teams)), np.zeros(copies)
    for _ in range(4):
        rollouts = copied(collector.collect())
        returns, lengths = [], []
        for t in range(LENGTH):
            column = 0
            for kind in spec.kinds:
                rewards = torch.cat([g.reward[t] for g in rollouts[kind.name].groups.values()], 1).double()
                by_team = rewards.sum(1).numpy().reshape(copies, kind.teams)
                open_return[:, column : column + kind.teams] += by_team
                column += kind.teams
            open_length += 1
            for e in np.flatnonzero(rollouts[spec.kinds[0].name].episode_over[t, :: spec.kinds[0].teams]):
                returns.append(open_return[e].copy())
                lengths.append(open_length[e])
                open_return[e], open_length[e] = 0, 0
        found = collector.statistics.summary()
        assert found["episodes"] == len(returns) > 0
        assert found["episode_length"] == pytest.approx(np.mean(lengths))
        assert found["return"] == pytest.approx(np.sum(returns, 1).mean(), rel=1e-5, abs=1e-5)
        for k, team in enumerate(spec.team_names):
            assert found[f"return/{team}"] == pytest.approx(np.mean(returns, 0)[k], rel=1e-5, abs=1e-5)
        assert {f"metrics/{metric}" for metric, _ in spec.metrics} <= set(found)
    assert collector.statistics.summary() == {}


def test_returns_have_no_drift_over_long_episodes() -> None:
    env = make("particle/spread")
    statistics = EpisodeStatistics(env)
    buffers = env.buffers
    buffers.groups[0].reward[:] = np.float32(0.1)
    for _ in range(20_000):
        statistics.add(buffers, np.zeros(8, np.int64))
    np.testing.assert_allclose(statistics.running[:, 0], 3 * 20_000 * float(np.float32(0.1)), rtol=1e-6)


@pytest.mark.parametrize("name", GAMES)
def test_a_collector_goes_on_where_it_was_saved(name: str) -> None:
    collector = collector_of(make(name), players=2)
    collector.collect()
    collector.statistics.summary()
    collector.seats[collector.env.spec.kinds[0].name].policy_of[:] = 1
    saved = {key: np.copy(x) if isinstance(x, np.ndarray) else x for key, x in collector.state_dict().items()}
    saved["policy_of"] = {kind: x.copy() for kind, x in saved["policy_of"].items()}
    wanted = copied(collector.collect())
    summary = collector.statistics.summary()
    fresh = collector_of(make(name, seed=77), players=2)
    fresh.collect()
    fresh.statistics.summary()
    fresh.load_state_dict(saved)
    again = fresh.collect()
    assert all(same(again[kind], wanted[kind]) for kind in wanted)
    assert fresh.statistics.summary() == summary
    fresh.collect()  # what was loaded is a copy: going on does not write into it
    other = collector_of(make(name, seed=78), players=2)
    other.load_state_dict(saved)
    again = other.collect()
    assert all(same(again[kind], wanted[kind]) for kind in wanted)


def test_one_rollout_too_short_for_any_end() -> None:
    env = make("toy/dock")
    collector = Collector(env, {"team": Seats.all(policies(env.spec)["team"], 8)}, 2, noise_key=1)
    rollout = collector.collect()["team"]
    assert len(rollout.finals.step) == 0
    assert rollout.finals.obs["cart"].shape == (0, 2, 4)
    assert rollout.finals.state.shape == (0, env.spec.critic_size("team"))


def test_what_the_environment_gets_is_clipped_and_what_is_stored_is_not() -> None:
    env = make("toy/dock")
    rollout = collector_of(env).collect()["team"]
    space = env.spec.group("cart").action_space
    stored = rollout.groups["cart"].action.numpy()
    assert (stored < space.low).any()
    assert (stored > space.high).any()
    given = legal_action(env.spec.group("cart"), stored)
    assert (given >= space.low).all()
    assert (given <= space.high).all()


@pytest.mark.parametrize(
    ("name", "box"),
    [
        ("particle/spread", None),
        ("toy/dock", None),
        ("toy/dock", "squashed"),
        ("toy/siege", None),
        ("toy/noughts", None),
        ("roshambo/repeated", None),
    ],
)
def test_all_steps_at_once_are_single_steps(name: str, box: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    collectors = []
    for _ in range(2):
        collector = collector_of(environments.make(name, num_envs=70, seed=1, num_threads=1))
        for held in collector.seats.values():
            (policy,) = held.players
            assert isinstance(policy, Policy)
            if box is not None:
                policy = shaken(Policy(replace(policy.spec, box=box)))
                held.players = [policy]
            for group in policy.spec.groups:
                policy.passes(group, 2)  # several blocks of copies, shared out
        collectors.append(collector)
    at_once, by_steps = collectors
    assert whole_rollouts.possible(at_once.env, at_once.seats)
    given: list[tuple[np.ndarray, ...]] = []
    take_all = compiled.take_all
    monkeypatch.setattr(compiled, "take_all", lambda *told: (given.append(told[4]), take_all(*told)))
    at_once.collect()
    first = at_once.collect()
    for group, moves in zip(at_once.env.spec.groups, given[-1], strict=True):
        np.testing.assert_array_equal(moves, legal_action(group, at_once._actions[group.name]))
    told, later = at_once.statistics.summary(), at_once.state_dict()
    monkeypatch.setattr(whole_rollouts, "possible", lambda env, seats: False)
    by_steps.collect()
    second = by_steps.collect()
    assert all(same(first[kind], second[kind]) for kind in second)
    assert told == by_steps.statistics.summary()
    captured, expected = later["arrays"], by_steps.state_dict()["arrays"]
    assert all(captured[x].tobytes() == expected[x].tobytes() for x in expected)
