"""One learner at work in a league: in the same batch every copy has opponents of its own, drawn where an episode ends.

Only the learner learns. Every finished episode in which somebody else played is a match of the log, named after the
learner and the episode's seed, so that an episode that is played again is the same match.
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
from marl.collector import faulted
from marl.policy import Actor, Policy
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
    ) -> None:
        """`learner`, of that `number`, plays `kind`; `load(key, kind)` brings others; `record` takes matches.

        `choices`, by kind of team, may be replaced at any time: they count from the next episode on.
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
        self._who = {each.name: np.zeros((copies, each.teams), np.int64) for each in env.spec.kinds}
        """Numbers of those who sit there."""
        self._seed = np.zeros(copies, np.uint64)
        self._length = np.zeros(copies, np.int64)
        self._matches: list[Match] = []
        self._scores: list[float] = []
        self._lives: dict[tuple[str, Key], Any] = {}
        """Weights of learners' earlier states that are read again after an interruption."""

    def seats(self, episode_seed: NDArray[np.uint64]) -> dict[str, Seats]:
        """The seats of all copies, at the start of episodes of these seeds."""
        made = {
            kind.name: Seats(self.opponents[kind.name].players, np.zeros(len(episode_seed) * kind.teams, np.int16))
            for kind in self.env.spec.kinds
        }
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

    def remember(self, updates: int, seats: Mapping[str, Seats]) -> None:
        """After an update: the matches played since go to the log, all or none."""
        if self._matches:
            self._record(self._matches)
        self._matches = []

    def summary(self) -> dict[str, float]:
        """Matches against others, and the learner's mean points in them (a draw half), since the last call."""
        found = {"matches": float(len(self._scores))}
        if self._scores:
            found["points"] = float(np.mean(self._scores))
        self._scores = []
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
            self._who[name] = np.array(kept["who"])
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
        start, spec = np.zeros(len(copies), np.int64), self.env.spec
        drawn = acting_noise(self.key, episode_seed, start, np.zeros(1, np.int64), 1 + spec.num_teams)[:, 0]
        first = 1
        for kind in spec.kinds:
            choice = self.choices[kind.name]
            picked = choose_many(choice.chances, drawn[:, first : first + kind.teams])
            numbers = np.array([self.number if key == MIRROR else key[0] for key in choice.keys])[picked]
            mine = np.array([key == MIRROR for key in choice.keys])[picked]
            if kind.name == self.kind:
                own = np.minimum((drawn[:, 0] * kind.teams).astype(np.int64), kind.teams - 1)
                mine |= np.arange(kind.teams) == own[:, None]
                numbers[mine] = self.number
            first += kind.teams
            self._who[kind.name][copies] = numbers
            self._seat(seats[kind.name], kind.name, copies, picked, mine)

    def _seat(
        self, seats: Seats, kind: str, copies: NDArray[np.int64], picked: NDArray[np.int64], mine: NDArray[np.bool_]
    ) -> None:
        """Put those `picked [copies, teams]` in their seats, the learner where it is `mine`."""
        opponents, choice = self.opponents[kind], self.choices[kind]
        table = seats.policy_of.reshape(self.env.num_envs, -1)
        going_on = np.ones(self.env.num_envs, np.bool_)
        going_on[copies] = False
        played = set(np.unique(table[going_on]).tolist())
        slots = np.zeros(len(choice.keys), np.int16)
        for place in np.unique(picked[~mine]).tolist():
            slots[place] = opponents.slot(choice.keys[place], played)
            played.add(int(slots[place]))
        table[copies] = np.where(mine, LEARNER, slots[picked])

    def _note(self, copy: int, outcome: list[float]) -> None:
        """A match that ended, unless the learner was alone."""
        spec, seats, team = self.env.spec, [], 0
        mine: list[float] = []
        rest: list[float] = []
        for kind in spec.kinds:
            for number in self._who[kind.name][copy].tolist():
                seats.append(Seat(team=team, role=kind.name, player=number))
                (mine if number == self.number else rest).append(outcome[team])
                team += 1
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
        own, best = mine[0], max(rest)
        self._scores.append(0.5 if own == best else float(own > best))
