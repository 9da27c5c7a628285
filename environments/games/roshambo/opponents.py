"""Opponents that are part of the simulator: simple rules for throwing, most of them as published.

Each is a few lines for one copy; what it remembers stands in the copy's state, and its chance comes from the copy's
key. Where a rule looks at the last throw and there is none yet, both are taken to have thrown rock, as in the programs
of the first international competition (Billings 1999, webdocs.cs.ualberta.ca/~darse/rsbpc.html). `names.PUBLISHED`
says which have the same rule there.
"""

from __future__ import annotations

import numpy as np

from environments.compile import kernel
from environments.games.roshambo.names import BOTS, THROWS
from environments.rng import integer, uniform
from environments.vector import Array

F = np.float32
ZERO, ONE = F(0.0), F(1.0)
ROCK, PAPER, SCISSORS = range(3)
PI_DIGITS = 1200
CYCLE = 4
"""Length of the words that the de Bruijn cycle holds once each."""

(
    ALL_ROCK,
    ALL_PAPER,
    ALL_SCISSORS,
    RANDOM,
    BIASED,
    ROTATE,
    PI,
    DEBRUIJN,
    COPY_LAST,
    BEAT_LAST,
    FREQUENCY,
    MARKOV,
    SWITCHING,
    SELDOM_REPEAT,
    FOXTROT,
    FLAT,
    ANTI_FLAT,
) = range(len(BOTS))


def pi_throws() -> Array:
    """`[n]` throws made of the digits of pi: 3, 1, 4, ... modulo 3, zeros left out."""
    unit = 10 ** (PI_DIGITS + 10)
    digits = str(4 * (4 * _arc_tangent(5, unit) - _arc_tangent(239, unit)))[:PI_DIGITS]  # Machin 1706
    return np.array([int(digit) % 3 for digit in digits if digit != "0"], np.int64)


def _arc_tangent(x: int, unit: int) -> int:
    """`unit` times the arc tangent of 1 / x, by its series."""
    total, power, k = 0, unit // x, 1
    while power:
        total += power // k if k % 4 == 1 else -(power // k)
        power, k = power // (x * x), k + 2
    return total


def de_bruijn_throws() -> Array:
    """`[3 ** CYCLE]` throws that, read in a circle, hold every word of `CYCLE` throws once.

    The Lyndon words whose length divides `CYCLE`, in lexicographic order (Fredricksen and Maiorana 1978).
    """
    sequence: list[int] = []
    word = [-1]
    while word:
        word[-1] += 1
        period = len(word)
        if CYCLE % period == 0:
            sequence += word
        word = [word[i % period] for i in range(CYCLE)]
        while word and word[-1] == len(THROWS) - 1:
            word.pop()
    return np.array(sequence, np.int64)


@kernel
def drawn(clock, rock, paper):
    """A throw with these chances of rock and of paper."""
    x = uniform(clock, ZERO, ONE)
    return ROCK if x < rock else (PAPER if x < rock + paper else SCISSORS)


@kernel
def most_made(rock, paper, scissors):
    """The throw made most often; of equals scissors before paper before rock."""
    return ROCK if rock > paper and rock > scissors else (PAPER if paper > scissors else SCISSORS)


@kernel
def spread_out(clock, counts):
    """Mostly what was thrown least by oneself: 0.8 to one, 0.45 to each of two, else 0.1; equal counts are a toss."""
    fewest = min(counts[ROCK], counts[PAPER], counts[SCISSORS])
    rare = 0
    for k in range(3):
        rare += counts[k] == fewest
    if rare == 3:
        return integer(clock, 3)
    likely = F(0.8) if rare == 1 else F(0.45)
    rock = likely if counts[ROCK] == fewest else F(0.1)
    paper = likely if counts[PAPER] == fewest else F(0.1)
    return drawn(clock, rock, paper)


@kernel
def against_the_rare(clock, counts):
    """Beats what the other threw least; of two such, beats the one that the other of them loses to or draws with."""
    fewest = min(counts[ROCK], counts[PAPER], counts[SCISSORS])
    rock, paper, scissors = counts[ROCK] == fewest, counts[PAPER] == fewest, counts[SCISSORS] == fewest
    if rock and paper and scissors:
        return integer(clock, 3)
    if rock and not scissors:  # alone, or with paper
        return PAPER
    if paper and not rock:
        return SCISSORS
    return ROCK


@kernel
def throw(state, params, clock):
    """What the opponent, in seat 1, throws next."""
    bot = state.bot
    own = max(state.recent[0, 1], 0)
    other = max(state.recent[0, 0], 0)
    if bot <= ALL_SCISSORS:
        return bot
    if bot == RANDOM:
        return integer(clock, 3)
    if bot == BIASED:
        return drawn(clock, F(0.2), F(0.2))
    if bot == ROTATE:
        return clock.step % 3
    if bot == PI:
        return params.pi[clock.step % params.pi.shape[0]]
    if bot == DEBRUIJN:
        return params.cycle[clock.step % params.cycle.shape[0]]
    if bot == COPY_LAST:
        return other
    if bot == BEAT_LAST:
        return (other + 1) % 3
    if bot == FREQUENCY:
        return (most_made(state.counts[0, 0], state.counts[0, 1], state.counts[0, 2]) + 1) % 3
    if bot == MARKOV:
        return (most_made(state.follows[other, 0], state.follows[other, 1], state.follows[other, 2]) + 1) % 3
    if bot == SWITCHING:
        return (own + 1 + integer(clock, 2)) % 3
    if bot == SELDOM_REPEAT:
        if own == SCISSORS:
            return drawn(clock, F(0.44), F(0.44))
        return drawn(clock, F(0.12), F(0.44)) if own == ROCK else drawn(clock, F(0.44), F(0.12))
    if bot == FOXTROT:
        return integer(clock, 3) if clock.step % 2 == 0 else (own + clock.step + 1) % 3
    if bot == FLAT:
        return spread_out(clock, state.counts[1])
    return against_the_rare(clock, state.counts[0])
