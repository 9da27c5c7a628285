"""Programs as players: good ones play as they would in process, and every way of misbehaving is told apart."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import environments
from environments.errors import UsageError
from league import host, matches, programs
from league.contest import Contest, Entrant, blocks
from league.programs import Limits
from league.records import Match, Player
from league.runner import duel, run
from league.sequential import SPRT
from league.spiel import RoshamboBot
from league.store import Store
from league.tournament import FORMATS
from tests.league.test_runner import load

PLAYERS = str(Path(__file__).with_name("players.py"))
QUICK = Limits(move_seconds=1.0, game_seconds=1.2, start_seconds=20.0, memory=2 * 2**30, file=2**22)


def source(name: str) -> str:
    return name if name in ("random", "first", "last") or name.startswith("cmd:") else f"{PLAYERS}:{name}"


def entrant(number: int, name: str) -> Entrant:
    return Entrant(number, name, {"side": source(name)})


def hold(folder: Path, names: list[str], games: int = 2, workers: int = 1, format: str = "round-robin") -> list[Match]:
    kind = environments.make("board/tictactoe").spec.kinds[0].name
    with Store(folder) as store:
        entered = [
            Entrant(store.add_player(Player(name=n, source=source(n), roles=(kind,))), n, {kind: source(n)})
            for n in names
        ]
        contest = Contest("board/tictactoe", {}, load, games, folder=folder, limits=QUICK, record=1)
        run(contest, entered, store, FORMATS[format], workers)
        return list(store.matches())


def test_a_class_is_handed_the_state_that_it_answered_with() -> None:
    """Agents apart, and from nothing again where a game begins."""

    class Counts:
        def act(self, obs: np.ndarray, state: int | None = None) -> tuple[int, int]:
            return state or 0, (state or 0) + 1

    told = [("reset", "a"), ("act", "a"), ("act", "a"), ("reset", "b"), ("act", "b"), ("act", "a")]
    told += [("reset", "a"), ("act", "a"), ("act", "b")]
    asked = [{"type": kind, "agent": agent, "seed": 0, "obs": [0.0], "mask": None} for kind, agent in told]
    answers = io.StringIO()
    host.serve(Counts, io.StringIO("".join(json.dumps(request) + "\n" for request in asked)), answers)
    assert [json.loads(line)["action"] for line in answers.getvalue().splitlines()] == [0, 1, 0, 2, 0, 1]


def test_a_class_plays_as_it_would_in_this_process(tmp_path: Path) -> None:
    """FirstLegal, as a program, plays the same games as the actor that takes the first legal action."""
    outside = hold(tmp_path / "program", ["random", "FirstLegal"])
    inside = hold(tmp_path / "actor", ["random", "first"])
    assert all(match.status == "normal" for match in outside)
    kept = [match.replay for match in outside if match.replay]
    assert len(kept) == 1 and (tmp_path / "program" / kept[0]).exists()
    assert len(inside) == len(outside) == 2


def test_a_reset_gives_the_seed_of_the_game(tmp_path: Path) -> None:
    again = [hold(tmp_path / str(k), ["SeededRandom", "first"], games=4) for k in range(2)]
    assert again[0] == again[1] and len({match.length for match in again[0]} | {0}) > 1


MISBEHAVIOUR = [
    ("Illegal", "illegal", "not allowed now"),
    ("WrongShape", "illegal", "no action"),
    ("WrongType", "illegal", "no action"),
    ("HalfAPair", "illegal", r"\ud800 is no action"),
    ("Raises", "crash", "never learnt"),
    ("Dies", "crash", "goodbye"),
    ("Hungry", "memory", "MemoryError"),
    ("Floods", "crash", "its process ended"),
    ("Sleeps", "timeout", "no answer in time (for a move)"),
    ("Spins", "timeout", "no answer in time (for a move)"),
    ("Dawdles", "timeout", "no answer in time (for the game)"),
]


@pytest.mark.parametrize(("name", "status", "words"), MISBEHAVIOUR)
def test_every_misbehaviour_is_a_forfeit_of_its_kind(tmp_path: Path, name: str, status: str, words: str) -> None:
    started = time.monotonic()
    limits = Limits(1.0, 0.3 if name == "Dawdles" else 1.2, 20.0 if name == "Dawdles" else 2.0, 2 * 2**30, 2**22)
    spec = environments.make("board/tictactoe").spec
    kind = spec.kinds[0].name
    good, bad = Entrant(1, "first", {kind: "first"}), Entrant(2, name, {kind: source(name)})
    contest = Contest("board/tictactoe", {}, load, 2, limits=limits)
    try:
        found = [match for block in blocks(contest, spec, good, bad) for match in matches.play(contest, block)]
    finally:
        matches.end_programs()
    for match in found:
        assert match.status == status, match.error
        assert match.offender is not None and match.seats[match.offender].player == 2
        assert words in (match.error or "")
        assert match.outcome[match.offender] < match.outcome[1 - match.offender]
    assert time.monotonic() - started < 30
    assert not subprocess.run(["pgrep", "-f", f"league.host {PLAYERS}:{name}"], capture_output=True).stdout


def test_bad_players_do_not_change_what_good_ones_do_to_one_another(tmp_path: Path) -> None:
    """Twelve players, six kinds of bad."""
    good = ["random", "first", "last", "FirstLegal", "LastLegal", "SeededRandom"]
    bad = {
        "Illegal": "illegal",
        "WrongShape": "illegal",
        "WrongType": "illegal",
        "Dies": "crash",
        "Hungry": "memory",
        "FallsAsleep": "timeout",
    }
    alone = hold(tmp_path / "good", good)
    together = hold(tmp_path / "all", [*good, *bad])
    among = [match for match in together if max(seat.player for seat in match.seats) <= len(good)]
    assert {match.id: match.outcome for match in among} == {match.id: match.outcome for match in alone}
    assert len(together) == 132 and {match.status for match in alone} == {"normal"}
    for number, status in enumerate(bad.values(), len(good) + 1):
        gave_away = [m for m in together if m.offender is not None and m.seats[m.offender].player == number]
        assert [match.status for match in gave_away] == [status] * 3


def test_three_forfeits_in_a_row_bench_a_player(tmp_path: Path) -> None:
    found = hold(tmp_path, ["Raises", "random", "first"], games=4, format="gauntlet")
    assert [match.status for match in found] == ["crash"] * 3 + ["void"] * 5
    with Store(tmp_path) as store:
        results = store.results()
    assert results.games.sum() == 6 and results.losses[0].sum() == 3


def test_benching_does_not_depend_on_workers(tmp_path: Path) -> None:
    names = ["Raises", "random", "first"]
    alone, shared = hold(tmp_path / "1", names, games=4), hold(tmp_path / "2", names, games=4, workers=2)
    assert [(m.id, m.status, m.outcome) for m in alone] == [(m.id, m.status, m.outcome) for m in shared]


def test_a_benched_player_is_not_waited_for(tmp_path: Path) -> None:
    """Within a block as from one to the next: it is asked until it has given three games away, and never again."""
    asked = tmp_path / "asked"
    engine = f"cmd:sh -c 'read line; echo >> {asked}; exit 1'"
    found = hold(tmp_path / "league", [engine, "first"], games=10)
    assert [match.status for match in found] == ["crash"] * 3 + ["void"] * 7
    assert len(asked.read_text()) == 3


def test_a_duel_with_a_benched_player_asks_it_no_more(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    kind, names = "player", [f"cmd:sh -c 'read line; echo >> {asked}; exit 1'", "first"]
    with Store(tmp_path / "league") as store:
        sides = [Entrant(store.add_player(Player(name=n, source=n, roles=(kind,))), n, {kind: n}) for n in names]
        contest = Contest("board/tictactoe", {}, load, 200, block=4, limits=QUICK)
        verdict, counts = duel(contest, *sides, store, SPRT(0, 35))
        assert verdict == "open" and counts.sum() == 1 and store.voids() == 197
    assert len(asked.read_text()) == 3


def test_any_program_that_speaks_the_protocol_plays(tmp_path: Path) -> None:
    engine = tmp_path / "engine.sh"
    engine.write_text(
        "#!/bin/sh\nwhile read line; do case $line in *act*) "
        f'echo "$line" | {sys.executable} -c \'import json,sys; r = json.load(sys.stdin); '
        'print(json.dumps({"action": r["mask"].index(True)}))\' ;; esac; done\n'
    )
    engine.chmod(0o755)
    found = hold(tmp_path / "league", [f"cmd:{engine}", "first"])
    assert [match.status for match in found] == ["normal"] * 2


def test_what_cannot_be_started_is_said_at_once(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import a_module_that_nobody_has\n")
    for text, words in {
        f"{broken}:Player": "a_module_that_nobody_has",
        f"{PLAYERS}:Nobody": "Nobody",
        f"{PLAYERS}:Speechless": "act",
        "cmd:./no-such-engine": "no program",
        "cmd:": "no program",
    }.items():
        with pytest.raises(UsageError, match=words):
            programs.check(text)
    programs.check(f"{PLAYERS}:FirstLegal")


def test_bots_of_open_spiel_play_as_they_do_there(tmp_path: Path) -> None:
    from environments.games.roshambo import openspiel

    wanted = openspiel.play("copybot", lambda throws: int(throws[-1, 0]) if len(throws) else 0, 50, seed=3)
    bot = RoshamboBot("copybot")
    bot.reset(3)
    last = None
    for own, other in wanted.tolist():
        obs = np.zeros(6, np.float32)
        if last is not None:
            obs[last[0]] = obs[3 + last[1]] = 1
        assert bot.act(obs) == own
        last = own, other
    spec = environments.make("roshambo/repeated").spec
    kind = spec.kinds[0].name
    sides = [Entrant(k, name, {kind: name}) for k, name in enumerate(("pyspiel:rockbot", "pyspiel:copybot"))]
    contest = Contest("roshambo/repeated", {"throws": 40}, load, 2, limits=QUICK)
    try:
        found = [match for block in blocks(contest, spec, *sides) for match in matches.play(contest, block)]
    finally:
        matches.end_programs()
    assert [match.status for match in found] == ["normal"] * 2
    assert all(match.outcome[match.seats[0].player] <= -38 for match in found), "copybot beats what rockbot threw last"
    with pytest.raises(UsageError, match="greenberg"):
        programs.check("pyspiel:greenburg")


def test_what_is_a_program() -> None:
    for text in (
        "cmd:./engine --fast",
        "a.py:Class",
        "package.module:Class",
        "pyspiel:greenberg",
        f"{os.sep}x{os.sep}y.py:Z",
    ):
        assert programs.is_outside(text)
    for text in ("random", "bot:board/tictactoe/perfect", "runs/a/b", "policy.safetensors", "league:dir/3"):
        assert not programs.is_outside(text)
