"""Speaker and listener: one knows the goal, the other can go there (`particle/speaker_listener`).

Purpose        the smallest game in which a word must come to mean something.
Agents         speaker_0, group `speaker`, cannot move; listener_0, group `listener`, is silent.
Teams          one, `team`.
Actions        speaker: Discrete(3), a word. Continuous: Box(0, 1, (3,)), the loudness of each word.
               listener: Discrete(5): 0 stay, 1 left, 2 right, 3 down, 4 up. Continuous: Box(0, 1, (5,)), pushes in that
               order.
Rewards        both: -(squared distance of the listener to the goal landmark).
Ends           truncated at max_cycles.
Options        max_cycles, continuous_actions; see `Options`.
Source         mpe2 1.1.1, simple_speaker_listener_v4.
Version        1

Observation of the speaker
    0-2        colour of the goal landmark (one of three)

Observation of the listener    (lengths in units of the arena [-1, 1]^2)
    0-1        own velocity, per second
    2-7        offset of landmarks 0, 1, 2
    8-10       what the speaker said last (zeros at first)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from environments.compile import kernel
from environments.games.particle import common, physics
from environments.games.particle.common import Disc
from environments.games.particle.common import ParticleOptions as Options
from environments.games.particle.physics import NOBODY, ONE, F
from environments.native import Game
from environments.rng import integer
from environments.spec import EnvSpec
from environments.vector import Array

SPEAKER, LISTENER = 0, 1
LANDMARKS = 3
WORDS = 3
BODY = Disc(size=0.075)
LANDMARK_SIZE = 0.04
BRIGHT, DARK = F(0.65), F(0.15)  # colour of landmark k: bright in channel k, dark in the others


def spec(options: Options) -> EnvSpec:
    """Description for learners, league and viewer."""
    speaker = ("goal_red", "goal_green", "goal_blue")
    listener = common.OWN_VELOCITY + common.offsets(common.numbered("landmark", LANDMARKS))
    listener += common.words(["speaker"], WORDS)
    groups = [
        common.group("speaker", "team", ["speaker_0"], speaker, common.actions(options, moves=False, words=WORDS)),
        common.group("listener", "team", ["listener_0"], listener, common.actions(options)),
    ]
    return common.spec("particle/speaker_listener", options, groups, [("final_distance", "arena units")])


def params(options: Options) -> Array:
    """Numbers for the kernels. The speaker, whom nothing pushes, stays where it is."""
    return common.params_record(options, [BODY, BODY], [LANDMARK_SIZE] * LANDMARKS)


def state(options: Options) -> np.dtype[Any]:
    """Record of one copy."""
    return common.state_type(2, LANDMARKS, words=WORDS, goal=(np.int64,))


@kernel
def reset_one(state, params, clock):
    """Everything anywhere in the arena, one landmark the goal."""
    state.goal = integer(clock, LANDMARKS)
    physics.scatter_agents(state, clock)
    physics.scatter_landmarks(state, clock, ONE)
    physics.silence(state)


@kernel
def step_one(state, params, clock, actions, out, e):
    """Hear, move, then pay for the distance."""
    physics.speak(state, SPEAKER, 1, actions[0], e)
    physics.steer(state, params, LISTENER, actions[1], e)
    physics.move(state, params)

    goal = physics.landmark_number(state.goal, state)
    squared = physics.squared_distance(state.agent_position, LISTENER, state.landmark_position, goal)
    out.groups[0].reward[e, 0] = -squared
    out.groups[1].reward[e, 0] = -squared
    if physics.last_step(params, clock):
        out.metrics[e, 0] = np.sqrt(squared)


@kernel
def observe_one(state, params, clock, out, e):
    """The tables above."""
    colour = out.groups[0].obs
    for c in range(LANDMARKS):
        colour[e, 0, c] = BRIGHT if c == state.goal else DARK

    row = out.groups[1].obs[e, 0]
    p = state.agent_position
    column = physics.write_pair(row, 0, state.agent_velocity, LISTENER)
    column = physics.write_offsets(row, column, 0, p, LISTENER, state.landmark_position, NOBODY)
    physics.write_words(row, column, state, SPEAKER)
    physics.write_state(out, e)


GAME = Game("particle/speaker_listener", Options, spec, params, state, reset_one, step_one, observe_one)
