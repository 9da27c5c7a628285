"""`NativeEnv`: any number of copies of one compiled game behind the contract of `environments.vector`.

A game is a `Game`: its options, how to describe and allocate it, and three compiled rules for one copy. Everything
else (batching, threads, autoreset, episodes, capture) is written once, here and in `environments.loops`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numba
import numpy as np
from numba.core import event
from numpy.typing import NDArray

from environments import rng, workers
from environments.compile import instantiate
from environments.loops import BEGIN, SHOW, STEP
from environments.spec import EnvSpec
from environments.vector import Actions, Array, SimState, StepBuffers, action_shape, allocate, missing_actions

LOG = logging.getLogger(__name__)
"""What people who wait may want to know; the command line shows it."""


@dataclass(frozen=True)
class Game:
    """One native game: what a game file exports."""

    name: str
    """`family/variant`."""
    options: type
    """Frozen dataclass of what people may set; it checks its own ranges."""
    spec: Callable[[Any], EnvSpec]
    """Options -> description."""
    params: Callable[[Any], Array]
    """Options -> one record of numbers for the kernels."""
    state: Callable[[Any], np.dtype[Any]]
    """Options -> record type of one copy's simulation state; `align=True`."""
    reset_one: Callable[..., None]
    step_one: Callable[..., None]
    observe_one: Callable[..., None]

    def loops(self) -> Any:
        """The batch loops compiled around this game's rules."""
        return instantiate(
            "loops",
            self.name.replace("/", "_"),
            reset_one=self.reset_one,
            step_one=self.step_one,
            observe_one=self.observe_one,
        )


def clock_type(spec: EnvSpec) -> np.dtype[Any]:
    """Record that every native game keeps for each copy besides its own state."""
    return np.dtype(
        [
            ("key", np.uint64),
            ("episode", np.uint64),  # number of the open episode under this key
            ("seed", np.uint64),  # of the open episode
            ("draws", np.uint64),  # random numbers drawn in it
            ("step", np.int64),  # steps taken in it
            ("alive", np.uint8, (len(spec.agents),)),
            ("score", np.float32, (spec.num_teams,)),  # summed rewards of the open episode
            ("metrics", np.float32, (max(1, len(spec.metrics)),)),  # sums over the open episode
        ],
        align=True,
    )


def limits_of(spec: EnvSpec, hold: bool) -> Array:
    """One record of what the loops need to know."""
    agents = len(spec.agents)
    fields = [
        ("max_steps", np.int64),
        ("hold", np.bool_),
        ("outcome_is_return", np.bool_),
        ("team", np.int64, (agents,)),
    ]
    limits = np.zeros(1, np.dtype(fields, align=True))
    limits["hold"] = hold
    limits["max_steps"] = spec.max_steps or 0
    limits["outcome_is_return"] = spec.outcome == "return"
    first = 0
    for group in spec.groups:
        if spec.agent_indices(group) != tuple(range(first, first + len(group.agents))):
            raise ValueError(f"{spec.name}: spec.agents must list the groups' agents one group after the other")
        limits["team"][0, first : first + len(group.agents)] = spec.team_of(group)
        first += len(group.agents)
    return limits


class NativeEnv:
    """Thousands of copies of a game, stepped by one compiled call. See `environments.vector.VectorEnv`."""

    def __init__(
        self,
        game: Game,
        options: Any,
        num_envs: int = 1,
        seed: int = 0,
        first_copy: int = 0,
        num_threads: int | None = None,
        hold: bool = False,
    ) -> None:
        """`hold`: at an episode's end stay in its final state until `reset` (for faces and replays, never learners)."""
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, not {num_envs}")
        self.game = game
        self.spec = game.spec(options)
        self.num_envs = num_envs
        self.states = np.zeros(num_envs, game.state(options))
        self.clocks = np.zeros(num_envs, clock_type(self.spec))
        self.params = game.params(options)
        self.limits = limits_of(self.spec, hold)
        self.buffers = allocate(self.spec, num_envs)
        self._groups = tuple(group.name for group in self.spec.groups)
        self._shapes = tuple(action_shape(group, num_envs) for group in self.spec.groups)
        self._workers = workers.get(num_threads, num_envs)
        self._every = np.arange(num_envs)
        self._records = (self.states, self.params, self.limits, self.clocks)
        self._idle: tuple[Array, ...] = tuple(np.zeros(*action_shape(group, 1)) for group in self.spec.groups)
        examples = (*self._records, self._idle, self.buffers, self._every, STEP)
        self._run = entry_point(game.loops().run, examples, game.name)
        self.clocks["key"] = rng.copy_keys(seed, first_copy, num_envs)
        self._show(self._every, BEGIN)

    @property
    def episode_seed(self) -> NDArray[np.uint64]:
        """`[E]` seed of each copy's open episode. A view of the simulation: read only."""
        return self.clocks["seed"]

    @property
    def episode_step(self) -> NDArray[np.int64]:
        """`[E]` steps taken in each copy's open episode. A view of the simulation: read only."""
        return self.clocks["step"]

    def reset(self, keys: Sequence[int] | None = None, copies: Sequence[int] | None = None) -> StepBuffers:
        """Start new episodes in the chosen copies; IndexError on a copy that is not there."""
        chosen = np.arange(self.num_envs) if copies is None else np.atleast_1d(np.asarray(copies, np.int64))
        if keys is not None:
            self.clocks["key"][chosen] = np.asarray([key % 2**64 for key in keys], np.uint64)
            self.clocks["episode"][chosen] = 0
        else:
            self.clocks["episode"][chosen] += np.uint64(1)
        self._show(chosen, BEGIN)
        return self.buffers

    def step(self, actions: Actions, out: StepBuffers | None = None) -> StepBuffers:
        """Advance every copy; ValueError where `actions` lacks a group, or a shape or type does not fit."""
        buffers = self.buffers if out is None else out
        if buffers is not self.buffers:
            self._check_buffers(buffers)
        try:
            arrays = tuple([actions[name] for name in self._groups])
        except KeyError:
            raise missing_actions(self.spec, actions) from None
        for array, (shape, dtype) in zip(arrays, self._shapes, strict=True):
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(self._refused(arrays))
        arrays = tuple([array if array.flags.c_contiguous else np.ascontiguousarray(array) for array in arrays])
        self._workers.run(self._run, (*self._records, arrays, buffers, self._every, STEP), self.num_envs)
        return buffers

    def block(self) -> tuple[Any, tuple[Any, ...], tuple[Any, ...]]:
        """A step as a block of work (`environments.workers`), for compiled code that takes copies through many: a
        kernel, and what it is given before actions (as many arrays as `spec.groups`) and buffers, and after them."""
        return self.game.loops().run, self._records, (self._every, STEP)

    def capture(self, copies: int | Sequence[int]) -> SimState:
        """Copy out the state of one copy, or of several with a leading axis."""
        chosen = copies if isinstance(copies, int | np.integer) else np.asarray(copies, np.int64)
        return SimState(_copy_out(self.states, chosen), _copy_out(self.clocks, chosen), self.spec.digest)

    def restore(
        self,
        copies: int | Sequence[int],
        state: SimState | Mapping[str, Array],
        rekey: int | Sequence[int] | None = None,
    ) -> None:
        """Put a state, or some named arrays, into copies; ValueError on a foreign digest, name or shape."""
        chosen = copies if isinstance(copies, int | np.integer) else np.asarray(copies, np.int64)
        if isinstance(state, SimState) and state.digest != self.spec.digest:
            raise ValueError(f"state comes from another environment or other options than {self.spec.name}'s")
        arrays, clock = (state.arrays, state.clock) if isinstance(state, SimState) else (state, {})
        moves = [(self.states, arrays), (self.clocks, clock)]
        for own, given in moves:
            _check_names(self.spec.name, own, given, chosen)
        for own, given in moves:
            for name, value in given.items():
                own[name][chosen] = value
        if rekey is not None:
            self.clocks["key"][chosen] = np.asarray(rekey, np.uint64)
        self._show(np.atleast_1d(np.asarray(chosen, np.int64)), SHOW)

    def close(self) -> None:
        """Nothing to release."""

    def _show(self, copies: NDArray[np.int64], task: int) -> None:
        """BEGIN an episode in the chosen copies, or only SHOW their view; on this thread."""
        if copies.size and (copies.min() < 0 or copies.max() >= self.num_envs):
            raise IndexError(f"{self.spec.name}: copies {copies.tolist()} are not all within 0..{self.num_envs - 1}")
        rows = len(copies)
        work = (*self._records, self._idle, self.buffers, copies, task)
        workers.alone(self._run, work, rows)

    def _refused(self, arrays: Sequence[Array]) -> str:
        """What is wrong with the first action array that does not fit."""
        for name, array, (shape, dtype) in zip(self._groups, arrays, self._shapes, strict=True):
            if array.shape != shape or array.dtype != dtype:
                given, wanted = f"{array.dtype}{array.shape}", f"{np.dtype(dtype)}{shape}"
                return f"{self.spec.name}: actions of group {name!r} are {given}, wanted {wanted}"
        raise AssertionError("all arrays fit")

    def _check_buffers(self, out: StepBuffers) -> None:
        """Compiled code trusts its arrays: refuse any that differ from our own in shape, type or layout."""
        groups = zip(out.groups, self.buffers.groups, strict=True)
        pairs = [*zip(out[1:], self.buffers[1:], strict=True)]
        for given, own in [*pairs, *(pair for group in groups for pair in zip(*group, strict=True))]:
            if given.shape != own.shape or given.dtype != own.dtype or not given.flags.carray:
                raise ValueError(
                    f"{self.spec.name}: an array of `out` is {given.dtype}{given.shape}, "
                    f"wanted {own.dtype}{own.shape}, C-contiguous and writeable"
                )


class _Notice(event.Listener):  # type: ignore[misc]
    """Says so when a function is compiled because the disk cache does not hold it for the types at hand."""

    def __init__(self, function: Any, title: str) -> None:
        self.function, self.title = function, title

    def on_start(self, event: Any) -> None:
        if event.data["dispatcher"] is self.function:  # and not what it calls, or what another thread compiles
            LOG.info("compiling %s, once for this machine: 10 to 30 s", self.title)

    def on_end(self, event: Any) -> None:
        pass


def entry_point(function: Any, arguments: tuple[Any, ...], title: str) -> Callable[..., None]:
    """The compiled code of a kernel for exactly these argument types, called without looking at types again.

    Numba's own call costs 2 microseconds more, on every step of a single copy. `title` is what people are told is
    compiled, where that takes long.
    """
    types = tuple(numba.typeof(value) for value in (*arguments, *workers.share(1, 1, 1)))
    with event.install_listener("numba:compile", _Notice(function, title)):
        entry: Callable[..., None] = function.compile(types)
    return entry


def options_of(options: Any) -> dict[str, Any]:
    """The options as plain data, for `EnvSpec.options`."""
    return asdict(options)


def _copy_out(records: Array, chosen: Any) -> dict[str, Array]:
    names = records.dtype.names or ()
    return {name: np.array(records[name][chosen]) for name in names}


def _check_names(env: str, own: Array, given: Mapping[str, Array], chosen: Any) -> None:
    names = own.dtype.names or ()
    for name, value in given.items():
        if name not in names:
            raise ValueError(f"{env} has no state array {name!r}; it has {sorted(names)}")
        wanted = own[name][chosen].shape
        if np.shape(value) != wanted:
            raise ValueError(f"{env}: state array {name!r} has shape {np.shape(value)}, wanted {wanted}")
