"""Leagues whose learners play in teams with others: who is drawn, what the log says, and that it can be resumed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare

import environments
from league import show
from league.records import Match, Player, Seat
from league.store import Store
from league.student import Matchmaking
from league.turns import FROZEN, MIRROR, Choice, Key
from marl.acting import Actor
from marl.policy_spec import PolicySpec
from marl.random_policy import RandomPolicy
from marl.trainer import Trainer
from tests.league.leagues import Killed, config, killing, play, remembered, workshop

TAG, SPREAD = "particle/tag", "particle/spread"
ME = 9
BESIDE = Choice((MIRROR, (1, FROZEN), (2, 100)), (0.6, 0.1, 0.3))


def matchmaking(copies: int, mixed: float, choice: Choice = BESIDE) -> Matchmaking:
    env = environments.make(TAG, copies, 1, num_threads=1, max_cycles=5)
    spec = env.spec

    def load(key: Key, kind: str) -> Actor:
        return RandomPolicy(PolicySpec.of(spec, kind))

    learner = RandomPolicy(PolicySpec.of(spec, "adversary"))
    choices = {"adversary": choice, "good": Choice(((4, FROZEN),), (1.0,))}
    return Matchmaking(env, TAG, "adversary", learner, ME, 77, load, lambda played: None, choices, 8, mixed)


def test_a_share_of_the_teams_is_mixed_and_the_lot_is_fair() -> None:
    rule = matchmaking(6000, 0.3)
    seats = rule.seats(rule.env.episode_seed)
    who = rule._who["adversary"][:, 0]
    mine = who == ME
    mixed = ~mine.all(1)
    assert abs(mixed.mean() - 0.3) < 0.02 and mine.any(1).all()
    own = mine[mixed]
    assert chisquare(np.bincount(own.sum(1), minlength=3)[1:3]).pvalue > 1e-3  # one or two of three, alike
    assert chisquare(own.sum(0)).pvalue > 1e-3  # every place alike
    others = Counter(who[mixed][~own].tolist())  # the learner left out
    assert chisquare([others[1], others[2]], np.array([0.25, 0.75]) * sum(others.values())).pvalue > 1e-3
    both = (~own).sum(1) == 2
    pairs = [tuple(row[row != ME]) for row in who[mixed][both].tolist() for row in [np.array(row)]]
    assert abs(np.mean([a != b for a, b in pairs]) - 2 * 0.25 * 0.75) < 0.06  # each drawn by itself
    opponents = rule.opponents["adversary"]
    held = [[ME if slot == 0 else opponents.keys[slot][0] for slot in row] for row in seats["adversary"].policy_of]  # type: ignore[index]
    assert held == who.tolist()
    assert seats["good"].policy_of.ndim == 1 and (rule._who["good"] == 4).all()


def test_who_is_in_a_team_depends_on_the_episode_alone() -> None:
    many, few = matchmaking(64, 0.5), matchmaking(7, 0.5)
    many.seats(many.env.episode_seed)
    few.seats(few.env.episode_seed)
    np.testing.assert_array_equal(many._who["adversary"][:7], few._who["adversary"])
    whole = matchmaking(64, 0.0)
    assert whole.seats(whole.env.episode_seed)["adversary"].policy_of.ndim == 1


def test_a_learner_that_nobody_else_is_drawn_for_plays_alone() -> None:
    rule = matchmaking(50, 1.0, Choice((MIRROR,), (1.0,)))
    assert (rule.seats(rule.env.episode_seed)["adversary"].policy_of == 0).all()


def trained(folder: Path) -> tuple[Matchmaking, list[Match], list[tuple[int, list[int], list[float]]]]:
    """A learner that trains; its matches, and what was seen of every episode: copy, who played, outcome."""
    shop = workshop(TAG, max_cycles=5)
    env, learner = shop.make_env(3), shop.make_learner("adversary", 3)
    matches: list[Match] = []

    def record(played: Sequence[Match]) -> None:
        matches.extend(played)

    def load(key: Key, kind: str) -> Actor:
        return RandomPolicy(PolicySpec.of(env.spec, kind))

    choices = {"adversary": BESIDE, "good": Choice(((4, FROZEN),), (1.0,))}
    rule = Matchmaking(env, TAG, "adversary", learner.policy, ME, 7, load, record, choices, 8, 0.5)
    trainer = Trainer(env, {"adversary": learner}, {}, 10**6, shop.rollout_length, 3, seating=rule)
    watched, seen = rule.watch, list[tuple[int, list[int], list[float]]]()

    def watch(seats: Any, out: Any, episode_seed: Any) -> None:
        for copy in np.flatnonzero(out.episode_over).tolist():
            slots = seats["adversary"].policy_of[copy].tolist()
            names = [ME if slot == 0 else rule.opponents["adversary"].keys[slot][0] for slot in slots]  # type: ignore[index]
            seen.append((int(rule._seed[copy]), names, out.outcome[copy].tolist()))
        watched(seats, out, episode_seed)

    rule.watch = watch  # type: ignore[method-assign]
    told = [trainer.iteration() for _ in range(3)]
    outcomes = [outcome[0] for _, names, outcome in seen if len(set(names)) > 1]
    assert sum(row["mixed"] for row in told) == len(outcomes)
    mean = sum(row["mixed"] * row.get("mixed_outcome", 0.0) for row in told) / len(outcomes)
    assert mean == pytest.approx(np.mean(outcomes))
    return rule, matches, seen


def test_the_log_says_who_played_which_agent(tmp_path: Path) -> None:
    rule, matches, seen = trained(tmp_path)
    agents = list(rule.env.spec.group("adversary").agents)
    by_key = {match.key: match for match in matches}
    assert len(by_key) == len(matches) == len(seen) > 30
    shared = 0
    for key, names, outcome in seen:
        match = by_key[key]
        assert match.learner == ME and match.outcome == pytest.approx(outcome)
        assert match.seats[-1] == Seat(team=1, role="good", player=4)
        own = match.seats[:-1]
        assert all(seat.team == 0 and seat.role == "adversary" for seat in own)
        if len(set(names)) == 1:
            assert own == (Seat(team=0, role="adversary", player=ME),)
            continue
        shared += 1
        told = {agent: seat.player for seat in own for agent in seat.agents or ()}
        assert [told[agent] for agent in agents] == names
    assert 10 < shared < len(seen) - 5
    with Store(tmp_path / "kept") as store:
        for number in range(1, ME + 1):
            store.add_player(Player(name=f"p{number}", source="random", roles=("adversary", "good")))
        store.record(matches)
        assert list(store.matches()) == matches  # agents too come back from the disk
        whole = [match for match in matches if len(match.seats) == 2]
        assert store.learned(ME).shape == (len(whole), 2)  # a mixed team's match says nothing of one player
        assert {number: games for number, (_, games) in store.rates(ME, 10**6).items()} == {4: len(whole)}


@pytest.mark.parametrize(
    ("game", "plan", "options"), [(TAG, "alphastar", {"max_cycles": 5}), (SPREAD, "fictitious", {"max_cycles": 5})]
)
def test_a_league_of_mixed_teams_goes_on_as_if_never_killed(
    game: str, plan: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two kinds of team that meet; and one team alone, whose learner plays with its past."""
    shop = workshop(game, **options)
    settings = config(plan, turns=5, mixed_teams=0.5, main_exploiters=0, league_exploiters=0, games=2, num_envs=8)
    settings = replace(settings, mains=2)
    play(tmp_path / "whole", settings, shop)
    killed = 0
    for after in (6, 3, 9):
        with killing(monkeypatch, after):
            try:
                play(tmp_path / "killed", settings, shop)
            except Killed:
                killed += 1
    play(tmp_path / "killed", settings, shop)
    assert killed >= 2
    assert remembered(tmp_path / "killed") == remembered(tmp_path / "whole")
    with Store(tmp_path / "whole") as store:
        players, matches = store.players(), list(store.matches())
        found = show.population(store)
    shared = [match for match in matches if any(seat.agents is not None for seat in match.seats)]
    assert len(shared) > 15 and all(match.learner is not None for match in shared)
    beside = {
        players[seat.player].name
        for match in shared
        for seat in match.seats
        if seat.agents is not None and seat.player != match.learner
    }
    assert any("-" in name for name in beside)  # snapshots, and where the plan meets them learners as they are
    assert (game == TAG) == any("-" not in name for name in beside)
    learners = [row for row in found["players"] if row["part"] == "main"]
    assert len(learners) == (4 if game == TAG else 2)
    if game == SPREAD:
        assert len(shared) == len(matches) and not any(row.get("games") for row in found["players"])
