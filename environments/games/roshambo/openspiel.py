"""The 43 bots of the roshambo tournaments, as OpenSpiel ships them, playing one another or a function.

    openspiel.names()                                           43 names
    openspiel.play("greenberg", "iocainebot", seed=1)           [1000, 2] throws
    openspiel.play(lambda throws: 0, "rockbot", throws=100)     a function of `[t, 2]` throws so far, own ones first

Needs the extra `openspiel`. The bots draw from the random numbers of the C library, one stream for the whole process
that OpenSpiel never seeds: `play` seeds it before every match, and matches of one process follow one another.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from environments.errors import UsageError, nearest

Throws = NDArray[np.int8]
"""`[t, 2]`: 0 rock, 1 paper, 2 scissors; what the player in question threw comes first."""
Player = str | Callable[[Throws], int]
"""A bot's name, or what to throw after these throws."""
MOST_THROWS = 10_000
"""Of a match: OpenSpiel copies the history at every throw, and no longer match was tried."""
TOLD_THROWS = 1000
"""Least length that bots are told of: some divide by a part of it and would take the process down."""


def names() -> list[str]:
    """The bots' names. UsageError where OpenSpiel is not installed."""
    found: list[str] = _library().roshambo_bot_names()
    return found


def play(first: Player, second: Player, throws: int = 1000, seed: int = 0) -> Throws:
    """`[throws, 2]` throws of one match; the same for the same arguments.

    UsageError on an unknown bot, a number of throws outside 1 to 10,000, or a function's throw that is none.
    """
    if not 1 <= throws <= MOST_THROWS:
        raise UsageError(f"throws must be a whole number from 1 to {MOST_THROWS}, not {throws!r}")
    players = [_player(each, place, throws) for place, each in enumerate((first, second))]
    state = _game(throws).new_initial_state()
    made = np.zeros((throws, 2), np.int8)
    _seed(seed)
    for t in range(throws):
        made[t] = [player(state, made[:t]) for player in players]
        state.apply_actions(made[t].tolist())
    return made


class Match:
    """One bot in one match whose other throws come from elsewhere; it sits in the first seat."""

    def __init__(self, name: str, throws: int = 1000, seed: int = 0) -> None:
        """UsageError on an unknown bot."""
        _seed(seed)
        self._step = _player(name, 0, throws)
        self._state = _game(throws).new_initial_state()

    def throw(self) -> int:
        """What it throws next: to be asked once for every throw."""
        return self._step(self._state, np.zeros((0, 2), np.int8))

    def tell(self, own: int, other: int) -> None:
        """What both threw."""
        self._state.apply_actions([own, other])


def against_all(player: Player, matches: int = 20, throws: int = 1000, seed: int = 0) -> NDArray[np.int64]:
    """`[43, matches]` returns of a player against every bot, in the order of `names`: what `league.population` scores.

    Every match has a seed of its own, made of `seed`, the bot and the match. UsageError as in `play`.
    """
    if matches < 1:
        raise UsageError(f"matches must be at least 1, not {matches!r}")
    bots = names()
    table = np.zeros((len(bots), matches), np.int64)
    for b, bot in enumerate(bots):
        for m in range(matches):
            own = int(np.random.SeedSequence([seed % 2**64, b, m]).generate_state(1)[0])
            table[b, m] = returns(play(player, bot, throws, own))
    return table


def observe(throws: Throws, recall: int = 1) -> NDArray[np.float32]:
    """`[6 * recall]` what an agent of `roshambo/repeated` sees after these throws."""
    row = np.zeros((recall, 2, 3), np.float32)
    for ago, joint in enumerate(throws[::-1][:recall]):
        row[ago, 0, joint[0]] = row[ago, 1, joint[1]] = 1
    return row.reshape(-1)


def returns(throws: Throws) -> int:
    """Throws that the first player won minus those that it lost."""
    ahead = (throws[:, 0] - throws[:, 1]) % 3
    return int((ahead == 1).sum()) - int((ahead == 2).sum())


def _player(player: Player, place: int, throws: int) -> Callable[[Any, Throws], int]:
    """What to throw, as a function of OpenSpiel's state and of the throws so far in the order of seats."""
    if isinstance(player, str):
        if player not in names():
            raise UsageError(f"OpenSpiel has no roshambo bot {player!r}{nearest(player, names())}")
        bot = _library().make_roshambo_bot(place, player, max(throws, TOLD_THROWS))

        def step(state: Any, made: Throws) -> int:
            return int(bot.step(state))

        return step

    def ask(state: Any, made: Throws) -> int:
        throw = int(player(made if place == 0 else made[:, ::-1]))
        if throw not in (0, 1, 2):
            raise UsageError(f"a throw must be 0, 1 or 2, not {throw}")
        return throw

    return ask


def _seed(seed: int) -> None:
    """Begin the C library's stream anew."""
    ctypes.CDLL(None).srandom(ctypes.c_uint(seed % 2**32))


@cache
def _game(throws: int) -> Any:
    return _library().load_game(f"repeated_game(stage_game=matrix_rps(),num_repetitions={throws},recall=1)")


@cache
def _library() -> Any:
    try:
        import pyspiel
    except ImportError as error:
        raise UsageError("the tournament's bots need OpenSpiel; pip install 'marl[openspiel]'") from error
    if not hasattr(pyspiel, "make_roshambo_bot"):
        raise UsageError("this OpenSpiel was built without the roshambo bots; pip install 'marl[openspiel]'")
    return pyspiel
