"""The simulator's opponents against their rules, and throw for throw against the published bots of the same rule."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import numpy as np
import pytest

import environments
from environments.errors import UsageError
from environments.games.roshambo import openspiel, opponents
from environments.games.roshambo.names import BOTS, PUBLISHED, THROWS
from environments.vector import Array
from tests.source import ROOT

NUMBER = {bot: number for number, bot in enumerate(BOTS)}


def ours(bot: str, script: Array, seed: int = 0) -> Array:
    """`[t, 2]`: the script and what our opponent throws against it."""
    env = environments.make("roshambo/repeated", opponent="population", throws=len(script) + 1, seed=seed)
    env.restore(0, {"bot": np.array(NUMBER[bot])})
    made = np.zeros((len(script), 2), np.int64)
    for t, throw in enumerate(script):
        env.step({"player": np.array([[throw]], np.int32)})
        made[t] = env.capture(0).arrays["recent"][0]
    return made


def theirs(bot: str, script: Array, seed: int = 1) -> Array:
    """The same with a bot of the tournament."""
    return openspiel.play(lambda throws: int(script[len(throws)]), bot, len(script), seed).astype(np.int64)


@cache
def script(kind: str, throws: int = 1000) -> Array:
    """Something to play against: at random, with a liking, in runs."""
    rng = np.random.default_rng(7)
    if kind == "random":
        return rng.integers(0, 3, throws)
    if kind == "biased":
        return rng.choice(3, throws, p=[0.2, 0.5, 0.3])
    return np.repeat(rng.integers(0, 3, throws), 3)[:throws]


DETERMINISTIC = ["rock", "rotate", "pi", "beat-last", "frequency"]


@pytest.mark.parametrize("kind", ["random", "biased", "runs"])
@pytest.mark.parametrize("bot", DETERMINISTIC)
def test_throw_for_throw_as_published(bot: str, kind: str) -> None:
    made = ours(bot, script(kind))
    assert (made == theirs(PUBLISHED[bot], script(kind))).all()
    assert (made[:, 0] == script(kind)).all()


@pytest.mark.parametrize("kind", ["random", "biased"])
def test_anti_flat_is_as_published_but_where_it_tosses(kind: str) -> None:
    """It tosses where the other has thrown everything equally often."""
    made, wanted = ours("anti-flat", script(kind)), theirs("antiflatbot", script(kind))
    before = np.cumsum(np.eye(3, dtype=int)[script(kind)], axis=0)
    before = np.vstack([np.zeros((1, 3), int), before[:-1]])
    decided = (before != before[:, :1]).any(axis=1)
    assert decided.sum() > 900 and (made[decided] == wanted[decided]).all()


def given(made: Array, what: str) -> dict[Any, Array]:
    """How often each throw followed, by what a rule with chance looks at."""
    counts: dict[Any, Array] = {}
    own = np.zeros(3, int)
    for t, (_, throw) in enumerate(made):
        if what == "own last":
            situation: Any = int(made[t - 1, 1]) if t else None
        elif what == "parity and own last":
            situation = (t % 6, int(made[t - 1, 1])) if t else None
        else:
            situation = tuple(own == own.min())
        counts.setdefault(situation, np.zeros(3))[throw] += 1
        own[throw] += 1
    return counts


CHANCE = {
    "random": "own last",
    "biased": "own last",
    "switching": "own last",
    "seldom-repeat": "own last",
    "foxtrot": "parity and own last",
    "flat": "own counts",
}


@pytest.mark.parametrize("bot", CHANCE)
def test_chances_are_as_published(bot: str) -> None:
    """Where a rule tosses, the same situations lead to the same throws as often, within five standard deviations."""
    line = script("random", 6000)
    mine, published = given(ours(bot, line), CHANCE[bot]), given(theirs(PUBLISHED[bot], line), CHANCE[bot])
    compared = 0
    for situation, counts in mine.items():
        if situation is None or counts.sum() < 200:
            continue
        other = published[situation]
        share, wanted = counts / counts.sum(), other / other.sum()
        error = np.sqrt(0.25 * (1 / counts.sum() + 1 / other.sum()))
        assert np.abs(share - wanted).max() < 5 * error, (situation, share, wanted)
        assert ((counts == 0) == (other == 0)).all()
        compared += 1
    assert compared >= 3


def test_rules_without_a_published_twin() -> None:
    line = script("random")
    last = np.concatenate([[0], line[:-1]])
    assert (ours("paper", line)[:, 1] == 1).all() and (ours("scissors", line)[:, 1] == 2).all()
    assert (ours("copy-last", line)[:, 1] == last).all()
    follows = np.zeros((3, 3), int)
    for t, (_, throw) in enumerate(ours("markov", script("runs"))):
        if t >= 2:
            follows[script("runs")[t - 2], script("runs")[t - 1]] += 1
        row = follows[script("runs")[t - 1] if t else 0]
        best = [k for k in range(3) if row[k] == row.max()]
        if len(best) == 1:
            assert throw == (best[0] + 1) % 3


def test_every_rule_plays_and_is_its_own_option() -> None:
    assert len(set(BOTS)) == len(BOTS) and set(PUBLISHED) <= set(BOTS)
    assert set(PUBLISHED.values()) <= set(openspiel.names())
    for bot in BOTS[:3]:
        env = environments.make("roshambo/repeated", opponent=bot)
        env.step({"player": np.zeros((1, 1), np.int32)})
        assert THROWS[env.capture(0).arrays["recent"][0, 1]] == bot


def test_a_de_bruijn_cycle_holds_every_word_once() -> None:
    cycle = opponents.de_bruijn_throws()
    for throws in (cycle, openspiel.play("debruijn81", "rockbot", 81)[:, 0].astype(int)):
        around = np.concatenate([throws, throws[:3]])
        words = Counter(tuple(around[i : i + 4].tolist()) for i in range(81))
        assert len(throws) == 81 and len(words) == 81 and set(words.values()) == {1}
    made = ours("debruijn", np.zeros(200, int))[:, 1]
    assert (made == np.resize(cycle, 200)).all()


def test_matches_are_repeatable_and_scored() -> None:
    once, again = (openspiel.play("randbot", "iocainebot", 300, seed=4) for _ in range(2))
    assert (once == again).all()
    assert (once != openspiel.play("randbot", "iocainebot", 300, seed=5)).any()
    swapped = once[:, ::-1]
    assert openspiel.returns(once) == -openspiel.returns(swapped)
    assert openspiel.returns(np.array([[1, 0], [2, 1], [0, 2], [0, 0], [0, 1]], np.int8)) == 2


def test_the_page_lists_every_rule() -> None:
    page = (ROOT / "docs" / "environments" / "roshambo.md").read_text()
    table = page.split("| name | throws | published as |\n|---|---|---|\n")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert [name for row in rows for name in row[0].split(", ")] == list(BOTS)
    assert {row[0].split(", ")[0]: row[2] for row in rows if row[2] in openspiel.names()} == PUBLISHED


def test_a_player_meets_everybody() -> None:
    table = openspiel.against_all(lambda throws: 1, matches=2, throws=30, seed=3)
    names = openspiel.names()
    assert table.shape == (43, 2) and (table[names.index("rockbot")] == 30).all()
    assert table[names.index("rotatebot")].tolist() == [0, 0] and table[names.index("copybot")].tolist() == [-29, -29]
    assert (table == openspiel.against_all(lambda throws: 1, matches=2, throws=30, seed=3)).all()
    assert (table[:, 0] != table[:, 1]).sum() > 10  # another seed for every match


@pytest.mark.parametrize("recall", [1, 3])
def test_what_a_player_sees_is_what_the_environment_shows(recall: int) -> None:
    env = environments.make("roshambo/repeated", recall=recall)
    made = np.random.default_rng(0).integers(0, 3, (10, 2)).astype(np.int8)
    for t in range(len(made) + 1):
        seen = env.buffers.groups[0].obs[0]
        assert (openspiel.observe(made[:t], recall) == seen[0]).all()
        assert (openspiel.observe(made[:t, ::-1], recall) == seen[1]).all()
        if t < len(made):
            env.step({"player": made[t][None].astype(np.int32)})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rockbott", "randbot"), r"no roshambo bot 'rockbott'; did you mean 'rockbot'\?"),
        (("rockbot", "randbot", 0), r"throws must be a whole number from 1 to 10000, not 0"),
        ((lambda throws: 3, "randbot", 5), r"a throw must be 0, 1 or 2, not 3"),
    ],
)
def test_wrong_matches_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        openspiel.play(*arguments)
