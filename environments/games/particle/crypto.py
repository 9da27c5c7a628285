"""Crypto: Alice sends Bob a message that Eve overhears; only Alice and Bob share a key (`particle/crypto`).

Purpose        secret communication: nobody moves, all that counts is what is said.
Agents         eve_0, bob_0, alice_0, each its own group: `eve`, `bob`, `alice`.
Teams          `eve` and `allies` (Bob and Alice).
Actions        Discrete(4), a word. Continuous: Box(0, 1, (4,)), the loudness of each word.
Rewards        eve: -(squared distance between what she says and the message), 0 while she says nothing.
               allies, both the same: (that squared distance for Eve) - (the same for Bob), each 0 while silent.
Ends           truncated at max_cycles.
Options        max_cycles, continuous_actions; see `common.ParticleOptions`.
Source         mpe2 1.1.1, simple_crypto_v3. Message and key are one of two words, as there; agents and landmarks have
               positions, which nothing depends on.
Version        1

Observation of eve
    0-3        what Alice said last (zeros at first)
Observation of bob
    0-3        the key, one-hot
    4-7        what Alice said last (zeros at first)
Observation of alice
    0-3        the message, one-hot
    4-7        the key, one-hot
"""

from __future__ import annotations

from typing import Any

import numpy as np

from environments.compile import kernel
from environments.games.particle import common, physics
from environments.games.particle.common import Disc
from environments.games.particle.common import ParticleOptions as Options
from environments.games.particle.physics import ONE, ZERO, F
from environments.native import Game
from environments.rng import integer
from environments.spec import EnvSpec
from environments.vector import Array

EVE, BOB, ALICE = 0, 1, 2
MESSAGES = 2  # of the words, the first two can be the message or the key
WORDS = 4


def spec(options: Options) -> EnvSpec:
    """Description for learners, league and viewer."""
    action = common.actions(options, moves=False, words=WORDS)
    heard = common.words(["alice"], WORDS)
    message, key = common.numbered("message", WORDS), common.numbered("key", WORDS)
    groups = [
        common.group("eve", "eve", ["eve_0"], heard, action),
        common.group("bob", "allies", ["bob_0"], key + heard, action),
        common.group("alice", "allies", ["alice_0"], message + key, action),
    ]
    return common.spec("particle/crypto", options, groups, [("eve_right", "steps"), ("bob_right", "steps")])


def params(options: Options) -> Array:
    """Numbers for the kernels."""
    return common.params_record(options, [Disc()] * 3, [0.05] * MESSAGES)


def state(options: Options) -> np.dtype[Any]:
    """Record of one copy: `goal` is the message, `key` the key, both numbers of words."""
    return common.state_type(3, MESSAGES, words=WORDS, goal=(np.int64,), key=(np.int64,))


@kernel
def reset_one(state, params, clock):
    """A new message and a new key."""
    state.goal = integer(clock, MESSAGES)
    state.key = integer(clock, MESSAGES)
    physics.scatter_agents(state, clock)
    physics.scatter_landmarks(state, clock, ONE)
    physics.silence(state)


@kernel
def step_one(state, params, clock, actions, out, e):
    """All speak, then Eve's and Bob's words are compared with the message."""
    physics.speak(state, EVE, 1, actions[0], e)
    physics.speak(state, BOB, 1, actions[1], e)
    physics.speak(state, ALICE, 1, actions[2], e)
    of_eve = error(state, EVE)
    of_bob = error(state, BOB)
    out.groups[0].reward[e, 0] = -of_eve
    out.groups[1].reward[e, 0] = of_eve - of_bob
    out.groups[2].reward[e, 0] = of_eve - of_bob
    out.metrics[e, 0] = F(right(state, EVE))
    out.metrics[e, 1] = F(right(state, BOB))


@kernel
def error(state, i):
    """Squared distance of what agent `i` says from the message; 0 where it says nothing."""
    squared, said = ZERO, False
    for c in range(WORDS):
        loud = state.communication[i, c]
        said = said or loud != ZERO
        miss = loud - F(c == state.goal)
        squared += miss * miss
    return squared if said else ZERO


@kernel
def right(state, i):
    """True where the message is the loudest of what agent `i` says."""
    own, best = ZERO, ZERO
    for c in range(WORDS):
        if c == state.goal:
            own = state.communication[i, c]
        else:
            best = max(best, state.communication[i, c])
    return own > best


@kernel
def observe_one(state, params, clock, out, e):
    """The tables above."""
    eve, bob, alice = out.groups[0].obs[e, 0], out.groups[1].obs[e, 0], out.groups[2].obs[e, 0]
    for c in range(WORDS):
        said = state.communication[ALICE, c]
        key = F(c == state.key)
        eve[c] = said
        bob[c] = key
        bob[WORDS + c] = said
        alice[c] = F(c == state.goal)
        alice[WORDS + c] = key
    physics.write_state(out, e)


GAME = Game("particle/crypto", Options, spec, params, state, reset_one, step_one, observe_one)
