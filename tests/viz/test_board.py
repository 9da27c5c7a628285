"""The drawings of the board games: every stone where it lies, the last one marked, the winner's line ringed."""

from __future__ import annotations

import numpy as np
import pytest

import environments
from environments.replay import Recorder, Replay
from tests.recording import record
from viz import drawings
from viz.drawings import board
from viz.moment import ReplayMoments
from viz.scene import GOLD, Circle, Line, Scene
from viz.teams import team_colors


def played(name: str, moves: list[int]) -> Replay:
    """A whole game by these moves."""
    env = environments.make(name)
    recorder = Recorder(env, 0, {})
    for move in moves:
        actions = {"player": np.full((1, 2), move, np.int32)}
        recorder.add(actions, env.step(actions))
    return recorder.finish()


def rings(scene: Scene) -> list[Circle]:
    return [s for s in scene.shapes if isinstance(s, Circle) and s.line == GOLD]


@pytest.mark.parametrize("name", ["board/connect_four", "board/hex"])
def test_stones_have_their_owners_colours(name: str) -> None:
    recorded = record(name)
    colors = team_colors(recorded.spec)
    for frame in range(recorded.steps + 1):
        shapes = drawings.draw(ReplayMoments(recorded)[frame]).shapes
        fills = [s.fill for s in shapes if isinstance(s, Circle)]
        for player in (0, 1):
            assert fills.count(colors[player]) == (recorded.frames["board"][frame] == player).sum()


def test_crosses_and_rings_lie_where_they_were_put() -> None:
    scene = drawings.draw(ReplayMoments(played("board/tictactoe", [0, 5, 1, 7, 2]))[4])
    first, second = team_colors(environments.make("board/tictactoe").spec)
    crosses = {tuple(np.mean(s.points, 0).round(2)) for s in scene.shapes if isinstance(s, Line) and s.color == first}
    circles = {s.center for s in scene.shapes if isinstance(s, Circle) and s.line == second}
    assert crosses == {(0.5, 2.5), (1.5, 2.5)} and circles == {(2.5, 1.5), (1.5, 0.5)}


def test_what_won_is_ringed_and_told() -> None:
    recorded = played("board/connect_four", [0, 1, 0, 1, 0, 1, 0])
    moments = ReplayMoments(recorded)
    assert not rings(drawings.draw(moments[6]))
    assert sorted(ring.center for ring in rings(drawings.draw(moments[7]))) == [(0.5, y + 0.5) for y in range(4)]
    assert [(mark.frame, mark.name) for mark in drawings.marks_of(recorded)] == [(7, "player_0 wins")]


def test_a_connection_is_found_from_edge_to_edge() -> None:
    moves = [0, 8, 3, 5, 6]  # player_0 takes the left column; player_1's view has rows and columns exchanged
    recorded = played("board/hex-3", moves)
    assert recorded.outcome.tolist() == [1, -1]
    last = drawings.draw(ReplayMoments(recorded)[5])
    assert [ring.center for ring in rings(last)] == [board._hex_at(cell, 3) for cell in (0, 3, 6)]
    assert recorded.frames["board"][-1].tolist() == [0, 2, 2, 0, 2, 2, 0, 1, 1]


@pytest.mark.parametrize("name", ["board/tictactoe", "board/connect_four", "board/hex"])
def test_the_winner_is_the_games(name: str) -> None:
    for seed in range(25):
        recorded = record(name, seed=seed, traces=False)
        winner = {1.0: "player_0 wins", -1.0: "player_1 wins", 0.0: None}[float(recorded.outcome[0])]
        told = [mark.name for mark in drawings.marks_of(recorded)]
        assert told == ([winner] if winner else [])


def test_the_last_stone_is_marked() -> None:
    recorded = record("board/connect_four")
    moments = ReplayMoments(recorded)
    for frame in range(recorded.steps + 1):
        found = board._last_stone(moments[frame])
        new = np.flatnonzero(recorded.frames["board"][frame] != recorded.frames["board"][max(0, frame - 1)])
        assert found == (int(new[0]) if frame else None)
