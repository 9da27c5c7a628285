"""Whom plans match with whom, when snapshots are due, who begins anew: by hand-made situations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from league import plans
from league.config import LeagueConfig
from league.matchmaking import forgettable, pfsp
from league.plans import Candidate, Situation

SELF = Candidate(0, "main", "main", True, 0.5)


def past(number: int, rate: float, part: str = "main", line: str = "main") -> Candidate:
    return Candidate(number, part, line, False, rate)


def chances(plan: Any, part: Any, candidates: list[Candidate], **more: Any) -> np.ndarray:
    found = plans.opponents(Situation(part, tuple(candidates), LeagueConfig(plan=plan, **more)))
    assert np.isfinite(found).all() and (found >= 0).all() and found.sum() == pytest.approx(1.0)
    return found


def test_self_play_is_mostly_the_present() -> None:
    old = [past(1, 0.9), past(2, 0.4)]
    np.testing.assert_allclose(chances("self-play", "main", [*old, SELF], latest=0.8), [0.1, 0.1, 0.8])
    np.testing.assert_allclose(chances("self-play", "main", [*old, SELF], latest=1.0), [0, 0, 1])
    np.testing.assert_allclose(chances("self-play", "main", [SELF], latest=0.3), [1])


def test_fictitious_and_pfsp_meet_the_past() -> None:
    old = [past(1, 0.9), past(2, 0.4)]
    np.testing.assert_allclose(chances("fictitious", "main", [*old, SELF]), [0.5, 0.5, 0])
    np.testing.assert_allclose(chances("pfsp", "main", [*old, SELF])[:2], pfsp([0.9, 0.4], "hard"))
    np.testing.assert_allclose(chances("pfsp", "main", [*old, SELF], weighting="capped")[:2], [0.1 / 0.6, 0.5 / 0.6])


def test_a_main_meets_the_past_what_it_forgot_and_itself() -> None:
    easy, even, exploiter = past(1, 0.9), past(2, 0.6), past(3, 0.75, "main_exploiter", "main_exploiter")
    calm = chances("alphastar", "main", [easy, even, exploiter, SELF])
    np.testing.assert_allclose(calm[:3], 0.5 * pfsp([0.9, 0.6, 0.75]))  # nobody was forgotten: that share is its own
    assert calm[3] == pytest.approx(0.5)
    beaten = chances("alphastar", "main", [easy, even, replace(exploiter, win_rate=0.2), SELF])
    np.testing.assert_allclose(beaten, [*(0.5 * pfsp([0.9, 0.6, 0.2]) + [0, 0, 0.15]), 0.35])
    lost = chances("alphastar", "main", [past(1, 0.5), past(2, 0.9), exploiter, SELF])
    np.testing.assert_allclose(lost, [*(0.5 * pfsp([0.5, 0.9, 0.75]) + [0.15, 0, 0]), 0.35])


def test_too_strong_a_main_is_met_by_its_past() -> None:
    other = Candidate(9, "main", "main_1", True, 0.2)
    old = [past(1, 0.9), past(2, 0.8, line="main_1"), past(3, 1.0, line="main_1")]
    present = chances("alphastar", "main", [*old, SELF, other]) - [*(0.5 * pfsp([0.9, 0.8, 1.0])), 0, 0]
    np.testing.assert_allclose(present, [0, 0.25, 0, 0.25, 0], atol=1e-12)  # half itself, half the other's past
    assert chances("alphastar", "main", [*old, SELF, replace(other, win_rate=0.31)])[4] == pytest.approx(0.25)


def test_each_main_is_forgotten_for_itself() -> None:
    falling = [past(1, 0.9), past(2, 0.6), past(3, 0.8, line="main_1"), past(4, 0.5, line="main_1")]
    assert chances("alphastar", "main", [*falling, SELF])[4] == pytest.approx(0.5)
    rising = [*falling[:3], past(4, 0.9, line="main_1")]
    assert chances("alphastar", "main", [*rising, SELF])[4] == pytest.approx(0.5)  # nobody below the threshold
    lost = [*falling[:2], past(3, 0.5, line="main_1"), past(4, 0.9, line="main_1")]
    found = chances("alphastar", "main", [*lost, SELF])
    np.testing.assert_allclose(found - [*(0.5 * pfsp([0.9, 0.6, 0.5, 0.9])), 0], [0, 0, 0.15, 0, 0.35], atol=1e-12)


def test_exploiters() -> None:
    main = Candidate(7, "main", "main", True, 0.15)
    old = [past(1, 0.5), past(2, 1.0), past(3, 0.0, "main_exploiter", "main_exploiter")]
    np.testing.assert_allclose(chances("alphastar", "main_exploiter", [*old, main]), [0, 0, 0, 1])
    hopeless = chances("alphastar", "main_exploiter", [*old, replace(main, win_rate=0.1)])
    np.testing.assert_allclose(hopeless, [1, 0, 0, 0])
    np.testing.assert_allclose(chances("alphastar", "league_exploiter", [*old, main]), [0.5, 0, 0.5, 0])


@pytest.mark.parametrize("plan", ["self-play", "fictitious", "pfsp", "alphastar"])
@pytest.mark.parametrize("part", ["main", "main_exploiter", "league_exploiter"])
@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_whatever_the_rates_somebody_is_met(plan: str, part: str, rate: float) -> None:
    live = replace(SELF, win_rate=rate)
    exploiter = past(3, rate, "main_exploiter", "main_exploiter")
    for candidates in ([live], [past(1, rate)], [past(1, rate), live], [past(1, rate), past(2, rate), exploiter, live]):
        chances(plan, part, candidates)


def test_given_players_have_their_share() -> None:
    bots = [Candidate(4, "bot", "x", False), Candidate(5, "bot", "y", False)]
    found = chances("fictitious", "main", [bots[0], past(1, 0.5), bots[1], SELF], bot_share=0.2)
    np.testing.assert_allclose(found, [0.1, 0.8, 0.1, 0])
    np.testing.assert_allclose(chances("fictitious", "main", bots), [0.5, 0.5])
    assert chances("fictitious", "main", [bots[0], past(1, 0.5)]).tolist() == [0, 1]  # none unless asked for
    assert chances("self-play", "main", [bots[0], past(1, 0.5), SELF], bot_share=1.0).tolist() == [1, 0, 0]


def test_what_falls_steadily_is_not_forgotten() -> None:
    assert forgettable([0.9, 0.8, 0.7]) == 0
    assert forgettable([0.3, 0.8, 0.7, 0.6]) == 2
    assert forgettable([0.9, 0.5, 0.8]) == 3
    assert forgettable([]) == forgettable([0.4]) == 0


def due(part: Any, steps: int, rates: list[float], plan: Any = "alphastar") -> bool:
    live = Candidate(7, "main", "main", True, rates[-1])
    old = [past(number, rate) for number, rate in enumerate(rates[:-1], start=1)]
    weak = past(99, 0.0, "bot", "bot")
    config = LeagueConfig(plan=plan, snapshot_steps=100)
    return plans.snapshot_due(part, steps, [Situation(part, (*old, weak, live), config)], config)


def test_snapshots_come_after_a_phase_that_was_won_or_two() -> None:
    assert not due("main", 99, [0.9, 0.9, 0.9]) and due("main", 100, [0.8, 0.71, 0.5])
    assert not due("main", 100, [0.8, 0.7, 0.9]) and due("main", 200, [0.0, 0.0, 0.0])
    assert due("main_exploiter", 100, [0.1, 0.1, 0.71]) and not due("main_exploiter", 199, [0.9, 0.9, 0.7])
    assert due("league_exploiter", 100, [0.8, 0.8, 0.1]) and not due("league_exploiter", 100, [0.8, 0.1, 0.9])
    assert due("main", 100, [0.0, 0.0, 0.0], plan="self-play")


def test_who_begins_anew() -> None:
    star, psro = LeagueConfig(plan="alphastar"), LeagueConfig(plan="psro")
    assert not plans.begins_anew("main", star, 0.0) and plans.begins_anew("main_exploiter", star, 0.99)
    assert plans.begins_anew("league_exploiter", star, 0.24) and not plans.begins_anew("league_exploiter", star, 0.25)
    assert plans.begins_anew("main", psro, 0.99)


def test_every_main_and_its_exploiters_have_a_place() -> None:
    star = LeagueConfig(plan="alphastar", mains=2, main_exploiters=1, league_exploiters=2)
    kinds = [part for part, _ in plans.parts(star)]
    assert kinds == ["main", "main", "main_exploiter", "league_exploiter", "league_exploiter"]
    assert plans.parts(LeagueConfig(plan="pfsp")) == [("main", 0)]


def test_names_of_learners_are_not_for_others() -> None:
    config = LeagueConfig(plan="alphastar", mains=2)
    names = plans.names(config, ["cat", "mouse"])
    assert list(names)[:4] == ["cat.main_0", "cat.main_1", "cat.main_exploiter", "cat.league_exploiter"]
    assert names["mouse.main_1"] == ("mouse", "main") and len(names) == 8
    assert list(plans.names(LeagueConfig(), ["cat"])) == ["main"]
    for name in ("main", "main-0", "main-17", "main.2"):
        assert plans.is_of(name, "main")
    for name in ("mains", "main-x", "main-", "domain", "maintain-1", "main-1-1"):
        assert not plans.is_of(name, "main")
