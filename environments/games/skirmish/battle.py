"""Skirmish: two sides of units meet in a plane, and one of them is left (`skirmish/battle`).

`maps.py` reads names that say the sides: `skirmish/3m`, `skirmish/MMM`, `skirmish/random-5v5`.

Purpose        micro-management in the manner of the StarCraft multi-agent challenges, with rules of its own: focused
               fire, kiting, keeping formation, healing; every unit decides by what it sees itself.
Agents         ally_0 ..., group `ally`. With opponent `team` also enemy_0 ..., group `enemy`; with `self` both in one
               group `unit`. A unit that falls has ended (terminated); it is paid as before and does not act.
Teams          `ally`; with opponent `team` also `enemy`; with `self` two teams of one kind, `side`. Spaces of both
               sides are equal, and each sees the plane with its own side on the left, so that what one has learned the
               other can play.
Actions        Discrete(5 + M), M units on the larger side: 0 stop, 1 forward (to where the others start), 2 back, 3 up,
               4 down, 5 + k strike foe k; who heals, heals the k-th of its friends (itself left out). Moves past the
               edge, and aiming at who is out of range, fallen, not there or (to heal) unhurt, are illegal (masked) and
               do nothing. Who aims stands still, and strikes as soon as its cooldown is over.
Units          `units.py` has the table of types: health, shield, damage, cooldown, range, sight, speed, radius. Nothing
               in a battle is drawn at random but its start.
Rewards        to every unit of a side, fallen or not. `shaped`: (points of health and shield that the other side lost,
               points healed counted against it, + 10 for each of its units that fell + 200 for the victory), scaled so
               that all of that together is 20. `sparse`: 1 for a victory, -1 for a defeat.
Ends           terminated when a side has nobody left (both at once: a draw); truncated after max_cycles (a draw).
Outcome        victory 1, draw 0.5, defeat 0.
Metrics        won (1 where the allies won), killed (enemies that fell), lost (allies that fell).
Options        allies, enemies, urn, start, opponent, reward, max_cycles; see `Options`.
Source         this project, after SMAC (Samvelyan et al. 2019, arXiv:1902.04043) and SMACv2 (Ellis et al. 2023,
               arXiv:2212.07489): their maps' sides, action scheme and reward. Units and dynamics are not StarCraft's.
Version        1

Observation    (2 M blocks of W columns, all in [-1, 1]; W is 4, + 1 where a type has a shield, + the number of types
               where there are several)
    block 0            the unit itself
        0-1            place, of half the plane's width and height; x grows towards where the others start
        2              cooldown left, share of its length
        3              health, share of its start
        (4)            shield, share of its start
        (...)          type, one column each
    blocks 1 .. M      foes 0 .. M-1; zeros for who is out of sight, fallen or not there
        0-1            place relative to the unit, of the unit's sight
        2              distance, of its sight
        3 ...          health, shield, type as above
    blocks M+1 ...     friends in their order, itself left out, likewise

State          block 0 of every unit, allies first, in the plane's own direction; zeros for the fallen.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from environments.compile import kernel
from environments.errors import UsageError
from environments.games.skirmish import rules
from environments.games.skirmish.rules import ONE, STOP, ZERO, F
from environments.games.skirmish.units import RANDOM, UNITS, Roster, Unit, fighters
from environments.native import Game, options_of
from environments.rng import U, bits, uniform
from environments.spec import AgentGroup, EnvSpec, TeamKind
from environments.vector import Array

STEP_SECONDS = 0.4
LEVELS = {"team": 0, "self": 0, "weak": rules.WEAK, "strong": rules.STRONG}
ROWS = 9  # units abreast, in a rank
ABREAST = F(1.5)  # between their places
SWAY = F(0.25)  # how far units start from them, up or down: no two discs of a rank overlap
FRONT = F(4.0)  # from the middle of the plane to the first rank
DEPTH = F(8.0)  # of all ranks
RANK = F(3.0)  # between ranks, at most; units start up to a third of it before or behind their place
THIRD = F(1.0 / 3.0)
DRIFT = F(2.0)  # how far a side's middle may be from the plane's
GAP, EDGE = F(3.0), F(1.0)  # reflected starts: from the middle, from the edge
MIDDLE, CORNER, CLUSTER = F(2.5), F(0.75), F(1.5)  # surrounded starts: half the inner square; where clusters are


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be set."""

    allies: str = "3 marine"
    """Own units, as counts and types: `2 stalker, 3 zealot`. `random` is a type too: see urn. 1 to 64 units."""
    enemies: str = "3 marine"
    """The other side's units, likewise."""
    urn: str = "9 stalker, 9 zealot, 2 colossus"
    """Balls that `random` units are drawn from in every episode; the k-th units of both sides share a draw."""
    start: Literal["lines", "scattered"] = "lines"
    """Two lines face to face, or, by chance, one side around the other or both as mirror images."""
    opponent: Literal["weak", "strong", "team", "self"] = "weak"
    """Who plays the enemies: a rush at the nearest; focused fire with kiting; a team of its own kind, with a learner of
    its own; or a second team of the allies' kind, so that one learner plays both sides."""
    reward: Literal["shaped", "sparse"] = "shaped"
    """Damage, kills and victory (20 in all), or only victory and defeat."""
    max_cycles: int = 100
    """Steps after which an episode is truncated; 1 to 1,000,000."""

    def __post_init__(self) -> None:
        roster = Roster.of(options_of(self))
        if self.opponent == "self" and len(roster.allies) != len(roster.enemies):
            counts = f"{len(roster.allies)} and {len(roster.enemies)}"
            raise UsageError(f"opponent 'self' needs as many enemies as allies, not {counts}; use 'team'")
        if not 1 <= self.max_cycles <= 1_000_000:
            raise UsageError(f"max_cycles must be 1 to 1,000,000, not {self.max_cycles}")


def spec(options: Options) -> EnvSpec:
    """Description for learners, league and viewer."""
    roster = Roster.of(options_of(options))
    allies, enemies = (
        tuple(f"{side}_{i}" for i in range(len(kinds)))
        for side, kinds in (("ally", roster.allies), ("enemy", roster.enemies))
    )
    if options.opponent == "self":
        groups, kinds = [_group("unit", "side", allies + enemies, roster)], [TeamKind("side", ("unit",), teams=2)]
    else:
        sides = [("ally", allies), ("enemy", enemies)][: 2 if options.opponent == "team" else 1]
        groups = [_group(side, side, agents, roster) for side, agents in sides]
        kinds = [TeamKind(side, (side,)) for side, _ in sides]
    return EnvSpec(
        name="skirmish/battle",
        version=1,
        agents=tuple(agent for group in groups for agent in group.agents),
        groups=tuple(groups),
        kinds=tuple(kinds),
        state_size=(len(roster.allies) + len(roster.enemies)) * roster.features,
        max_steps=options.max_cycles,
        metrics=(("won", "episodes"), ("killed", "units"), ("lost", "units")),
        outcome="victory 1, draw 0.5, defeat 0",
        step_seconds=STEP_SECONDS,
        options=options_of(options),
    )


def _group(name: str, kind: str, agents: tuple[str, ...], roster: Roster) -> AgentGroup:
    looks = ["health", *(["shield"] if roster.shielded else []), *(roster.types if len(roster.types) > 1 else ())]
    others = [*(f"foe_{k}" for k in range(roster.places)), *(f"friend_{k}" for k in range(roster.places - 1))]
    features = [*(f"own_{what}" for what in ("x", "y", "cooldown", *looks))]
    features += [f"{who}_{what}" for who in others for what in ("dx", "dy", "distance", *looks)]
    return AgentGroup(
        name=name,
        kind=kind,
        agents=agents,
        observation_space=spaces.Box(-1, 1, (len(features),), np.float32),
        action_space=spaces.Discrete(rules.MOVES + roster.places),
        features=tuple(features),
        masked=True,
    )


def params(options: Options) -> Array:
    """Numbers for the kernels: the rows of the types that can occur, each side's types (-1: drawn), the urn."""
    roster = Roster.of(options_of(options))
    table = [UNITS[kind] for kind in roster.types]
    balls = np.array([roster.urn.count(kind) for kind in roster.types])
    numbers: dict[str, Any] = {
        "ally_type": [-1 if kind == RANDOM else roster.types.index(kind) for kind in roster.allies],
        "enemy_type": [-1 if kind == RANDOM else roster.types.index(kind) for kind in roster.enemies],
        **{field.name: [getattr(unit, field.name) for unit in table] for field in fields(Unit)},
        "drawn_below": np.cumsum(balls) / max(balls.sum(), 1),
        "fighter": roster.types.index(fighters(roster.urn)[0]) if roster.urn else 0,
        "features": roster.features,
        "shielded": int(roster.shielded),
        "scattered": int(options.start == "scattered"),
        "opponent": LEVELS[options.opponent],
        "shaped": int(options.reward == "shaped"),
        "max_steps": options.max_cycles,
    }
    whole = ("ally_type", "enemy_type", "fighter", "features", "shielded", "scattered", "opponent", "shaped")
    kinds = {name: np.int64 if name in (*whole, "max_steps") else np.float32 for name in numbers}
    columns = [(name, kinds[name], np.shape(value)) for name, value in numbers.items()]
    record = np.zeros(1, np.dtype(columns, align=True))
    for name, value in numbers.items():
        record[name] = value
    return record


def state_type(options: Options) -> np.dtype[Any]:
    """One copy's simulation state; all arrays but the last have one element per unit, allies first.

    `kind` (place in `Roster.types`); `x`, `y`; `health`, `shield` (points); `cooldown` (steps); of the last step
    `order`, `hurt` and `mended` (points); `prize [sides]`: what a point of the shaped reward is worth.
    """
    roster = Roster.of(options_of(options))
    units = (len(roster.allies) + len(roster.enemies),)
    numbers = ("x", "y", "health", "shield", "cooldown", "hurt", "mended")
    columns: list[Any] = [("kind", np.uint8, units), ("order", np.int32, units)]
    columns += [*((name, np.float32, units) for name in numbers), ("prize", np.float32, (2,))]
    return np.dtype(columns, align=True)


@kernel
def reset_one(state, params, clock):
    """Draw types and places; everybody is whole and ready."""
    draw_types(state, params, clock)
    if params.scattered == 0:
        line_up(state, params, clock)
    else:
        scatter(state, params, clock, uniform(clock, ZERO, ONE) < F(0.5))
    for i in range(state.x.shape[0]):
        kind = rules.kind_of(state, params, i)
        state.health[i] = params.health[kind]
        state.shield[i] = params.shield[kind]
        state.cooldown[i] = ZERO
        state.hurt[i] = ZERO
        state.mended[i] = ZERO
        state.order[i] = STOP
    for side in range(2):
        first, stop = rules.span(params, side == 1)  # a side is paid for what the other has
        points = rules.WIN + rules.KILL * F(stop - first)
        for i in range(U(first), U(stop)):
            points += state.health[i] + state.shield[i]
        state.prize[side] = rules.BEST / points


@kernel
def draw_types(state, params, clock):
    """Types as the options say; the k-th random units of both sides are alike; no side is of healers alone."""
    allies, enemies = params.ally_type.shape[0], params.enemy_type.shape[0]
    for k in range(max(allies, enemies)):
        drawn = 0
        if (k < allies and params.ally_type[U(k)] < 0) or (k < enemies and params.enemy_type[U(k)] < 0):
            ball = uniform(clock, ZERO, ONE)
            while drawn < params.health.shape[0] - 1 and ball >= params.drawn_below[U(drawn)]:
                drawn += 1
        if k < allies:
            state.kind[U(k)] = drawn if params.ally_type[U(k)] < 0 else params.ally_type[U(k)]
        if k < enemies:
            state.kind[U(allies + k)] = drawn if params.enemy_type[U(k)] < 0 else params.enemy_type[U(k)]
    for side in range(2):
        first, stop = rules.span(params, side == 0)
        strikers, last_drawn = 0, -1
        for i in range(first, stop):
            strikers += params.heal[rules.kind_of(state, params, U(i))] == ZERO
            if (params.ally_type[U(i)] if side == 0 else params.enemy_type[U(i - first)]) < 0:
                last_drawn = i
        if strikers == 0 and last_drawn >= 0:
            state.kind[U(last_drawn)] = params.fighter


@kernel
def line_up(state, params, clock):
    """Each side in ranks of at most ROWS, face to face but unevenly, with its middle a little up or down."""
    for side in range(2):
        first, stop = rules.span(params, side == 0)
        drift = uniform(clock, -DRIFT, DRIFT)
        ranks = (stop - first + ROWS - 1) // ROWS
        between = min(DEPTH / F(ranks), RANK)
        for place in range(stop - first):
            rank = place // ROWS
            abreast = min(stop - first - rank * ROWS, ROWS)
            back = FRONT + between * (F(rank) + F(0.5) + uniform(clock, -THIRD, THIRD))
            row = F(place - rank * ROWS) - F(abreast - 1) / F(2.0)
            state.x[U(first + place)] = -back if side == 0 else back
            state.y[U(first + place)] = drift + row * ABREAST + uniform(clock, -SWAY, SWAY)


@kernel
def scatter(state, params, clock, surrounded):
    """Allies in the middle with enemies towards the corners; or enemies where the allies are, in the mirror."""
    allies = params.ally_type.shape[0]
    for i in range(state.x.shape[0]):
        across, up = uniform(clock, -ONE, ONE), uniform(clock, -ONE, ONE)
        corner = bits(clock) if surrounded else U(0)
        if not surrounded:
            half = (rules.HALF_WIDTH - EDGE - GAP) / F(2.0)
            x = -GAP - half + half * across
            y = (rules.HALF_HEIGHT - EDGE) * up
            mirrored = i >= allies and i - allies < allies
            state.x[i] = x if i < allies else (-state.x[U(i - allies)] if mirrored else -x)
            state.y[i] = state.y[U(i - allies)] if mirrored else y
        elif i < allies:
            state.x[i] = MIDDLE * across
            state.y[i] = MIDDLE * up
        else:
            right = (corner >> U(63)) * U(2)
            top = ((corner >> U(62)) & U(1)) * U(2)
            state.x[i] = CORNER * rules.HALF_WIDTH * (F(right) - ONE) + CLUSTER * across
            state.y[i] = CORNER * rules.HALF_HEIGHT * (F(top) - ONE) + CLUSTER * up


@kernel
def step_one(state, params, clock, actions, out, e):
    """The four parts of a step."""
    rules.give_orders(state, params, clock, actions, e)
    rules.strike(state, params)
    rules.march(state, params)
    rules.settle(state, params, clock, out, e)


@kernel
def observe_one(state, params, clock, out, e):
    """The table above."""
    rules.write_state(out.state[e], state, params)
    i = 0
    for g in range(len(out.groups)):
        group = out.groups[g]
        for n in range(group.reward.shape[1]):
            if clock.alive[U(i)]:  # who fell in this very step, too: it is its last view
                rules.write_view(group.obs[e, n], group.action_mask[e, n], out.state[e], state, params, i)
            i += 1


GAME = Game("skirmish/battle", Options, spec, params, state_type, reset_one, step_one, observe_one)
