"""Episodes that are being played: a simulator, whoever decides for its agents, at most one person, and a recording.

    session = Session(env, others, human="agent_0", header={...})     # from an episode's start
    session = forked(replay, 40, others, human=None, header={...})    # what if: from step 40 of a recorded episode
    while not session.over:
        session.step(my_action if session.asked else None)
    session.replay().save("episode.replay")

Who decides for the others is handed in as a function of the environment's present view: this module knows no policies.
A fork begins where its parent's episode began and repeats it up to the fork, so that it is a replay like any other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from environments.errors import RefusedFile, UsageError
from environments.replay import PolicyTrace, Recorder, Replay, one_copy, state_digest
from environments.replay_outside import difference
from environments.spec import AgentGroup, EnvSpec
from environments.vector import Actions, Array, VectorEnv
from viz.moment import TRAIL_FRAMES, Moment, live_moment
from viz.outside import Filmed, at_start


class Turn(NamedTuple):
    """What everybody does next."""

    actions: Actions
    """By group, `[1, N, ...]`: a batch of one copy."""
    thoughts: Mapping[str, PolicyTrace]
    """By group, of the one copy; groups about which nothing is known are missing."""


class Others(Protocol):
    """Who decides for agents that no person plays."""

    @property
    def remembers(self) -> bool:
        """True where a decision depends on earlier views: it is then asked at every step from the episode's start."""
        ...

    def __call__(self, env: VectorEnv) -> Turn:
        """Everybody's actions for the environment's present view; of a person's agent they are not used."""
        ...


class Session:
    """One copy of an environment in the middle of an episode."""

    def __init__(
        self, env: VectorEnv, others: Others, human: str | None = None, header: Mapping[str, Any] | None = None
    ) -> None:
        """`env`: one copy at an episode's start (of ours, one that stays in its final state); `header`: for the replay.

        UsageError where there is no agent `human`, or where the environment cannot be recorded.
        """
        self.env = env
        self.human = human
        self.over = False
        self.repeated = 0
        """Steps that were made before: those of a fork's parent."""
        self._kept = False
        self._steps = 0
        self._others = others
        self._place = None if human is None else place_of(env.spec, human)
        self._held = ":" not in env.spec.name
        """In the end the copy stays in its final state; somebody else's begins another episode."""
        if not self._held and not isinstance(env, Filmed):
            self.env = env = Filmed(env)
        self._recorder = Recorder(env, 0, header)
        self._scenario = str((header or {}).get("scenario", ""))
        self._thinking: Mapping[str, PolicyTrace] = {}
        """Thoughts of who decides, of whatever step: a recording tells of a group from its first step, or never."""
        self._totals = np.zeros(len(env.spec.agents))
        self._past: deque[Mapping[str, Array]] = deque(maxlen=TRAIL_FRAMES)

    @property
    def spec(self) -> EnvSpec:
        """What is played."""
        return self.env.spec

    @property
    def steps(self) -> int:
        """Steps made."""
        return self._steps

    @property
    def group(self) -> AgentGroup:
        """The person's agent's group. ValueError where nobody plays."""
        return self.env.spec.groups[self._own()[0]]

    @property
    def asked(self) -> bool:
        """True where it is for the person to say what happens next."""
        if self._place is None or self.over:
            return False
        g, n = self._place
        return bool(self.env.buffers.groups[g].acting[0, n])

    @property
    def mask(self) -> Array | None:
        """`[K]` True where the person's agent may take an action; None where everything is allowed."""
        g, n = self._own()
        return np.array(self.env.buffers.groups[g].action_mask[0, n]) if self.group.masked else None

    def step(self, own: Array | None = None) -> None:
        """Make a step; `own` is what the person's agent does, None where it waits or nobody plays.

        ValueError where the episode is over or left, or `own` is missing.
        """
        if self.over or self._kept:
            raise ValueError("the episode is over" if self.over else "the episode was left")
        if self.asked and own is None:
            raise ValueError(f"{self.human} acts now, and nobody says what it does")
        turn = self._others(self.env)
        actions, thoughts = dict(turn.actions), dict(turn.thoughts)
        if self.asked:
            name, (_, n) = self.group.name, self._own()
            actions[name] = np.array(actions[name])
            actions[name][0, n] = own
            if name in thoughts:
                thoughts[name] = _without(thoughts[name], n)
        self._make(actions, thoughts)

    def follow(self, actions: Actions, thoughts: Mapping[str, PolicyTrace]) -> None:
        """Make a step that was made before, by what was recorded of it."""
        if self._others.remembers or not self.steps:
            self._thinking = self._others(self.env).thoughts
        unknown = {name: _unknown(trace) for name, trace in self._thinking.items()}
        self._make(actions, {**unknown, **thoughts})

    def moment(self) -> Moment:
        """What there is to show now."""
        now = replace(live_moment(self.env, 0), scenario=self._scenario)
        rows = tuple(row._replace(total=float(self._totals[row.place])) for row in now.agents)
        if not self._held:
            scores = np.zeros(now.spec.num_teams)
            for row in rows:
                scores[row.team] += row.total or 0.0
            film = self.env.film  # type: ignore[attr-defined]
            return replace(now, agents=rows, step=self._steps, scores=scores, film=film)
        names = self._past[0] if self._past else {}
        past = {name: np.stack([arrays[name] for arrays in self._past]) for name in names}
        return replace(now, agents=rows, past=past)

    def replay(self) -> Replay:
        """What was played, as a replay that has been verified once; left open where the episode is not over.

        Nothing can be played after that. ValueError before the first step.
        """
        self._kept = True
        return self._recorder.finish(left_open=not self.over)

    def _make(self, actions: Actions, thoughts: Mapping[str, PolicyTrace]) -> None:
        if self._held:
            self._past.append(self.env.capture(0).arrays)
        buffers = self.env.step(actions)
        self._steps += 1
        first = 0
        for group in buffers.groups:  # `spec.agents` lists the groups' agents one group after the other
            members = group.reward.shape[1]
            self._totals[first : first + members] += group.reward[0]
            first += members
        self.over = self._recorder.add(actions, buffers, thoughts)

    def _own(self) -> tuple[int, int]:
        if self._place is None:
            raise ValueError("nobody plays")
        return self._place


def place_of(spec: EnvSpec, agent: str) -> tuple[int, int]:
    """(number of its group, its place there). UsageError where there is no such agent."""
    for g, group in enumerate(spec.groups):
        if agent in group.agents:
            return g, group.agents.index(agent)
    raise UsageError(f"{spec.name} has no agent {agent!r}; it has {', '.join(spec.agents)}")


def forked(
    replay: Replay, step: int, others: Others, human: str | None = None, header: Mapping[str, Any] | None = None
) -> Session:
    """A recorded episode, gone on with in another way from frame `step` on.

    UsageError where nothing is left to decide there; RefusedFile where the environment is not the one recorded, or the
    recorded actions lead to another state here.
    """
    last = replay.steps if replay.left_open and not replay.damage else replay.steps - 1
    if not 0 <= step <= last:
        raise UsageError(f"the replay has {replay.steps} steps: it can be forked at 0 to {last}, not {step}")
    named = {**(header or {}), "parent": {"identity": replay.identity, "step": step}}
    outside = ":" in replay.spec.name
    env = at_start(replay) if outside else one_copy(replay.spec, replay.initial)
    session = Session(env, others, human, named)
    session.repeated = step
    for t in range(step):
        thoughts = {
            name: PolicyTrace(track.probabilities[t], track.value[t])
            for name, track in replay.groups.items()
            if track.probabilities.shape[-1] > 0
        }
        session.follow({n: np.ascontiguousarray(x.action[t : t + 1]) for n, x in replay.groups.items()}, thoughts)
        if session.over:
            raise RefusedFile(f"played again, this replay is over at step {t + 1}: marl verify says where it differs")
        if outside and (what := difference(session.env, replay, t + 1)):
            raise RefusedFile(f"{replay.spec.name} does not repeat itself: after step {t} {what} is not as recorded")
    if not outside and state_digest(session.env.capture(0)) != replay.digests[step]:
        raise RefusedFile(
            f"played again, this replay is in another state at step {step}: marl verify says where it differs"
        )
    return session


def _unknown(thoughts: PolicyTrace) -> PolicyTrace:
    return PolicyTrace(*(np.full(np.shape(x), np.nan, np.float32) for x in thoughts))


def _without(thoughts: PolicyTrace, n: int) -> PolicyTrace:
    """The same, with nothing known of agent `n`."""
    kept = PolicyTrace(*(np.array(x, np.float32) for x in thoughts))
    kept.probabilities[n], kept.value[n] = np.nan, np.nan
    return kept
