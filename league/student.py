"""One learner at work in a league: in the same batch every copy has opponents of its own, drawn where an episode ends.

Only the learner learns. Every finished episode in which somebody else played is a match of the log, named after the
learner and the episode's seed, so that an episode that is played again is the same match.

In a share of the episodes the learner's own team is mixed: some members, at least one, are its, and each of the others
is somebody drawn as its opponents are (training with past partners: Strouse et al. 2021, "Collaborating with Humans
without Human Data", arXiv:2110.08176).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from environments.vector import StepBuffers, VectorEnv
from league.contest import match_key
from league.matchmaking import choose_many
from league.opponents import Opponents
from league.records import Match, Seat
from league.turns import FROZEN, MIRROR, Choice, Key
from marl.acting import Actor
from marl.collector import faulted
from marl.policy import Policy
from marl.seating import LEARNER
from marl.seats import Seats
from marl.seeding import acting_noise
from marl.self_play import acting_weights


class Matchmaking:
    """Who sits in all seats while one learner trains; see `marl.seating.Seating`."""

    def __init__(
        self,
        env: VectorEnv,
        environment: str,
        kind: str,
        learner: Actor,
        number: int,
        key: int,
        load: Callable[[Key, str], Actor],
        record: Callable[[Sequence[Match]], Any],
        choices: Mapping[str, Choice],
        cache: int,
        mixed: float = 0.0,
    ) -> None:
        """`learner`, of that `number`, plays `kind`; `load(key, kind)` brings others; `record` takes matches.

        `choices`, by kind of team, may be replaced at any time: they count from the next episode on. `mixed`: the share
        of episodes in which others are in the learner's team.
        """
        self.env, self.kind, self.number, self.key = env, kind, number, key
        self.choices = dict(choices)
        self._environment, self._record = environment, record
        self._load = load
        self.opponents = {
            each.name: Opponents(learner if each.name == kind else None, self._loader(each.name), cache)
            for each in env.spec.kinds
        }
        copies = env.num_envs
        self._agents = [[a for part in env.spec.members(t).values() for a in part] for t in range(env.spec.num_teams)]
        """Names of the agents of every team, as in `Seats`."""
        self._who = {}
        """Numbers of those who play them, `[E, teams, R]`, by kind of team."""
        for each in env.spec.kinds:
            agents = len(self._agents[env.spec.team_kinds.index(each.name)])
            self._who[each.name] = np.zeros((copies, each.teams, agents), np.int64)
        self.mixed = mixed if self._who[kind].shape[2] > 1 else 0.0
        self._seed = np.zeros(copies, np.uint64)
        self._length = np.zeros(copies, np.int64)
        self._matches: list[Match] = []
        self._scores: list[float] = []
        self._together: list[float] = []
        """Outcomes of mixed teams."""
        self._lives: dict[tuple[str, Key], Any] = {}
        """Weights of learners' earlier states that are read again after an interruption."""

    def seats(self, episode_seed: NDArray[np.uint64]) -> dict[str, Seats]:
        """The seats of all copies, at the start of episodes of these seeds."""
        made = {}
        for name, who in self._who.items():
            shape = (who.shape[0] * who.shape[1], *who.shape[2:])
            apart = self.mixed > 0 and name == self.kind
            made[name] = Seats(self.opponents[name].players, np.zeros(shape if apart else shape[:1], np.int16))
        self._draw(made, np.arange(len(episode_seed)), episode_seed)
        return made

    def watch(self, seats: Mapping[str, Seats], out: StepBuffers, episode_seed: NDArray[np.uint64]) -> None:
        """After a step: write down the matches that ended, and draw the players of those that begin."""
        self._length += 1
        over = np.flatnonzero(out.episode_over)
        if not over.size:
            return
        failed = faulted(self.env)
        for copy in over.tolist():
            if not failed[copy]:
                self._note(copy, out.outcome[copy].tolist())
        self._draw(seats, over, episode_seed[over])

    def restart(self, seats: Mapping[str, Seats], episode_seed: NDArray[np.uint64]) -> None:
        """All episodes were broken off, and are no matches: draw who plays those that begin."""
        self._draw(seats, np.arange(len(episode_seed)), episode_seed)

    def remember(self, updates: int, seats: Mapping[str, Seats]) -> None:
        """After an update: the matches played since go to the log, all or none."""
        if self._matches:
            self._record(self._matches)
        self._matches = []

    def summary(self) -> dict[str, float]:
        """Matches against others, and the learner's mean points in them (a draw half), since the last call.

        Those of mixed teams are counted apart, with their mean outcome.
        """
        found = {"matches": float(len(self._scores))}
        if self._scores:
            found["points"] = float(np.mean(self._scores))
        if self.mixed:
            found["mixed"] = float(len(self._together))
        if self._together:
            found["mixed_outcome"] = float(np.mean(self._together))
        self._scores, self._together = [], []
        return found

    def state_dict(self) -> dict[str, Any]:
        """Who sits where, and the weights of learners' states that are being played and exist nowhere else."""
        kinds = {}
        for name, opponents in self.opponents.items():
            keys = [list(key) if key is not None else None for key in opponents.keys]
            live = {
                str(slot): acting_weights(player)
                for slot, (key, player) in enumerate(zip(opponents.keys, opponents.players, strict=True))
                if key is not None and key[1] != FROZEN and isinstance(player, Policy)
            }
            kinds[name] = {"who": self._who[name], "keys": keys, "live": live}
        return {"kinds": kinds, "seed": self._seed, "length": self._length}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken."""
        self._seed, self._length = np.array(state["seed"]), np.array(state["length"])
        for name, kept in state["kinds"].items():
            who = self._who[name]
            who[...] = np.reshape(kept["who"], (*who.shape[:2], -1))  # older states have a number for each team
            keys = [None if key is None else (int(key[0]), int(key[1])) for key in kept["keys"]]
            self._lives = {(name, keys[int(slot)] or MIRROR): weights for slot, weights in kept["live"].items()}
            self.opponents[name].seat_again(keys)
        self._lives = {}

    def _loader(self, kind: str) -> Callable[[Key], Actor]:
        def load(key: Key) -> Actor:
            player = self._load(key, kind)
            weights = self._lives.get((kind, key))
            if weights is not None and isinstance(player, Policy):
                player.load_state_dict(weights)
            return player

        return load

    def _draw(self, seats: Mapping[str, Seats], copies: NDArray[np.int64], episode_seed: NDArray[np.uint64]) -> None:
        """Who plays in those copies: a function of the learner's key, the episode's seed and the choices alone."""
        self._seed[copies], self._length[copies] = episode_seed, 0
        spec = self.env.spec
        drawn = self._drawn(episode_seed, 0, 1 + spec.num_teams)
        first = 1
        for kind in spec.kinds:
            choice, who = self.choices[kind.name], self._who[kind.name]
            picked = choose_many(choice.chances, drawn[:, first : first + kind.teams])
            mine = np.array([key == MIRROR for key in choice.keys])[picked]
            picked, mine = (np.repeat(x[:, :, None], who.shape[2], 2) for x in (picked, mine))
            if kind.name == self.kind:
                own = _place(drawn[:, 0], kind.teams)
                rows = np.arange(len(copies))
                mine[rows, own] = True
                if self.mixed:
                    mine[rows, own], picked[rows, own] = self._mix(episode_seed)
            first += kind.teams
            who[copies] = np.where(mine, self.number, np.array([key[0] for key in choice.keys])[picked])
            self._seat(seats[kind.name], kind.name, copies, picked, mine)

    def _mix(self, episode_seed: NDArray[np.uint64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Which members of the learner's team are its own, and who of the choice the others are, both `[copies, R]`.

        All are its own where the team is not mixed. Others are drawn each by itself, the learner left out.
        """
        choice, members = self.choices[self.kind], self._who[self.kind].shape[2]
        drawn = self._drawn(episode_seed, 1, 2 + 2 * members)
        chances = np.array([0.0 if key == MIRROR else x for key, x in zip(choice.keys, choice.chances, strict=True)])
        if not chances.any():
            whole = np.ones((len(drawn), members), np.bool_)
            return whole, np.zeros(whole.shape, np.int64)
        lot, who = drawn[:, 2 : 2 + members], drawn[:, 2 + members :]
        own = 1 + _place(drawn[:, 1], members - 1)
        mixed = drawn[:, 0] < self.mixed
        mine = ~mixed[:, None] | (lot.argsort(1, kind="stable").argsort(1) < own[:, None])
        return mine, choose_many((chances / chances.sum()).tolist(), who)

    def _drawn(self, episode_seed: NDArray[np.uint64], stream: int, draws: int) -> NDArray[np.float32]:
        """Uniform numbers `[copies, draws]` for episodes of these seeds."""
        start = np.zeros(len(episode_seed), np.int64)
        return acting_noise(self.key, episode_seed, start, np.full(1, stream), draws)[:, 0]

    def _seat(
        self, seats: Seats, kind: str, copies: NDArray[np.int64], picked: NDArray[np.int64], mine: NDArray[np.bool_]
    ) -> None:
        """Put those `picked [copies, teams, R]` in their seats, the learner where it is `mine`."""
        opponents, choice = self.opponents[kind], self.choices[kind]
        table = seats.policy_of.reshape(*self._who[kind].shape[:2], -1)
        going_on = np.ones(self.env.num_envs, np.bool_)
        going_on[copies] = False
        played = set(np.unique(table[going_on]).tolist())
        slots = np.zeros(len(choice.keys), np.int16)
        for place in np.unique(picked[~mine]).tolist():
            slots[place] = opponents.slot(choice.keys[place], played)
            played.add(int(slots[place]))
        table[copies] = np.where(mine, LEARNER, slots[picked])[:, :, : table.shape[2]]

    def _note(self, copy: int, outcome: list[float]) -> None:
        """A match that ended, unless the learner was alone."""
        spec, seats, team = self.env.spec, list[Seat](), 0
        for kind in spec.kinds:
            for played in self._who[kind.name][copy].tolist():
                seats += seats_of(team, kind.name, self._agents[team], played)
                team += 1
        rest = [outcome[seat.team] for seat in seats if seat.player != self.number]
        if not rest:
            return
        seed = int(self._seed[copy])
        self._matches.append(
            Match(
                id=f"{match_key(spec.digest, 'learning', self.number, self.key, seed):016x}",
                environment=self._environment,
                digest=spec.digest,
                key=seed,
                seats=tuple(seats),
                outcome=tuple(outcome),
                length=int(self._length[copy]),
                learner=self.number,
            )
        )
        mine = next(seat for seat in seats if seat.player == self.number)
        shared = next((seat for seat in seats if seat.agents is not None), None)
        if shared is not None:
            self._together.append(outcome[shared.team])
            return
        own, best = outcome[mine.team], max(rest)
        self._scores.append(0.5 if own == best else float(own > best))


def seats_of(team: int, role: str, agents: Sequence[str], played: Sequence[int]) -> list[Seat]:
    """The seats of a team whose agents those players played: one, or of a mixed team one for each of them."""
    if len(set(played)) == 1:
        return [Seat(team=team, role=role, player=played[0])]
    parts = [(who, [a for a, by in zip(agents, played, strict=True) if by == who]) for who in dict.fromkeys(played)]
    return [Seat(team=team, role=role, player=who, agents=tuple(own)) for who, own in parts]


def _place(uniform: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """A place among `count` for every number in [0, 1)."""
    return np.minimum((uniform * count).astype(np.int64), count - 1)
