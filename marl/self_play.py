"""Self-play: who sits in the seats of a learner's opponents, the learner itself, its past, or random play.

A learner that plays both sides of a game sees only the replies that it would give itself. In a share of the episodes
one team alone is the learner's; the others are past states of it, or play at random (fictitious play's idea: Brown
1951, Heinrich et al. 2015; past selves in a share of games: OpenAI et al. 2019, arXiv:1912.06680). Only the learner's
own rows are trained on; seats change only where an episode ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from environments.spec import EnvSpec
from environments.vector import StepBuffers
from marl.acting import Actor
from marl.config_self_play import SelfPlayConfig
from marl.erring import Erring
from marl.networks import compute_by, computed_by
from marl.policy import Policy
from marl.policy_spec import PolicySpec
from marl.random_policy import RandomPolicy
from marl.seating import LEARNER
from marl.seats import Seats
from marl.seeding import acting_noise

RANDOM, PAST = 1, 2
"""Places among the players of the seats besides the learner's; past states follow from `PAST` on."""
CRITIC = "critic."


class SelfPlay:
    """The players of one kind of team that is trained, and who of them sits where."""

    def __init__(self, policy: Policy, actor: Actor, env: EnvSpec, kind: str, config: SelfPlayConfig, key: int) -> None:
        """`actor` is how the learner plays, `policy` what it learns; `key` is that of the draws."""
        self.config = config
        self.kind = kind
        self.policy = policy
        self.key = key
        self.teams = env.kind(kind).teams
        self.first_team = env.team_of(env.group(env.kind(kind).groups[0]))[0]
        self._past = [frozen(policy) for _ in range(config.self_play_kept + 1)]  # one may be in use as it leaves
        self._order: list[int] = []
        others = [Erring(past, config.self_play_errors) for past in self._past]
        self.players: list[Actor] = [actor, RandomPolicy(policy.spec), *others]
        self._scores: dict[str, list[float]] = {"random": [], "past": []}

    @property
    def past(self) -> list[Policy]:
        """The past states that may be met, oldest first."""
        return [self._past[slot] for slot in self._order]

    def seats(self, episode_seed: NDArray[np.uint64]) -> dict[str, Seats]:
        """The seats of all copies, at the start of episodes of these seeds."""
        made = Seats(self.players, np.zeros(len(episode_seed) * self.teams, np.int16))
        self._draw(made, np.arange(len(episode_seed)), episode_seed)
        return {self.kind: made}

    def watch(self, seats: Mapping[str, Seats], out: StepBuffers, episode_seed: NDArray[np.uint64]) -> None:
        """After a step: note how the learner did in episodes that ended, and draw the players of those that begin."""
        over = np.flatnonzero(out.episode_over)
        if not over.size:
            return
        own_seats = seats[self.kind]
        seated = own_seats.policy_of.reshape(-1, self.teams)[over]
        met = np.flatnonzero((seated != LEARNER).any(1))
        own = (seated[met] == LEARNER).argmax(1)
        scores = out.outcome[over[met], self.first_team + own]
        strongest = seated[met].max(1)
        self._scores["random"] += scores[strongest == RANDOM].tolist()
        self._scores["past"] += scores[strongest >= PAST].tolist()
        self._draw(own_seats, over, episode_seed[over])

    def restart(self, seats: Mapping[str, Seats], episode_seed: NDArray[np.uint64]) -> None:
        """Draw the players of all copies anew."""
        self._draw(seats[self.kind], np.arange(len(episode_seed)), episode_seed)

    def remember(self, updates: int, seats: Mapping[str, Seats]) -> None:
        """After that many updates: keep the learner's present state, if one is due."""
        if updates % self.config.self_play_every != 0:
            return
        seated = seats[self.kind].policy_of
        free = [k for k in range(len(self._past)) if k not in self._order and not (seated == PAST + k).any()]
        if not free:  # the oldest is still being played: no state is kept this time
            return
        _copy(self.policy, self._past[free[0]])
        self._order = [*self._order, free[0]][-self.config.self_play_kept :]

    def summary(self) -> dict[str, float]:
        """Mean outcome of the learner against random play and against its past, since the last call."""
        found = {f"score/{name}": float(np.mean(scores)) for name, scores in self._scores.items() if scores}
        self._scores = {name: [] for name in self._scores}
        return found

    def state_dict(self) -> dict[str, Any]:
        """The past, and in which order it was kept."""
        return {"past": [acting_weights(policy) for policy in self._past], "order": list(self._order)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken."""
        for policy, weights in zip(self._past, state["past"], strict=True):
            policy.load_state_dict(weights)
        self._order = [int(slot) for slot in state["order"]]

    def _draw(self, seats: Seats, copies: NDArray[np.int64], episode_seed: NDArray[np.uint64]) -> None:
        """Who plays in those copies: a function of the run's key, the episode's seed and the past alone."""
        config, teams = self.config, self.teams
        start = np.zeros(len(copies), np.int64)
        drawn = acting_noise(self.key, episode_seed, start, np.zeros(1, np.int64), 2 + 2 * teams)[:, 0]
        others = np.full((len(copies), teams), RANDOM, np.int16)
        if self._order:
            place = (drawn[:, 2 + teams :] * len(self._order)).astype(np.int64)
            past = PAST + np.array(self._order, np.int16)[np.minimum(place, len(self._order) - 1)]
            others = np.where(drawn[:, 2 : 2 + teams] < config.self_play_random, others, past)
        own = np.minimum((drawn[:, 1] * teams).astype(np.int64), teams - 1)
        alone = drawn[:, 0] < config.self_play_opponents
        is_own = ~alone[:, None] | (np.arange(teams) == own[:, None])
        seats.policy_of.reshape(-1, teams)[copies] = np.where(is_own, LEARNER, others)


def acting_weights(policy: Policy) -> dict[str, Any]:
    """A policy's weights without its critic's."""
    return {name: value for name, value in policy.state_dict().items() if not name.startswith(CRITIC)}


def frozen(policy: Policy) -> Policy:
    """Another policy that acts as this one does, without its critic."""
    made = _computed_alike(policy, policy.spec).requires_grad_(False)
    _copy(policy, made)
    return made


def _computed_alike(policy: Policy, spec: PolicySpec) -> Policy:
    """A new policy of that spec, by compiled functions where those of this one's learner are.

    Such a learner's own policy may not act as a whole by them, for optimisers hold its parameters; others may.
    """
    made, engine = type(policy)(spec), computed_by(policy)
    made.compiled = made.compiled and (policy.compiled or engine is not None)
    compute_by(engine, made)
    return made


def _copy(source: Policy, target: Policy) -> None:
    target.load_state_dict(acting_weights(source))


def as_kind(policy: Policy, spec: EnvSpec, kind: str) -> Policy:
    """The policy of a merged kind as one of `kind` alone, with the same weights and without its critic."""
    groups = tuple(spec.group(name) for name in spec.kind(kind).groups)
    made = _computed_alike(policy, replace(policy.spec, kind=kind, groups=groups, teams=spec.kind(kind).teams))
    names = {own.name: group.name for own, group in zip(policy.spec.groups, groups, strict=True)}
    weights = {}
    for name, value in policy.state_dict().items():
        if not name.startswith(CRITIC):
            part, group, *rest = name.split(".", 2)  # as in actors.GROUP.weights.0
            weights[".".join((part, names[group], *rest))] = value
    made.load_state_dict(weights)
    return made
