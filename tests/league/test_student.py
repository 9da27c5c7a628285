"""A learner in a league: opponents as intended, swapped where episodes end, loaded and given up, every match once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

import environments
from environments.spec import EnvSpec, TeamKind
from league.opponents import Opponents
from league.records import Match
from league.student import Matchmaking
from league.turns import FROZEN, MIRROR, Choice, Key
from marl.acting import Actor
from marl.policy import Policy
from marl.policy_spec import PolicySpec
from marl.random_policy import RandomPolicy
from marl.seating import LEARNER
from marl.trainer import Trainer
from tests.league.leagues import workshop

BOARD, KIND, ME = "board/tictactoe", "player", 5
TAG = "particle/tag"


class Loaded:
    """Who was asked for."""

    def __init__(self, spec: Any) -> None:
        self.spec = spec
        self.asked: list[tuple[Key, str]] = []

    def __call__(self, key: Key, kind: str) -> Actor:
        self.asked.append((key, kind))
        if key[1] != FROZEN:
            return Policy(PolicySpec.of(self.spec, kind, hidden=(4,)))
        return RandomPolicy(PolicySpec.of(self.spec, kind))


def matchmaking(
    game: str, kind: str, copies: int, choices: dict[str, Choice], cache: int = 8, **options: Any
) -> tuple[Matchmaking, Loaded, list[Match]]:
    env = environments.make(game, copies, 1, num_threads=1, **options)
    loaded, matches = Loaded(env.spec), list[Match]()

    def record(played: Sequence[Match]) -> None:
        matches.extend(played)

    learner = RandomPolicy(PolicySpec.of(env.spec, kind))
    return Matchmaking(env, game, kind, learner, ME, 77, loaded, record, choices, cache), loaded, matches


def test_opponents_are_drawn_as_intended() -> None:
    chances = (0.35, 0.5, 0.05, 0.1)
    choice = Choice((MIRROR, (1, FROZEN), (2, FROZEN), (3, FROZEN)), chances)
    rule, loaded, _ = matchmaking(BOARD, KIND, 4000, {KIND: choice})
    rule.seats(rule.env.episode_seed)
    who = rule._who[KIND][:, :, 0]
    mine = who == ME
    assert mine.any(1).all() and abs((mine[~mine.all(1), 0]).mean() - 0.5) < 0.03  # both sides alike
    others = np.where(mine.all(1), ME, np.where(mine[:, 0], who[:, 1], who[:, 0]))
    counts = [(others == number).sum() for number in (ME, 1, 2, 3)]
    assert chisquare(counts, np.array(chances) * 4000).pvalue > 1e-3
    assert sorted(loaded.asked) == [((k, FROZEN), KIND) for k in (1, 2, 3)]  # each once


def test_every_team_draws_for_itself_and_roles_are_filled_from_their_own() -> None:
    choices = {"adversary": Choice((MIRROR,), (1.0,)), "good": Choice(((1, FROZEN), (2, FROZEN)), (0.25, 0.75))}
    rule, loaded, _ = matchmaking(TAG, "adversary", 1000, choices, max_cycles=5)
    seats = rule.seats(rule.env.episode_seed)
    assert (seats["adversary"].policy_of == LEARNER).all() and (rule._who["adversary"] == ME).all()
    assert abs((rule._who["good"] == 1).mean() - 0.25) < 0.05
    assert {kind for _, kind in loaded.asked} == {"good"}
    assert len(seats["good"].players) == 2  # the learner is none of them


def trained(iterations: int, cache: int = 8) -> tuple[Matchmaking, list[Match], Trainer]:
    shop = workshop(BOARD)
    env, learner = shop.make_env(3), shop.make_learner(KIND, 3)
    keys: tuple[Key, ...] = (MIRROR, (9, 100), *((k, FROZEN) for k in (1, 2, 3, 4)))
    matches: list[Match] = []

    def record(played: Sequence[Match]) -> None:
        assert played
        matches.extend(played)

    rule = Matchmaking(env, BOARD, KIND, learner.policy, ME, 7, Loaded(env.spec), record, {}, cache)
    rule.choices = {KIND: Choice(keys, (1 / 6,) * 6)}
    trainer = Trainer(env, {KIND: learner}, {}, 10**6, shop.rollout_length, 3, seating=rule)
    for _ in range(iterations):
        trainer.iteration()
    return rule, matches, trainer


def test_matches_are_of_the_learner_with_somebody_else_and_each_once() -> None:
    rule, matches, trainer = trained(8)
    assert len(matches) > 30 and len({match.id for match in matches}) == len(matches)
    for match in matches:
        players = [seat.player for seat in match.seats]
        assert match.learner == ME and ME in players and len(set(players)) == 2
        assert 5 <= match.length <= 9 and sum(match.outcome) == 0
    assert {seat.player for match in matches for seat in match.seats} == {ME, 9, 1, 2, 3, 4}
    assert trainer.collector.seats[KIND].players is rule.opponents[KIND].players


def test_only_the_learner_learns() -> None:
    rule, _, trainer = trained(2)
    rollout = trainer.collector.collect()[KIND]
    assert rollout.mine is not None and 0.5 < rollout.mine.float().mean() < 0.75
    others = [player for player in rule.opponents[KIND].players[1:] if isinstance(player, Policy)]
    fresh = Policy(others[0].spec)
    assert all(torch.equal(a, b) for a, b in zip(others[0].parameters(), fresh.parameters(), strict=True))


def test_few_are_kept_and_nobody_is_given_up_who_plays() -> None:
    rule, _, trainer = trained(10, cache=2)
    opponents = rule.opponents[KIND]
    seated = {number for number in np.unique(rule._who[KIND]).tolist() if number != ME}
    assert seated <= {key[0] for key in opponents.keys if key is not None}
    assert len(opponents.players) <= 6
    who = rule._who[KIND].reshape(-1)
    held = [ME if slot == LEARNER else opponents.keys[slot][0] for slot in trainer.collector.seats[KIND].policy_of]  # type: ignore[index]
    assert who.tolist() == held


def test_the_one_used_longest_ago_gives_up_its_slot() -> None:
    asked: list[Key] = []
    spec = environments.make(BOARD, 1).spec

    def load(key: Key) -> Actor:
        asked.append(key)
        return RandomPolicy(PolicySpec.of(spec, KIND))

    opponents = Opponents(load((0, FROZEN)), load, most=2)
    a, b, c, d = ((k, FROZEN) for k in (1, 2, 3, 4))
    assert [opponents.slot(key, ()) for key in (a, b, a)] == [1, 2, 1]
    assert opponents.slot(c, ()) == 2  # b's
    assert opponents.slot(d, {1, 2}) == 3  # all are being played: one more
    assert opponents.slot(b, {2, 3}) == 1 and asked == [(0, FROZEN), a, b, c, d, b]
    passing = Opponents(None, load, most=5)
    assert passing.slot((7, 100), ()) == 0 and passing.slot((7, 200), ()) == 0  # a state that has passed leaves first


def test_an_earlier_state_that_is_being_played_survives_an_interruption() -> None:
    rule, _, trainer = trained(1)
    (slot,) = [k for k, key in enumerate(rule.opponents[KIND].keys) if key == (9, 100)]
    player = rule.opponents[KIND].players[slot]
    assert isinstance(player, Policy)
    with torch.no_grad():
        for parameter in player.parameters():
            parameter.add_(1.0)
    state = trainer.state_dict()
    other, _, again = trained(3)
    again.load_state_dict(state)
    loaded = other.opponents[KIND].players[slot]
    assert isinstance(loaded, Policy) and loaded is not player
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), player.parameters(), strict=True))
    assert again.iteration().keys() == trainer.iteration().keys()
    assert other._who[KIND].tolist() == rule._who[KIND].tolist()


@pytest.mark.parametrize("data", [{}, {"keys": [[1]], "chances": [1.0]}, {"keys": [[1, -1]], "chances": ["x"]}])
def test_a_choice_that_is_none_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises((KeyError, ValueError)):
        Choice.from_json(data)


def test_with_three_teams_each_draws_for_itself() -> None:
    group = environments.make(BOARD, 1).spec.groups[0]
    three = replace(group, agents=("a", "b", "c"))
    spec = EnvSpec("three", 1, three.agents, (three,), (TeamKind(KIND, (three.name,), teams=3),))
    seeds = np.arange(1, 3001, dtype=np.uint64) * np.uint64(7919)
    env: Any = SimpleNamespace(spec=spec, num_envs=len(seeds))
    choice = Choice((MIRROR, (1, FROZEN), (2, FROZEN)), (0.2, 0.3, 0.5))
    learner = RandomPolicy(PolicySpec.of(spec, KIND))
    rule = Matchmaking(env, "three", KIND, learner, ME, 7, Loaded(spec), lambda played: None, {KIND: choice}, 8)
    rule.seats(seeds)
    who = rule._who[KIND][:, :, 0]
    assert (who == ME).any(1).all()
    shares = np.array([[(who[:, team] == number).mean() for number in (1, 2)] for team in range(3)])
    np.testing.assert_allclose(shares, [[0.2, 1 / 3]] * 3, atol=0.03)  # two thirds of the seats are others'
    apart = (who != ME).sum(1) == 2
    others = np.sort(np.where(who == ME, 0, who)[apart], axis=1)[:, 1:]
    mixed = (others[:, 0] != others[:, 1]).mean()
    assert abs(mixed - 2 * (3 / 8) * (5 / 8)) < 0.04  # as two independent draws
