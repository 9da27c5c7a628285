"""Level-based foraging on a field of any size (`foraging/field`, and names such as `foraging/8x8-2p-2f-coop`).

Purpose        cooperation: food is loaded by players who stand beside it and are strong enough together.
Agents         agent_0 ... agent_{P-1}, one group `agent`; each has a level, and is called a player below.
Teams          one, `team`.
Actions        Discrete(6): 0 none, 1 north (row - 1), 2 south (row + 1), 3 west (column - 1),
               4 east (column + 1), 5 load.
               Legal: moves that do not leave the field and do not step on food; loading beside food. An illegal action
               counts as none. Who wants to go where another stays, or wants to go too, stays; see `walk`.
Rewards        where players beside a piece of food load at once and their levels sum to its level or more, it is gone
               and each earns level * food's level; normalised, that is divided by the sum of the players' levels and
               by the levels of all food that the episode began with. Where they sum to less, each pays `penalty`.
Ends           terminated where no food is left. At max_cycles truncated, or terminated with timeout_terminates.
Options        see `environments.games.foraging.options`.
Source         lbforaging 2.0.0 (Christianos et al. 2020, "Shared Experience Actor-Critic", arXiv:2006.07169;
               Papoudakis et al. 2021, arXiv:2006.07869).
Version        1

Observation    a list: places in cells, counted from the upper left corner of what the player sees
    0 ...      row, column and level of each piece of food that it sees, row by row; -1, -1, 0 where there is no more
    ...        own row, column and level
    ...        row, column and level of each other player that it sees, in order; -1, -1, 0 where there is no more.
               Without observe_agent_levels players have two columns
or, with grid_observation, three layers of (2 sight + 1)^2 cells, one after the other, row by row, itself in the middle
    layer 0    levels of players (1 without observe_agent_levels)
    layer 1    levels of food
    layer 2    1 where one may go: inside the field, with neither food nor a player

A player sees food at most `sight` rows and columns away. Of the other players it sees those at most 2 sight rows and
columns from the corner where it counts from, which is farther where that corner is cut off by the border (as in
lbforaging; not so in grid observations).

State          row, column and level of each piece of food (level 0: gone) and of each player, as shares of the largest;
               with timeout_terminates also the share of time left.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from environments.compile import kernel
from environments.games.foraging.options import Options, highest_food_level, levels
from environments.games.foraging.starts import reset_one
from environments.games.foraging.views import observe_grid, observe_list
from environments.intrinsics import scratch_row
from environments.native import Game, options_of
from environments.spec import AgentGroup, EnvSpec, TeamKind
from environments.vector import Array

F = np.float32
U = np.uint64
NONE, NORTH, SOUTH, WEST, EAST, LOAD = range(6)
FOOD_LOADED, FAILED_LOADS, COLLISIONS = 0, 1, 2


def spec(options: Options) -> EnvSpec:
    """Description for learners, league and viewer."""
    low, high, features = _sight(options) if options.grid_observation else _list(options)
    agents = tuple(f"agent_{i}" for i in range(options.players))
    group = AgentGroup(
        name="agent",
        kind="team",
        agents=agents,
        observation_space=spaces.Box(np.array(low, np.float32), np.array(high, np.float32)),
        action_space=spaces.Discrete(6),
        features=tuple(features),
        masked=options.action_masks,
    )
    return EnvSpec(
        name="foraging/field",
        version=1,
        agents=agents,
        groups=(group,),
        kinds=(TeamKind("team", ("agent",)),),
        state_size=3 * (options.food + options.players) + options.timeout_terminates,
        max_steps=options.max_cycles,
        metrics=(("food_loaded", "pieces"), ("failed_loads", "pieces x steps"), ("collisions", "agents x steps")),
        step_seconds=0.25,
        options=options_of(options),
    )


def _list(options: Options) -> tuple[list[float], list[float], list[str]]:
    """Bounds and names of a list's columns."""
    place = [options.rows - 1, options.columns - 1]
    strongest = max(levels(options, "max_player_level", options.players))
    food = [*place, highest_food_level(options)]
    player = [*place, strongest] if options.observe_agent_levels else place
    who = ["own", *(f"other {i}" for i in range(options.players - 1))]
    columns = ("row", "column", "level")
    names = [f"food {f} {column}" for f in range(options.food) for column in columns]
    names += [f"{name} {column}" for name in who for column in columns[: len(player)]]
    low = [-1.0, -1.0, 0.0] * options.food + [-1.0, -1.0, 0.0][: len(player)] * options.players
    return low, [float(bound) for bound in food * options.food + player * options.players], names


def _sight(options: Options) -> tuple[list[float], list[float], list[str]]:
    """Bounds and names of the cells of the three layers."""
    sight = _cells_seen(options)
    strongest = max(levels(options, "max_player_level", options.players)) if options.observe_agent_levels else 1
    highest = {"player": strongest, "food": highest_food_level(options), "free": 1}
    around = [(r, c) for r in range(-sight, sight + 1) for c in range(-sight, sight + 1)]
    names = [f"{layer} at {r:+d} {c:+d}" for layer in highest for r, c in around]
    return [0.0] * len(names), [float(most) for most in highest.values() for _ in around], names


def _cells_seen(options: Options) -> int:
    return max(options.rows, options.columns) if options.sight is None else options.sight


def params(options: Options) -> Array:
    """Numbers for the kernels."""
    weakest_counts = options.max_food_level is None
    numbers: dict[str, Any] = {
        "rows": options.rows,
        "columns": options.columns,
        "sight": _cells_seen(options),
        "max_steps": options.max_cycles,
        "coop": options.coop,
        "grid": options.grid_observation,
        "sees_levels": options.observe_agent_levels,
        "normalise": options.normalize_reward,
        "timeout_terminates": options.timeout_terminates,
        "weakest_counts": weakest_counts,
    }
    shares = {
        "penalty": options.penalty,
        "row_share": 1 / (options.rows - 1),
        "column_share": 1 / (options.columns - 1),
        "player_share": 1 / max(levels(options, "max_player_level", options.players)),
        "food_share": 1 / highest_food_level(options),
    }
    ranges = {
        "player_low": levels(options, "min_player_level", options.players),
        "player_high": levels(options, "max_player_level", options.players),
        "food_low": levels(options, "min_food_level", options.food),
        "food_high": levels(options, "min_food_level" if weakest_counts else "max_food_level", options.food),
    }
    fields: list[Any] = [(name, np.int64) for name in numbers]
    fields += [(name, np.float32) for name in shares]
    fields += [(name, np.int64, (len(each),)) for name, each in ranges.items()]
    record = np.zeros(1, np.dtype(fields, align=True))
    for name, value in (numbers | shares | ranges).items():
        record[name] = value
    return record


def state(options: Options) -> np.dtype[Any]:
    """Record of one copy.

    `player_position [P, 2]` and `food_position [N, 2]` (row, column), `player_level [P]`, `food_level [N]` (0: gone, or
    there was no room), food in the order of rows and then columns; `food_spawned`: all levels that the episode began
    with; `action [P]`: what each has just done, 0 where it was not legal.
    """
    fields = [
        ("player_position", np.int32, (options.players, 2)),
        ("player_level", np.int32, (options.players,)),
        ("action", np.int32, (options.players,)),
        ("food_position", np.int32, (options.food, 2)),
        ("food_level", np.int32, (options.food,)),
        ("food_spawned", np.int32),
    ]
    return np.dtype(fields, align=True)


@kernel
def legal(state, params, i):
    """Player i's legal actions: bit a is set where action a is one."""
    row, column = state.player_position[i, 0], state.player_position[i, 1]
    bits = 1 << NONE
    bits |= (row > 0) << NORTH
    bits |= (row < params.rows - 1) << SOUTH
    bits |= (column > 0) << WEST
    bits |= (column < params.columns - 1) << EAST
    beside = 0
    for f in range(state.food_level.shape[0]):
        if state.food_level[f] > 0:
            down, right = state.food_position[f, 0] - row, state.food_position[f, 1] - column
            if down * down + right * right == 1:
                beside = 1
                towards = NORTH + (down > 0) if right == 0 else WEST + (right > 0)
                bits &= ~(1 << towards)
    return bits | beside << LOAD


@kernel
def walk(state, params, actions, e):
    """Everybody moves at once, unless another wants to be in the same cell; returns how many were in another's way.

    Who stays wants to be where it is. Two may swap places. Who comes to where another meant to leave from, but was
    hindered, shares that cell with it: so it is in lbforaging.
    """
    players = state.player_level.shape[0]
    wanted = scratch_row(state.player_level, np.int64)
    for i in range(players):
        action = actions[0][e, i]
        if action < NONE or action > LOAD or not legal(state, params, i) >> action & 1:
            action = NONE
        state.action[i] = action
        row = state.player_position[i, 0] + (action == SOUTH) - (action == NORTH)
        column = state.player_position[i, 1] + (action == EAST) - (action == WEST)
        wanted[i] = row * params.columns + column
    hindered = 0
    for i in range(players):
        action = state.action[i]
        wanting = 0
        for j in range(players):
            wanting += wanted[j] == wanted[i]
        if wanting == 1:
            state.player_position[i, 0] += (action == SOUTH) - (action == NORTH)
            state.player_position[i, 1] += (action == EAST) - (action == WEST)
        elif action in (NORTH, SOUTH, WEST, EAST):
            hindered += 1
    return hindered


@kernel
def loads(state, i, f):
    """True where player i loads food f: food is three steps apart, so it can only mean one piece."""
    down = state.food_position[f, 0] - state.player_position[i, 0]
    right = state.food_position[f, 1] - state.player_position[i, 1]
    return state.action[i] == LOAD and down * down + right * right == 1


@kernel
def step_one(state, params, clock, actions, out, e):
    """Walk, then load."""
    players = state.player_level.shape[0]
    reward, terminated = out.groups[0].reward, out.groups[0].terminated
    hindered = walk(state, params, actions, e)
    loaded, failed, left = 0, 0, 0
    for f in range(state.food_level.shape[0]):
        level = state.food_level[f]
        strength = 0
        for i in range(players):
            if level > 0 and loads(state, i, f):
                strength += state.player_level[i]
        if strength == 0:
            left += level > 0
            continue
        enough = strength >= level
        # lbforaging divides in double precision
        parts = np.float64(strength * state.food_spawned) if params.normalise else np.float64(1.0)
        for i in range(players):
            if not loads(state, i, f):
                continue
            if enough:
                reward[e, i] = F(np.float64(state.player_level[i] * level) / parts)
            else:
                reward[e, i] = -params.penalty
        if enough:
            state.food_level[f] = 0
            loaded += 1
        else:
            failed += 1
            left += 1
    timeout = params.timeout_terminates and clock.step + 1 >= params.max_steps
    if left == 0 or timeout:
        for i in range(players):
            terminated[e, i] = True
    out.metrics[e, FOOD_LOADED] = F(loaded)
    out.metrics[e, FAILED_LOADS] = F(failed)
    out.metrics[e, COLLISIONS] = F(hindered)


@kernel
def observe_one(state, params, clock, out, e):
    """Observations, legal actions, state."""
    group = out.groups[0]
    for i in range(state.player_level.shape[0]):
        if params.grid:
            observe_grid(state, params, group.obs[e, i], i)
        else:
            observe_list(state, params, group.obs[e, i], i)
        bits = legal(state, params, i)
        for a in range(group.action_mask.shape[2]):
            group.action_mask[e, i, a] = bits >> a & 1
    column = U(0)
    for f in range(state.food_level.shape[0]):
        out.state[e, column] = F(state.food_position[f, 0]) * params.row_share
        out.state[e, column + U(1)] = F(state.food_position[f, 1]) * params.column_share
        out.state[e, column + U(2)] = F(state.food_level[f]) * params.food_share
        column += U(3)
    for i in range(state.player_level.shape[0]):
        out.state[e, column] = F(state.player_position[i, 0]) * params.row_share
        out.state[e, column + U(1)] = F(state.player_position[i, 1]) * params.column_share
        out.state[e, column + U(2)] = F(state.player_level[i]) * params.player_share
        column += U(3)
    if params.timeout_terminates:
        out.state[e, column] = F(params.max_steps - clock.step) / F(params.max_steps)


GAME = Game("foraging/field", Options, spec, params, state, reset_one, step_one, observe_one)
