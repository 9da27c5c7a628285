"""The runner: the same log with any number of workers and interruptions, seats swapped fairly, nothing played twice."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import environments
from environments import replay
from environments.errors import EnvironmentFailure
from environments.spec import EnvSpec
from league import matches as league_matches
from league import runner
from league.contest import BLOCK, Block, Contest, Entrant, blocks, orientations
from league.records import Match, Player, Seat
from league.sequential import SPRT
from league.store import Store
from league.tournament import FORMATS
from marl.acting import Actor, PolicyStep, View
from marl.policy_spec import PolicySpec
from marl.random_policy import RandomPolicy


class First:
    """Takes the first, or the last, legal action."""

    def __init__(self, last: bool) -> None:
        self.last = last

    def step(
        self, views: Mapping[str, View], noise: Mapping[str, Tensor], greedy: bool = False
    ) -> dict[str, PolicyStep]:
        steps = {}
        for name, view in views.items():
            legal = view.action_mask
            assert legal is not None
            action = legal.shape[-1] - 1 - legal.flip(-1).int().argmax(-1) if self.last else legal.int().argmax(-1)
            steps[name] = PolicyStep(action.to(torch.int32), torch.zeros(action.shape))
        return steps


def load(source: str, spec: EnvSpec, kind: str) -> Actor:
    if source == "broken":
        raise RuntimeError("cannot be loaded")
    if source == "slow":
        time.sleep(600)
    return RandomPolicy(PolicySpec.of(spec, kind)) if source == "random" else First(source == "last")


def hold(
    folder: Path, names: list[str], workers: int = 1, format: str = "round-robin", **contest: Any
) -> tuple[list[Match], list[Any]]:
    spec = environments.make("board/tictactoe").spec
    with Store(folder) as store:
        entrants = [
            Entrant(
                store.add_player(Player(name=name, source=name, roles=(spec.kinds[0].name,))),
                name,
                {spec.kinds[0].name: name},
            )
            for name in names
        ]
        rules = Contest("board/tictactoe", {}, load, **{"games": 10, "folder": folder, **contest})
        rounds = runner.run(rules, entrants, store, FORMATS[format], workers)
        return list(store.matches()), rounds


def test_everybody_plays_the_same_number_of_games_on_each_side(tmp_path: Path) -> None:
    matches, rounds = hold(tmp_path, ["random", "first", "last"], games=10)
    assert len(matches) == 30
    for number in (1, 2, 3):
        for team in (0, 1):
            assert sum(m.seats[team].player == number for m in matches) == 10
    pairs: dict[tuple[int, frozenset[int]], list[Match]] = {}
    for match in matches:
        pairs.setdefault((match.key, frozenset(seat.player for seat in match.seats)), []).append(match)
    assert len(pairs) == 15
    for a, b in pairs.values():
        assert [seat.player for seat in a.seats] == [seat.player for seat in reversed(b.seats)]
    assert [sum(score) for score in rounds[0].scores] == [10.0] * 3


def test_who_moves_first_is_who_the_log_says(tmp_path: Path) -> None:
    """`first` fills the cells in order and wins by the diagonal or column as first mover; the log must agree."""
    matches, _ = hold(tmp_path, ["first", "last"], games=2)
    for match in matches:
        env = environments.make("board/tictactoe", 1)
        players = {1: First(False), 2: First(True)}
        env.reset(keys=[match.key])
        group = env.spec.groups[0].name
        for _ in range(match.length):
            acting = env.buffers.groups[0].acting[0]
            mover = players[match.seats[int(np.flatnonzero(acting)[0])].player]
            legal = torch.from_numpy(env.buffers.groups[0].action_mask)
            view = View(torch.zeros(1), legal, torch.from_numpy(env.buffers.groups[0].acting))
            out = env.step({group: mover.step({group: view}, {})[group].action.numpy().astype(np.int32)})
        assert out.episode_over[0] and tuple(out.outcome[0]) == match.outcome


def test_any_number_of_workers_gives_the_same_log(tmp_path: Path) -> None:
    names = ["random", "first", "last"]
    alone, _ = hold(tmp_path / "1", names, games=8)
    for workers in (2, 4):
        shared, _ = hold(tmp_path / str(workers), names, workers=workers, games=8)
        assert alone == shared
        journals = [(tmp_path / str(count) / "journal.jsonl").read_bytes() for count in (1, workers)]
        assert journals[0] == journals[1]


def test_what_was_interrupted_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["random", "first", "last"]
    whole, _ = hold(tmp_path / "whole", names, block=4)
    played: list[int] = []
    real = league_matches.play

    def counted(contest: Contest, block: Block) -> list[Match]:
        if len(played) == 4:
            raise KeyboardInterrupt
        played.append(len(block.games))
        return real(contest, block)

    monkeypatch.setattr(league_matches, "play", counted)
    with pytest.raises(KeyboardInterrupt):
        hold(tmp_path / "cut", names, block=4)
    with Store(tmp_path / "cut") as store:
        assert store.count() == sum(played)
    played.clear()
    with pytest.raises(KeyboardInterrupt):
        hold(tmp_path / "cut", names, block=4)
    played.clear()
    resumed, _ = hold(tmp_path / "cut", names, block=4)
    assert resumed == whole and sum(played) < len(whole)


@pytest.mark.parametrize("format", ["swiss", "gauntlet", "single-elimination"])
def test_other_formats_play_what_they_say(tmp_path: Path, format: str) -> None:
    matches, rounds = hold(tmp_path, ["random", "first", "last"], format=format, games=4)
    assert len(matches) == 4 * sum(len(each.pairings) for each in rounds) == 8


def test_names_do_not_matter_but_seeds_and_players_do(tmp_path: Path) -> None:
    ids = {}
    for label, (names, more) in {
        "one": (["random", "first"], {}),
        "turned": (["first", "random"], {}),
        "seed": (["random", "first"], {"seed": 1}),
        "sampled": (["random", "first"], {"greedy": False}),
        "other": (["random", "last"], {}),
    }.items():
        ids[label] = {match.id for match in hold(tmp_path / label, names, **more)[0]}
    assert ids["one"] == ids["turned"]
    for label in ("seed", "sampled", "other"):
        assert not ids["one"] & ids[label]


def test_replays_are_kept_where_asked(tmp_path: Path) -> None:
    matches, _ = hold(tmp_path, ["random", "first"], games=6, record=3)
    kept = [match for match in matches if match.replay is not None]
    assert len(kept) == 3
    for match in kept:
        recorded = replay.load(tmp_path / str(match.replay))
        assert recorded.damage is None and recorded.steps == match.length
        assert {who.name for who in recorded.policies.values()} == {"random", "first"}
        assert tuple(recorded.outcome) == match.outcome


def test_a_player_that_cannot_be_loaded_stops_everything_with_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="cannot be loaded"):
        hold(tmp_path, ["random", "broken"])
    with Store(tmp_path) as store:
        assert store.count() == 0


def test_who_stops_it_does_not_wait_for_what_is_being_played(tmp_path: Path) -> None:
    def stop(done: int) -> None:
        if done:
            raise KeyboardInterrupt

    kind = environments.make("board/tictactoe").spec.kinds[0].name
    with Store(tmp_path) as store:
        entrants = [
            Entrant(store.add_player(Player(name=name, source=name, roles=(kind,))), name, {kind: name})
            for name in ("random", "first", "slow")
        ]
        contest, others = Contest("board/tictactoe", {}, load, games=2), set(multiprocessing.active_children())
        with pytest.raises(KeyboardInterrupt):
            runner.run(contest, entrants, store, FORMATS["round-robin"], 2, stop)
        assert store.count() == 2
    for _ in range(200):
        if not set(multiprocessing.active_children()) - others:
            return
        time.sleep(0.1)
    raise AssertionError("workers play on, and the program does not end before they do")


def test_who_stops_it_before_workers_have_begun_leaves_nothing_that_waits() -> None:
    """What workers were sent and have not read must not be waited for when the program ends."""
    spec = environments.make("board/tictactoe").spec
    kind = spec.kinds[0].name
    first, second = (Entrant(number, name, {kind: name}) for number, name in ((1, "random"), (2, "first")))
    contest, others = Contest("board/tictactoe", {}, load, games=8 * BLOCK), set(multiprocessing.active_children())
    threads, asked = set(threading.enumerate()), []

    def instead(block: Block) -> None:
        asked.append(block)
        if len(asked) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), runner.working(contest, 2) as play:
        next(play(blocks(contest, spec, first, second), instead))
    assert len(asked) == 3
    assert set(threading.enumerate()) <= threads and set(multiprocessing.active_children()) <= others


def test_a_worker_whose_last_answer_nobody_reads_ends_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a duel that is decided: a line that is closed with something in it ends otherwise than an empty one."""
    ours, theirs = multiprocessing.Pipe()
    theirs.send("an answer")
    ours.close()
    monkeypatch.setattr(runner.signal, "signal", lambda *_: None)
    runner._serve(Contest("board/tictactoe", {}, load, 2), theirs)


def test_a_worker_that_was_killed_is_said_with_what_is_safe() -> None:
    worker = runner._Worker(Contest("board/tictactoe", {}, load, games=2))
    worker.process.kill()
    with pytest.raises(EnvironmentFailure, match="the same command goes on"):
        worker.answer()
    worker.process.join()
    worker.line.close()


def test_a_duel_ends_with_the_verdict_whoever_plays(tmp_path: Path) -> None:
    spec = environments.make("board/tictactoe").spec
    kind = spec.kinds[0].name
    test = SPRT(0.0, 100.0, least_pairs=4)
    for names, wanted in ((["first", "random"], "stronger"), (["random", "first"], "not stronger")):
        pairs = []
        for workers in (1, 2):
            with Store(tmp_path / names[0] / str(workers)) as store:
                sides = [
                    Entrant(store.add_player(Player(name=name, source=name, roles=(kind,))), name, {kind: name})
                    for name in names
                ]
                contest = Contest("board/tictactoe", {}, load, games=800, block=16)
                verdict, counts = runner.duel(contest, *sides, store, test, workers)
                assert verdict == wanted and 4 <= counts.sum() < 400
                assert 2 * counts.sum() == store.count()
                again = runner.duel(contest, *sides, store, test)
                assert again[0] == verdict and (again[1] == counts).all() and 2 * counts.sum() == store.count()
                pairs.append(counts.tolist())
        assert pairs[0] == pairs[1]


def test_pairs_are_counted_by_their_points(tmp_path: Path) -> None:
    def game(key: int, first: int, outcome: tuple[float, float], **more: Any) -> Match:
        seats = (Seat(team=0, role="side", player=first), Seat(team=1, role="side", player=3 - first))
        about = {"id": f"{key}-{first}", "environment": "e", "digest": "d", "length": 1}
        return Match(**about, key=key, seats=seats, outcome=outcome, **more)

    won, drawn, lost = (1.0, -1.0), (0.0, 0.0), (-1.0, 1.0)
    games = [
        game(1, 1, won), game(1, 2, lost), game(2, 1, won), game(2, 2, won), game(3, 1, drawn), game(3, 2, lost),
        game(4, 1, lost), game(4, 2, won), game(5, 1, won), game(5, 2, drawn, status="void"), game(6, 1, won),
    ]  # fmt: skip
    assert runner.pair_counts(games, 1).tolist() == [1, 0, 1, 1, 1]
    assert runner.pair_counts(games, 2).tolist() == [1, 1, 1, 0, 1]


def test_another_cycle_is_other_games(tmp_path: Path) -> None:
    spec = environments.make("board/tictactoe").spec
    kind = spec.kinds[0].name
    a, b = Entrant(1, "a", {kind: "random"}), Entrant(2, "b", {kind: "random"})
    contest = Contest("board/tictactoe", {}, load, games=6)
    keys = [{game.key for block in blocks(contest, spec, a, b, cycle) for game in block.games} for cycle in range(3)]
    assert [len(each) for each in keys] == [3, 3, 3] and len(set().union(*keys)) == 9


def test_players_of_the_same_side_alone_do_not_meet(tmp_path: Path) -> None:
    spec = environments.make("particle/tag").spec
    chasers = [Entrant(1, "a", {"adversary": "random"}), Entrant(2, "b", {"adversary": "random"})]
    runners = Entrant(3, "c", {"good": "random"})
    both = Entrant(4, "d", {"adversary": "random", "good": "random"})
    assert orientations(spec, *chasers) == []
    assert orientations(spec, chasers[0], runners) == [(0, 1)]
    assert orientations(spec, runners, chasers[0]) == [(1, 0)]
    assert orientations(spec, chasers[0], both) == [(0, 1)]
    assert orientations(spec, both, replace(both, number=5)) == [(0, 1), (1, 0)]
    contest = Contest("particle/tag", {}, load, games=6)
    found = blocks(contest, spec, chasers[0], runners)
    assert [game.lineup for block in found for game in block.games] == [(0, 1)] * 6
    assert len({game.key for block in found for game in block.games}) == 6
