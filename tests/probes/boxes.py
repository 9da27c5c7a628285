"""Tiny games of boxes with answers known beforehand, for learners of continuous actions."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from gymnasium import spaces

from environments.vector import Array
from tests.probes import games
from tests.probes.environment import Rules
from tests.probes.games import Played, end

LOPSIDED = spaces.Box(-1.0, 0.5, (1,), np.float32)


def boxed(game: Rules) -> Rules:
    """A game that does not look at what agents do, of boxes; a game of boxes as it is."""
    if not isinstance(game.actions, spaces.Box):
        game.actions = LOPSIDED  # type: ignore[misc]
    return game


class Chase(Rules):
    """One step; the agent sees a number x of [-1, .5] and is paid -(a - x)^2."""

    actions: ClassVar = LOPSIDED

    def start(self, u: Array) -> Array:
        return 1.5 * u[:, :1] - 1.0

    def obs(self, hidden: Array, step: Array) -> Array:
        return hidden[:, None]

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return -((actions[..., 0] - hidden) ** 2), end(step)


class Far(Chase):
    """As `Chase`, x = -2 or 2."""

    def start(self, u: Array) -> Array:
        return np.where(u[:, :1] < 0.5, -2.0, 2.0)


class HiddenChase(Chase):
    """One step; the number to be met, -1 or .5, stands in the state alone."""

    state_size: ClassVar = 1

    def start(self, u: Array) -> Array:
        return np.where(u[:, :1] < 0.5, -1.0, 0.5)

    def obs(self, hidden: Array, step: Array) -> Array:
        return np.ones((len(step), 1, 1))

    def state(self, hidden: Array, step: Array) -> Array:
        return hidden


class Scaled(Chase):
    """`Chase`, paid in another coin."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        paid, over = super().play(hidden, step, actions, alive)
        return self.scale * paid, over


class Drift(Rules):
    """Two steps; what is played in the first moves what is to be met in the second, which alone is paid."""

    actions: ClassVar = LOPSIDED
    features: ClassVar = 2

    def start(self, u: Array) -> Array:
        return 0.5 * u[:, :1] - 0.5

    def obs(self, hidden: Array, step: Array) -> Array:
        return np.stack([hidden, np.repeat(step[:, None].astype(float), 1, 1)], 2)

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        first = step[:, None] == 0
        paid = np.where(first, 0.0, 1 - hidden**2)
        hidden[:] = np.where(first, hidden + actions[..., 0], hidden)
        return paid, ~first


class Prisoners(Rules):
    """One step, boxes [0, 1]: what one keeps of its 1; the rest pays the other 2."""

    teams: ClassVar = {"team": 2}
    actions: ClassVar = spaces.Box(0.0, 1.0, (1,), np.float32)

    def chosen(self, actions: Array) -> Array:
        """How much of a defection they are, 0 to 1."""
        return actions

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        gifts = 1 - self.chosen(actions[..., 0])
        return 2 * gifts[:, ::-1] - gifts, end(step)


class Sacrifice(games.Sacrifice):
    """The second agent dies where its number is above -.25: each is then paid 1 one step later, else .5."""

    actions: ClassVar = LOPSIDED

    def chosen(self, actions: Array) -> Array:
        """1 where they are a death."""
        return (actions > -0.25).astype(int)

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return super().play(hidden, step, self.chosen(actions[..., 0]), alive)


class Dial(Rules):
    """One step; two agents see x and y and are paid alike, -(a + b - x)^2 - (a - b - y)^2."""

    teams: ClassVar = {"team": 2}
    actions: ClassVar = LOPSIDED
    features: ClassVar = 2
    memory: ClassVar = 2

    def start(self, u: Array) -> Array:
        a, b = 1.2 * u[:, 0] - 0.8, 1.2 * u[:, 1] - 0.8
        return np.stack([a + b, a - b], 1)

    def obs(self, hidden: Array, step: Array) -> Array:
        return hidden[:, None]

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        a, b = actions[:, 0, 0], actions[:, 1, 0]
        paid = -((a + b - hidden[:, 0]) ** 2) - (a - b - hidden[:, 1]) ** 2
        return paid[:, None], end(step)


class Idle(Rules):
    """One step, no pay; a box of two dimensions, [-c, c]."""

    def __init__(self, reach: float = 3.0) -> None:
        self.actions = spaces.Box(-reach, reach, (2,), np.float32)  # type: ignore[misc]


class Target(Rules):
    """One step, a lopsided box [-1, 3] x [0, 10]; the pay falls with the square of the distance to (2.5, 1)."""

    actions: ClassVar = spaces.Box(np.array([-1, 0], np.float32), np.array([3, 10], np.float32))
    goal: ClassVar = np.array([2.5, 1.0])

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return -((actions - self.goal) ** 2).sum(-1), end(step)
