"""Reference: two agents, each of whom knows only the other's goal, move and talk at once (`particle/reference`).

Purpose        mutual communication: both speak, both listen.
Agents         agent_0, agent_1, one group `agent`, discs of radius 0.05 that collide with nothing.
Teams          one, `team`.
Actions        Discrete(50): move + 5 * word; moves 0 stay, 1 left, 2 right, 3 down, 4 up; words 0 to 9.
               Continuous: Box(0, 1, (15,)), five pushes in that order, then the loudness of each word.
Rewards        d(i) = distance to its goal landmark of the agent whose goal agent i knows: that is, of the other one.
               agent i: -local_ratio * d(i) - (1 - local_ratio) * mean of d.
Ends           truncated at max_cycles.
Options        local_ratio, max_cycles, continuous_actions; see `Options`.
Source         mpe2 1.1.1, simple_reference_v3.
Version        1

Observation    (lengths in units of the arena [-1, 1]^2)
    0-1        own velocity, per second
    2-7        offset of landmarks 0, 1, 2
    8-10       colour of the other agent's goal landmark (one of three)
    11-20      what the other agent said last (zeros at first)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from environments.compile import kernel
from environments.games.particle import common, physics
from environments.games.particle.common import Disc
from environments.games.particle.physics import MOVES, NOBODY, ONE, F
from environments.native import Game
from environments.rng import integer
from environments.spec import EnvSpec
from environments.vector import Array

AGENTS = 2
LANDMARKS = 3
WORDS = 10
BRIGHT, DARK = F(0.75), F(0.25)  # colour of landmark k: bright in channel k, dark in the others
HALF = F(0.5)


@dataclass(frozen=True, kw_only=True)
class Options(common.ParticleOptions):
    """What may be set."""

    local_ratio: float = 0.5
    """Share of its own pupil's distance in an agent's reward, the rest being the mean of both; 0 to 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        common.check_share(self, "local_ratio")


def spec(options: Options) -> EnvSpec:
    """Description for learners, league and viewer."""
    features = common.OWN_VELOCITY + common.offsets(common.numbered("landmark", LANDMARKS))
    features += ("others_goal_red", "others_goal_green", "others_goal_blue", *common.words(["other"], WORDS))
    action = common.actions(options, words=WORDS)
    group = common.group("agent", "team", common.numbered("agent", AGENTS), features, action)
    return common.spec("particle/reference", options, [group], [("final_distance", "arena units, mean of both")])


def params(options: Options) -> Array:
    """Numbers for the kernels."""
    own = float(options.local_ratio)
    return common.params_record(options, [Disc()] * AGENTS, [0.05] * LANDMARKS, own_share=own, team_share=1.0 - own)


def state(options: Options) -> np.dtype[Any]:
    """Record of one copy: `goal[i]` is the landmark that agent i knows and the other one must reach."""
    return common.state_type(AGENTS, LANDMARKS, words=WORDS, goal=(np.int64, (AGENTS,)))


@kernel
def reset_one(state, params, clock):
    """Everything anywhere in the arena, a goal for each."""
    for i in range(AGENTS):
        state.goal[i] = integer(clock, LANDMARKS)
    physics.scatter_agents(state, clock)
    physics.scatter_landmarks(state, clock, ONE)
    physics.silence(state)


@kernel
def step_one(state, params, clock, actions, out, e):
    """Speak and move, then pay for both distances."""
    physics.steer(state, params, 0, actions[0], e)
    physics.speak(state, 0, MOVES, actions[0], e)
    physics.move(state, params)

    d0 = others_distance(state, 0)
    d1 = others_distance(state, 1)
    mean = (d0 + d1) * HALF
    reward = out.groups[0].reward
    reward[e, 0] = -params.own_share * d0 - params.team_share * mean
    reward[e, 1] = -params.own_share * d1 - params.team_share * mean
    if physics.last_step(params, clock):
        out.metrics[e, 0] = mean


@kernel
def others_distance(state, i):
    """Distance of the other agent to the goal that agent `i` knows."""
    goal = physics.landmark_number(state.goal[i], state)
    return physics.distance(state.agent_position, 1 - i, state.landmark_position, goal)


@kernel
def observe_one(state, params, clock, out, e):
    """The table above."""
    p, q = state.agent_position, state.landmark_position
    for i in range(AGENTS):
        row = out.groups[0].obs[e, i]
        column = physics.write_pair(row, 0, state.agent_velocity, i)
        column = physics.write_offsets(row, column, 0, p, i, q, NOBODY)
        for c in range(LANDMARKS):
            row[column + c] = BRIGHT if c == state.goal[i] else DARK
        physics.write_words(row, column + LANDMARKS, state, 1 - i)
    physics.write_state(out, e)


GAME = Game("particle/reference", Options, spec, params, state, reset_one, step_one, observe_one)
