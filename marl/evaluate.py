"""Evaluation: a fixed number of whole episodes, chosen before they are played.

Each copy plays a quota of its own episodes to the end. Taking the first episodes that happen to finish would favour
short ones: a true win rate of one half is then measured as 14 % where wins last ten times as long as losses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from environments.errors import NumericalFailure
from environments.replay import PolicyTrace, Recorder, Replay
from environments.vector import StepBuffers, VectorEnv
from marl.acting import Actor, Hidden, View
from marl.collector import add_team_rewards, faulted
from marl.policy import Policy
from marl.seats import (
    NoiseSource,
    Seats,
    acting_only,
    carried,
    critic_states,
    forgotten,
    legal_action,
    own_part,
    play,
    seat_view,
)

COPIES = 256
"""Copies that an evaluation steps at once, at most."""


class Episode(NamedTuple):
    """One finished episode."""

    returns: NDArray[np.float64]  # [teams]
    length: int
    outcome: NDArray[np.float32]  # [teams]
    metrics: NDArray[np.float32]  # [M]


@dataclass(frozen=True)
class Evaluation:
    """What was measured, one row per episode in the order (round, copy)."""

    teams: tuple[str, ...]
    returns: NDArray[np.float64]  # [episodes, teams] undiscounted, summed over each team's agents
    lengths: NDArray[np.int64]  # [episodes] steps
    outcomes: NDArray[np.float32]  # [episodes, teams] as `spec.outcome` says
    metrics: NDArray[np.float32]  # [episodes, M]
    replays: list[Replay]
    recording: float = 0.0
    """Seconds that recording took."""


def evaluation_copies(episodes: int) -> int:
    """Copies for that many episodes."""
    return min(episodes, COPIES)


def evaluate(
    env: VectorEnv,
    players: Mapping[str, Actor | Seats],
    episodes: int,
    noise_key: int,
    greedy: bool = False,
    record: int | Sequence[Path] = 0,
    header: Mapping[str, object] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Play `episodes` whole episodes of `env` (fresh, all copies at an episode's start).

    Args:
        env: at most `episodes` copies.
        players: kind of team -> who sits in all its seats, or who sits where.
        episodes: at least the number of copies.
        noise_key: key of the acting noise; results are a function of it, the environment's keys and the players.
        greedy: the likeliest action instead of a sampled one.
        record: so many copies' first episodes become replays, or a file for each, written while they are played.
        header: what replays say of their origin.
        progress: told the number of finished episodes from time to time.

    NumericalFailure where a policy's probabilities are not numbers: `argmax` would quietly take the first of them.
    """
    spec, copies = env.spec, env.num_envs
    if not 1 <= copies <= episodes:
        raise ValueError(f"{episodes} episodes cannot be shared by {copies} copies")
    if env.episode_step.any():
        raise ValueError(f"{spec.name}: some copy is not at its episode's start")
    quota = np.full(copies, episodes // copies) + (np.arange(copies) < episodes % copies)
    results: list[list[Episode]] = [[] for _ in range(copies)]
    recorders = _recorders(env, record, {**(header or {}), "acting": {"key": noise_key, "greedy": greedy}})
    replays: dict[int, Replay] = {}
    running = np.zeros((copies, spec.num_teams))
    hidden: dict[str, dict[str, Tensor]] = {kind.name: {} for kind in spec.kinds}
    finished = 0
    while finished < episodes:
        before = env.episode_step.copy()
        actions, traces = act(env, players, hidden, noise_key, greedy, len(replays) < len(recorders))
        out = env.step(actions)
        hidden = {kind.name: forgotten(hidden[kind.name], kind, out.episode_over) for kind in spec.kinds}
        add_team_rewards(running, spec, out)
        for copy in recorders.keys() - replays.keys():
            if recorders[copy].add(actions, out, {name: of_copy(trace, copy) for name, trace in traces.items()}):
                replays[copy] = recorders[copy].finish()
        failed = faulted(env)
        running[failed] = 0.0
        finished += _note_ended(out.episode_over & ~failed, out, running, before, quota, results)
        if progress is not None:
            progress(finished)
    rows = [results[copy][i] for i in range(int(quota.max())) for copy in range(copies) if i < quota[copy]]
    return Evaluation(
        spec.team_names,
        np.stack([row.returns for row in rows]),
        np.array([row.length for row in rows]),
        np.stack([row.outcome for row in rows]),
        np.stack([row.metrics for row in rows]),
        [replays[copy] for copy in sorted(replays)],
        sum(recorder.seconds for recorder in recorders.values()),
    )


def _recorders(env: VectorEnv, record: int | Sequence[Path], header: dict[str, object]) -> dict[int, Recorder]:
    paths = [None] * record if isinstance(record, int) else record
    return {copy: Recorder(env, copy, header, path) for copy, path in enumerate(paths[: env.num_envs])}


def _note_ended(
    over: NDArray[np.bool_],
    out: StepBuffers,
    running: NDArray[np.float64],
    before: NDArray[np.int64],
    quota: NDArray[np.int64],
    results: Sequence[list[Episode]],
) -> int:
    """Keep the episodes that ended within their copy's quota; returns how many."""
    counted = 0
    for copy in np.flatnonzero(over).tolist():
        if len(results[copy]) < quota[copy]:
            ended = running[copy].copy(), int(before[copy]) + 1, out.outcome[copy].copy(), out.metrics[copy].copy()
            results[copy].append(Episode(*ended))
            counted += 1
        running[copy] = 0.0
    return counted


def act(
    env: VectorEnv,
    players: Mapping[str, Actor | Seats],
    hidden: dict[str, dict[str, Tensor]],
    noise_key: int,
    greedy: bool,
    explain: bool,
) -> tuple[dict[str, np.ndarray], dict[str, PolicyTrace]]:
    """Every group's actions for the environment's present view, and what the policies thought where asked.

    What players carry on is put in place of what they were handed, `hidden` of each kind; so is, by other names, what
    their critics carry.
    """
    actions: dict[str, np.ndarray] = {}
    traces: dict[str, PolicyTrace] = {}
    by_name = dict(zip((group.name for group in env.spec.groups), env.buffers.groups, strict=True))
    for kind in env.spec.kinds:
        views, noise = {}, {}
        for name in kind.groups:
            group, shown = env.spec.group(name), by_name[name]
            views[name] = seat_view(group, kind, shown.obs, shown.action_mask, shown.acting)
            noise[name] = NoiseSource.of(env.spec, group).draw(env, kind, noise_key)
        player = players[kind.name]
        seats = player if isinstance(player, Seats) else Seats.all(player, env.num_envs * kind.teams)
        steps = play(seats, views, noise, greedy, hidden[kind.name])
        before, hidden[kind.name] = hidden[kind.name], carried(steps)
        if any(bool(step.log_prob.isnan().any()) for step in steps.values()):
            raise NumericalFailure(f"{env.spec.name}: team {kind.name!r} sees or computes what is not a number", views)
        for name in kind.groups:
            actions[name] = legal_action(env.spec.group(name), _by_copy(steps[name].action, env.num_envs))
        if explain:
            own = {name: acting_only(by_name[name].agent_state, by_name[name].acting) for name in kind.groups}
            state = critic_states(kind, env.buffers.state, own, 0)
            thoughts, critics = _explain(seats, views, state, before)
            hidden[kind.name] |= critics
            for name, (parameters, value) in thoughts.items():
                traces[name] = PolicyTrace(_by_copy(parameters, env.num_envs), _by_copy(value, env.num_envs))
    return actions, traces


def _explain(
    seats: Seats, views: Mapping[str, View], state: Tensor, hidden: Hidden
) -> tuple[dict[str, tuple[Tensor, Tensor]], dict[str, Tensor]]:
    """What the policies thought, group by group, `[S, n, ..]`: NaN in the seats of players that are no networks.

    And what their critics carry on.
    """
    found: dict[str, list[Tensor]] = {}
    critics: dict[str, Tensor] = {}
    rows = {name: view.acting for name, view in views.items()}
    for index in np.unique(seats.policy_of).tolist():
        player = seats.players[index]
        if not isinstance(player, Policy):
            continue
        here = seats.held_by(index, views)
        mark = f"critic of {index}: "
        expected = {name.removeprefix(mark): x for name, x in hidden.items() if name.startswith(mark)}
        thoughts = player.explain(views, state, own_part(player, hidden, rows), expected)
        critics |= {mark + name: x for name, x in expected.items()}
        for name, thought in thoughts.items():
            kept = found.setdefault(name, [torch.full_like(x, torch.nan) for x in thought])
            for target, x in zip(kept, thought, strict=True):
                target[here[name]] = x[here[name]]
    return {name: (parameters, value) for name, (parameters, value) in found.items()}, critics


def _by_copy(x: Tensor, copies: int) -> np.ndarray:
    """`[E*m, n, ..] -> [E, m*n, ..]`."""
    return x.reshape(copies, -1, *x.shape[2:]).numpy()


def of_copy(trace: PolicyTrace, copy: int) -> PolicyTrace:
    """One copy's part of what policies thought in a batch."""
    return PolicyTrace(*(x[copy] for x in trace))
