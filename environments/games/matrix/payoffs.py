"""The tables of the matrix family, and how a table is read. Plain numpy: pictures need them too.

A game's payoffs are one array `[N, K_0, ..., K_{N-1}]`: what each of N agents is paid, by everybody's action.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from environments.vector import Array

MOST_AGENTS = 10
MOST_NUMBERS = 2048
"""Numbers of a table of one's own, at most: it stands in the header of every replay."""
MOST = 1e6
"""Greatest size of a payoff."""

Row = tuple[Any, ...]


def climbing(options: Mapping[str, Any]) -> Array:
    """Both are paid 11, 7 or 5 where they agree, and -30 where one climbs alone."""
    return _same([[11, -30, 0], [-30, 7, 0], [0, 6, 5]])


def penalty(options: Mapping[str, Any]) -> Array:
    """Two ways to be paid 10, one to be paid 2 for certain; -k for mixing the first two."""
    k = float(options["k"])
    return _same([[-k, 0, 10], [0, 2, 0], [10, 0, -k]])


def prisoners_dilemma(options: Mapping[str, Any]) -> Array:
    """3 for betraying who trusts, 2 for trust on both sides, 1 for none, 0 for being betrayed."""
    return _symmetric([[2, 0], [3, 1]])


def stag_hunt(options: Mapping[str, Any]) -> Array:
    """4 for a stag that both hunt, 0 for hunting it alone, 3 for a hare."""
    return _symmetric([[4, 0], [3, 3]])


def matching_pennies(options: Mapping[str, Any]) -> Array:
    """The first wins the other's penny if the sides are the same, else loses its own."""
    even = np.array([[1.0, -1.0], [-1.0, 1.0]])
    return np.stack([even, -even])


def own(options: Mapping[str, Any]) -> Array:
    """The table given as an option."""
    table = np.array(options["payoff"], np.float64)
    return table if options["per_agent"] else _same(table)


PAYOFFS: dict[str, Callable[[Mapping[str, Any]], Array]] = {
    "matrix/climbing": climbing,
    "matrix/penalty": penalty,
    "matrix/prisoners_dilemma": prisoners_dilemma,
    "matrix/stag_hunt": stag_hunt,
    "matrix/matching_pennies": matching_pennies,
    "matrix/game": own,
}
"""Payoffs from a game's options, by its name."""


def read(table: Sequence[object], per_agent: bool) -> Row:
    """A table of one's own as tuples of numbers, each the shortest that is the same float32.

    Nested once per agent; with `per_agent` once more on the outside, a table for each agent. ValueError, in one line,
    where it is no such table or too large.
    """
    rows = _numbers(table, 0)
    shape = _shape(rows)
    agents = len(shape) - per_agent
    if not 1 <= agents <= MOST_AGENTS:
        raise ValueError(
            f"payoff is nested {len(shape)} deep, which makes {agents} agents; 1 to {MOST_AGENTS} can play"
        )
    if per_agent and shape[0] != agents:
        raise ValueError(f"payoff holds {shape[0]} tables for {agents} agents; with per_agent it holds one for each")
    if agents * math.prod(shape[per_agent:]) > MOST_NUMBERS:
        raise ValueError(f"payoff has more than {MOST_NUMBERS} numbers (joint actions x agents)")
    return rows


def _same(table: Any) -> Array:
    """One table for all agents, as many as it has axes."""
    table = np.asarray(table, np.float64)
    return np.broadcast_to(table, (table.ndim, *table.shape)).copy()


def _symmetric(table: Any) -> Array:
    """The row player's table; the other's is the same from its side."""
    table = np.asarray(table, np.float64)
    return np.stack([table, table.T])


def _numbers(value: Any, depth: int) -> Any:
    if isinstance(value, list | tuple):
        if not value:
            raise ValueError("payoff has an empty list in it")
        if depth > MOST_AGENTS:
            raise ValueError(f"payoff is nested more than {MOST_AGENTS + 1} deep")
        if len(value) > MOST_NUMBERS:
            raise ValueError(f"payoff has more than {MOST_NUMBERS} numbers (joint actions x agents)")
        return tuple(_numbers(part, depth + 1) for part in value)
    known = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if depth == 0 or not known:
        raise ValueError(f"payoff must be numbers in lists, as in [[2, 0], [0, 1]]; {_short(value)} is in it")
    if not abs(value) <= MOST:
        raise ValueError(f"a payoff must be between -{MOST:g} and {MOST:g}, not {_short(value)}")
    number = float(str(np.float32(value)))
    return int(number) if number.is_integer() else number


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 40 else f"{text[:40]}..."


def _shape(rows: Any) -> tuple[int, ...]:
    if not isinstance(rows, tuple):
        return ()
    shapes = {_shape(part) for part in rows}
    if len(shapes) > 1:
        raise ValueError("payoff is ragged: all lists of one depth must be equally long")
    return (len(rows), *shapes.pop())
