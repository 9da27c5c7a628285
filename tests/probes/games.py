"""Tiny games with answers known beforehand; each isolates one thing that a learner must get right."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from gymnasium import spaces

from environments.vector import Array
from tests.probes.environment import Rules

Played = tuple[Array, Array]


def bit(u: Array) -> Array:
    """+1 or -1, `[E, 1]`."""
    return np.where(u[:, :1] < 0.5, -1.0, 1.0)


def end(step: Array) -> Array:
    """Everybody is terminated."""
    return np.ones((len(step), 1), bool)


class ConstantPay(Rules):
    """One step; agents are paid 1 and 0."""

    teams: ClassVar = {"team": 2}

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return np.array([[1.0, 0.0]]), end(step)


class SeenPay(Rules):
    """One step; the agent sees +1 or -1 and is paid what it sees."""

    def start(self, u: Array) -> Array:
        return bit(u)

    def obs(self, hidden: Array, step: Array) -> Array:
        return hidden[:, None]

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return hidden.copy(), end(step)


class Later(Rules):
    """Two steps; 1 is paid at the end. The agent sees the step."""

    def obs(self, hidden: Array, step: Array) -> Array:
        return step[:, None, None].astype(float)

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        last = step[:, None] == 1
        return last.astype(float), last


class Echo(SeenPay):
    """One step; 1 for playing what one sees."""

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return (actions == (hidden > 0)).astype(float), end(step)


class Bandit(Rules):
    """One step; action 1 pays 1."""

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return actions.astype(float), end(step)


class Scaled(Later):
    """Two steps; action 1 pays `scale` at once, and so does the end."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        last = step[:, None] == 1
        return self.scale * (actions + last), last


class Endless(Rules):
    """1 per step for ever, cut by a time limit of 8 steps that nobody can see."""

    max_steps: ClassVar = 8

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return np.ones((len(step), 1)), ~end(step)


class EightSteps(Rules):
    """1 per step, over after 8 by the rules; the agent sees the step as a one-hot."""

    features: ClassVar = 8

    def obs(self, hidden: Array, step: Array) -> Array:
        return np.eye(8)[np.minimum(step, 7)][:, None]

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return np.ones((len(step), 1)), step[:, None] == 7


class RichAndPoor(SeenPay):
    """Episodes of one step: those that show +1 pay 100, those that show -1 pay nothing."""

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return np.where(hidden > 0, 100.0, 0.0), end(step)


class BothFlags(Rules):
    """1 per step; the rules and the time limit end every step at once."""

    max_steps: ClassVar = 1

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return np.ones((len(step), 1)), end(step)


class EarlyDeath(Rules):
    """1 per step to the living, who see the step; the second agent dies after one step, the first after four."""

    teams: ClassVar = {"team": 2}

    def obs(self, hidden: Array, step: Array) -> Array:
        return step[:, None, None] / 4

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return alive.astype(float), step[:, None] == np.array([3, 0])


class Sacrifice(Rules):
    """The second agent may die (action 1): each is then paid 1 one step later, else .5."""

    teams: ClassVar = {"team": 2}
    memory: ClassVar = 1

    def obs(self, hidden: Array, step: Array) -> Array:
        return step[:, None, None].astype(float)

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        first = step == 0
        dies = first & (actions[:, 1] == 1)
        paid = np.where(first, 0.0, np.where(alive[:, 1], 0.5, 1.0))
        return np.repeat(paid[:, None], 2, 1), np.stack([~first, ~first | dies], 1)


class OwnNumber(Rules):
    """Both are paid 1 if each plays its own number; they see the same."""

    teams: ClassVar = {"team": 2}

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return (actions == np.arange(2)).all(1, keepdims=True).astype(float), end(step)


class HiddenPay(Rules):
    """One step; the pay is a bit that stands in the state alone."""

    state_size: ClassVar = 1

    def start(self, u: Array) -> Array:
        return (bit(u) + 1) / 2

    def state(self, hidden: Array, step: Array) -> Array:
        return hidden

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return hidden.copy(), end(step)


class HiddenEcho(HiddenPay):
    """One step; 1 for playing a bit that stands in the state alone."""

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return (actions == hidden).astype(float), end(step)


class Forbidden(Rules):
    """Two steps; action 1 would pay 100 and is illegal, action 0 pays 1 at the end. The agent sees the step."""

    masked: ClassVar = True

    def obs(self, hidden: Array, step: Array) -> Array:
        return step[:, None, None].astype(float)

    def mask(self, hidden: Array, step: Array) -> Array:
        return np.array([[[True, False]]])

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        last = step[:, None] == 1
        return np.where(actions == 1, 100.0, last), last


class Crowd(Rules):
    """One step; one to four agents are present, see how many, and are paid that many each."""

    teams: ClassVar = {"team": 4}

    def start(self, u: Array) -> Array:
        return 1 + np.floor(u[:, :1] * 4)

    def absent(self, u: Array) -> Array:
        return np.arange(4) >= self.start(u)

    def obs(self, hidden: Array, step: Array) -> Array:
        return hidden[:, None] / 4

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return np.where(alive, hidden, 0.0), end(step)


class Wages(Rules):
    """One step; agents are paid 1 and 3."""

    teams: ClassVar = {"team": 2}

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return np.array([[1.0, 3.0]]), end(step)


class Prisoners(Rules):
    """One step; action 1 defects: 3 against a cooperator and 1 else; a cooperator gets 2 from one and 0 else."""

    teams: ClassVar = {"team": 2}

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return np.array([[2.0, 0.0], [3.0, 1.0]])[actions, actions[:, ::-1]], end(step)


class ZeroSum(SeenPay):
    """Two kinds of team see one bit; the first is paid it, the second minus it."""

    teams: ClassVar = {"one": 1, "two": 1}

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return hidden * np.array([[1.0, -1.0]]), end(step)


class Pennies(Rules):
    """Matching pennies: the second is paid 1 where both play the same, the first where not."""

    teams: ClassVar = {"one": 1, "two": 1}

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        match = actions[:, :1] == actions[:, 1:]
        return np.concatenate([~match, match], 1).astype(float), end(step)


class Payoff(Rules):
    """One step of a game with a common payoff [[2, 0], [0, 1]]."""

    teams: ClassVar = {"team": 2}
    table: ClassVar = np.array([[2.0, 0.0], [0.0, 1.0]])

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return self.table[actions[:, :1], actions[:, 1:]].repeat(2, 1), end(step)


class Match(Payoff):
    """One step: 1 for playing the same."""

    table: ClassVar = np.eye(2)


class Narrow(Rules):
    """One step; two agents who may play the first 2, or all, of 4 actions. The first action pays a little."""

    teams: ClassVar = {"team": 2}
    actions: ClassVar = spaces.Discrete(4)
    masked: ClassVar = True

    def mask(self, hidden: Array, step: Array) -> Array:
        return (np.arange(4) < np.array([2, 4])[:, None])[None]

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return 0.1 * (actions == 0), end(step)


class Forced(Rules):
    """One step with one legal action of three, which pays 1."""

    actions: ClassVar = spaces.Discrete(3)
    masked: ClassVar = True

    def mask(self, hidden: Array, step: Array) -> Array:
        return np.array([[[False, True, False]]])

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return (actions == 1).astype(float), end(step)


class LastWord(Rules):
    """Two moves, one after the other: the last mover wins 1, and the other loses 1 when it is no longer its turn."""

    teams: ClassVar = {"one": 1, "two": 1}
    turn_based: ClassVar = True
    max_wait: ClassVar = 1

    def acting(self, hidden: Array, step: Array) -> Array:
        return (step[:, None] % 2) == np.arange(2)

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        last = step[:, None] == 1
        return last * np.array([[-1.0, 1.0]]), last


class TeamLife(EarlyDeath):
    """As `EarlyDeath`, but each of four steps pays both 1."""

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return np.ones((len(step), 2)), super().play(hidden, step, actions, alive)[1]


class TwoSteps(Rules):
    """The game of Rashid et al. 2018 (arXiv:1803.11485, section 6.1): the first agent's first action leads to a table
    that pays 7 whatever is done, or to one that pays 8 where both play 1, 0 where neither does, and 1 else."""

    teams: ClassVar = {"team": 2}
    state_size: ClassVar = 3
    features: ClassVar = 3

    def place(self, hidden: Array, step: Array) -> Array:
        return np.eye(3)[np.where(step == 0, 0, 1 + hidden[:, 0].astype(int))]

    def state(self, hidden: Array, step: Array) -> Array:
        return self.place(hidden, step)

    def obs(self, hidden: Array, step: Array) -> Array:
        return self.place(hidden, step)[:, None]

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        last = step == 1
        chosen = np.array([[0.0, 1.0], [1.0, 8.0]])[actions[:, 0], actions[:, 1]]
        paid = np.where(last, np.where(hidden[:, 0] == 0, 7.0, chosen), 0.0)
        hidden[:, 0] = np.where(step == 0, actions[:, 0], hidden[:, 0])
        return np.repeat(paid[:, None], 2, 1), last[:, None]


class Choices(Rules):
    """One step; three choices of an agent, paid 1 for each that is its number: 0, 1, 2. One is never legal."""

    actions: ClassVar = spaces.MultiDiscrete([2, 3, 4])
    masked: ClassVar = True

    def mask(self, hidden: Array, step: Array) -> Array:
        return np.array([[[True, True, True, True, True, True, True, True, False]]])

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return (actions == np.arange(3)).sum(-1).astype(float), end(step)


class Bright(Rules):
    """One step; each of two agents sees a speckled picture of which one half is brighter, and is paid 1 for saying
    which: 0 the left one, 1 the right one."""

    teams: ClassVar = {"team": 2}
    sight: ClassVar = spaces.Box(0, 255, (8, 12, 1), np.uint8)
    memory: ClassVar = 2

    def start(self, u: Array) -> Array:
        return u[:, :2].copy()

    def obs(self, hidden: Array, step: Array) -> Array:
        speckles = 1e4 * hidden[..., None, None] * np.arange(1.0, 97.0).reshape(8, 12) % 80
        right = np.arange(12) >= 6
        lit = np.where(right == (hidden[..., None, None] > 0.5), 120, 60)
        return (lit + speckles)[..., None]

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return (actions == (hidden > 0.5)).astype(float), end(step)


class BrightBox(Bright):
    """The same with an action in [-1, 1]: paid for its sign."""

    actions: ClassVar = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return 1 - np.abs(actions[..., 0] - np.where(hidden > 0.5, 1, -1)) / 2, end(step)
