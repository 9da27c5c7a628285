"""N agents, N places: what formation and line share. Who goes where at least total distance, and what it costs.

The assignment problem is solved exactly by shortest augmenting paths in O(N^3) (Kuhn 1955, Munkres 1957; with
potentials, Jonker and Volgenant 1987), on scratch memory of the stack.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from environments.compile import kernel
from environments.games.particle import common, physics
from environments.games.particle.physics import NOBODY, ZERO, F
from environments.intrinsics import scratch_row, scratch_table
from environments.spec import EnvSpec

ARRIVED = F(0.05)  # an agent this near to its place is there
FARTHEST = F(2.0)  # greater distances cost no more
HUGE = F(1e9)  # stands for distances that are no numbers, which would never be the least


@dataclass(frozen=True, kw_only=True)
class Options(common.ParticleOptions):
    """What may be set."""

    N: int = 4
    """Number of agents; 1 to 256."""
    terminate_on_success: bool = False
    """End the episode as soon as every agent is in its place."""

    def __post_init__(self) -> None:
        super().__post_init__()
        common.check_count(self, "N", 1)
        common.check_switch(self, "terminate_on_success")


def spec(name: str, options: Options, landmarks: int) -> EnvSpec:
    """Description of a game whose agents see themselves and the landmarks that say where the places are."""
    features = common.OWN_VELOCITY + common.OWN_POSITION + common.offsets(common.numbered("landmark", landmarks))
    group = common.group("agent", "team", common.numbered("agent", options.N), features, common.actions(options))
    metrics = (("in_place", "agents x steps"), ("final_distance", "arena units, mean of all"))
    return common.spec(name, options, [group], metrics)


@kernel
def observe_one(state, params, clock, out, e):
    """Own velocity, own position, offsets of the landmarks."""
    p = state.agent_position
    for i in range(p.shape[0]):
        row = out.groups[0].obs[e, i]
        column = physics.write_pair(row, 0, state.agent_velocity, i)
        column = physics.write_pair(row, column, p, i)
        physics.write_offsets(row, column, 0, p, i, state.landmark_position, NOBODY)
    physics.write_state(out, e)


@kernel
def assign(agents, costs, owner):
    """Give every place one agent so that the summed costs are least.

    `costs[1 + i, 1 + j]` is the cost of agent i at place j, finite; on return `owner[1 + j]` is 1 + the agent at j.
    Row, column and element 0 stand for "nobody yet". `agents` has one row per agent and only gives their number.
    """
    count = agents.shape[0]
    of_agent = scratch_row(agents, np.float64)  # potentials: costs[i, j] >= of_agent[i] + of_place[j]
    of_place = scratch_row(agents, np.float64)
    slack = scratch_row(agents, np.float64)  # least reduced cost of reaching a place on the way so far
    came_from = scratch_row(agents, np.int64)  # the place before it on that way
    reached = scratch_row(agents, np.uint8)
    for j in range(count + 1):
        of_agent[j] = 0.0
        of_place[j] = 0.0
        owner[j] = 0
    for newcomer in range(1, count + 1):
        for j in range(count + 1):
            slack[j] = np.inf
            reached[j] = 0
        owner[0] = newcomer
        place = 0
        while owner[place] != 0:  # until a free place is reached: at most `newcomer` times
            reached[place] = 1
            agent = owner[place]
            step = np.inf
            nearest = 0
            for j in range(1, count + 1):
                if not reached[j]:
                    reduced = costs[agent, j] - of_agent[agent] - of_place[j]
                    if reduced < slack[j]:
                        slack[j] = reduced
                        came_from[j] = place
                    if slack[j] < step:
                        step = slack[j]
                        nearest = j
            for j in range(count + 1):
                if reached[j]:
                    of_agent[owner[j]] += step
                    of_place[j] -= step
                else:
                    slack[j] -= step
            place = nearest
        while place != 0:  # everyone on the way moves up by one place
            before = came_from[place]
            owner[place] = owner[before]
            place = before


@kernel
def settle(state, params, clock, out, e, x, y):
    """Reward and end of one step, given the places `(x[j], y[j])`: all pay the mean distance to the places assigned."""
    p = state.agent_position
    agents = p.shape[0]
    costs = scratch_table(p, np.float32)
    owner = scratch_row(p, np.int64)
    for i in range(agents):
        for j in range(agents):
            dx = x[j] - p[i, 0]
            dy = y[j] - p[i, 1]
            distance = np.sqrt(dx * dx + dy * dy)
            costs[i + 1, j + 1] = distance if distance < HUGE else HUGE
    assign(p, costs, owner)
    total = ZERO
    there = 0
    for j in range(1, agents + 1):
        distance = costs[owner[j], j]
        total += min(distance, FARTHEST)
        there += distance < ARRIVED
    mean = total / F(agents)
    for i in range(agents):
        out.groups[0].reward[e, i] = -mean
    out.metrics[e, 0] = F(there)
    if physics.last_step(params, clock):
        out.metrics[e, 1] = mean
    elif params.terminate_on_success and there == agents:
        physics.terminate(out, e)
