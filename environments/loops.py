"""The loops around one game's rules: autoreset, truncation, death, final views, blocks of copies.

This file is a template. `environments.compile.instantiate` loads it once per game with three names already defined,
the game's rules for *one* copy. `state`, `params` and `clock` are that copy's records, `e` its row in the batch arrays:

* `reset_one(state, params, clock)` draws a start;
* `step_one(state, params, clock, actions, out, e)` applies row `e` of the actions (a tuple parallel to `spec.groups`),
  writes `reward`, and sets `terminated` and this step's `metrics` (and `outcome`, where it is not the return); these
  are cleared before it is called;
* `observe_one(state, params, clock, out, e)` writes the view of every living agent: `obs`, `state`, legal actions, and
  `acting` where it is not simply "alive".

What stands here is true for every native game, once.
"""

# ruff: noqa: F821 - the three rules are defined by `instantiate` before this file runs

from __future__ import annotations

from typing import Any

import numpy as np

from environments.compile import kernel
from environments.intrinsics import clear_rows
from environments.rng import episode_seed
from environments.workers import report, take

reset_one: Any
step_one: Any
observe_one: Any

U = np.uint64
F = np.float32
STEP, BEGIN, SHOW = 0, 1, 2
"""What `run` may be asked to do."""


@kernel
def fill(row, value):
    """Set every element of a one-dimensional view."""
    for c in range(row.shape[0]):
        row[c] = value


@kernel
def copy(target, source):
    """Copy one one-dimensional view onto another of equal length."""
    for c in range(source.shape[0]):
        target[c] = source[c]


@kernel
def show(state, params, clock, out, e):
    """Write the view of one copy: a function of its simulation state alone."""
    agent = 0
    for g in range(len(out.groups)):
        group = out.groups[g]
        for n in range(group.reward.shape[1]):
            group.acting[e, n] = clock.alive[agent] != 0
            agent += 1
            fill(group.action_mask[e, n], True)
    observe_one(state, params, clock, out, e)


@kernel
def blank(out, e):
    """Zero the views of agents that do not act: nobody may depend on them."""
    for g in range(len(out.groups)):
        group = out.groups[g]
        for n in range(group.reward.shape[1]):
            if not group.acting[e, n]:
                fill(group.obs[e, n], 0)
                fill(group.agent_state[e, n], 0)
                fill(group.action_mask[e, n], True)


@kernel
def clear_events(out, first, stop):
    """Every event of these copies reads False or 0 until the rules say otherwise."""
    clear_rows(out.episode_over, first, stop)
    clear_rows(out.episode_truncated, first, stop)
    clear_rows(out.outcome, first, stop)
    clear_rows(out.metrics, first, stop)
    for g in range(len(out.groups)):
        clear_rows(out.groups[g].reward, first, stop)
        clear_rows(out.groups[g].terminated, first, stop)
        clear_rows(out.groups[g].truncated, first, stop)


@kernel
def judge(limits, clock, out, e):
    """Truncate at the time limit, add up scores and metrics; returns (some life ended, the episode is over)."""
    late = limits.max_steps > 0 and clock.step >= limits.max_steps
    ended = False
    survivors = 0
    agent = 0
    team, earned = limits.team[0], F(0.0)  # what the team got in this step, in a register until all of it is known
    for g in range(len(out.groups)):
        group = out.groups[g]
        for n in range(group.reward.shape[1]):
            if limits.team[agent] != team:
                clock.score[team] += earned
                team, earned = limits.team[agent], F(0.0)
            earned += group.reward[e, n]
            if clock.alive[agent]:
                group.truncated[e, n] = late
                ended |= group.terminated[e, n] or late
                if late and not group.terminated[e, n]:
                    out.episode_truncated[e] = True
                if not group.terminated[e, n]:
                    survivors += 1
            agent += 1
    clock.score[team] += earned
    for m in range(out.metrics.shape[1]):
        clock.metrics[m] += out.metrics[e, m]
        out.metrics[e, m] = clock.metrics[m]
    over = late or survivors == 0
    if over:
        out.episode_over[e] = True
        if limits.outcome_is_return:
            copy(out.outcome[e], clock.score)
    return ended, over


@kernel
def keep_final_views(out, e):
    """Copy the views of the agents whose life ended in this step; other rows keep what they hold."""
    copy(out.final_state[e], out.state[e])
    for g in range(len(out.groups)):
        group = out.groups[g]
        for n in range(group.reward.shape[1]):
            if group.terminated[e, n] or group.truncated[e, n]:
                copy(group.final_obs[e, n], group.obs[e, n])
                copy(group.final_mask[e, n], group.action_mask[e, n])
                copy(group.final_agent_state[e, n], group.agent_state[e, n])


@kernel
def bury(clock, out, e):
    """Those who died do not act until the next episode."""
    agent = 0
    for g in range(len(out.groups)):
        group = out.groups[g]
        for n in range(group.reward.shape[1]):
            if group.terminated[e, n]:
                clock.alive[agent] = 0
            agent += 1


@kernel
def begin(state, params, clock):
    """Start the episode that the clock counts, from its own seed."""
    clock.seed = episode_seed(clock.key, clock.episode)
    clock.draws = U(0)
    clock.step = 0
    fill(clock.alive, 1)
    fill(clock.score, 0)
    fill(clock.metrics, 0)
    reset_one(state, params, clock)


@kernel
def advance(state, params, limits, clock, actions, out, e, task):
    """Step one copy, with autoreset; or only begin its next episode; or only rewrite its view."""
    ended, over = False, False
    if task == STEP:
        step_one(state, params, clock, actions, out, e)
        clock.step += 1
        ended, over = judge(limits, clock, out, e)
    elif task == BEGIN:
        begin(state, params, clock)
    while True:  # at most twice; one call of `show` in the source is one copy of it in the compiled code
        show(state, params, clock, out, e)
        if not ended:
            break
        ended = False
        keep_final_views(out, e)
        if not over:
            bury(clock, out, e)
        elif limits.hold:  # faces and replays look at the final state; `reset` moves on
            return
        else:
            clock.episode += U(1)
            begin(state, params, clock)
    blank(out, e)


@kernel(entry=True)
def run(states, params, limits, clocks, actions, out, copies, task, rows, size, progress, who):
    """Carry out `task` for all copies (STEP) or the listed `copies` (BEGIN, SHOW), block by block; see `workers`."""
    while True:
        first, stop = take(progress, rows, size, who)
        if first >= rows:
            return
        if task == STEP:
            clear_events(out, first, stop)
        for i in range(U(first), U(stop)):
            if task != STEP:
                clear_events(out, copies[i], copies[i] + 1)
            e = i if task == STEP else U(copies[i])
            advance(states[e], params[0], limits[0], clocks[e], actions, out, e, task)
        report(progress, first, stop)
