"""`marl play` and `marl fork`, through the command line; the window is played by a test instead of a person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from environments import replay
from environments.replay import verify
from marl import files
from marl.cli.main import main
from tests.recording import record
from viz.playing import Playing

ROOT = Path(__file__).parents[2]
Watched = Callable[[Any, str], None]


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """A game of two random players, as `marl evaluate` records it."""
    assert main(["evaluate", "board/tictactoe", "--episodes", "1", "--record", "1", "--out", str(tmp_path)]) == 0
    return tmp_path / "evaluation-0-0.replay"


def play_by(monkeypatch: pytest.MonkeyPatch, keys: list[str], turns: int = 400) -> list[Playing]:
    """Instead of a window: press these keys in turn, let time pass, and close it in the end."""
    seen: list[Playing] = []

    def watch(shown: Any, title: str) -> None:
        seen.append(shown)
        for turn in range(turns):
            if shown.session.over:
                break
            shown.press(keys[turn % len(keys)])
            shown.advance(1.0)
            shown.page()
        shown.press("escape")

    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr("viz.screen.window.watch", watch)
    return seen


def test_the_same_players_go_on_as_they_did(parent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fork", str(parent), "--step", "3"]) == 0
    said = capsys.readouterr().out
    fork, before = replay.load(parent.parent / "forks" / "evaluation-0-0-fork-3.replay"), replay.load(parent)
    assert fork.identity == before.identity and verify(fork).exact
    assert fork.parent == (before.identity, 3) and f"step 3 of {parent}" in said
    assert fork.policies == before.policies


def test_another_player_or_another_seed_goes_another_way(parent: Path, tmp_path: Path) -> None:
    before = replay.load(parent)
    for words in (["--team", "player=bot:board/tictactoe/perfect"], ["--seed", "8"]):
        out = tmp_path / "deep" / f"{words[0]}.replay"
        assert main(["fork", str(parent), "--step", "1", *words, "--out", str(out)]) == 0
        fork = replay.load(out)
        assert verify(fork).exact and fork.identity != before.identity
        assert (fork.groups["player"].action[:1] == before.groups["player"].action[:1]).all()
        assert main(["verify", str(out)]) == 0
    named = replay.load(tmp_path / "deep" / "--team.replay").policies
    assert {identity.name for identity in named.values()} == {"bot:board/tictactoe/perfect"}


def test_one_of_two_players_is_replaced(parent: Path) -> None:
    words = ["--step", "2", "--team", "player_1=bot:board/tictactoe/perfect"]
    assert main(["fork", str(parent), *words]) == 0
    assert main(["fork", str(parent), *words]) == 0
    assert sorted(path.name for path in parent.parent.glob("forks/*")) == [
        "evaluation-0-0-fork-2-2.replay", "evaluation-0-0-fork-2.replay",
    ]  # fmt: skip
    named = replay.load(parent.parent / "forks" / "evaluation-0-0-fork-2.replay").policies
    assert [named[team].name for team in ("player_0", "player_1")] == ["random", "bot:board/tictactoe/perfect"]


def test_a_person_forks(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play_by(monkeypatch, list("012345678"))
    out = parent.with_name("mine.replay")
    assert main(["fork", str(parent), "--step", "2", "--human", "player_0", "--out", str(out)]) == 0
    fork = replay.load(out)
    assert verify(fork).exact and fork.parent == (replay.load(parent).identity, 2)
    assert fork.policies["player_0"].name == "human" and fork.policies["player_1"].name == "random"
    assert fork.header["human"] == "player_0"


def test_a_policy_that_went_on_learning_is_not_taken_for_the_one_that_played(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = record("particle/spread")
    header = {**recorded.header, "policies": {"team": {"player": "nobody.safetensors", "sha256": "0" * 64}}}

    replace(recorded, header=header).save(tmp_path / "a.replay")
    assert main(["fork", str(tmp_path / "a.replay"), "--step", "2"]) == 2
    said = capsys.readouterr().err
    assert "'team' cannot go on as in" in said and "say who plays: --team team=PLAYER" in said
    assert main(["fork", str(tmp_path / "a.replay"), "--step", "2", "--team", "team=random"]) == 0


def test_a_run_that_was_moved_is_gone_on_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A policy is found in the run's folder, wherever that is now, if it is the very file that played."""
    policy = ROOT / "marl" / "policies" / "spread.safetensors"
    said = {"player": "runs/elsewhere/policies/team.safetensors", "sha256": files.sha256(policy), "steps": 7}
    recorded = record("particle/spread")
    recorded = replace(recorded, header={**recorded.header, "policies": {"team": said}})
    path, moved = tmp_path / "run" / "replays" / "a.replay", tmp_path / "run" / "policies" / "team.safetensors"
    recorded.save(path)
    moved.parent.mkdir()
    moved.write_bytes(b"another")
    words = ["fork", str(path), "--step", "20"]
    assert main(words) == 2 and "unknown player" in capsys.readouterr().err
    moved.write_bytes(policy.read_bytes())
    assert main(words) == 0
    fork = path.parent / "forks" / "a-fork-20.replay"
    assert replay.load(fork).policies["team"].name == str(moved)
    moved.rename(tmp_path / "run" / "replays" / moved.name)
    assert main(words) == 0, "beside the replay"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--step", "99"], "it can be forked at 0 to"),
        (["--step", "-1"], "it can be forked at 0 to"),
        (["--step", "1", "--team", "player_7=random"], "no team 'player_7'"),
        (["--step", "1", "--team", "player=nobody"], "unknown player 'nobody'"),
        (["--step", "1", "--seed", "-1"], "--seed must be"),
        (["--step", "1", "--speed", "0"], "--speed must be"),
        (["--step", "1", "--out", "a.gif"], "ends with .replay"),
        (["--step", "1", "--human", "agent_9"], "no agent 'agent_9'"),
        ([], "--step"),
    ],
)
def test_forks_that_cannot_be_are_one_line(
    words: list[str],
    message: str,
    parent: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    capsys.readouterr()
    assert main(["fork", str(parent), *words]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not list(parent.parent.glob("*fork*"))


def test_a_game_is_played_from_the_start_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = play_by(monkeypatch, list("012345678"))
    out = tmp_path / "game.replay"
    words = ["--others", "bot:board/tictactoe/perfect", "--human", "player_1", "--out", str(out), "--seed", "5"]
    assert main(["play", "board/tictactoe", *words]) == 0
    said = capsys.readouterr().out
    played = replay.load(out)
    assert verify(played).exact and played.policies["player_1"].name == "human"
    assert played.policies["player_0"].name == "bot:board/tictactoe/perfect"
    assert seen[0].result() in said and str(out) in said


def test_teammates_and_arrows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    play_by(monkeypatch, ["left"])
    assert main(["play", "particle/spread"]) == 0
    (kept,) = (tmp_path / "replays" / "played").glob("play-agent_0-0.replay")
    played = replay.load(kept)
    assert (played.groups["agent"].action[:, 0] == 1).all() and len(np.unique(played.groups["agent"].action[:, 1])) > 1
    assert played.header["human"] == "agent_0" and played.policies["team"].name == "random"


def test_the_game_is_the_one_that_evaluate_plays(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = parent.with_name("mine.replay")
    play_by(monkeypatch, list("012345678"))
    assert main(["play", "board/tictactoe", "--out", str(out)]) == 0
    assert replay.load(out).header["episode_seed"] == replay.load(parent).header["episode_seed"]


@pytest.mark.parametrize("turns", [0, 2])
def test_closed_before_the_end(
    turns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was played is kept, left open, and can be gone on with; nothing is kept of nothing."""
    out = tmp_path / "a.replay"
    play_by(monkeypatch, ["left"], turns)
    assert main(["play", "particle/spread", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    if not turns:
        assert "closed after 0 steps, before the end: nothing was kept" in said and not list(tmp_path.iterdir())
        return
    assert f"closed after 2 steps, before the end: kept in {out}" in said and list(tmp_path.iterdir()) == [out]
    kept = replay.load(out)
    assert kept.left_open and kept.damage is None and kept.steps == 2 and np.isnan(kept.outcome).all()
    assert main(["verify", str(out)]) == 0
    said = capsys.readouterr().out
    assert "exact: all 2 steps" in said and "left open after step 2" in said
    assert main(["fork", str(out), "--step", "2", "--team", "team=random", "--out", str(tmp_path / "b.replay")]) == 0
    ended = replay.load(tmp_path / "b.replay")
    assert ended.steps == 25 and not ended.left_open and ended.parent == (kept.identity, 2)
    assert (ended.digests[:3] == kept.digests).all() and "was" not in capsys.readouterr().out


def test_a_fork_stops_where_it_is_told_to(parent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fork", str(parent), "--step", "2", "--steps", "1"]) == 0
    out = parent.parent / "forks" / "evaluation-0-0-fork-2.replay"
    assert f"left open: marl fork {out} --step 3 goes on" in capsys.readouterr().out
    stopped, before = replay.load(out), replay.load(parent)
    assert stopped.left_open and stopped.steps == 3 and (stopped.digests == before.digests[:4]).all()
    assert main(["fork", str(out), "--step", "3"]) == 0
    assert replay.load(out.with_name("evaluation-0-0-fork-2-fork-3.replay")).identity == before.identity
    assert main(["fork", str(out), "--step", "4"]) == 2
    assert main(["fork", str(parent), "--step", "2", "--steps", "0"]) == 2
    assert "--steps must be 1 to 2^20, not 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["particle/nothing"], "particle/nothing"),
        (["particle/spread", "--human", "agent_9"], "has no agent 'agent_9'; it has agent_0"),
        (["particle/spread", "--others", "nobody"], "unknown player 'nobody'"),
        (["particle/spread", "--others", "bot:board/tictactoe/perfect"], "plays board/tictactoe, not particle/spread"),
        (["particle/spread", "--team", "rabbits=random"], "no team 'rabbits'"),
        (["particle/spread", "--speed", "nan"], "--speed must be"),
        (["particle/spread", "--seed", "-4"], "--seed must be"),
        (["particle/spread", "--out", "a.mp4"], "ends with .replay"),
    ],
)
def test_bad_input_is_one_line_and_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", *words]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_without_a_display_it_says_what_can_be_done(
    parent: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    capsys.readouterr()
    assert main(["play", "board/tictactoe"]) == 2
    assert main(["fork", str(parent), "--step", "1", "--human", "player_0"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "no display" in first and "marl evaluate board/tictactoe --record 1" in first and "--gif" in first
    assert f"marl fork {parent} --step 1 --team" in second


DRAWN = "tests.environments.external.drawn:Drawn"
ARENAS = "tests.environments.external.arenas"


def test_somebody_elses_game_is_played_and_forked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, fork = tmp_path / "game.replay", tmp_path / "fork.replay"
    seen = play_by(monkeypatch, ["1"])
    assert main(["play", DRAWN, "--env.length", "12", "--out", str(out)]) == 0
    played = replay.load(out)
    (group,) = played.groups.values()
    assert played.steps == 12 and (group.action[:, 0] == 1).all() and played.header["human"] == "agent_0"
    assert seen[0].moment().film is not None and seen[0].moment().over and seen[0].moment().step == 12
    assert main(["fork", str(out), "--step", "4", "--out", str(fork), "--environment", DRAWN]) == 0
    other = replay.load(fork)
    assert other.parent == (played.identity, 4) and (other.digests[:4] == played.digests[:4]).all()
    (forked,) = other.groups.values()
    assert (forked.action[:4] == group.action[:4]).all() and (forked.action[4:] != group.action[4:]).any()


def test_what_does_not_repeat_itself_is_not_forked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--episodes", "1", "--record", "1", "--out", str(tmp_path)]
    assert main(["evaluate", f"{ARENAS}:Unrepeatable", *words]) == 0
    again = ["--environment", f"{ARENAS}:Unrepeatable"]
    for command in (["fork", "--step", "2"], ["verify"]):
        assert main([*command, str(tmp_path / "evaluation-0-0.replay"), *again]) == 3
        assert "does not repeat itself" in capsys.readouterr().err
    assert main(["evaluate", f"{ARENAS}:Arena", *words]) == 0
    parent = replay.load(tmp_path / "evaluation-0-0.replay")
    named = ["--environment", f"{ARENAS}:Arena"]
    assert main(["verify", str(tmp_path / "evaluation-0-0.replay"), *named]) == 0
    assert f"exact: all {parent.steps} steps give the recorded rewards and views" in capsys.readouterr().out
    assert main(["fork", str(tmp_path / "evaluation-0-0.replay"), "--step", "3", *named]) == 0
    assert replay.load(tmp_path / "forks" / "evaluation-0-0-fork-3.replay").identity == parent.identity
    name, track = next(iter(parent.groups.items()))
    reward = track.reward.copy()
    reward[1] += 1
    lied = replace(parent, groups={**parent.groups, name: track._replace(reward=reward)})
    lied.save(tmp_path / "lied.replay")
    assert main(["fork", str(tmp_path / "lied.replay"), "--step", "3", *named]) == 3
    assert "after step 1 reward" in capsys.readouterr().err
