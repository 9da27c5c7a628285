"""Battles for tests: batches, states set by hand, legal random actions that bring the sides together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import environments
from environments.games.skirmish.units import UNITS, Roster, Unit, parse
from environments.vector import Array, VectorEnv
from tests.contracts import play

STOP, FORWARD, BACK, UP, DOWN, AIM = range(6)


def make(name: str, num_envs: int = 1, seed: int = 0, **options: Any) -> VectorEnv:
    """A batch of `skirmish/NAME`."""
    return environments.make(f"skirmish/{name}", num_envs, seed, num_threads=1, **options)


def units(env: VectorEnv, kinds: Array) -> list[Unit]:
    """The table's rows of one copy's units."""
    types = Roster.of(env.spec.options).types
    return [UNITS[types[k]] for k in kinds]


def put(env: VectorEnv, copy: int = 0, **arrays: Any) -> None:
    """Set named state arrays of one copy, as lists; what is not named stays."""
    now = env.capture(copy).arrays
    env.restore(copy, {name: np.asarray(value, now[name].dtype) for name, value in arrays.items()})


class Lab:
    """One battle of up to three units a side, of any types, all compiled only once.

    Arrays and orders are those of the units that were asked for; the other places have fallen.
    """

    SIDE = 3

    def __init__(self, allies: str, enemies: str, opponent: str = "team", **arrays: Any) -> None:
        urn = ", ".join(f"1 {kind}" for kind in UNITS)
        drawn = f"{self.SIDE} random"
        self.env = make("battle", allies=drawn, enemies=drawn, urn=urn, opponent=opponent)
        sides = [parse("side", text, random=False) for text in (allies, enemies)]
        self.rows = [self.SIDE * side + n for side, kinds in enumerate(sides) for n in range(len(kinds))]
        table = [UNITS[kind] for kinds in sides for kind in kinds]
        put(self.env, health=[0] * 2 * self.SIDE)
        self.put(
            kind=[list(UNITS).index(kind) for kinds in sides for kind in kinds],
            health=[unit.health for unit in table],
            shield=[unit.shield for unit in table],
        )
        self.put(**arrays)

    def put(self, **arrays: Any) -> None:
        """Set named arrays of the units that are there."""
        whole = self.env.capture(0).arrays
        for name, values in arrays.items():
            whole[name][self.rows] = values
        put(self.env, **whole)

    def state(self) -> dict[str, Array]:
        """Named arrays of the units that are there."""
        arrays = self.env.capture(0).arrays
        return {name: array[self.rows] for name, array in arrays.items() if name != "prize"}

    def step(self, ally: Sequence[int], enemy: Sequence[int] = ()) -> dict[str, Array]:
        """One step; the state after it."""
        orders = {"ally": ally, "enemy": enemy}
        padded = {name: [*chosen, *[STOP] * (self.SIDE - len(chosen))] for name, chosen in orders.items()}
        self.env.step({group.name: np.array([padded[group.name]], np.int32) for group in self.env.spec.groups})
        return self.state()

    def legal(self, n: int) -> list[bool]:
        """What ally `n` may do."""
        mask: list[bool] = self.env.buffers.groups[0].action_mask[0, n].tolist()
        return mask


def random_actions(env: VectorEnv, rng: np.random.Generator) -> dict[str, Array]:
    """Legal ones, three times in four something that aims where anything can be aimed at."""
    actions = play.random_actions(env, rng)
    for group, buffers in zip(env.spec.groups, env.buffers.groups, strict=True):
        scores = np.where(buffers.action_mask[..., AIM:], rng.random(buffers.action_mask[..., AIM:].shape), -1)
        eager = buffers.action_mask[..., AIM:].any(-1) & (rng.random(scores.shape[:2]) < 0.75)
        actions[group.name] = np.where(eager, AIM + scores.argmax(-1), actions[group.name]).astype(np.int32)
    return actions


def approaching(env: VectorEnv, rng: np.random.Generator) -> dict[str, Array]:
    """The same, but who cannot aim mostly walks forward: sides meet within ten steps."""
    actions = random_actions(env, rng)
    for group, buffers in zip(env.spec.groups, env.buffers.groups, strict=True):
        chosen = actions[group.name]
        idle = (chosen < AIM) & buffers.action_mask[..., FORWARD] & (rng.random(chosen.shape) < 0.6)
        actions[group.name] = np.where(idle, FORWARD, chosen).astype(np.int32)
    return actions
