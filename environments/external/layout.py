"""What is known of somebody else's environment before it is played: its description and how its parts become arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from environments.errors import UsageError
from environments.external import teams
from environments.external.cycles import quick
from environments.external.play import Moment, ParallelPlayer, Player, TurnPlayer
from environments.external.views import MASK, Moves, Sight, moves_of, sight_of
from environments.spec import EnvSpec, is_image
from environments.vector import Array

Factory = Callable[[], Any]
"""Makes one ParallelEnv or AECEnv."""
LARGEST_STATE = 2**14
"""Numbers that a global state may have; a picture is none."""
PROBED_SEED, PROBED_STEPS = 2**63 + 12345, 24
SHORTEST_STEP, LONGEST_STEP = 1e-3, 60.0


@dataclass(frozen=True)
class Layout:
    """How one environment is seen and played."""

    spec: EnvSpec
    sights: Mapping[str, Sight]
    moves: Mapping[str, Moves]
    places: Mapping[str, tuple[int, int]]
    """Group and row of every agent."""
    turns: bool
    """True for an AECEnv that is stepped agent by agent."""
    stateful: bool
    """True where `state()` of the environment is the global state; else it is all that agents see, side by side: of
    images, learners take what the team sees."""
    seed_bits: int
    """Bits that the environment takes as a seed: 64, or 31."""

    def player(self, env: Any) -> Player:
        """Who plays a copy."""
        return (TurnPlayer if self.turns else ParallelPlayer)(env, self.sights, self.stateful)

    def seed(self, seed: int) -> int:
        """An episode's seed as the environment takes it."""
        return seed >> (64 - self.seed_bits)

    def seeds(self, seeds: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The same of several."""
        return seeds >> np.uint64(64 - self.seed_bits)


def prepared(env: Any, name: str) -> Any:
    """A ParallelEnv, or an AECEnv that cannot be played in parallel. UsageError where it is neither.

    An AECEnv whose metadata say that it is parallelizable is converted: its agents then act at once.
    """
    if not (hasattr(env, "reset") and hasattr(env, "step") and hasattr(env, "action_space")):
        raise UsageError(f"{name} is {_kind(env)}, neither a PettingZoo ParallelEnv nor an AECEnv")
    if isinstance(env.action_space, spaces.Space):
        raise UsageError(f"{name} is {_kind(env)} with one action space for all: is it a Gymnasium environment?")
    try:
        listed = list(env.possible_agents)
    except (AttributeError, TypeError):
        listed = []
    if not listed or not all(isinstance(agent, str) for agent in listed) or len(set(listed)) < len(listed):
        raise UsageError(
            f"{name} has no fixed possible_agents: list every agent that may ever appear, each as a different text, "
            "as env.possible_agents"
        )
    metadata = getattr(env, "metadata", None) or {}
    if is_turn_based(env) and metadata.get("is_parallelizable", False):
        from pettingzoo.utils.conversions import aec_to_parallel

        return quick(aec_to_parallel(env))
    return quick(env)


def is_turn_based(env: Any) -> bool:
    """True for an AECEnv."""
    return hasattr(env, "agent_iter")


def _kind(env: Any) -> str:
    return f"a {type(env).__name__}"


def layout_of(env: Any, name: str, options: Mapping[str, Any], how: str | None) -> Layout:
    """Look at a prepared environment: its spaces, and one reset. UsageError, in words, where it cannot be used."""
    turns = is_turn_based(env)
    sights: dict[str, Sight] = {}
    moves: dict[str, Moves] = {}
    for agent in env.possible_agents:
        try:
            moves[agent] = moves_of(env.action_space(agent))
            discrete = not isinstance(moves[agent].space, spaces.Box)
            sights[agent] = sight_of(env.observation_space(agent), discrete)
        except UsageError as error:
            raise UsageError(f"{name}, agent {agent!r}: {error}") from None
    seed_bits, start = _first_reset(env, name)
    masks = {agent for agent, sight in sights.items() if sight.key is not None or sight.rest}
    infos = (env.infos if turns else start[1]) or {}
    masks |= {agent for agent, info in infos.items() if isinstance(info, dict) and MASK in info and agent in sights}
    members = [teams.Member(agent, sights[agent], moves[agent], agent in masks) for agent in env.possible_agents]
    how = how or ("each" if turns else "prefix")
    groups, kinds = teams.arrange(members, how)
    layout = Layout(
        EnvSpec(
            name=name,
            version=0,
            agents=tuple(agent for group in groups for agent in group.agents),
            groups=groups,
            kinds=kinds,
            max_wait=len(members) - 1 if turns else 0,
            turn_based=turns,
            step_seconds=_step_seconds(env),
            options=dict(options),
        ),
        sights,
        moves,
        teams.places(groups),
        turns,
        False,
        seed_bits,
    )
    size = _state_size(env)
    flat = not turns and not any(is_image(group.observation_space) for group in groups)
    side_by_side = sum(len(g.agents) * int(np.prod(g.observation_space.shape)) for g in groups) if flat else 0
    if size and not (size == side_by_side and _is_side_by_side(layout, env)):
        layout = replace(layout, stateful=True)
    size = size or side_by_side
    if not size or size > LARGEST_STATE:
        return replace(layout, stateful=False)
    return replace(layout, spec=replace(layout.spec, state_size=size))


def _first_reset(env: Any, name: str) -> tuple[int, Any]:
    """(bits that a seed may have, what the reset gave). UsageError where the environment cannot be reset."""
    for bits in (64, 31):
        try:
            return bits, env.reset(seed=PROBED_SEED if bits == 64 else PROBED_SEED >> 33)
        except Exception as error:
            if bits == 31:
                raise UsageError(f"{name} cannot be reset: {last_line(error)}") from error
    raise AssertionError("unreachable")


def _state_size(env: Any) -> int:
    """Numbers in the environment's global state; 0 where it has none, or a picture."""
    try:
        state = np.asarray(env.state())
    except (AttributeError, NotImplementedError, TypeError):
        return 0
    picture = state.dtype == np.uint8 and is_image(spaces.Box(0, 255, state.shape, np.uint8))
    return int(state.size) if state.dtype.kind in "biuf" and not picture else 0


def _is_side_by_side(layout: Layout, env: Any) -> bool:
    """True where `state()` is what all agents see, one after the other: then it need not be asked for at every step."""
    for seed in (PROBED_SEED, PROBED_SEED - 1):
        moment = layout.player(env).reset(layout.seed(seed))
        parts = []
        for agent in layout.places:
            if agent not in moment.acting:
                return False
            row = np.zeros(layout.sights[agent].box.shape, layout.sights[agent].box.dtype)
            layout.sights[agent].write(moment.acting[agent].view, row)
            parts.append(row.reshape(-1).astype(np.float32))
        if np.concatenate(parts).tobytes() != np.asarray(env.state(), np.float32).tobytes():
            return False
    return True


def _step_seconds(env: Any) -> float:
    rate = (getattr(env, "metadata", None) or {}).get("render_fps")
    seconds = 1 / rate if isinstance(rate, int | float) and rate > 0 else 0.1
    return min(max(seconds, SHORTEST_STEP), LONGEST_STEP)


def last_line(error: BaseException) -> str:
    """The last line of an error's traceback."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def repeats(layout: Layout, env: Any, steps: int = PROBED_STEPS) -> bool:
    """True where a seed and some random actions give the same twice: only then an episode can be played again."""
    return _trace(layout, env, steps) == _trace(layout, env, steps)


def _trace(layout: Layout, env: Any, steps: int) -> list[bytes]:
    player = layout.player(env)
    rng = np.random.default_rng(0)
    trace: list[bytes] = []
    try:
        moment = player.reset(layout.seed(PROBED_SEED))
        for _ in range(steps):
            trace.append(_bytes_of(layout, moment))
            if moment.over:
                moment = player.reset(layout.seed(PROBED_SEED + 1))
            else:
                moment = player.step({agent: _random(layout, agent, moment, rng) for agent in player.living})
    except (
        Exception,
        SystemExit,
    ) as error:  # a fault is dealt with when it comes in earnest
        trace.append(last_line(error).encode())
    return trace


def _bytes_of(layout: Layout, moment: Moment) -> bytes:
    parts = [repr((sorted(moment.terminated), sorted(moment.truncated), moment.over)).encode()]
    for agent, seen in [*moment.acting.items(), *moment.last.items()]:
        row = np.zeros(layout.sights[agent].box.shape, layout.sights[agent].box.dtype)
        layout.sights[agent].write(seen.view, row)
        parts.append(agent.encode() + row.tobytes())
    parts += [f"{agent}{float(reward)!r}".encode() for agent, reward in sorted(moment.rewards.items())]
    return b"|".join(parts)


def _random(layout: Layout, agent: str, moment: Moment, rng: np.random.Generator) -> Any:
    """A random legal action of an agent, as the environment wants it."""
    legal = moment.acting[agent].legal if agent in moment.acting else None
    return layout.moves[agent].decode(random_row(layout.moves[agent].space, legal, rng))


def random_row(space: spaces.Space[Any], legal: Any, rng: np.random.Generator) -> Array:
    """A random legal action as a row of ours; uniform in the bounds of a Box, within +-1 where it has none."""
    if isinstance(space, spaces.Box):
        low = np.where(np.isfinite(space.low), space.low, -1).reshape(-1)
        high = np.where(np.isfinite(space.high), space.high, 1).reshape(-1)
        row: Array = rng.uniform(low, high).astype(np.float32)
        return row
    sizes = [int(space.n)] if isinstance(space, spaces.Discrete) else [int(n) for n in space.nvec]  # type: ignore[attr-defined]
    parts = (
        legal
        if isinstance(legal, tuple)
        else np.split(np.ravel(legal), np.cumsum(sizes)[:-1])
        if legal is not None
        else None
    )
    chosen = []
    for k, size in enumerate(sizes):
        allowed = np.flatnonzero(parts[k]) if parts is not None else np.arange(size)
        chosen.append(int(rng.choice(allowed)) if len(allowed) else 0)
    return np.asarray(chosen if isinstance(space, spaces.MultiDiscrete) else chosen[0], np.int32)
