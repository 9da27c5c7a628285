"""Spread: agents cover as many landmarks without colliding (`particle/spread`).

Purpose        cooperation: who goes where, agreed on without words.
Agents         agent_0 ... agent_{N-1}, one group `agent`, discs of radius 0.15 that push one another.
Teams          one, `team`.
Actions        Discrete(5): 0 stay, 1 left, 2 right, 3 down, 4 up. Continuous: Box(0, 1, (5,)), pushes in that order.
Rewards        (1 - local_ratio) * -(sum over landmarks of the distance to the nearest agent), the same for all,
               + local_ratio * -(number of agents that the agent touches).
Ends           truncated at max_cycles; terminated, with terminate_on_success, once every landmark has an agent
               within 0.1.
Options        N, local_ratio, max_cycles, continuous_actions, terminate_on_success, curriculum_stage,
               num_agent_neighbors, num_landmark_neighbors; see `Options`.
Source         mpe2 1.1.1, simple_spread_v3. `curriculum_stage=s` is its curriculum=True at stage s.
Version        1

Observation    (lengths in units of the arena [-1, 1]^2)
    0-1        own velocity, per second
    2-3        own position
    4 ...      offset of every landmark, 2 each; or of the num_landmark_neighbors nearest, zero where there is none
    ...        offset of every other agent, 2 each; or of the num_agent_neighbors nearest, likewise
    ...        2 zeros for each of those agents: what it says, and all are silent (mpe2 has these columns)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from environments.compile import kernel
from environments.games.particle import common, physics
from environments.games.particle.common import Disc
from environments.games.particle.physics import NOBODY, ONE, ZERO, F
from environments.native import Game
from environments.spec import EnvSpec
from environments.vector import Array

COVERED = F(0.1)
AGENT = Disc(size=0.15)
LANDMARK_SIZE = 0.05
WORDS = 2  # columns of silence per agent seen


@dataclass(frozen=True, kw_only=True)
class Options(common.SightOptions):
    """What may be set."""

    N: int = 3
    """Number of agents, and of landmarks; 1 to 256."""
    local_ratio: float = 0.5
    """Share of an agent's own collisions in its reward, the rest being the team's distances; 0 to 1."""
    terminate_on_success: bool = False
    """End the episode as soon as every landmark is covered."""
    curriculum_stage: int | None = None
    """0: collisions cost nothing yet; 1 or None: the full game."""

    def __post_init__(self) -> None:
        super().__post_init__()
        common.check_count(self, "N", 1)
        common.check_share(self, "local_ratio")
        common.check_switch(self, "terminate_on_success")
        common.check_count(self, "curriculum_stage", 0, 1, optional=True)


def spec(options: Options) -> EnvSpec:
    """Description for learners, league and viewer."""
    landmarks = common.seen(common.numbered("landmark", options.N), "landmark", options.num_landmark_neighbors)
    agents = common.seen(common.numbered("other", options.N - 1), "agent", options.num_agent_neighbors)
    features = common.OWN_VELOCITY + common.OWN_POSITION + common.offsets([*landmarks, *agents])
    features += common.words(agents, WORDS)
    group = common.group("agent", "team", common.numbered("agent", options.N), features, common.actions(options))
    metrics = (("collisions", "pairs x steps"), ("landmarks_covered", "landmarks x steps"))
    return common.spec("particle/spread", options, [group], metrics)


def params(options: Options) -> Array:
    """Numbers for the kernels."""
    return common.params_record(
        options,
        [AGENT] * options.N,
        [LANDMARK_SIZE] * options.N,
        team_share=1.0 - options.local_ratio,
        collision_cost=0.0 if options.curriculum_stage == 0 else float(options.local_ratio),
        terminate_on_success=int(options.terminate_on_success),
        **common.slots(options),
    )


def state(options: Options) -> np.dtype[Any]:
    """Record of one copy."""
    return common.state_type(options.N, options.N)


@kernel
def reset_one(state, params, clock):
    """Agents and landmarks anywhere in the arena."""
    physics.scatter_agents(state, clock)
    physics.scatter_landmarks(state, clock, ONE)


@kernel
def step_one(state, params, clock, actions, out, e):
    """Move, then pay for distances and collisions."""
    physics.steer(state, params, 0, actions[0], e)
    physics.collide_agents(state, params)
    physics.move(state, params)

    p, q = state.agent_position, state.landmark_position
    agents = p.shape[0]
    distances = ZERO
    covered = 0
    for k in range(q.shape[0]):
        nearest = physics.nearest_distance(p, 0, agents, q, k)
        distances += nearest
        covered += nearest < COVERED
    reward = out.groups[0].reward
    for i in range(agents):
        reward[e, i] = -distances * params.team_share
    collisions = 0
    for i in range(agents):
        for j in range(i + 1, agents):
            if physics.touching(state, params, i, j):
                collisions += 1
                reward[e, i] -= params.collision_cost
                reward[e, j] -= params.collision_cost
    out.metrics[e, 0] = F(collisions)
    out.metrics[e, 1] = F(covered)
    if params.terminate_on_success and covered == q.shape[0] and not physics.last_step(params, clock):
        physics.terminate(out, e)


@kernel
def observe_one(state, params, clock, out, e):
    """The table above."""
    p, q = state.agent_position, state.landmark_position
    obs = out.groups[0].obs
    for i in range(p.shape[0]):
        row = obs[e, i]
        column = physics.write_pair(row, 0, state.agent_velocity, i)
        column = physics.write_pair(row, column, p, i)
        column = physics.write_offsets(row, column, params.landmark_slots, p, i, q, NOBODY)
        column = physics.write_offsets(row, column, params.agent_slots, p, i, p, i)
        physics.zero(row, column, row.shape[0])
    physics.write_state(out, e)


GAME = Game("particle/spread", Options, spec, params, state, reset_one, step_one, observe_one)
