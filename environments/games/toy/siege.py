"""Siege: guards and raiders strike at one another until one side is down or time is up (`toy/siege`).

Agents: `guard_0`, ... (group and kind of team `guard`) and `raider_0`, ... (group and kind `raider`).
With `random_size`, one to all of the guards are present in an episode, drawn at its start; the others are absent.
Actions: a guard's are MultiDiscrete([2, raiders]): 0 rest or 1 charge, and at which raider. A charge needs a unit of
energy; resting restores one, up to `ENERGY`. Legal: charging with energy left; raiders that stand. Where none of a
guard's rows is legal the mask is all True. A raider's are Discrete(1 + guards): 0 wait, i strike at guard i - 1;
striking at one that is down or absent is illegal. Illegal actions do nothing.
All strike at once: a charge fells the raider with probability 0.5 and the guard itself with 0.25; a raider's strike
fells the guard with probability 0.4.
Observation, float32 in [0, 1]: a guard's energy (share of `ENERGY`; guards only), who of the guards stands, who of the
raiders stands, time left (share of `max_cycles`). State: energy of all guards, all who stand, time left.
Reward: each raider felled pays 1 to every guard of the episode, standing or not, *one step later* (at once where the
episode ends); a guard that falls pays itself -0.5 and every raider, standing or not, 1 at once.
Ends: an agent is terminated when it falls, and all that stand are when one side is down; truncated after `max_cycles`.
Metrics: `guards_lost`, `raiders_lost` (agents).
Source: this project. Version 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from environments.compile import kernel
from environments.errors import check_range
from environments.native import Game, options_of
from environments.rng import integer, uniform
from environments.spec import AgentGroup, EnvSpec, TeamKind
from environments.vector import Array

F = np.float32
ZERO, ONE = F(0.0), F(1.0)
ENERGY = 3
CHARGE_FELLS, CHARGE_COSTS, STRIKE_FELLS = F(0.5), F(0.25), F(0.4)
FALL = F(-0.5)


@dataclass(frozen=True)
class Options:
    """What people may set."""

    guards: int = 4
    """Guards at most, 1 to 16."""
    raiders: int = 2
    """Raiders, 1 to 16."""
    random_size: bool = True
    """Whether the number of guards is drawn anew for every episode."""
    max_cycles: int = 20
    """Steps after which an episode is truncated, at least 1."""

    def __post_init__(self) -> None:
        check_range("guards", self.guards, 1, 16)
        check_range("raiders", self.raiders, 1, 16)
        check_range("max_cycles", self.max_cycles, 1, 10_000)


@kernel
def reset_one(state, params, clock):
    """All raiders and some guards stand, with full energy."""
    guards = state.energy.shape[0]
    present = guards
    if params.random_size:
        present = 1 + integer(clock, guards)
    for i in range(state.stands.shape[0]):
        state.stands[i] = 1
        state.hit[i] = 0
    for g in range(guards):
        state.present[g] = g < present
        state.stands[g] = state.present[g]
        clock.alive[g] = state.present[g]
        state.energy[g] = ENERGY
    state.owed = ZERO


@kernel
def strike(state, clock, actions, e):
    """Mark in `state.hit` who falls in this step; everyone strikes at who stood at its start."""
    guards = state.energy.shape[0]
    raiders = state.stands.shape[0] - guards
    for i in range(state.hit.shape[0]):
        state.hit[i] = 0
    for g in range(guards):
        if not state.stands[g]:
            continue
        target = actions[0][e, g, 1]
        if actions[0][e, g, 0] != 1:
            state.energy[g] = min(state.energy[g] + 1, ENERGY)
        elif state.energy[g] > 0 and target >= 0 and target < raiders and state.stands[guards + target]:
            state.energy[g] -= 1
            if uniform(clock, ZERO, ONE) < CHARGE_FELLS:
                state.hit[guards + target] = 1
            if uniform(clock, ZERO, ONE) < CHARGE_COSTS:
                state.hit[g] = 1
    for r in range(raiders):
        target = actions[1][e, r] - 1
        aimed = state.stands[guards + r] and target >= 0 and target < guards and state.stands[target]
        if aimed and uniform(clock, ZERO, ONE) < STRIKE_FELLS:
            state.hit[target] = 1


@kernel
def step_one(state, params, clock, actions, out, e):
    """Pay what is owed, strike, bury, and end it where one side is down."""
    guards = state.energy.shape[0]
    raiders = state.stands.shape[0] - guards
    defence = out.groups[0]
    attack = out.groups[1]
    due = state.owed
    strike(state, clock, actions, e)
    fallen_guards = 0
    fallen_raiders = 0
    standing_guards = 0
    standing_raiders = 0
    for g in range(guards):
        if state.hit[g]:
            state.stands[g] = 0
            defence.terminated[e, g] = True
            defence.reward[e, g] = FALL
            fallen_guards += 1
        standing_guards += state.stands[g]
    for r in range(raiders):
        if state.hit[guards + r]:
            state.stands[guards + r] = 0
            attack.terminated[e, r] = True
            fallen_raiders += 1
        standing_raiders += state.stands[guards + r]
    over = standing_guards == 0 or standing_raiders == 0 or clock.step + 1 >= params.max_steps
    state.owed = F(fallen_raiders)
    if over:
        due += state.owed
        state.owed = ZERO
    for g in range(guards):
        if state.present[g]:
            defence.reward[e, g] += due
        if state.stands[g] and (standing_guards == 0 or standing_raiders == 0):
            defence.terminated[e, g] = True
    for r in range(raiders):
        attack.reward[e, r] = F(fallen_guards)
        if state.stands[guards + r] and (standing_guards == 0 or standing_raiders == 0):
            attack.terminated[e, r] = True
    out.metrics[e, 0] = F(fallen_guards)
    out.metrics[e, 1] = F(fallen_raiders)


@kernel
def observe_one(state, params, clock, out, e):
    """Write the views, the state and the legal actions."""
    guards = state.energy.shape[0]
    everyone = state.stands.shape[0]
    raiders = everyone - guards
    defence = out.groups[0]
    attack = out.groups[1]
    left = F(params.max_steps - clock.step) / F(params.max_steps)
    raiders_stand = False
    for r in range(raiders):
        raiders_stand |= state.stands[guards + r] != 0
    for g in range(guards):
        defence.obs[e, g, 0] = F(state.energy[g]) / F(ENERGY)
        for i in range(everyone):
            defence.obs[e, g, 1 + i] = F(state.stands[i])
        defence.obs[e, g, 1 + everyone] = left
        defence.action_mask[e, g, 1] = state.energy[g] > 0
        for r in range(raiders):
            defence.action_mask[e, g, 2 + r] = state.stands[guards + r] != 0 or not raiders_stand
        out.state[e, g] = F(state.energy[g]) / F(ENERGY)
    for r in range(raiders):
        for i in range(everyone):
            attack.obs[e, r, i] = F(state.stands[i])
        attack.obs[e, r, everyone] = left
        for g in range(guards):
            attack.action_mask[e, r, 1 + g] = state.stands[g] != 0
    for i in range(everyone):
        out.state[e, guards + i] = F(state.stands[i])
    out.state[e, guards + everyone] = left


def spec(options: Options) -> EnvSpec:
    """The description."""
    guards, raiders = options.guards, options.raiders
    who = (*(f"guard {g} stands" for g in range(guards)), *(f"raider {r} stands" for r in range(raiders)))
    defence = AgentGroup(
        name="guard",
        kind="guard",
        agents=tuple(f"guard_{g}" for g in range(guards)),
        observation_space=spaces.Box(0, 1, (guards + raiders + 2,), np.float32),
        action_space=spaces.MultiDiscrete([2, raiders]),
        features=("energy", *who, "time left"),
        masked=True,
    )
    attack = AgentGroup(
        name="raider",
        kind="raider",
        agents=tuple(f"raider_{r}" for r in range(raiders)),
        observation_space=spaces.Box(0, 1, (guards + raiders + 1,), np.float32),
        action_space=spaces.Discrete(1 + guards),
        features=(*who, "time left"),
        masked=True,
    )
    return EnvSpec(
        name="toy/siege",
        version=1,
        agents=defence.agents + attack.agents,
        groups=(defence, attack),
        kinds=(TeamKind("guard", ("guard",)), TeamKind("raider", ("raider",))),
        state_size=2 * guards + raiders + 1,
        max_steps=options.max_cycles,
        metrics=(("guards_lost", "agents"), ("raiders_lost", "agents")),
        options=options_of(options),
    )


def params(options: Options) -> Array:
    """Numbers for the kernels."""
    record = np.zeros(1, np.dtype([("random_size", np.uint8), ("max_steps", np.int64)], align=True))
    record["random_size"] = options.random_size
    record["max_steps"] = options.max_cycles
    return record


def state_type(options: Options) -> np.dtype[Any]:
    """One copy's simulation state.

    `energy [guards]`, `present [guards]` and, guards first, `stands` and `hit` `[guards + raiders]` (`hit`: fell in the
    last step); `owed`: what every guard is paid next step.
    """
    everyone = options.guards + options.raiders
    fields = [
        ("energy", np.int64, (options.guards,)),
        ("present", np.uint8, (options.guards,)),
        ("stands", np.uint8, (everyone,)),
        ("hit", np.uint8, (everyone,)),
        ("owed", np.float32),
    ]
    return np.dtype(fields, align=True)


GAME = Game("toy/siege", Options, spec, params, state_type, reset_one, step_one, observe_one)
