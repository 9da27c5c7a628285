"""A league: learners that train in turns against a growing population: their past, each other and given players.

    config.json      every setting, enough to build the league again
    manifest.json    where it came from, once
    state.json       whose turn it is, until when, against whom; how far every learner is
    learners/        complete states of the learners, as in runs
    policies/        the newest snapshot of the mains, by kind of team
    metrics.jsonl    what was measured, a line per turn
    league.db, journal.jsonl, snapshots/   see `league.store`

A turn begins with what state.json says and ends with a state of its learner, snapshots and rated games, and a new
state.json. Whom the learner meets in a turn is decided before it begins, from the log alone, and written down: so a
league that was killed plays the turn under way again, match for match, and the log takes every match once.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from environments.errors import NumericalFailure, RefusedFile
from environments.spec import EnvSpec
from environments.vector import VectorEnv
from league import matches, plans, psro, runner
from league.config import LeagueConfig
from league.contest import BLOCK, Contest, Entrant, Load, blocks
from league.matchmaking import win_rate
from league.plans import Candidate, Situation
from league.records import Player
from league.store import Store
from league.student import Matchmaking
from league.turns import FROZEN, MIRROR, STATE, Choice, Key, Line, State, Turn
from marl import checkpoint, files
from marl.acting import Actor
from marl.policy import Policy
from marl.seeding import derive
from marl.self_play import frozen
from marl.trainer import Learner, Trainer

LEARNERS = "learners"
SNAPSHOT, BOT = "historical", "bot"


@dataclass(frozen=True)
class Workshop:
    """How the parts of a league are made."""

    environment: str
    options: Mapping[str, Any]
    spec: EnvSpec
    make_env: Callable[[int], VectorEnv]
    """From a seed."""
    make_learner: Callable[[str, int], Learner]
    """From a kind of team and a seed."""
    rollout_length: int
    load: Load
    about: Mapping[str, Mapping[str, Any]]
    """Kind of team that learns -> what policy files say of their origin."""
    given: Mapping[str, Mapping[str, str]]
    """Players that are there from the beginning: name -> kind of team -> what is to be loaded, or a policy's file."""
    block: int = BLOCK
    """Rated games that are played at once, at most; even."""


@dataclass
class Student:
    """A learner at work."""

    trainer: Trainer
    learner: Learner
    seating: Matchmaking


class League:
    """A league's folder, at work."""

    def __init__(self, folder: Path, config: LeagueConfig, workshop: Workshop, store: Store) -> None:
        """Opens what is there, or begins. RefusedFile where it cannot be read or does not fit."""
        self.folder, self.config, self.workshop, self.store = folder, config, workshop, store
        self.students: dict[str, Student] = {}
        self.lines: dict[str, Line] = {}
        self.turn: Turn | None = None
        self.turns = 0
        """Turns that are over."""
        self.measured: dict[str, float] = {}
        """What the end of the last turn told, by name."""
        if (folder / STATE).exists():
            state = State.read(folder)
            self.turns, self.turn = state.turns, state.turn
            self.lines = {line.name: line for line in state.lines}
            self._check()
            if self.turn is None and self.steps < config.total_steps:  # a new end was set
                self.turn = self._next_turn()
        else:
            self._begin()

    def _check(self) -> None:
        """RefusedFile where state.json names players or kinds of team that are not here."""
        kinds, choices = (
            {kind.name for kind in self.workshop.spec.kinds},
            {} if self.turn is None else self.turn.choices,
        )
        met = {number for choice in choices.values() for number, _ in choice.keys} - {MIRROR[0]}
        missing = (met | {line.number for line in self.lines.values()}) - set(self.store.players())
        fits = {line.kind for line in self.lines.values()} <= kinds and (self.turn is None or set(choices) == kinds)
        if missing or not fits:
            what = f"nobody has the number {min(missing)}" if missing else "its kinds of team are others"
            raise RefusedFile(f"{self.folder / STATE} does not fit this league: {what}")

    @property
    def steps(self) -> int:
        """Environment steps of all learners."""
        return sum(line.total for line in self.lines.values())

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.turn is None

    def iteration(self) -> dict[str, float]:
        """One rollout and update of the learner whose turn it is; what was measured."""
        assert self.turn is not None
        line = self.lines[self.turn.line]
        student = self.student(line)
        student.seating.choices = dict(self.turn.choices)
        before = student.trainer.steps
        measured = student.trainer.iteration()
        done = student.trainer.steps - before
        self.lines[line.name] = replace(line, steps=line.steps + done, total=line.total + done)
        return measured

    @property
    def turn_is_over(self) -> bool:
        """Whether the learner has done the steps of its turn."""
        return self.turn is not None and self.lines[self.turn.line].steps >= self.turn.until

    def save(self) -> None:
        """Keep the state of the learner whose turn it is, then state.json. NumericalFailure where it is not finite."""
        if self.turn is not None:
            self._keep(self.lines[self.turn.line])
        self._write()

    def end_turn(self, report: Callable[[str], None] = lambda told: None) -> None:
        """After a turn: a snapshot where one is due, its rated games, a new beginning perhaps, and the next turn.

        `report` is told of snapshots.
        """
        assert self.turn is not None
        line, self.measured = self.lines[self.turn.line], {}
        self._keep(line)
        situations = [self.situation(line, kind) for kind in self.met_by(line)]
        if plans.snapshot_due(line.part, line.steps - line.since, situations, self.config):
            self._leave_snapshot(line, report)
            self._begin_anew_perhaps(self.lines[line.name])
        self.turns += 1
        if self.steps >= self.config.total_steps:
            self._finish(report)
        else:
            self.turn = self._next_turn()
        self._write()

    def close(self) -> None:
        """Let go of the learners' environments."""
        for student in self.students.values():
            student.trainer.env.close()

    # Who meets whom.

    def met_by(self, line: Line) -> list[str]:
        """Kinds of team that others play where a learner trains."""
        return [kind.name for kind in self.workshop.spec.kinds if kind.name != line.kind or kind.teams > 1]

    def frozen(self, kind: str) -> dict[int, Player]:
        """Players of a kind who never change, from old to new: bots and snapshots."""
        known = self.store.players()
        return {k: p for k, p in known.items() if kind in p.roles and p.kind in (SNAPSHOT, BOT)}

    def situation(self, line: Line, kind: str) -> Situation:
        """What a choice of opponents of a kind depends on."""
        known, found = self.store.players(), []
        rates = self.store.rates(line.number, self.config.window)
        for number, player in self.frozen(kind).items():
            parent = None if player.parent is None else known[player.parent]
            part, own_line = (BOT, player.name) if parent is None else (parent.kind, player.source)
            found.append(Candidate(number, part, own_line, False, _rate(rates, number)))
        for other in self.lines.values():
            if other.kind == kind and other.part == "main":
                found.append(Candidate(other.number, other.part, other.name, True, _rate(rates, other.number)))
        return Situation(line.part, tuple(found), self.config)

    def choices(self, line: Line) -> dict[str, Choice]:
        """Whom a learner meets next, by kind of team."""
        met = self.met_by(line)
        found = {}
        for kind in (each.name for each in self.workshop.spec.kinds):
            beside = kind == line.kind and self.config.mixed_teams > 0  # somebody has to be in its team
            if kind not in met and not beside:
                found[kind] = Choice((MIRROR,), (1.0,))
                continue
            keys, chances = self._mixture(line, kind) if self.config.plan == "psro" else self._matched(line, kind)
            likely = [(key, float(chance)) for key, chance in zip(keys, chances, strict=True) if chance > 0]
            found[kind] = Choice(tuple(key for key, _ in likely), tuple(chance for _, chance in likely))
        return found

    def _matched(self, line: Line, kind: str) -> tuple[list[Key], Sequence[float]]:
        situation = self.situation(line, kind)
        return [self._key(line, c) for c in situation.candidates], plans.opponents(situation).tolist()

    def _key(self, line: Line, candidate: Candidate) -> Key:
        if not candidate.live:
            return candidate.number, FROZEN
        return MIRROR if candidate.number == line.number else (candidate.number, self.lines[candidate.line].steps)

    def _mixture(self, line: Line, kind: str) -> tuple[list[Key], Sequence[float]]:
        found = self.game()
        complete = found.generations
        side = found.kinds.index(kind) if not found.symmetric else 0
        mixture = psro.mixtures(found.first(complete, complete), self.config.meta)[side]
        return [(number, FROZEN) for number in found.players[side][:complete]], mixture.tolist()

    def game(self) -> psro.Game:
        """What snapshots earn against one another."""
        kinds = psro.sides(self.workshop.spec)
        snapshots = {kind: [k for k, p in self.frozen(kind).items() if p.kind == SNAPSHOT] for kind in set(kinds)}
        return psro.game(self.store, kinds, snapshots)

    def _next_turn(self) -> Turn:
        """The learner that has done least is next."""
        line = min(self.lines.values(), key=lambda each: each.total)
        left = -(-(self.config.total_steps - self.steps) // len(self.lines))
        return Turn(line.name, line.steps + max(1, min(self.config.slice_steps, left)), self.choices(line))

    # Snapshots.

    def _leave_snapshot(self, line: Line, report: Callable[[str], None]) -> None:
        """Enter the learner's present policy as a player, and let it meet others."""
        entered = self.lines[line.name] = replace(line, since=line.steps, snapshots=line.snapshots + 1)
        beside = files.temporary(self.folder / f"{line.name}.safetensors")
        self.policy(line).save(beside, **self.workshop.about[line.kind], seed=self.config.seed, steps=line.steps)
        digest = self.store.add_snapshot(beside)
        player = Player(
            name=f"{line.name}-{line.snapshots}",
            source=line.name,
            roles=(line.kind,),
            kind=SNAPSHOT,
            snapshots=((line.kind, digest),),
            parent=line.number,
            steps=line.steps,
        )
        beside.unlink(missing_ok=True)
        number = self.store.add_player(player)
        if line.part == "main" and line.name == self._first_main(line.kind):
            kept = self.store.snapshot(digest).read_bytes()
            files.write_atomic(self.folder / "policies" / f"{line.kind}.safetensors", kept)
        report(f"{player.name} entered after {entered.total} steps")
        self._meet(number)
        if self.config.plan == "psro":
            self._tell_generation(report)

    def _tell_generation(self, report: Callable[[str], None]) -> None:
        """Say how exploitable a mixture was, once every kind of team has its oracle against it."""
        found = self.game()
        generation = len(found.players[0]) - 1
        if generation > 0 and len(found.players[1]) == generation + 1:
            gained = psro.exploitability(found, self.config.meta, generation)
            self.measured["exploitability"] = gained
            report(f"generation {generation}: oracles gain {gained:.3f} on the mixture before them")

    def mixtures(self) -> dict[str, dict[str, float]]:
        """In psro, kind of team -> snapshot -> its share in the present mixture."""
        found = self.game()
        game = found.first(found.generations, found.generations)
        solved = psro.mixtures(game, self.config.meta)
        return {
            kind: {self.store.player(number).name: float(x) for number, x in zip(numbers, mixture, strict=True)}
            for kind, numbers, mixture in zip(game.kinds, game.players, solved, strict=True)
        }

    def _first_main(self, kind: str) -> str:
        return next(line.name for line in self.lines.values() if line.kind == kind and line.part == "main")

    def _begin_anew_perhaps(self, line: Line) -> None:
        """A learner that has left its snapshot may begin anew, as another player."""
        drawn = derive(self.config.seed, line.name, "anew", line.generation, line.snapshots) / 2**63
        if not plans.begins_anew(line.part, self.config, drawn):
            return
        self.students.pop(line.name).trainer.env.close()
        self._enter(replace(line, generation=line.generation + 1, steps=0, since=0))

    def _enter(self, line: Line) -> None:
        """Enter a learner in the store; what it plays changes, so it is never rated."""
        player = Player(name=line.live, source=line.name, roles=(line.kind,), kind=line.part)
        self.lines[line.name] = replace(line, number=self.store.add_player(player))

    def _meet(self, number: int) -> None:
        """The rated games of a new snapshot that are not played yet."""
        spec, config = self.workshop.spec, self.config
        if spec.num_teams != 2 or not config.games:
            return
        (kind,) = self.store.player(number).roles
        own = spec.kind(kind)
        others = self.frozen(kind if own.teams > 1 else next(k.name for k in spec.kinds if k.name != kind))
        met = [other for other in others if other != number]
        if config.plan != "psro":
            bots = [other for other in met if others[other].kind == BOT]
            met = bots + spread([other for other in met if other not in bots], config.met)
        contest = self._contest()
        for other in met:
            first, second = sorted((number, other))
            pairing = blocks(contest, spec, self._entrant(first), self._entrant(second))
            for block in runner.missing(self.store, pairing):
                self.store.record(matches.play(contest, block))

    def _contest(self) -> Contest:
        shop = self.workshop
        return Contest(
            environment=shop.environment,
            options=shop.options,
            load=shop.load,
            games=self.config.games,
            block=shop.block,
            seed=self.config.seed,
            greedy=False,
            record=self.config.record,
            folder=self.folder,
            header={"league": self.folder.name},
        )

    def _entrant(self, number: int) -> Entrant:
        player = self.store.player(number)
        kept = {role: str(self.store.snapshot(digest)) for role, digest in player.snapshots}
        identity = " ".join(f"{role}={digest}" for role, digest in player.snapshots) or player.source
        return Entrant(number, identity, {role: kept.get(role, player.source) for role in player.roles})

    # Learners.

    def student(self, line: Line) -> Student:
        """The learner at work, built or read where it is not."""
        if line.name not in self.students:
            self.students[line.name] = self._made(line)
        return self.students[line.name]

    def _made(self, line: Line) -> Student:
        shop, config = self.workshop, self.config
        seed = self._seed(line)
        env, learner = shop.make_env(seed), shop.make_learner(line.kind, seed)
        actor: Actor = getattr(learner, "actor", learner.policy)
        assert line.steps or (self.turn is not None and self.turn.line == line.name)
        begins = self.turn.choices if self.turn is not None and not line.steps else self._placeholders(line)
        seating = Matchmaking(
            env=env,
            environment=shop.environment,
            kind=line.kind,
            learner=actor,
            number=line.number,
            key=derive(seed, "matchmaking"),
            load=self._load,
            record=self.store.record,
            choices=begins,
            cache=config.cache,
            mixed=config.mixed_teams,
        )
        whole = config.snapshot_steps if config.plan == "psro" else max(1, config.total_steps // len(self.lines))
        trainer = Trainer(env, {line.kind: learner}, {}, whole, shop.rollout_length, seed, seating=seating)
        made = Student(trainer, learner, seating)
        if line.steps:
            with self._kept(line) as state:
                trainer.load_state_dict(state)
        return made

    @contextmanager
    def _kept(self, line: Line) -> Iterator[dict[str, Any]]:
        """A learner's complete state, as it was saved. RefusedFile where it cannot be read or taken up."""
        folder = self._states(line)
        state = checkpoint.read(checkpoint.find(folder, line.steps))
        try:
            yield state["trainer"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RefusedFile(f"{folder} does not fit this league ({' '.join(str(error).split())[:160]})") from None

    def _load(self, key: Key, kind: str) -> Actor:
        """Somebody who acts: a snapshot or a given player, or a learner as it is now."""
        number, steps = key
        if steps == FROZEN:
            return self.workshop.load(self._entrant(number).sources[kind], self.workshop.spec, kind)
        line = next(each for each in self.lines.values() if each.number == number)
        return frozen(self.policy(line))

    def policy(self, line: Line) -> Policy:
        """What a learner plays now. It is not put to work for that: it might meet who asks, and ask back."""
        if line.name in self.students:
            return self.students[line.name].learner.policy
        learner = self.workshop.make_learner(line.kind, self._seed(line))
        if line.steps:
            with self._kept(line) as state:
                learner.load_state_dict(state["learners"][line.kind])
        return learner.policy

    def _seed(self, line: Line) -> int:
        return derive(self.config.seed, line.name, line.generation)

    def _placeholders(self, line: Line) -> dict[str, Choice]:
        """Somebody for every seat of a learner whose true seats are about to be read."""
        found = {line.kind: Choice((MIRROR,), (1.0,))}
        for kind in self.met_by(line):
            if kind != line.kind:
                found[kind] = Choice(((next(iter(self.frozen(kind))), FROZEN),), (1.0,))
        return found

    def _states(self, line: Line) -> Path:
        return self.folder / LEARNERS / line.live

    def _keep(self, line: Line) -> None:
        """Save a learner's complete state, unless it has just begun."""
        if not line.steps:
            return
        state = self.student(line).trainer.state_dict()
        bad = checkpoint.non_finite(state["learners"])
        if bad is not None:
            raise NumericalFailure(f"{bad} of {line.live} is not finite")
        checkpoint.save(self._states(line), line.steps, {"trainer": state})

    # Beginning, end, state.json.

    def _begin(self) -> None:
        """Enter the given players and the learners; mains leave their first snapshots."""
        for name, sources in self.workshop.given.items():
            self._enter_given(name, sources)
        for name, (kind, part) in plans.names(self.config, list(self.workshop.about)).items():
            self.lines[name] = Line(name, kind, part)
        for line in list(self.lines.values()):
            self._enter(line)
        for line in list(self.lines.values()):
            if line.part == "main":
                self._leave_snapshot(line, lambda told: None)
        self.turn = self._next_turn()
        self._write()

    def _enter_given(self, name: str, sources: Mapping[str, str]) -> None:
        """Enter a given player, with a copy of its policies."""
        kept = tuple(
            (kind, self.store.add_snapshot(Path(source))) for kind, source in sources.items() if Path(source).is_file()
        )
        first = next(iter(sources.values()))
        self.store.add_player(Player(name=name, source=first, roles=tuple(sources), kind=BOT, snapshots=kept))

    def _finish(self, report: Callable[[str], None]) -> None:
        """The mains leave their last snapshots; whatever else was under way is dropped."""
        for line in list(self.lines.values()):
            if line.part == "main" and line.steps > line.since and self.config.plan != "psro":
                self._leave_snapshot(line, report)
        self.turn = None

    def _write(self) -> None:
        State(self.turns, tuple(self.lines.values()), self.turn).write(self.folder)
        self._clear()

    def _clear(self) -> None:
        """Delete the states of generations that are over."""
        present = {line.live for line in self.lines.values()}
        if (self.folder / LEARNERS).is_dir():
            for left in (self.folder / LEARNERS).iterdir():
                if left.name not in present:
                    shutil.rmtree(left, ignore_errors=True)


def spread(numbers: Sequence[int], most: int) -> list[int]:
    """At most so many of them, in order: half the newest, and others evenly over the rest."""
    if len(numbers) <= most:
        return list(numbers)
    newest = most // 2 + 1
    older = numbers[: len(numbers) - newest]
    places = np.linspace(0, len(older) - 1, most - newest).round().astype(int).tolist()
    return [*(older[place] for place in places), *numbers[len(numbers) - newest :]]


def _rate(rates: Mapping[int, tuple[float, int]], number: int) -> float:
    score, games = rates.get(number, (0.0, 0))
    return float(win_rate(score, games))
