"""What the board games share: two players who take turns, what they see of the stones, how a game ends.

A board is one row of cells, each 0 or 1 (the player whose stone lies there) or `EMPTY`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from environments.compile import kernel
from environments.errors import UsageError
from environments.rng import integer
from environments.spec import AgentGroup, EnvSpec, TeamKind
from environments.vector import Array

F = np.float32
U = np.uint64
WIN, DRAW, LOSS = F(1.0), F(0.0), F(-1.0)
EMPTY = np.uint8(2)
FIRST_WINS, SECOND_WINS, ILLEGAL = 0, 1, 2
ON, WON, DRAWN, REFUSED = 0, 1, 2, 3
"""What comes of a move: the game goes on, the mover wins, nobody does, or there is no such move."""
METRICS = (("first_wins", "games"), ("second_wins", "games"), ("illegal", "moves"))


@dataclass(frozen=True)
class BoardOptions:
    """What may be set in every board game."""

    random_start: bool = False
    """Whether it is drawn who moves first; otherwise `player_0` always does."""
    random_opening: int = 0
    """Games begin after up to so many moves drawn by lot; 0 to half of the board's cells."""

    def check_opening(self, cells: int) -> None:
        """UsageError where there are not that many moves to draw."""
        if not 0 <= self.random_opening <= cells // 2:
            raise UsageError(f"random_opening must be 0 to {cells // 2} moves, not {self.random_opening}")


@kernel
def set_up(state, clock, random_start):
    """An empty board, and who moves first."""
    for cell in range(state.board.shape[0]):
        state.board[cell] = EMPTY
    state.mover = integer(clock, 2) if random_start else 0
    state.turn = 0


@kernel
def drawn_cell(state, clock):
    """An empty cell, all equally likely."""
    empty = 0
    for cell in range(state.board.shape[0]):
        empty += state.board[cell] == EMPTY
    left = integer(clock, empty)
    for cell in range(state.board.shape[0]):
        if state.board[cell] == EMPTY:
            if left == 0:
                return cell
            left -= 1
    return -1


def reset_with(move: Any, draw: Any) -> Any:
    """The rule that begins a game of `move(state, params, action)`: an empty board, or one after moves drawn by lot.

    There are up to `random_opening` of them, each from `draw(state, clock)`; one that ends the game is drawn again.
    """

    @kernel
    def reset_one(state, params, clock):
        came_of_it = WON
        while came_of_it != ON:
            came_of_it = ON
            set_up(state, clock, params.random_start)
            moves = integer(clock, params.random_opening + 1) if params.random_opening > 0 else 0
            for _ in range(moves):
                if came_of_it == ON:
                    came_of_it = move(state, params, draw(state, clock))
                    pass_turn(state)

    return reset_one


@kernel
def settle(state, out, e, came_of_it):
    """After a move: end the game if it is over, and pass the turn."""
    if came_of_it == REFUSED:
        forfeit(state, out, e)
    elif came_of_it == WON:
        conclude(state, out, e, WIN)
    elif came_of_it == DRAWN:
        conclude(state, out, e, DRAW)
    pass_turn(state)


@kernel
def conclude(state, out, e, result):
    """End the game with this result for the one who has just moved; the other gets the opposite."""
    mover = U(state.mover)
    group = out.groups[0]
    for player in range(2):
        group.terminated[e, player] = True
        group.reward[e, player] = result if player == mover else -result
    of_first = result if state.turn % 2 == 0 else -result
    out.metrics[e, FIRST_WINS] = F(of_first == WIN)
    out.metrics[e, SECOND_WINS] = F(of_first == LOSS)


@kernel
def forfeit(state, out, e):
    """An illegal move loses the game."""
    out.metrics[e, ILLEGAL] = F(1.0)
    conclude(state, out, e, LOSS)


@kernel
def pass_turn(state):
    """The other player is to move."""
    state.mover = 1 - state.mover
    state.turn += 1


@kernel
def show_mover(state, out, e):
    """Who may act, and the global state: stones of `player_0`, of `player_1`, whether it is the latter's turn."""
    cells = state.board.shape[0]
    for player in range(2):
        out.groups[0].acting[e, player] = player == state.mover
        for cell in range(cells):
            out.state[e, cells * player + cell] = F(state.board[cell] == np.uint8(player))
    out.state[e, 2 * cells] = F(state.mover)


@kernel
def show_stones(state, out, e):
    """What both see: their own stones, then the other's, cell by cell."""
    cells = state.board.shape[0]
    for player in range(2):
        view = out.groups[0].obs[e, player]
        for cell in range(cells):
            view[cell] = state.board[cell] == np.uint8(player)
            view[cells + cell] = state.board[cell] == np.uint8(1 - player)


def spec_of(name: str, options: Mapping[str, Any], rows: int, columns: int, actions: int) -> EnvSpec:
    """The description of a board game."""
    cells = [f"{row},{column}" for row in range(rows) for column in range(columns)]
    group = AgentGroup(
        name="player",
        kind="player",
        agents=("player_0", "player_1"),
        observation_space=spaces.Box(0, 1, (2 * len(cells),), np.uint8),
        action_space=spaces.Discrete(actions),
        features=(*(f"own {cell}" for cell in cells), *(f"other {cell}" for cell in cells)),
        masked=True,
    )
    return EnvSpec(
        name=name,
        version=1,
        agents=group.agents,
        groups=(group,),
        kinds=(TeamKind("player", ("player",), teams=2),),
        state_size=2 * len(cells) + 1,
        max_wait=1,
        turn_based=True,
        metrics=METRICS,
        step_seconds=1.0,
        options=options,
    )


def state_of(cells: int) -> np.dtype[Any]:
    """One copy's simulation state: `board [cells]`, `mover` (whose turn it is), `turn` (moves made so far)."""
    return np.dtype([("board", np.uint8, (cells,)), ("mover", np.int64), ("turn", np.int64)], align=True)


def params_of(options: BoardOptions, **numbers: int) -> Array:
    """One record of numbers for the kernels: the shared options, and what else a game needs."""
    fields = [("random_start", np.uint8), ("random_opening", np.int64), *((name, np.int64) for name in numbers)]
    record = np.zeros(1, np.dtype(fields, align=True))
    record["random_start"] = options.random_start
    record["random_opening"] = options.random_opening
    for name, value in numbers.items():
        record[name] = value
    return record
