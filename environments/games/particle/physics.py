"""The one physics of the particle family: discs that are pushed, damped and collide softly, and what agents see of it.

Each step of `STEP_SECONDS`, in the order of mpe2 1.1.1 (the position moves with the *old* velocity):

    x <- x + v dt,    v <- v (1 - damping) + (F / mass) dt,    |v| <- min(|v|, max_speed)

with contact force between two colliding discs of radii r_a, r_b at distance d

    F = CONTACT_FORCE * (x_a - x_b) / d * CONTACT_MARGIN * log(1 + exp(-(d - r_a - r_b) / CONTACT_MARGIN))

Every function works on the records of one copy (`common.state_type`, `common.params_record`). Landmarks do not move.
Lengths have no unit in mpe2; the arena is [-1, 1]^2. Nothing here indexes an array by an action.
"""

from __future__ import annotations

import numpy as np

from environments.compile import kernel
from environments.intrinsics import copy_row
from environments.rng import U, uniform

F = np.float32
ZERO, ONE = F(0.0), F(1.0)
STEP_SECONDS = F(0.1)
KEPT_VELOCITY = F(0.75)  # 1 - damping
CONTACT_FORCE = F(100.0)
CONTACT_MARGIN = F(0.001)
FAR = F(0.02)  # discs further apart than this exert less than 1e-9 on one another: left out
EXACT = F(20.0)  # log(1 + exp(x)) is x in float32 beyond this
TINY = F(1e-12)
MOVES = 5  # none, left, right, down, up
NOBODY = -1


# What actions do.


@kernel
def clip_unit(x):
    """Clip to [0, 1]."""
    return min(max(x, ZERO), ONE)


@kernel
def steer(state, params, first, actions, e):
    """Forces of the group that starts with agent `first`: moves `[E, N]` (modulo 5), or five pushes `[E, N, 5...]`."""
    for n in range(actions.shape[1]):
        i = first + n
        if actions.ndim == 2:  # no branches on the move: those of a learning policy cannot be predicted
            move = actions[e, n] % MOVES
            x = F((move == 2) - (move == 1))
            y = F((move == 4) - (move == 3))
        else:
            x = clip_unit(actions[e, n, 2]) - clip_unit(actions[e, n, 1])
            y = clip_unit(actions[e, n, 4]) - clip_unit(actions[e, n, 3])
        state.force[i, 0] = params.agent_push[i] * x
        state.force[i, 1] = params.agent_push[i] * y


@kernel
def speak(state, first, moves, actions, e):
    """What the group says: the word `action // moves`, or the loudness in [0, 1] of each word, after the pushes.

    `moves` is 5 for agents that also move, 1 for those that only speak.
    """
    words = state.communication
    for n in range(actions.shape[1]):
        if actions.ndim == 2:
            said = actions[e, n] // moves
            for c in range(words.shape[1]):
                words[first + n, c] = F(said == c)
        else:
            pushes = moves if moves > 1 else 0
            for c in range(words.shape[1]):
                words[first + n, c] = clip_unit(actions[e, n, pushes + c])


# How discs move.


@kernel
def contact(ax, ay, bx, by, reach):
    """Force on disc a from disc b, the sum of whose radii is `reach`: (x, y)."""
    dx = ax - bx
    dy = ay - by
    squared = dx * dx + dy * dy
    far = reach + FAR
    if squared > far * far:
        return ZERO, ZERO
    d = np.sqrt(squared)
    overlap = (reach - d) / CONTACT_MARGIN
    if overlap < EXACT:
        overlap = np.log1p(np.exp(overlap))
    push = CONTACT_FORCE * CONTACT_MARGIN * overlap / max(d, TINY)
    return push * dx, push * dy


@kernel
def collide_agents(state, params):
    """Add the contact forces between all pairs of agents."""
    p = state.agent_position
    force = state.force
    for i in range(p.shape[0]):
        for j in range(i + 1, p.shape[0]):
            reach = params.agent_size[i] + params.agent_size[j]
            x, y = contact(p[i, 0], p[i, 1], p[j, 0], p[j, 1], reach)
            force[i, 0] += x
            force[i, 1] += y
            force[j, 0] -= x
            force[j, 1] -= y


@kernel
def collide_obstacles(state, params, obstacles):
    """Add the contact forces of the first `obstacles` landmarks on all agents."""
    p = state.agent_position
    q = state.landmark_position
    for i in range(p.shape[0]):
        for k in range(obstacles):
            reach = params.agent_size[i] + params.landmark_size[k]
            x, y = contact(p[i, 0], p[i, 1], q[k, 0], q[k, 1], reach)
            state.force[i, 0] += x
            state.force[i, 1] += y


@kernel
def move(state, params):
    """Move all agents by one step under `state.force`."""
    p = state.agent_position
    v = state.agent_velocity
    for i in range(p.shape[0]):
        for d in range(2):
            p[i, d] += v[i, d] * STEP_SECONDS
            v[i, d] = v[i, d] * KEPT_VELOCITY + state.force[i, d] * params.agent_response[i]


@kernel
def limit_speed(state, params):
    """Shorten velocities beyond each agent's greatest speed."""
    v = state.agent_velocity
    for i in range(v.shape[0]):
        squared = v[i, 0] * v[i, 0] + v[i, 1] * v[i, 1]
        fastest = params.agent_max_speed[i]
        if squared > fastest * fastest:
            shrink = fastest / np.sqrt(squared)
            v[i, 0] *= shrink
            v[i, 1] *= shrink


# How episodes start and end.


@kernel
def scatter_agents(state, clock):
    """Agents at rest anywhere in [-1, 1]^2."""
    for i in range(state.agent_position.shape[0]):
        for d in range(2):
            state.agent_position[i, d] = uniform(clock, -ONE, ONE)
            state.agent_velocity[i, d] = ZERO
            state.force[i, d] = ZERO


@kernel
def scatter_landmarks(state, clock, reach):
    """Landmarks anywhere in [-reach, reach]^2."""
    for k in range(state.landmark_position.shape[0]):
        for d in range(2):
            state.landmark_position[k, d] = uniform(clock, -reach, reach)


@kernel
def silence(state):
    """Nobody has said anything yet."""
    for i in range(state.communication.shape[0]):
        for c in range(state.communication.shape[1]):
            state.communication[i, c] = ZERO


@kernel
def last_step(params, clock):
    """True in the step that reaches `max_cycles`: it truncates the episode and never terminates it, as in mpe2."""
    return clock.step + 1 >= params.max_cycles


@kernel
def terminate(out, e):
    """The rules end the episode for all agents."""
    for g in range(len(out.groups)):
        for n in range(out.groups[g].terminated.shape[1]):
            out.groups[g].terminated[e, n] = True


# What is measured.


@kernel
def squared_distance(p, i, q, k):
    """Squared distance between places `p[i]` and `q[k]`."""
    dx = p[i, 0] - q[k, 0]
    dy = p[i, 1] - q[k, 1]
    return dx * dx + dy * dy


@kernel
def distance(p, i, q, k):
    """Distance between places `p[i]` and `q[k]`."""
    return np.sqrt(squared_distance(p, i, q, k))


@kernel
def nearest_distance(p, first, stop, q, k):
    """Distance from place `q[k]` to the nearest of `p[first:stop]`."""
    nearest = squared_distance(p, first, q, k)
    for i in range(first + 1, stop):
        nearest = min(nearest, squared_distance(p, i, q, k))
    return np.sqrt(nearest)


@kernel
def touching(state, params, i, j):
    """True where agents `i` and `j` overlap."""
    reach = params.agent_size[i] + params.agent_size[j]
    return squared_distance(state.agent_position, i, state.agent_position, j) < reach * reach


@kernel
def upon(state, params, i, k):
    """True where agent `i` overlaps landmark `k`."""
    reach = params.agent_size[i] + params.landmark_size[k]
    return squared_distance(state.agent_position, i, state.landmark_position, k) < reach * reach


@kernel
def beyond(x):
    """Penalty for a coordinate near or beyond the edge: 0 within 0.9, 1 at 1.0, then exp(2 (|x| - 1)) up to 10."""
    x = abs(x)
    if x < F(0.9):
        return ZERO
    if x < ONE:
        return (x - F(0.9)) * F(10.0)
    return min(np.exp(F(2.0) * x - F(2.0)), F(10.0))


@kernel
def landmark_number(goal, state):
    """A landmark's number that is safe to index with, whatever a restored state holds."""
    return min(max(goal, 0), state.landmark_position.shape[0] - 1)


# What agents see. Each function writes into `row`, an agent's observation, from `column` on; most return the next one.


@kernel
def write_pair(row, column, p, i):
    """The two numbers `p[i]`."""
    row[U(column)] = p[i, 0]
    row[U(column + 1)] = p[i, 1]
    return column + 2


@kernel
def write_offset(row, column, p, i, q, k):
    """Place `q[k]` as seen from place `p[i]`."""
    row[U(column)] = q[k, 0] - p[i, 0]
    row[U(column + 1)] = q[k, 1] - p[i, 1]
    return column + 2


@kernel
def nearness(p, i, q, k, but):
    """Number of places in `q`, but for `but`, that are nearer to `p[i]` than `q[k]` is; ties to the lower number."""
    own = squared_distance(p, i, q, k)
    nearer = 0
    for other in range(q.shape[0]):
        if other != but:
            squared = squared_distance(p, i, q, other)
            nearer += (squared < own) | ((squared == own) & (other < k))  # no branches: nobody can predict them
    return nearer


@kernel
def write_offsets(row, column, slots, p, i, q, but):
    """Offsets from place `p[i]` of all places in `q` but number `but`; or, with `slots`, of the nearest so many.

    The nearest come in order of distance; slots without a place are zero.
    """
    if slots == 0:
        for k in range(q.shape[0]):
            if k != but:
                column = write_offset(row, column, p, i, q, k)
        return column
    stop = column + 2 * slots
    zero(row, column, stop)
    for k in range(q.shape[0]):
        if k != but:
            rank = nearness(p, i, q, k, but)
            if rank < slots:
                write_offset(row, column + 2 * rank, p, i, q, k)
    return stop


@kernel
def write_words(row, column, state, i):
    """What agent `i` said last."""
    for c in range(state.communication.shape[1]):
        row[U(column + c)] = state.communication[i, c]
    return column + state.communication.shape[1]


@kernel
def zero(row, first, stop):
    """Zeros from column `first` up to `stop`."""
    for c in range(U(first), U(stop)):  # unsigned: Numba would ask of each whether it counts from the end
        row[c] = ZERO


@kernel
def write_state(out, e):
    """The global state: all agents' observations, one after the other."""
    column = 0
    for g in range(len(out.groups)):
        column = copy_row(out.state, e, column, out.groups[g].obs, e)
