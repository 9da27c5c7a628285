"""`PettingZooVectorEnv`: some copies of somebody else's environment, in one process, behind the contract.

Faults: where an environment raises, or shows NaN, a wrong shape or type or an unknown agent, its copy's episode ends as
truncated with the last good views, `faulted` is True for it, and a fresh environment goes on from another key that
follows from the old one. Such episodes are no measurements: who counts, leaves them out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from environments import keys as keys_of
from environments.arrays import check_out, clear_events, publish
from environments.errors import EnvironmentFailure
from environments.external import ending
from environments.external.film import Drawn, Film
from environments.external.layout import Factory, Layout, last_line, layout_of, repeats
from environments.external.play import Moment, Player, Seen
from environments.external.views import Sight, write_mask
from environments.spec import EnvSpec
from environments.vector import Actions, Array, SimState, StepBuffers, action_shape, allocate, missing_actions

MAX_FAULTS = 10
"""Faults after which a batch gives up."""
RAISED = (Exception, SystemExit)
"""What an environment may raise."""
UNKNOWN = "environment"


@dataclass(frozen=True)
class Fault:
    """One failure of one copy, with what is needed to see it again."""

    environment: str
    copy: int
    seed: int
    """Seed of the episode, as `reset` was given it."""
    step: int
    """Steps made in the episode before the one that failed."""
    what: str
    actions: Mapping[str, Any]
    """Group -> actions of the episode's steps, the failing one last, as lists."""
    next_key: int
    """Key with which the copy went on."""
    worker: int | None = None
    """Number of the process; None where there is only one."""

    def __str__(self) -> str:
        where = "" if self.worker is None else f" of worker {self.worker}"
        return f"copy {self.copy}{where}, seed {self.seed}, step {self.step}: {self.what}"


class _Desk(NamedTuple):
    """What one agent is played with."""

    group: int
    row: int
    """Of its group's arrays."""
    decode: Callable[[Any], Any]
    """A row of actions as the environment wants it."""
    idle: Array
    """Row of actions of an agent that does not act."""
    sight: Sight
    obs: Array
    """Where its observation is drafted."""
    mask: Array | None
    """Where its legal actions are; None where all are."""


class TooManyFaults(EnvironmentFailure):
    """An environment failed more often than allowed; `fault` is the last failure."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        fault = faults[-1]
        last = {name: rows[-1] for name, rows in fault.actions.items() if rows}
        times = f"{len(faults)} time{'s' if len(faults) > 1 else ''}"
        super().__init__(
            f"{fault.environment} failed {times}, more than is allowed; the last time in {fault}; "
            f"after {fault.step} steps it was given {last}"
        )
        self.fault, self.faults = fault, faults


class PettingZooVectorEnv:
    """Copies of a ParallelEnv or AECEnv in one process. See `environments.vector.VectorEnv`."""

    def __init__(
        self,
        factory: Factory,
        num_envs: int = 1,
        seed: int = 0,
        first_copy: int = 0,
        *,
        name: str = UNKNOWN,
        options: Mapping[str, Any] | None = None,
        teams: str | None = None,
        max_faults: int = MAX_FAULTS,
        can_capture: bool | None = None,
        film: Film | None = None,
    ) -> None:
        """`factory` makes one environment; `can_capture` None finds out whether episodes can be played again.

        `film` makes those that draw themselves, and keeps their pictures.
        """
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, not {num_envs}")
        self._film = film or Film()
        first = self._film.made(0, factory, name)
        layout = layout_of(first, name, options or {}, teams)
        again = repeats(layout, first) if can_capture is None else can_capture
        self.layout: Layout = replace(layout, spec=replace(layout.spec, can_capture=again))
        self.spec = self.layout.spec
        self.num_envs = num_envs
        self.buffers = allocate(self.spec, num_envs)
        self.faulted = np.zeros(num_envs, np.bool_)
        """`[E]`: the copy's environment failed in the last step."""
        self.faults: list[Fault] = []
        self.playing = np.zeros(1, np.int64)
        """The copy that is being stepped, for whoever watches from outside; shared with another process where asked."""
        self._factory, self._name, self._max_faults = factory, name, max_faults
        self._now = allocate(self.spec, num_envs)
        self._draft, self._sheet = _drafts(self.spec)
        self._score = np.zeros((num_envs, self.spec.num_teams), np.float32)
        self._team = [self.spec.team_of(group) for group in self.spec.groups]
        self._groups = [group.name for group in self.spec.groups]
        self._shapes = [action_shape(group, num_envs) for group in self.spec.groups]
        self._desks = {agent: self._desk(agent, g, n) for agent, (g, n) in self.layout.places.items()}
        self._shown = [
            (getattr(now, name), getattr(draft, name)[0])
            for group, now, draft in zip(self.spec.groups, self._now.groups, self._draft.groups, strict=True)
            for name in ("obs", "action_mask")[: 2 if group.masked else 1]
        ]
        """(rows of all copies, draft of one copy's) of what agents see."""
        self.key = np.array([keys_of.copy_key(seed, first_copy + e) for e in range(num_envs)], np.uint64)
        self.episode = np.zeros(num_envs, np.int64)
        self._seed = np.zeros(num_envs, np.uint64)
        self._step = np.zeros(num_envs, np.int64)
        self._past: list[list[tuple[Array, ...]]] = [[] for _ in range(num_envs)]
        self._acting: list[set[str]] = [set() for _ in range(num_envs)]
        self._players: list[Player] = [self.layout.player(first)]
        self._players += [self.layout.player(self._film.made(e, factory, name)) for e in range(1, num_envs)]
        self._begin(range(num_envs))

    @property
    def episode_seed(self) -> NDArray[np.uint64]:
        """`[E]` seed of each copy's open episode. Read only."""
        return self._seed

    @property
    def given_seed(self) -> NDArray[np.uint64]:
        """`[E]` the same as `reset` was given it: some environments take fewer bits."""
        return self.layout.seeds(self._seed)

    @property
    def episode_step(self) -> NDArray[np.int64]:
        """`[E]` steps taken in each copy's open episode. Read only."""
        return self._step

    def reset(self, keys: Sequence[int] | None = None, copies: Sequence[int] | None = None) -> StepBuffers:
        """Start new episodes in the chosen copies; IndexError on a copy that is not there."""
        chosen = self._chosen(copies)
        if keys is not None:
            self.key[chosen] = np.asarray([key % 2**64 for key in keys], np.uint64)
            self.episode[chosen] = 0
        else:
            self.episode[chosen] += 1
        self._begin(chosen)
        return self.buffers

    def step(self, actions: Actions, out: StepBuffers | None = None) -> StepBuffers:
        """Advance every copy; ValueError where a shape or type of `actions` or `out` does not fit."""
        arrays = self._checked(actions)
        buffers = self.buffers if out is None else out
        if out is not None:
            check_out(self.spec.name, out, self.buffers)
        clear_events(self._now, slice(None))
        self.faulted[:] = False
        kept = [array.copy() for array in arrays]
        for e in range(self.num_envs):
            self.playing[0] = e
            given = tuple(array[e] for array in kept)
            self._past[e].append(given)
            living = self._players[e].living
            try:
                self._advance(e, given)
            except RAISED as error:
                self._fail(e, last_line(error), living)
        self.playing[0] = -1
        self._count(slice(None))
        publish(self._now, buffers)
        return buffers

    def capture(self, copies: int | Sequence[int]) -> SimState:
        """Key, episode and actions since its start, of one copy or of several with a leading axis.

        EnvironmentFailure in the middle of an episode that cannot be played again (`spec.can_capture` False).
        """
        chosen = self._chosen(copies)
        if not self.spec.can_capture and self._step[chosen].any():
            raise EnvironmentFailure(f"{self.spec.name} does not repeat itself: only its episodes' starts can be kept")
        longest = int(self._step[chosen].max())
        arrays = {}
        for g, (name, (shape, dtype)) in enumerate(zip(self._groups, self._shapes, strict=True)):
            rows: Array = np.zeros((len(chosen), longest, *shape[1:]), dtype)
            for row, e in zip(rows, chosen, strict=True):
                for t, given in enumerate(self._past[e]):
                    row[t] = given[g]
            arrays[f"action/{name}"] = rows
        clock = {"key": self.key, "episode": self.episode.astype(np.uint64), "seed": self._seed, "step": self._step}
        held = {name: array[chosen].copy() for name, array in clock.items()}
        if isinstance(copies, int | np.integer):
            arrays, held = ({name: array[0] for name, array in part.items()} for part in (arrays, held))
        return SimState(arrays, held, self.spec.digest)

    def restore(
        self,
        copies: int | Sequence[int],
        state: SimState | Mapping[str, Array],
        rekey: int | Sequence[int] | None = None,
    ) -> None:
        """Play the captured actions again from the captured episode's start (some actions alone: from the open one's).

        ValueError on a foreign digest, name or shape; EnvironmentFailure where the episode now goes differently.
        """
        chosen = self._chosen(copies)
        if isinstance(state, SimState) and state.digest != self.spec.digest:
            raise ValueError(f"state comes from another environment or other options than {self.spec.name}'s")
        parts, clock = (state.arrays, state.clock) if isinstance(state, SimState) else (state, {})
        own = self.capture(chosen.tolist())
        single = isinstance(copies, int | np.integer)
        arrays = {**own.arrays, **{name: x[None] if single else x for name, x in parts.items()}}
        held = {**own.clock, **{name: np.reshape(x, len(chosen)) for name, x in clock.items()}}
        self._check_past(arrays, len(chosen))
        if not clock:
            held["step"] = np.full(len(chosen), len(next(iter(arrays.values()))[0]))
        for i, e in enumerate(chosen):
            self.key[e], self.episode[e] = held["key"][i], int(held["episode"][i])
        self._begin(chosen, [int(seed) for seed in held["seed"]])
        for i, e in enumerate(chosen):
            for t in range(int(held["step"][i])):
                given = tuple(arrays[f"action/{name}"][i, t].copy() for name in self._groups)
                self._past[e].append(given)
                over = self._advance(e, given)
                self._count(slice(e, e + 1))
                if over:
                    raise EnvironmentFailure(f"{self.spec.name} does not repeat itself: a restored episode ended early")
        if rekey is not None:
            self.key[chosen] = np.asarray(rekey, np.uint64)
        clear_events(self._now, chosen)
        publish(self._now, self.buffers)

    def pictures(self, copy: int) -> Drawn:
        """What a watched copy has drawn since the last call."""
        return self._film.fetch(copy)

    def close(self) -> None:
        """Close every environment."""
        ending.close(player.env for player in self._players)

    def _chosen(self, copies: int | Sequence[int] | None) -> NDArray[np.int64]:
        chosen = np.arange(self.num_envs) if copies is None else np.atleast_1d(np.asarray(copies, np.int64))
        if chosen.size and (chosen.min() < 0 or chosen.max() >= self.num_envs):
            raise IndexError(f"{self.spec.name}: copies {chosen.tolist()} are not all within 0..{self.num_envs - 1}")
        return chosen

    def _checked(self, actions: Actions) -> tuple[Array, ...]:
        try:
            arrays = tuple([actions[name] for name in self._groups])
        except KeyError:
            raise missing_actions(self.spec, actions) from None
        for name, array, (shape, dtype) in zip(self._groups, arrays, self._shapes, strict=True):
            if array.shape != shape or array.dtype != dtype:
                given, wanted = f"{array.dtype}{array.shape}", f"{np.dtype(dtype)}{shape}"
                raise ValueError(f"{self.spec.name}: actions of group {name!r} are {given}, wanted {wanted}")
        return arrays

    def _check_past(self, arrays: Mapping[str, Array], copies: int) -> None:
        wanted = {f"action/{name}": shape for name, (shape, _) in zip(self._groups, self._shapes, strict=True)}
        if arrays.keys() != wanted.keys():
            raise ValueError(f"{self.spec.name} has no state arrays {sorted(arrays.keys() - wanted.keys())}")
        longest = {array.shape[1] if array.ndim > 1 else -1 for array in arrays.values()}
        for name, array in arrays.items():
            if array.shape[0] != copies or array.shape[2:] != wanted[name][1:] or len(longest) > 1:
                raise ValueError(f"{self.spec.name}: state array {name!r} has shape {array.shape}")

    def _begin(self, copies: Sequence[int] | NDArray[np.int64], seeds: Sequence[int] | None = None) -> None:
        """Begin the episodes that the counters name; clears events."""
        self._score[np.asarray(copies, np.int64)] = 0
        for i, e in enumerate(int(copy) for copy in copies):
            named = keys_of.episode_seed(int(self.key[e]), int(self.episode[e]))
            self._film.begin(e)
            try:
                self._open(e, named if seeds is None else seeds[i])
            except RAISED as error:
                self._fail(e, f"reset: {last_line(error)}", [])
        clear_events(self._now, np.asarray(copies, np.int64))
        publish(self._now, self.buffers)

    def _open(self, e: int, seed: int) -> None:
        """Begin one episode and show it."""
        self._seed[e], self._step[e], self._past[e] = seed, 0, []
        self._show(e, self._players[e].reset(self.layout.seed(seed)))
        self._film.take(e, self._players[e].env)

    def _advance(self, e: int, given: tuple[Array, ...]) -> bool:
        """One step of one copy, with autoreset; True where its episode ended. Nothing of `now` is torn by an error."""
        player, now = self._players[e], self._now
        before = player.living
        moment = player.step(self._orders(e, given, before))
        self._pay(e, moment)
        if moment.terminated or moment.truncated:
            self._end(e, moment, before)
        self._step[e] += 1
        self._film.take(e, player.env)
        if not moment.over:
            self._show(e, moment)
            return False
        now.episode_over[e] = True
        self.episode[e] += 1
        self._open(e, keys_of.episode_seed(int(self.key[e]), int(self.episode[e])))
        return True

    def _orders(self, e: int, given: tuple[Array, ...], living: Sequence[str]) -> dict[str, Any]:
        """What everybody alive is to do, as the environment wants it; who does not act, is given zeros."""
        rows, acting = [row.tolist() if row.ndim == 1 else row for row in given], self._acting[e]
        orders = {}
        for agent in living:
            desk = self._desks[agent]
            orders[agent] = desk.decode(rows[desk.group][desk.row] if agent in acting else desk.idle)
        return orders

    def _pay(self, e: int, moment: Moment) -> None:
        """Write what everybody got; ValueError where that is no number."""
        for group, rows in zip(self.spec.groups, self._now.groups, strict=True):
            rewards = rows.reward[e]
            rewards[...] = [moment.rewards.get(agent, 0.0) for agent in group.agents]
            if not all(map(math.isfinite, rewards.tolist())):
                bad = int(np.flatnonzero(~np.isfinite(rewards))[0])
                raise ValueError(f"the reward of {group.agents[bad]!r} is {rewards[bad]}")

    def _count(self, copies: slice) -> None:
        """Add what was earned in a step to the episodes' scores; the score of one that is over is its outcome."""
        score, over = self._score[copies], self._now.episode_over[copies]
        earned = np.zeros(score.shape, np.float32)
        for teams, rows in zip(self._team, self._now.groups, strict=True):
            for n, team in enumerate(teams):
                earned[:, team] += rows.reward[copies, n]
        score += earned
        if True in over:
            self._now.outcome[copies][over] = score[over]
            score[over] = 0

    def _end(self, e: int, moment: Moment, before: Sequence[str]) -> None:
        """Write whose life ended, their last views, and the state with them."""
        for group, rows in zip(self.spec.groups, self._now.groups, strict=True):
            rows.terminated[e] = [agent in moment.terminated for agent in group.agents]
            rows.truncated[e] = [agent in moment.truncated for agent in group.agents]
        self._now.episode_truncated[e] = bool(moment.truncated - moment.terminated)
        ended = [agent for agent in before if agent in moment.terminated or agent in moment.truncated]
        self._write(moment.acting | moment.last)
        for agent in ended:
            g, n = self.layout.places[agent]
            now, draft = self._now.groups[g], self._draft.groups[g]
            shown = agent in moment.last
            now.final_obs[e, n] = draft.obs[0, n] if shown else now.obs[e, n]
            now.final_mask[e, n] = draft.action_mask[0, n] if shown else True
        if self.layout.stateful:
            known = moment.state is not None
            self._now.final_state[e] = self._state_of(moment.state) if known else self._now.state[e]
        elif self.spec.state_size:
            self._now.final_state[e] = self._draft.state[0]

    def _show(self, e: int, moment: Moment) -> None:
        """Put what those who act see into the copy's rows, once all of it is known to be good."""
        if not moment.acting:
            raise ValueError("nobody can act: every living agent is without a legal action")
        self._write(moment.acting)
        state = self._draft.state[0]
        if self.layout.stateful:
            state = self._state_of(self._players[e].env.state())
        for rows, draft in self._shown:
            rows[e] = draft
        self._now.state[e] = state
        if moment.acting.keys() != self._acting[e]:
            self._acting[e] = set(moment.acting)
            for group, rows in zip(self.spec.groups, self._now.groups, strict=True):
                rows.acting[e] = [agent in moment.acting for agent in group.agents]

    def _state_of(self, state: Any) -> Array:
        flat = np.asarray(state, np.float32).reshape(-1)
        if flat.size != self.spec.state_size or not np.isfinite(flat).all():
            raise ValueError(f"the state has {flat.size} numbers of {self.spec.state_size}, or some are not finite")
        return flat

    def _write(self, seen: Mapping[str, Seen]) -> None:
        """Draft the views of these agents: zeros and no restriction for all others. ValueError where one is bad."""
        if len(seen) < len(self._desks):
            for draft in self._draft.groups:
                draft.obs[...], draft.action_mask[...] = 0, True
        for agent, (view, legal) in seen.items():
            desk = self._desks[agent]
            try:
                desk.sight.write(view, desk.obs)
                if desk.mask is not None:
                    write_mask(legal, desk.mask)
            except (ValueError, TypeError, KeyError, IndexError) as error:
                raise ValueError(f"{agent!r} shows {error}") from None
        if 0 in np.isfinite(self._sheet).tobytes():  # in half the time that `all` takes
            for group, draft in zip(self.spec.groups, self._draft.groups, strict=True):
                for agent, row in zip(group.agents, draft.obs[0], strict=True):
                    if not np.isfinite(row).all():
                        raise ValueError(f"the observation of {agent!r} is not finite")
        if self.spec.state_size and not self.layout.stateful and self._draft.state.size != self._sheet.size:
            np.concatenate([draft.obs.reshape(-1) for draft in self._draft.groups], out=self._draft.state[0])

    def _desk(self, agent: str, g: int, n: int) -> _Desk:
        shape, dtype = self._shapes[g]
        draft = self._draft.groups[g]
        return _Desk(
            group=g,
            row=n,
            decode=self.layout.moves[agent].decode,
            idle=np.zeros(shape[2:], dtype),
            sight=self.layout.sights[agent],
            obs=draft.obs[0, n, ...],
            mask=draft.action_mask[0, n] if self.spec.groups[g].masked else None,
        )

    def _fail(self, e: int, what: str, living: Sequence[str]) -> None:
        """Cut the episode off with the last good views, and go on from another key with a fresh environment."""
        now = self._now
        self.faulted[e] = now.episode_over[e] = True
        now.episode_truncated[e], now.final_state[e] = bool(living), now.state[e]
        for agent, (g, n) in self.layout.places.items():
            rows = now.groups[g]
            rows.reward[e, n], rows.terminated[e, n], rows.truncated[e, n] = 0, False, agent in living
            rows.final_obs[e, n], rows.final_mask[e, n] = rows.obs[e, n], rows.action_mask[e, n]
        while what:
            self._note(e, what)
            self.key[e], self.episode[e] = keys_of.after_fault(int(self.key[e])), 0
            try:
                ending.close([self._players[e].env])
                self._players[e] = self.layout.player(self._film.made(e, self._factory, self._name))
                self._open(e, keys_of.episode_seed(int(self.key[e]), 0))
                what = ""
            except RAISED as error:
                what = f"reset: {last_line(error)}"

    def _note(self, e: int, what: str) -> None:
        """Record a failure; TooManyFaults where it is one too many."""
        steps = zip(*self._past[e], strict=True) if self._past[e] else [()] * len(self._groups)
        fault = Fault(
            environment=self._name,
            copy=e,
            seed=self.layout.seed(int(self._seed[e])),
            step=max(0, len(self._past[e]) - 1),
            what=what,
            actions={name: [row.tolist() for row in rows] for name, rows in zip(self._groups, steps, strict=True)},
            next_key=keys_of.after_fault(int(self.key[e])),
        )
        self.faults.append(fault)
        if len(self.faults) > self._max_faults:
            raise TooManyFaults(self.faults)


def _drafts(spec: EnvSpec) -> tuple[StepBuffers, Array]:
    """Buffers of one copy, and the row in which all that is seen as float32 lies side by side, in the groups' order.

    A state that is as long as that row, shares its memory.
    """
    draft = allocate(spec, 1)
    real = [group.obs for group in draft.groups if group.obs.dtype == np.float32]
    sheet = np.zeros(sum(obs.size for obs in real), np.float32)
    parts = iter(np.split(sheet, np.cumsum([obs.size for obs in real])))
    groups = tuple(
        group._replace(obs=next(parts).reshape(group.obs.shape)) if group.obs.dtype == np.float32 else group
        for group in draft.groups
    )
    state = sheet[None] if spec.state_size == sheet.size else draft.state
    return draft._replace(groups=groups, state=state), sheet
