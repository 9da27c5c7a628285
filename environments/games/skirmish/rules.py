"""The rules of a skirmish for one copy: who may aim at whom, what the built-in opponents do, strikes, moves, ends.

All units act at once, in four parts that every unit passes together:

1. orders: agents' actions, or the built-in opponent's choice, both made from the same standing state;
2. strikes and healing, from the places where units stand, noted in `hurt` and `mended` and not yet felt;
3. moves of those who were told to move; then discs that overlap are pushed apart, each by half of the overlap;
4. damage is felt, shield before health; who is left is healed; who has no health falls.

Nobody is first: units are looped over side by side so that a mirrored state with mirrored orders gives the mirrored
result bit for bit. Units `0 .. allies - 1` are the allies, the others the enemies. Nothing here indexes by an action.
"""

from __future__ import annotations

import numpy as np

from environments.compile import kernel
from environments.intrinsics import scratch_row
from environments.rng import U

F = np.float32
ZERO, ONE, TWO = F(0.0), F(1.0), F(2.0)
FAR = F(np.inf)
HALF_WIDTH, HALF_HEIGHT = F(12.0), F(9.0)  # of the plane; its middle is the origin
MOVES = 5  # orders that aim at nobody
STOP, FORWARD, BACK, UP, DOWN = 0, 1, 2, 3, 4
WEAK, STRONG = 1, 2
KILL, WIN, BEST = F(10.0), F(200.0), F(20.0)  # shaped reward: points, and what all of them are scaled to


# Who is who.


@kernel
def kind_of(state, params, i):
    """Type of unit `i`, safe to index with whatever a restored state holds."""
    return U(min(state.kind[i], U(params.health.shape[0] - 1)))


@kernel
def is_ally(params, i):
    """True for the allies' units."""
    return i < params.ally_type.shape[0]


@kernel
def span(params, allies):
    """First unit of a side, and the one after its last."""
    middle = params.ally_type.shape[0]
    if allies:
        return 0, middle
    return middle, middle + params.enemy_type.shape[0]


@kernel
def unit_at(params, i, friends, place):
    """The unit that `i` sees in `place` among its friends (itself left out) or its foes; -1 where there is none."""
    first, stop = span(params, is_ally(params, i) == friends)
    j = first + place
    if friends and j >= i:
        j += 1
    return j if place >= 0 and j < stop else -1


@kernel
def place_of(params, i, friends, j):
    """The inverse of `unit_at`."""
    first, _ = span(params, is_ally(params, i) == friends)
    return j - first - (friends and j > i)


@kernel
def squared_distance(state, i, j):
    """Squared distance between the centres of two units."""
    dx = state.x[j] - state.x[i]
    dy = state.y[j] - state.y[i]
    return dx * dx + dy * dy


@kernel
def can_aim(state, params, i, j):
    """True where unit `i` may strike `j`, or heal it: `j` stands within range and, to be healed, is wounded."""
    a, b = kind_of(state, params, i), kind_of(state, params, j)
    reach = params.range[a] + params.radius[a] + params.radius[b]
    useful = params.heal[a] == ZERO or state.health[j] < params.health[b]
    return useful and state.health[j] > ZERO and squared_distance(state, i, j) <= reach * reach


# What units are told.


@kernel
def give_orders(state, params, clock, actions, e):
    """Note in `state.order` what every unit does in this step; impossible actions are STOP."""
    orders = MOVES + max(params.ally_type.shape[0], params.enemy_type.shape[0])
    i = 0
    for g in range(len(actions)):
        for n in range(actions[g].shape[1]):
            order = actions[g][e, n]
            state.order[U(i)] = order if clock.alive[U(i)] and order >= 0 and order < orders else STOP
            i += 1
    for k in range(U(i), U(state.order.shape[0])):
        state.order[k] = decide(state, params, k)


@kernel
def decide(state, params, i):
    """The built-in opponent, who knows where everybody stands.

    Weak: strike (or heal) the nearest unit within range, else walk towards the nearest. Strong: strike the unit within
    range that has least health and shield left; and, while its own strike is not ready, step away from a nearest foe of
    shorter range that comes close.
    """
    if state.health[i] <= ZERO:
        return STOP
    kind = kind_of(state, params, i)
    heals = params.heal[kind] > ZERO
    best, nearest = -1, -1
    least, closest = FAR, FAR
    first, stop = span(params, is_ally(params, i) == heals)
    for number in range(first, stop):
        j = U(number)
        if j != i and state.health[j] > ZERO:
            away = squared_distance(state, i, j)
            rank = away if params.opponent == WEAK else state.health[j] + state.shield[j]
            if rank < least and can_aim(state, params, i, j):
                best, least = number, rank
            if away < closest:
                nearest, closest = number, away
    if nearest < 0:
        return STOP
    flees = params.opponent == STRONG and state.cooldown[i] > ZERO and not heals
    if flees:
        other = kind_of(state, params, U(nearest))
        close = params.range[other] + params.radius[other] + params.radius[kind] + TWO * params.speed[other]
        flees = params.range[other] < params.range[kind] and closest <= close * close
    if best >= 0 and not flees:
        return MOVES + place_of(params, i, heals, best)
    dx = state.x[U(nearest)] - state.x[i]
    dy = state.y[U(nearest)] - state.y[i]
    if abs(dx) >= abs(dy):
        return FORWARD if ((dx > ZERO) == is_ally(params, i)) != flees else BACK
    return UP if (dy > ZERO) != flees else DOWN


# What they do.


@kernel
def strike(state, params):
    """Part 2: note in `hurt` and `mended` what everybody's strikes and healing will do."""
    for i in range(state.x.shape[0]):
        state.hurt[i] = ZERO
        state.mended[i] = ZERO
    for i in range(state.x.shape[0]):
        if state.order[i] < MOVES or state.health[i] <= ZERO or state.cooldown[i] > ZERO:
            continue
        kind = kind_of(state, params, i)
        heals = params.heal[kind] > ZERO
        target = unit_at(params, i, heals, state.order[i] - MOVES)
        if target < 0 or not can_aim(state, params, i, U(target)):
            continue
        state.cooldown[i] = params.cooldown[kind]
        if heals:
            state.mended[U(target)] += params.heal[kind]
        else:
            hit(state, params, is_ally(params, i), U(target), params.damage[kind], params.splash[kind])


@kernel
def hit(state, params, by_ally, target, damage, splash):
    """One strike, and with `splash` the same for those who stand that near to the target."""
    state.hurt[target] += damage
    if splash > ZERO:
        first, stop = span(params, not by_ally)
        for j in range(U(first), U(stop)):
            if j != target and state.health[j] > ZERO and squared_distance(state, target, j) <= splash * splash:
                state.hurt[j] += damage


@kernel
def inside(value, half):
    """Clip to [-half, half]."""
    return min(max(value, -half), half)


@kernel
def march(state, params):
    """Part 3: everybody's move, then overlapping discs apart."""
    for i in range(state.x.shape[0]):
        order = state.order[i]
        if order >= MOVES or state.health[i] <= ZERO:
            continue
        length = params.speed[kind_of(state, params, i)]
        ahead = F((order == FORWARD) - (order == BACK)) * length
        state.x[i] = inside(state.x[i] + (ahead if is_ally(params, i) else -ahead), HALF_WIDTH)
        state.y[i] = inside(state.y[i] + F((order == UP) - (order == DOWN)) * length, HALF_HEIGHT)
    part_discs(state, params)


@kernel
def part_discs(state, params):
    """Push every pair of standing discs that overlap apart along their line, each by half of the overlap, all at once.

    One such push: in a crowd some overlap may be left for the next step. Pairs within the allies come first, then those
    within the enemies, then mixed ones, so that for either side sums run in the same order.
    """
    units = state.x.shape[0]
    push_x = scratch_row(state.x, np.float32)
    push_y = scratch_row(state.x, np.float32)
    for i in range(units):
        push_x[i] = ZERO
        push_y[i] = ZERO
    for part in range(3):
        first, stop = span(params, part != 1)
        last = units if part == 2 else stop
        for i in range(U(first), U(stop)):
            if state.health[i] <= ZERO:
                continue
            a = kind_of(state, params, i)
            for j in range(U(stop) if part == 2 else i + U(1), U(last)):
                reach = params.radius[a] + params.radius[kind_of(state, params, j)]
                away = squared_distance(state, i, j)
                if away < reach * reach and away > ZERO and state.health[j] > ZERO:
                    d = np.sqrt(away)
                    share = (reach - d) / (TWO * d)
                    dx = (state.x[j] - state.x[i]) * share
                    dy = (state.y[j] - state.y[i]) * share
                    push_x[i] -= dx
                    push_y[i] -= dy
                    push_x[j] += dx
                    push_y[j] += dy
    for i in range(units):
        state.x[i] = inside(state.x[i] + push_x[i], HALF_WIDTH)
        state.y[i] = inside(state.y[i] + push_y[i], HALF_HEIGHT)


@kernel
def feel(state, params, allies):
    """Part 4 for one side: (points of health and shield lost, healing counted against it; who fell; who stands)."""
    lost = ZERO
    fallen, standing = 0, 0
    first, stop = span(params, allies)
    for i in range(U(first), U(stop)):
        state.cooldown[i] = max(state.cooldown[i] - ONE, ZERO)
        if state.health[i] <= ZERO:
            continue
        before = state.health[i] + state.shield[i]
        absorbed = min(state.hurt[i], state.shield[i])
        state.shield[i] -= absorbed
        health = state.health[i] - (state.hurt[i] - absorbed)
        if health > ZERO:
            full = params.health[kind_of(state, params, i)]
            health = max(min(health + state.mended[i], full), health)
            standing += 1
        else:
            health = ZERO
            fallen += 1
        state.health[i] = health
        lost += before - (health + state.shield[i])
    return lost, fallen, standing


@kernel
def settle(state, params, clock, out, e):
    """Part 4: feel it all; reward, metrics and ends."""
    allies_lost, allies_fell, allies_stand = feel(state, params, True)
    enemies_lost, enemies_fell, enemies_stand = feel(state, params, False)
    over = allies_stand == 0 or enemies_stand == 0
    won = over and allies_stand > 0
    beaten = over and enemies_stand > 0
    if params.shaped:
        ally_pay = state.prize[0] * (enemies_lost + KILL * F(enemies_fell) + WIN * F(won))
        enemy_pay = state.prize[1] * (allies_lost + KILL * F(allies_fell) + WIN * F(beaten))
    else:
        ally_pay = F(won) - F(beaten)
        enemy_pay = -ally_pay
    i = 0
    for g in range(len(out.groups)):
        group = out.groups[g]
        for n in range(group.reward.shape[1]):
            group.reward[e, n] = ally_pay if is_ally(params, i) else enemy_pay
            group.terminated[e, n] = clock.alive[U(i)] and (over or state.health[U(i)] <= ZERO)
            i += 1
    if over or clock.step + 1 >= params.max_steps:
        score = F(0.5) + F(0.5) * (F(won) - F(beaten))
        out.outcome[e, 0] = score
        if out.outcome.shape[1] > 1:
            out.outcome[e, 1] = ONE - score
    out.metrics[e, 0] = F(won)
    out.metrics[e, 1] = F(enemies_fell)
    out.metrics[e, 2] = F(allies_fell)


# What is seen.


@kernel
def write_state(row, state, params):
    """The global state: `params.features` columns for every unit, zeros for who has fallen."""
    wide = params.features
    types = params.health.shape[0]
    for i in range(state.x.shape[0]):
        base = U(i * wide)
        for c in range(base, base + U(wide)):
            row[c] = ZERO
        if state.health[i] > ZERO:
            kind = kind_of(state, params, i)
            row[base] = state.x[i] / HALF_WIDTH
            row[base + U(1)] = state.y[i] / HALF_HEIGHT
            row[base + U(2)] = state.cooldown[i] / params.cooldown[kind]
            row[base + U(3)] = state.health[i] / params.health[kind]
            if params.shielded:
                row[base + U(4)] = state.shield[i] / max(params.shield[kind], ONE)
            if types > 1:
                row[base + U(wide - types) + kind] = ONE


@kernel
def write_view(row, mask, whole, state, params, i):
    """What unit `i` sees: itself, its foes, its friends; and what it may do. `whole` is the global state."""
    wide = params.features
    kind = kind_of(state, params, i)
    heals = params.heal[kind] > ZERO
    ahead = ONE if is_ally(params, i) else -ONE
    sight = params.sight[kind]
    for c in range(U(wide)):
        row[c] = whole[U(i * wide) + c]
    row[U(0)] *= ahead
    mask[U(FORWARD)] = ahead * state.x[i] < HALF_WIDTH
    mask[U(BACK)] = ahead * state.x[i] > -HALF_WIDTH
    mask[U(UP)] = state.y[i] < HALF_HEIGHT
    mask[U(DOWN)] = state.y[i] > -HALF_HEIGHT
    places = mask.shape[0] - MOVES
    mask[U(MOVES + places - 1)] = False
    for slot in range(2 * places - 1):
        friends = slot >= places
        place = slot - places if friends else slot
        j = unit_at(params, i, friends, place)
        base = U((slot + 1) * wide)
        away = FAR
        if j >= 0:
            away = squared_distance(state, i, U(j))
        legal = False
        if away <= sight * sight and state.health[U(j)] > ZERO:
            row[base] = ahead * (state.x[U(j)] - state.x[i]) / sight
            row[base + U(1)] = (state.y[U(j)] - state.y[i]) / sight
            row[base + U(2)] = np.sqrt(away) / sight
            for c in range(U(3), U(wide)):
                row[base + c] = whole[U(j * wide) + c]
            legal = can_aim(state, params, i, U(j))
        else:
            for c in range(base, base + U(wide)):
                row[c] = ZERO
        if friends == heals:
            mask[U(MOVES + place)] = legal
