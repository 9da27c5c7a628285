"""The one physics of the particle family: discs that are pushed, damped and collide softly.

Each step of `STEP_SECONDS`, in the order of mpe2 1.1.1 (the position moves with the *old* velocity):

    x <- x + v dt,    v <- v (1 - damping) + (F / mass) dt,    |v| <- min(|v|, max_speed)

with contact force between two colliding discs of radii r_a, r_b at distance d

    F = CONTACT_FORCE * (x_a - x_b) / d * CONTACT_MARGIN * log(1 + exp(-(d - r_a - r_b) / CONTACT_MARGIN))

Mass is 1. Landmarks do not move. Every function here works on one copy `e`.
"""

from __future__ import annotations

import numpy as np

from environments.compile import kernel
from environments.rng import uniform

F = np.float32
STEP_SECONDS = F(0.1)
KEPT_VELOCITY = F(0.75)  # 1 - damping
CONTACT_FORCE = F(100.0)
CONTACT_MARGIN = F(0.001)
FAR = F(0.02)  # discs further apart than this exert less than 1e-9 on one another: left out
EXACT = F(20.0)  # log(1 + exp(x)) is x in float32 beyond this
ZERO, ONE = F(0.0), F(1.0)


@kernel
def distance(ax, ay, bx, by):
    """Euclidean distance between two points."""
    dx = ax - bx
    dy = ay - by
    return np.sqrt(dx * dx + dy * dy)


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
    push = CONTACT_FORCE * CONTACT_MARGIN * overlap / d
    return push * dx, push * dy


@kernel
def steer_discrete(state, params, i, move):
    """Force of agent `i` from a discrete move: 0 none, 1 left, 2 right, 3 down, 4 up."""
    # No branches: moves of a learning policy cannot be predicted.
    state.force[i, 0] = params.sensitivity[i] * F((move == 2) - (move == 1))
    state.force[i, 1] = params.sensitivity[i] * F((move == 4) - (move == 3))


@kernel
def clip_unit(x):
    """Clip to [0, 1]."""
    return min(max(x, ZERO), ONE)


@kernel
def steer_continuous(state, params, i, action):
    """Force of agent `i` from five pushes in [0, 1]: unused, left, right, down, up."""
    state.force[i, 0] = (clip_unit(action[2]) - clip_unit(action[1])) * params.sensitivity[i]
    state.force[i, 1] = (clip_unit(action[4]) - clip_unit(action[3])) * params.sensitivity[i]


@kernel
def steer(state, params, first, actions, e):
    """Forces of a silent group from its actions: int32 `[E, N]` or float32 `[E, N, 5]`."""
    for n in range(actions.shape[1]):
        if actions.ndim == 2:
            steer_discrete(state, params, first + n, actions[e, n])
        else:
            steer_continuous(state, params, first + n, actions[e, n])


@kernel
def collide(state, params):
    """Add the contact forces between all pairs of colliding discs."""
    position = state.agent_position
    force = state.force
    for i in range(position.shape[0]):
        if not params.agent_collides[i]:
            continue
        for j in range(i + 1, position.shape[0]):
            if params.agent_collides[j]:
                reach = params.agent_size[i] + params.agent_size[j]
                x, y = contact(position[i, 0], position[i, 1], position[j, 0], position[j, 1], reach)
                force[i, 0] += x
                force[i, 1] += y
                force[j, 0] -= x
                force[j, 1] -= y
        for k in range(state.landmark_position.shape[0]):
            if params.landmark_collides[k]:
                landmark = state.landmark_position
                reach = params.agent_size[i] + params.landmark_size[k]
                x, y = contact(position[i, 0], position[i, 1], landmark[k, 0], landmark[k, 1], reach)
                force[i, 0] += x
                force[i, 1] += y


@kernel
def integrate(state, params):
    """Move every movable agent by one step under `state.force`."""
    for i in range(state.agent_position.shape[0]):
        if not params.agent_movable[i]:
            continue
        vx = state.agent_velocity[i, 0]
        vy = state.agent_velocity[i, 1]
        state.agent_position[i, 0] += vx * STEP_SECONDS
        state.agent_position[i, 1] += vy * STEP_SECONDS
        vx = vx * KEPT_VELOCITY + state.force[i, 0] * STEP_SECONDS
        vy = vy * KEPT_VELOCITY + state.force[i, 1] * STEP_SECONDS
        squared = vx * vx + vy * vy
        if squared > params.max_speed[i] * params.max_speed[i]:
            shrink = params.max_speed[i] / np.sqrt(squared)
            vx *= shrink
            vy *= shrink
        state.agent_velocity[i, 0] = vx
        state.agent_velocity[i, 1] = vy


@kernel
def simulate(state, params):
    """One step of the world, after the forces of the actions are set."""
    collide(state, params)
    integrate(state, params)


@kernel
def touching(state, params, i, j):
    """True where agents `i` and `j` overlap."""
    p = state.agent_position
    reach = params.agent_size[i] + params.agent_size[j]
    return distance(p[i, 0], p[i, 1], p[j, 0], p[j, 1]) < reach


@kernel
def scatter_agents(state, clock):
    """Agents at rest, silent, anywhere in [-1, 1]^2."""
    for i in range(state.agent_position.shape[0]):
        for d in range(2):
            state.agent_position[i, d] = uniform(clock, -ONE, ONE)
            state.agent_velocity[i, d] = ZERO


@kernel
def scatter_landmarks(state, clock, reach):
    """Landmarks anywhere in [-reach, reach]^2."""
    for k in range(state.landmark_position.shape[0]):
        for d in range(2):
            state.landmark_position[k, d] = uniform(clock, -reach, reach)
