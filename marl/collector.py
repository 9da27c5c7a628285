"""The collector: a vector environment and the policies that sit in its seats -> rollouts.

The environment writes straight into the rollout's arrays (`step(actions, out=...)`), so nothing is copied but the
views of truncated lives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from environments.spec import AgentGroup, EnvSpec, TeamKind
from environments.vector import GroupBuffers, SimState, StepBuffers, VectorEnv, action_shape
from marl import whole_rollouts
from marl.acting import View, remembers
from marl.buffers import FinalViews, GroupRollout, Rollout
from marl.engine import rollout
from marl.seats import (
    NoiseSource,
    Seats,
    acting_only,
    by_seat,
    carried,
    critic_states,
    forgotten,
    legal_action,
    own_part,
    play,
    seat_view,
)

if TYPE_CHECKING:
    from marl.seating import Seating


class EpisodeStatistics:
    """Returns, lengths and metrics of the episodes that ended, summed over each team's agents and never discounted."""

    def __init__(self, env: VectorEnv) -> None:
        self._env = env
        self.running = np.zeros((env.num_envs, env.spec.num_teams), np.float64)
        self.returns: list[NDArray[np.float64]] = []
        self.lengths: list[NDArray[np.int64]] = []
        self.metrics: list[NDArray[np.float32]] = []
        self.faults = 0
        """Episodes that their environment did not bring to an end: they are counted, and nothing else of them is."""

    def add(self, buffers: StepBuffers, steps_before: NDArray[np.int64]) -> None:
        """Count one step; `steps_before` is `[E]`, taken from the environment before it."""
        add_team_rewards(self.running, self._env.spec, buffers)
        failed = faulted(self._env)
        self.faults += int(failed.sum())
        self.running[failed] = 0.0
        over = np.flatnonzero(buffers.episode_over & ~failed)
        if over.size:
            self.returns.append(self.running[over])
            self.lengths.append(steps_before[over] + 1)
            self.metrics.append(buffers.metrics[over].copy())
            self.running[over] = 0.0

    def add_all(self, buffers: StepBuffers, steps_before: NDArray[np.int64]) -> None:
        """Count many steps of an environment that does not fail: `buffers` have an axis of steps in front."""
        lengths = np.zeros(buffers.episode_over.shape, np.int64)
        totals = np.zeros((*lengths.shape, self.running.shape[1]))
        paid = np.zeros((len(buffers.groups), *totals.shape), np.float32)
        for own, group, rewards in zip(paid, self._env.spec.groups, buffers.groups, strict=True):
            first, last = _columns(self._env.spec, group)
            own[:, :, first:last] = rewards.reward.reshape(*lengths.shape, last - first, -1).sum(3)
        rollout.tally(self.running, steps_before.copy(), paid, buffers.episode_over, totals, lengths)
        if buffers.episode_over.any():
            self.returns.append(totals[buffers.episode_over])
            self.lengths.append(lengths[buffers.episode_over])
            self.metrics.append(buffers.metrics[buffers.episode_over])

    def summary(self) -> dict[str, float]:
        """Means over the episodes that ended since the last call, and how many failed; empty where none did."""
        failed = {"faults": float(self.faults)} if self.faults else {}
        self.faults = 0
        if not self.returns:
            return failed
        returns, lengths, metrics = (np.concatenate(x) for x in (self.returns, self.lengths, self.metrics))
        self.returns, self.lengths, self.metrics = [], [], []
        spec = self._env.spec
        named = {f"return/{name}": float(returns[:, k].mean()) for k, name in enumerate(spec.team_names)}
        named |= {f"metrics/{name}": float(metrics[:, k].mean()) for k, (name, _) in enumerate(spec.metrics)}
        return (
            named
            | failed
            | {
                "return": float(returns.sum(1).mean()),
                "episode_length": float(lengths.mean()),
                "episodes": float(len(lengths)),
            }
        )


class Collector:
    """Steps an environment with the policies in its seats, `length` steps at a time."""

    def __init__(
        self,
        env: VectorEnv,
        seats: Mapping[str, Seats],
        length: int,
        noise_key: int,
        spans: Mapping[str, int] | None = None,
    ) -> None:
        """`spans`: for kinds of team whose first player is a recurrent learner's policy, every how many steps of a
        rollout what it carries is kept."""
        self.env = env
        self.spans = dict(spans or {})
        self.seats = dict(seats)
        self.length = length
        self.noise_key = noise_key
        self.statistics = EpisodeStatistics(env)
        self._views = _allocate_views(env, length)
        self._state = np.zeros((length + 1, env.num_envs, env.spec.state_size), np.float32)
        self._own_states = _allocate_own_states(env, length)
        self._events = _allocate_events(env, length)
        self._actions: dict[str, np.ndarray] = {}
        for group in env.spec.groups:
            shape, dtype = action_shape(group, env.num_envs)
            self._actions[group.name] = np.zeros((length, *shape), dtype)
        self._log_prob = {g.name: np.zeros((length, env.num_envs, len(g.agents)), np.float32) for g in env.spec.groups}
        self._mine = {name: np.zeros((length, *held.policy_of.shape), np.bool_) for name, held in self.seats.items()}
        self._recorded = self._record()
        self._slots = [rollout.row(self._recorded, t) for t in range(length)]
        self._seen = [{kind.name: self._seat_views(kind, t) for kind in env.spec.kinds} for t in range(length)]
        self._noise = {group.name: NoiseSource.of(env.spec, group) for group in env.spec.groups}
        self.seating: Mapping[str, Seating] = {}
        """Who changes the seats where episodes end, by name."""
        self._hidden: dict[str, dict[str, Tensor]] = {kind.name: {} for kind in env.spec.kinds}
        """What each kind's players carry to the next step."""
        self._kept: dict[str, list[dict[str, Tensor]]] = {}
        """What the learners' players carried before each span of the present rollout."""
        self._start = np.zeros((length + 1, env.num_envs), np.bool_)
        self._show_current()

    def collect(self) -> dict[str, Rollout]:
        """Play `length` steps; a rollout per kind of team, views of arrays that the next call overwrites."""
        seen = (x for group in self._views.values() for x in group.values())
        for views in (*seen, self._state, *self._own_states.values()):
            views[0] = views[self.length]
        self._start[0] = self.env.episode_step == 0
        self._kept = {kind: [] for kind in self.spans}
        at_once = not self.seating and whole_rollouts.possible(self.env, self.seats)
        finals = self._all_steps() if at_once else self._step_by_step()
        return {kind.name: self._rollout(kind, finals) for kind in self.env.spec.kinds}

    def state_dict(self) -> dict[str, Any]:
        """Environment states, running returns and seats: everything that the next rollout depends on.

        Where an environment cannot be captured in the middle of an episode, all copies begin new ones here.
        """
        if not self.env.spec.can_capture:
            self.env.reset()
            self.statistics.running[:] = 0.0
            self._forget(np.ones(self.env.num_envs, np.bool_))
            for rule in self.seating.values():
                rule.restart(self.seats, self.env.episode_seed)
            self._show_current()
        captured = self.env.capture(range(self.env.num_envs))
        return {
            "arrays": dict(captured.arrays),
            "clock": dict(captured.clock),
            "digest": captured.digest,
            "running": self.statistics.running,
            "policy_of": {kind: seats.policy_of for kind, seats in self.seats.items()},
            "hidden": self._hidden,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken."""
        captured = SimState(state["arrays"], state["clock"], state["digest"])
        self.env.restore(range(self.env.num_envs), captured)
        self.statistics.running[:] = state["running"]
        for kind, policy_of in state["policy_of"].items():
            self.seats[kind].policy_of = np.array(policy_of)
        for kind in self._hidden:
            kept = state.get("hidden", {}).get(kind, {})
            self._hidden[kind] = {name: torch.as_tensor(x).clone() for name, x in kept.items()}
        self._show_current()

    def _step_by_step(self) -> list[_Final]:
        """The steps of a rollout, one after the other."""
        finals: list[_Final] = []
        for t in range(self.length):
            self._keep_hidden(t)
            actions = self._act(t)
            before = self.env.episode_step.copy()
            out = self.env.step(actions, self._slots[t])
            self.statistics.add(out, before)
            self._forget(out.episode_over)
            for rule in self.seating.values():
                rule.watch(self.seats, out, self.env.episode_seed)
            if any(group.truncated.any() for group in out.groups):
                finals.append(self._keep_finals(t, out))
        return finals

    def _all_steps(self) -> list[_Final]:
        """The same in one call of compiled code."""
        before = self.env.episode_step.copy()
        arrays = self._views, self._actions, self._log_prob, self._recorded
        whole_rollouts.play(self.env, self.seats, self.noise_key, *arrays)
        for kind, held in self.seats.items():
            self._mine[kind][:] = held.policy_of == 0
        self.statistics.add_all(self._recorded, before)
        cut = np.any([group.truncated.any((1, 2)) for group in self._recorded.groups], 0)
        return [self._keep_finals(t, self._slots[t]) for t in np.flatnonzero(cut).tolist()]

    def _act(self, t: int) -> dict[str, np.ndarray]:
        actions: dict[str, np.ndarray] = {}
        for kind in self.env.spec.kinds:
            noise = {name: self._noise[name].draw(self.env, kind, self.noise_key) for name in kind.groups}
            steps = play(self.seats[kind.name], self._seen[t][kind.name], noise, hidden=self._hidden[kind.name])
            self._hidden[kind.name] = carried(steps)
            self._mine[kind.name][t] = self.seats[kind.name].policy_of == 0
            for name in kind.groups:
                chosen, stored = steps[name], self._actions[name][t]
                stored[...] = chosen.action.numpy().reshape(stored.shape)
                self._log_prob[name][t] = chosen.log_prob.numpy().reshape(self.env.num_envs, -1)
                actions[name] = legal_action(self.env.spec.group(name), stored)
        return actions

    def _keep_hidden(self, t: int) -> None:
        """What the learners' players carry, where a span of the rollout begins."""
        for kind, span in self.spans.items():
            learner = self.seats[kind].players[0]
            if t % span == 0 and remembers(learner):
                rows = {name: view.acting for name, view in self._seen[t][kind].items()}
                own = own_part(learner, self._hidden[kind], rows)
                self._kept[kind].append({name: x.clone() for name, x in own.items()})  # for gradients, unlike those

    def _forget(self, over: NDArray[np.bool_]) -> None:
        """What was carried in copies whose episode is over."""
        for kind in self.env.spec.kinds:
            self._hidden[kind.name] = forgotten(self._hidden[kind.name], kind, over)

    def _seat_views(self, kind: TeamKind, t: int) -> dict[str, View]:
        groups = (self.env.spec.group(name) for name in kind.groups)
        return {g.name: seat_view(g, kind, **{k: x[t] for k, x in self._views[g.name].items()}) for g in groups}

    def _record(self) -> StepBuffers:
        """Buffers with an axis of steps in front: step t writes its view into row t + 1 of the rollout's, its events
        into row t. What no rollout holds has a row for each step too where all are taken at once, else always the
        same."""
        base, events = self.env.buffers, self._events
        at_once = whole_rollouts.known(self.env)

        def rows(x: Any) -> Any:
            return np.zeros((self.length, *x.shape), x.dtype) if at_once else [x] * self.length

        groups = tuple(
            GroupBuffers(*map(rows, buffers))._replace(
                **{name: x[1:] for name, x in self._views[group.name].items()},
                **{name: events[f"{group.name}/{name}"] for name in ("reward", "terminated", "truncated")},
                **({"agent_state": self._own_states[group.name][1:]} if group.name in self._own_states else {}),
            )
            for group, buffers in zip(self.env.spec.groups, base.groups, strict=True)
        )
        return StepBuffers(groups, *map(rows, base[1:]))._replace(
            state=self._state[1:],
            episode_over=events["episode_over"],
            episode_truncated=events["episode_truncated"],
        )

    def _show_current(self) -> None:
        """Put the environment's present view where the next rollout takes its first row from."""
        for group, buffers in zip(self.env.spec.groups, self.env.buffers.groups, strict=True):
            for name, x in self._views[group.name].items():
                x[self.length] = getattr(buffers, name)
            if group.name in self._own_states:
                self._own_states[group.name][self.length] = buffers.agent_state
        self._state[self.length] = self.env.buffers.state

    def _keep_finals(self, t: int, out: StepBuffers) -> _Final:
        hit = np.zeros(self.env.num_envs, np.bool_)
        for group in out.groups:
            hit |= group.truncated.any(1)
        copies = np.flatnonzero(hit)
        obs = [group.final_obs[copies] for group in out.groups]
        # rows of lives that go on were never written: let nobody depend on them
        masks = [(group.final_mask | ~(group.terminated | group.truncated)[..., None])[copies] for group in out.groups]
        own = {}
        for spec, group in zip(self.env.spec.groups, out.groups, strict=True):
            if spec.name in self._own_states:  # of lives that go on, what is seen now
                ended, now = group.terminated | group.truncated, acting_only(group.agent_state, group.acting)
                own[spec.name] = np.where(ended[..., None], group.final_agent_state, now)[copies]
        return _Final(t, copies, obs, masks, out.final_state[copies], own)

    def _rollout(self, kind: TeamKind, finals: list[_Final]) -> Rollout:
        groups, own = {}, {}
        for name in kind.groups:
            if name in self._own_states:
                own[name] = acting_only(self._own_states[name], self._views[name]["acting"])
            arrays = self._views[name] | {
                "action": self._actions[name],
                "log_prob": self._log_prob[name],
                **{event: self._events[f"{name}/{event}"] for event in ("reward", "terminated", "truncated")},
            }
            seated: dict[str, Any] = {key: by_seat(torch.from_numpy(x), kind, 1) for key, x in arrays.items()}
            if not self.env.spec.group(name).masked:
                seated["action_mask"] = None
            groups[name] = GroupRollout(**seated)
        whole = (self._mine[kind.name]).all()
        self._start[1:] = self._events["episode_over"]
        kept = self._kept.get(kind.name, [])
        return Rollout(
            groups=groups,
            state=critic_states(kind, self._state, own, 1),
            episode_over=_per_seat(torch.from_numpy(self._events["episode_over"]), kind),
            episode_truncated=_per_seat(torch.from_numpy(self._events["episode_truncated"]), kind),
            mine=None if whole else torch.from_numpy(self._mine[kind.name]),
            finals=self._final_views(kind, finals),
            start=_per_seat(torch.from_numpy(self._start), kind),
            hidden={name: torch.stack([x[name] for x in kept]) for name in (kept[0] if kept else ())},
        )

    def _final_views(self, kind: TeamKind, finals: list[_Final]) -> FinalViews:
        m = kind.teams
        counts = [len(final.copies) for final in finals]
        step = np.repeat([final.step for final in finals], [m * n for n in counts]).astype(np.int64)
        copies = np.concatenate([final.copies for final in finals]) if finals else np.zeros(0, np.int64)
        seat = (copies[:, None] * m + np.arange(m)).reshape(-1)
        obs: dict[str, Tensor] = {}
        masks: dict[str, Tensor | None] = {}
        for name in kind.groups:
            index = [g.name for g in self.env.spec.groups].index(name)
            empty = {key: x[0, :0] for key, x in self._views[name].items()}
            rows = np.concatenate([final.obs[index] for final in finals]) if finals else empty["obs"]
            legal = np.concatenate([final.masks[index] for final in finals]) if finals else empty["action_mask"]
            obs[name] = by_seat(torch.from_numpy(rows), kind, 0)
            masked = self.env.spec.group(name).masked
            masks[name] = by_seat(torch.from_numpy(legal), kind, 0) if masked else None
        state = np.concatenate([final.state for final in finals]) if finals else self._state[0, :0]
        own = {
            name: np.concatenate([final.own_states[name] for final in finals]) if finals else x[0, :0]
            for name, x in self._own_states.items()
        }
        states = critic_states(kind, state, own, 0)
        return FinalViews(torch.from_numpy(step), torch.from_numpy(seat), obs, masks, states)


@dataclass(frozen=True)
class _Final:
    step: int
    copies: NDArray[np.int64]  # [F]
    obs: list[np.ndarray]  # per group of the environment [F, N, *shape]
    masks: list[np.ndarray]  # per group of the environment [F, N, K]
    state: np.ndarray  # [F, S]
    own_states: dict[str, np.ndarray]  # group of the environment -> [F, N, S'], where it has such


def faulted(env: VectorEnv) -> NDArray[np.bool_]:
    """`[E]`: copies whose episode was cut off in the last step because their environment failed."""
    found: NDArray[np.bool_] = getattr(env, "faulted", np.zeros(env.num_envs, np.bool_))
    return found


def add_team_rewards(running: NDArray[np.float64], spec: EnvSpec, buffers: StepBuffers) -> None:
    """Add one step's rewards to `running [E, teams]`, summed over each team's agents."""
    for group, rewards in zip(spec.groups, buffers.groups, strict=True):
        first, last = _columns(spec, group)
        running[:, first:last] += rewards.reward.reshape(running.shape[0], last - first, -1).sum(2)


def _columns(spec: EnvSpec, group: AgentGroup) -> tuple[int, int]:
    """The teams that a group's agents belong to: from, to (exclusive)."""
    teams = spec.team_of(group)
    return teams[0], teams[-1] + 1


def _per_seat(x: Tensor, kind: TeamKind) -> Tensor:
    """`[T, E, ..] -> [T, E*m, ..]`: what a copy has, every seat of it has."""
    return x if kind.teams == 1 else x.repeat_interleave(kind.teams, 1)


def _allocate_views(env: VectorEnv, length: int) -> dict[str, dict[str, np.ndarray]]:
    return {
        group.name: {
            name: np.zeros((length + 1, *getattr(buffers, name).shape), getattr(buffers, name).dtype)
            for name in ("obs", "action_mask", "acting")
        }
        for group, buffers in zip(env.spec.groups, env.buffers.groups, strict=True)
    }


def _allocate_own_states(env: VectorEnv, length: int) -> dict[str, np.ndarray]:
    return {
        group.name: np.zeros((length + 1, env.num_envs, len(group.agents), group.agent_state_size), np.float32)
        for group in env.spec.groups
        if group.agent_state_size
    }


def _allocate_events(env: VectorEnv, length: int) -> dict[str, np.ndarray]:
    events = {name: np.zeros((length, env.num_envs), np.bool_) for name in ("episode_over", "episode_truncated")}
    for group in env.spec.groups:
        shape = (length, env.num_envs, len(group.agents))
        events[f"{group.name}/reward"] = np.zeros(shape, np.float32)
        events[f"{group.name}/terminated"] = np.zeros(shape, np.bool_)
        events[f"{group.name}/truncated"] = np.zeros(shape, np.bool_)
    return events
