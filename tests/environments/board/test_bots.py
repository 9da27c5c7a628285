"""The bots of the board games: what they never do wrong, and who beats whom."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

import environments
from environments.errors import UsageError
from environments.games.board import bots
from environments.vector import VectorEnv

Player = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
TICTACTOE, CONNECT_FOUR = "board/tictactoe", "board/connect_four"


def at_random(obs: np.ndarray, mask: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Any legal action."""
    return bots._pick(mask, noise)


def outcomes(env: VectorEnv, players: tuple[Player, Player], seed: int) -> np.ndarray:
    """What `player_0` got in the first game of every copy."""
    rng = np.random.default_rng(seed)
    found = np.full(env.num_envs, np.nan)
    while np.isnan(found).any():
        group = env.buffers.groups[0]
        actions = np.zeros(group.acting.shape, np.int32)
        for seat, player in enumerate(players):
            rows = group.acting[:, seat]
            noise = rng.random(env.num_envs, np.float32)
            actions[rows, seat] = player(group.obs[rows, seat], group.action_mask[rows, seat], noise[rows])
        buffers = env.step({"player": actions})
        assert not buffers.metrics[:, 2].any(), "an illegal move"
        first = buffers.episode_over & np.isnan(found)
        found[first] = buffers.outcome[first, 0]
    return found


def lines_against(player: Player, seat: int) -> list[int]:
    """Results for the one in `seat` over every line of replies, where it may choose among equals as chance likes."""
    results = []

    @cache
    def answers(boards: tuple[int, int]) -> list[int]:
        bits = [[boards[side] >> cell & 1 for cell in range(9)] for side in (seat, 1 - seat)]
        rows = np.tile(np.concatenate(bits).astype(np.uint8), (64, 1))
        mask = rows[:, :9] + rows[:, 9:] == 0
        return sorted(set(player(rows, mask, np.linspace(0, 0.999, 64)).tolist()))

    def walk(boards: tuple[int, int], turn: int) -> None:
        for side in (0, 1):
            if any(boards[side] & line == line for line in bots.LINES):
                results.append(1 if side == seat else -1)
                return
        free = [cell for cell in range(9) if not (boards[0] | boards[1]) >> cell & 1]
        if not free:
            results.append(0)
            return
        cells = free
        if turn % 2 == seat:
            cells = answers(boards)
            assert set(cells) <= set(free)
        for cell in cells:
            mine = boards[turn % 2] | 1 << cell
            walk((mine, boards[1]) if turn % 2 == 0 else (boards[0], mine), turn + 1)

    walk((0, 0), 0)
    return results


@pytest.mark.parametrize("seat", [0, 1])
def test_the_perfect_player_never_loses_whatever_is_answered(seat: int) -> None:
    results = lines_against(environments.bot(f"{TICTACTOE}/perfect"), seat)
    assert min(results) == 0 and max(results) == 1 and len(results) > 500


def test_perfect_play_is_uniform_among_the_best() -> None:
    empty = np.zeros((9000, 18), np.uint8)
    noise = np.random.default_rng(0).random(9000)
    first = np.bincount(bots.perfect_tictactoe(empty, None, noise), minlength=9)
    assert abs(first / 9000 - 1 / 9).max() < 0.02  # every first move draws
    corner = empty.copy()
    corner[:, 9] = 1
    assert set(bots.perfect_tictactoe(corner, None, noise)) == {4}  # only the middle draws against a corner


def test_perfect_players_draw_and_beat_chance() -> None:
    perfect = environments.bot(f"{TICTACTOE}/perfect")
    assert not outcomes(environments.make(TICTACTOE, 200), (perfect, perfect), 1).any()
    assert outcomes(environments.make(TICTACTOE, 200), (perfect, at_random), 2).mean() > 0.8


def position(moves: list[int]) -> np.ndarray:
    """The observation after these moves."""
    env = environments.make(CONNECT_FOUR)
    for move in moves:
        env.step({"player": np.full((1, 2), move, np.int32)})
        assert not env.buffers.episode_over[0]
    group = env.buffers.groups[0]
    return np.array(group.obs[0, group.acting[0]])


WINS = [
    ([0, 1, 0, 1, 0, 1], {0}),  # upright
    ([0, 0, 1, 1, 2, 2], {3}),  # level
    ([0, 6, 1, 6, 3, 5], {2}),  # the gap
    ([0, 1, 1, 2, 2, 3, 2, 3, 3, 6], {3}),  # rising
    ([6, 5, 5, 4, 4, 3, 4, 3, 3, 0], {3}),  # falling
]


@pytest.mark.parametrize("depth", range(1, 7))
@pytest.mark.parametrize(("moves", "wins"), WINS)
def test_an_immediate_win_is_taken(depth: int, moves: list[int], wins: set[int]) -> None:
    obs = np.repeat(position(moves), 16, 0)
    chosen = environments.bot(f"{CONNECT_FOUR}/depth-{depth}")(obs, None, np.linspace(0, 0.99, 16))
    assert set(chosen.tolist()) == wins


@pytest.mark.parametrize("depth", range(2, 7))
@pytest.mark.parametrize(("moves", "block"), [([0, 6, 0, 6, 0], 0), ([3, 0, 3, 1, 3], 3), ([0, 6, 1, 6, 3], 2)])
def test_an_immediate_loss_is_averted(depth: int, moves: list[int], block: int) -> None:
    obs = np.repeat(position(moves), 16, 0)
    chosen = environments.bot(f"{CONNECT_FOUR}/depth-{depth}")(obs, None, np.linspace(0, 0.99, 16))
    assert set(chosen.tolist()) == {block}


def test_a_double_threat_is_seen_three_moves_ahead() -> None:
    obs = np.repeat(position([2, 2, 3, 3]), 16, 0)  # 1 or 4 leaves two places to win on the lowest row
    chosen = bots.search(obs, np.linspace(0, 0.99, 16), 3)
    assert set(chosen.tolist()) == {1, 4}


def test_the_search_is_that_of_a_plain_one() -> None:
    """Scores of random positions against a search that knows boards as grids and goes move by move."""
    rng = np.random.default_rng(5)
    env = environments.make(CONNECT_FOUR, 40, seed=5)
    for _ in range(12):
        mask = env.buffers.groups[0].action_mask
        env.step({"player": (rng.random(mask.shape) * mask).argmax(-1).astype(np.int32)})
    group = env.buffers.groups[0]
    obs = group.obs[group.acting]
    own, other = (np.where(part != 0, bots.CELL, bots.U(0)).sum(1, dtype=bots.U) for part in np.split(obs, 2, 1))
    for depth in (1, 2, 3):
        scores = bots._scores(own, other, depth)
        for row in range(depth, 40, 2 * depth**2):
            grid = obs[row, :42].reshape(6, 7).astype(int) - obs[row, 42:].reshape(6, 7)
            for column in range(7):
                assert scores[row, column] == plain_score(grid, column, depth)


def has_four(grid: np.ndarray) -> bool:
    """True where the player of +1 has four in a line."""
    for r in range(6):
        for c in range(7):
            for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
                cells = [(r + k * down, c + k * right) for k in range(4)]
                if all(0 <= x < 6 and 0 <= y < 7 and grid[x, y] == 1 for x, y in cells):
                    return True
    return False


def plain_score(grid: np.ndarray, column: int, depth: int) -> int:
    """Score of a column for the player of +1."""
    if grid[0, column]:
        return -10 * bots.WON
    after = grid.copy()
    after[np.flatnonzero(grid[:, column] == 0)[-1], column] = 1
    if has_four(after):
        return bots.WON + depth
    if depth == 1:
        return 0
    return -plain_value(-after, depth - 1)


def plain_value(grid: np.ndarray, depth: int) -> int:
    """Score of a position for the player of +1, who is to move."""
    if (grid != 0).all():
        return 0
    if depth > 1:
        return max(plain_score(grid, column, depth) for column in range(7))
    if any(plain_score(grid, column, 1) > 0 for column in range(7)):
        return bots.WON + 1
    return promise(grid) - promise(-grid)


def promise(grid: np.ndarray) -> int:
    """Places where a stone would make four, and stones near the centre, of the player of +1."""
    score = int(((grid == 1) * np.array([0, 1, 2, 3, 2, 1, 0])).sum())
    for cell in np.argwhere(grid == 0):
        filled = grid.copy()
        filled[tuple(cell)] = 1
        score += bots.THREAT * has_four(filled)
    return score


def test_deeper_search_wins() -> None:
    one, four = (environments.bot(f"{CONNECT_FOUR}/depth-{depth}") for depth in (1, 4))
    for seed, weaker in enumerate((one, at_random)):
        env = environments.make(CONNECT_FOUR, 40)
        first = outcomes(env, (four, weaker), seed)
        second = -outcomes(environments.make(CONNECT_FOUR, 40), (weaker, four), 10 + seed)
        assert (first.mean() + second.mean()) / 2 > 0.9
    assert outcomes(environments.make(CONNECT_FOUR, 200), (one, at_random), 7).mean() > 0.3


def test_play_does_not_depend_on_the_batch() -> None:
    rng = np.random.default_rng(8)
    obs = np.concatenate([position(rng.permutation(7)[:5].tolist()) for _ in range(30)])
    noise = rng.random(30, np.float32)
    together = bots.depth_5(obs, None, noise)  # more rows than are searched side by side
    alone = [bots.depth_5(obs[k : k + 1], None, noise[k : k + 1])[0] for k in range(30)]
    assert together.tolist() == alone and together.dtype == np.int32


def test_strange_observations_are_refused() -> None:
    with pytest.raises(UsageError, match=r"reads observations of 18 columns, not \(5,\)"):
        environments.bot(f"{TICTACTOE}/perfect")(np.zeros((2, 5)), None, np.zeros(2))
