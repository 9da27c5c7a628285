"""Noughts and crosses on the 3x3 board (`toy/noughts`): two teams of one kind, one move at a time.

Agents: `player_0`, `player_1`, one group; one kind of team, `player`, with two teams of one agent.
Actions: Discrete(9): the cell to mark, row by row. Taken cells are illegal (masked); who marks one, or a cell that does
not exist, loses at once.
Observation, uint8 0 or 1: nine cells marked by oneself, nine cells marked by the other. Off turn: zeros.
State: nine cells of `player_0`, nine of `player_1`, then 1 where `player_1` is to move.
Reward: 1 to the winner and -1 to the loser on the last move, both 0 on a draw. Outcome: win 1, draw 0.5, loss 0.
Ends: terminated for both at a line of three, a full board or an illegal move. No time limit (nine moves at most).
Metrics: `illegal` (illegal moves).
Source: folklore. Version 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from environments.compile import kernel
from environments.native import Game, options_of
from environments.rng import integer
from environments.spec import AgentGroup, EnvSpec, TeamKind
from environments.vector import Array

F = np.float32
ZERO, ONE, HALF = F(0.0), F(1.0), F(0.5)
EMPTY = 2  # 0 and 1 are the players


@dataclass(frozen=True)
class Options:
    """What people may set."""

    random_start: bool = True
    """Whether the first player is drawn; otherwise `player_0` always begins."""


@kernel
def reset_one(state, params, clock):
    """An empty board."""
    for c in range(9):
        state.board[c] = EMPTY
    state.mover = integer(clock, 2) if params.random_start else 0
    state.marked = 0


@kernel
def three(board, a, b, c, player):
    """True where the player owns all three cells."""
    return board[a] == player and board[b] == player and board[c] == player


@kernel
def has_line(board, player):
    """True where the player owns a row, a column or a diagonal."""
    won = three(board, 0, 4, 8, player) or three(board, 2, 4, 6, player)
    for i in range(3):
        won |= three(board, 3 * i, 3 * i + 1, 3 * i + 2, player) or three(board, i, i + 3, i + 6, player)
    return won


@kernel
def step_one(state, params, clock, actions, out, e):
    """Mark one cell; see whether that ends the game."""
    mover = state.mover
    other = 1 - mover
    cell = actions[0][e, mover]
    illegal = cell < 0 or cell >= 9
    if not illegal:
        illegal = state.board[cell] != EMPTY
    won = False
    if not illegal:
        state.board[cell] = mover
        state.marked += 1
        won = has_line(state.board, mover)
    group = out.groups[0]
    if won or illegal or state.marked == 9:
        group.terminated[e, 0] = True
        group.terminated[e, 1] = True
        result = ONE if won else (-ONE if illegal else ZERO)
        group.reward[e, mover] = result
        group.reward[e, other] = -result
        out.outcome[e, mover] = HALF + HALF * result
        out.outcome[e, other] = HALF - HALF * result
    out.metrics[e, 0] = F(illegal)
    state.mover = other


@kernel
def observe_one(state, params, clock, out, e):
    """Write both views, the state, and who may move where."""
    group = out.groups[0]
    for player in range(2):
        group.acting[e, player] = player == state.mover
        for c in range(9):
            group.obs[e, player, c] = state.board[c] == player
            group.obs[e, player, 9 + c] = state.board[c] == 1 - player
            group.action_mask[e, player, c] = state.board[c] == EMPTY
            out.state[e, 9 * player + c] = F(state.board[c] == player)
    out.state[e, 18] = F(state.mover)


def spec(options: Options) -> EnvSpec:
    """The description."""
    group = AgentGroup(
        name="player",
        kind="player",
        agents=("player_0", "player_1"),
        observation_space=spaces.Box(0, 1, (18,), np.uint8),
        action_space=spaces.Discrete(9),
        features=(*(f"own {c}" for c in range(9)), *(f"other {c}" for c in range(9))),
        masked=True,
    )
    return EnvSpec(
        name="toy/noughts",
        version=1,
        agents=group.agents,
        groups=(group,),
        kinds=(TeamKind("player", ("player",), teams=2),),
        state_size=19,
        max_wait=1,
        turn_based=True,
        metrics=(("illegal", "moves"),),
        outcome="win 1, draw 0.5, loss 0",
        step_seconds=1.0,
        options=options_of(options),
    )


def params(options: Options) -> Array:
    """Numbers for the kernels."""
    record = np.zeros(1, np.dtype([("random_start", np.uint8)], align=True))
    record["random_start"] = options.random_start
    return record


def state_type(options: Options) -> np.dtype[Any]:
    """One copy's simulation state: `board [9]` (0 or 1: the player; 2: empty), `mover`, `marked` cells."""
    return np.dtype([("board", np.uint8, (9,)), ("mover", np.int64), ("marked", np.int64)], align=True)


GAME = Game("toy/noughts", Options, spec, params, state_type, reset_one, step_one, observe_one)
