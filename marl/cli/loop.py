"""A run from its first iteration, or from its newest checkpoint, to its end: iterate, measure, save, stop."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from environments.errors import MarlError, NumericalFailure, RefusedFile, StorageFailure
from marl import checkpoint, files, runs
from marl.cli import external, results
from marl.cli.plan import WATCHED_COPY, Plan, measured_copies
from marl.cli.stop import Interrupted, Stop
from marl.metrics import JsonLines, Sink, Sinks

if TYPE_CHECKING:
    from marl.metrics.weights_and_biases import WeightsAndBiases
    from marl.policy import Policy
    from marl.trainer import Trainer

MOST_RECORDING = 0.02
"""Share of a run's time that may go into replays of its evaluations."""


@dataclass
class Session:
    """One process's part of a run."""

    run: runs.Run
    plan: Plan
    trainer: Trainer
    stop: Stop
    seconds: float = 0.0
    """Time spent by earlier processes."""
    saved: int = -1
    """Step of the newest checkpoint; -1 where there is none."""

    def __post_init__(self) -> None:
        self._started = time.monotonic()
        self._iterating = False
        self._faults = 0
        self.recording = 0.0
        """Seconds of this process that went into replays."""
        self._blind = ""
        """Why the newest replays have no pictures."""

    @property
    def elapsed(self) -> float:
        """Seconds of training, all processes together."""
        return self.seconds + time.monotonic() - self._started

    def resume(self, entry: checkpoint.Entry) -> None:
        """Continue from a checkpoint; measurements past it are cut. RefusedFile where it does not fit."""
        state = checkpoint.read(entry)
        try:
            self.trainer.load_state_dict(state["trainer"])
            self.seconds = float(state["seconds"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RefusedFile(f"{entry.folder} does not fit this run ({_short(error)})") from None
        runs.cut_metrics(self.run, entry.step)
        self.saved = entry.step

    def work(self) -> int:
        """Train until the run is finished, time is up, or somebody stops it; the exit code."""
        sinks = open_sinks(self.run, self.plan, self.trainer.steps)
        with self.stop.watching(), external.traced(self.run.folder):
            try:
                self._iterate(sinks)
                self.stop.in_time()
                self.save()
                if self.trainer.finished and self.stop.code is None:
                    self._show(sinks)
            except Interrupted:
                if self._iterating:
                    print("the iteration under way took too long to wait for: its work is lost", file=sys.stderr)
                else:
                    self.save()
            except NumericalFailure as error:
                raise self._dumped(error) from None
            except StorageFailure as error:
                told = str(error.args[0]).partition("; the checkpoint of step")[0]
                raise StorageFailure(f"{told}{self._last_good()}; free some space first") from None
            finally:
                with contextlib.suppress(OSError):  # what ended the run is told, not this
                    self._note_faults()
                sinks.close()
        if self._blind:
            print(self._blind)
        print_what_next(self.run, self.trainer)
        return self.stop.code or 0

    def _iterate(self, sinks: Sinks) -> None:
        train, trainer = self.plan.train, self.trainer
        while not trainer.finished and self.stop.code is None and not self._time_is_up():
            before = trainer.steps
            self._iterating = True
            row = dict(trainer.iteration())
            self._iterating = False
            self._note_faults()
            if _due(before, trainer.steps, train.eval_every):
                row |= self.evaluate_and_record(self._recordable())[0]
                row["time/recording"] = self.recording
            sinks.write(trainer.steps, {**row, "time/total": self.elapsed})
            if _due(before, trainer.steps, train.checkpoint_every) and self.stop.code is None:
                self.save()

    def _note_faults(self) -> None:
        """Write down what went wrong in environments since the last call."""
        self._faults = external.note_faults(self.run.folder, self.trainer.collector.env, self._faults)

    def _recordable(self) -> int:
        """Episodes of the next evaluation that are recorded: none where that would slow the run."""
        slow = self.recording > MOST_RECORDING * (time.monotonic() - self._started)
        return 0 if slow else min(self.plan.train.eval_record, self.plan.train.eval_episodes)

    def _time_is_up(self) -> bool:
        minutes = self.plan.train.max_minutes
        return minutes is not None and time.monotonic() - self._started >= 60 * minutes

    def save(self) -> None:
        """Write a checkpoint and the policies, unless this state is saved. NumericalFailure where it is not finite."""
        trainer = self.trainer
        if trainer.steps == self.saved:
            return
        state = trainer.state_dict()
        bad = checkpoint.non_finite(state["learners"])
        if bad is not None:
            raise NumericalFailure(f"{bad} is not finite")
        checkpoint.save(self.run.checkpoints, trainer.steps, {"trainer": state, "seconds": self.elapsed})
        self.saved = trainer.steps
        self.export()

    def export(self) -> None:
        """Write the present policy of every team that learns."""
        for name, policy in self.policies().items():
            policy.save(self.run.policy(name), **self.about(name))

    def policies(self) -> dict[str, Policy]:
        """The present policy of every kind of team that learns, also of those that another one's learner plays."""
        if not self.plan.train.self_play:
            return {name: learner.policy for name, learner in self.trainer.learners.items()}
        from marl.self_play import as_kind

        spec = self.plan.spec()
        played = self.plan.played_by(spec)
        found: dict[str, Policy] = {}
        for name, first in played.items():
            policy = self.trainer.learners[first].policy
            alone = list(played.values()).count(first) == 1
            found[name] = policy if alone else as_kind(policy, spec, name)
        return found

    def _show(self, sinks: Sinks) -> None:
        """At the end: replays where they were asked for, and for those who keep files, the policies and a film."""
        replays = self.evaluate_and_record(self.plan.train.record)[1] if self.plan.train.record else []
        for sink in sinks.others("artifact"):
            for name in self.plan.learners:
                sink.artifact(self.run.policy(name), "policy")
            if replays:
                sink.artifact(film(replays[0]), "gif")

    def about(self, team: str) -> dict[str, Any]:
        """What a policy's file says of its origin."""
        return {
            "algorithm": self.plan.learners[team].algorithm,
            "scenario": self.plan.scenario,
            "reward": self.plan.reward,
            "seed": self.plan.train.seed,
            "steps": self.trainer.steps,
        }

    def evaluate_and_record(self, record: int) -> tuple[dict[str, float], list[Path]]:
        """Measure the present policies on episodes that are never trained on; replays of the first `record`."""
        from marl.evaluate import evaluate
        from marl.seeding import derive

        train = self.plan.train
        episodes = max(train.eval_episodes, record)
        copies = measured_copies(self.plan.environment, episodes)
        env = self.plan.environment_of(copies, WATCHED_COPY, filmed=record)
        who = {name: self._who(name) for name in self.plan.teams}
        header = {"scenario": self.plan.scenario, "policies": who}
        key = derive(train.seed, "evaluation")
        paths = results.replay_files(self.run.replays, f"step-{self.trainer.steps:012d}", min(record, copies))
        measured = evaluate(env, self.players(), episodes, key, train.eval_greedy, record=paths, header=header)
        env.close()
        self.recording += measured.recording
        self._blind = results.without_pictures(measured.replays)
        returns = measured.returns
        named = {f"eval/return/{name}": float(returns[:, k].mean()) for k, name in enumerate(measured.teams)}
        return named | {"eval/return": float(returns.sum(1).mean()), "eval/episodes": float(episodes)}, paths

    def _who(self, team: str) -> dict[str, Any]:
        """What a replay says of a team's player: how far it had learned, and its file where that is just as far."""
        fixed = self.plan.teams[team]
        if isinstance(fixed, str):
            return {"player": fixed}
        file = self.run.policy(team)
        if self.saved != self.trainer.steps or not file.exists():
            return {"player": str(self.run.folder), **self.about(team)}
        return {"player": str(file), "sha256": files.sha256(file), **self.about(team)}

    def players(self) -> dict[str, Any]:
        """Who sits in every kind of team's seats now."""
        seated = {kind: seats.players[0] for kind, seats in self.trainer.collector.seats.items()}
        return seated | self.policies()

    def _last_good(self) -> str:
        if self.saved < 0:
            return "; no checkpoint was written yet"
        return f"; the checkpoint of step {self.saved} is safe: marl resume {shlex.quote(str(self.run.folder))}"

    def _dumped(self, error: NumericalFailure) -> NumericalFailure:
        """The failure with where its batch was written and what is safe."""
        told = f"{error.args[0]} at step {self.trainer.steps}"
        if error.batch is not None:
            folder = self.run.folder / "failure"
            try:
                checkpoint.save(folder, self.trainer.steps, {"batch": as_tree(error.batch)})
                told += f"; the batch is in {folder}"
            except (MarlError, TypeError) as unwritten:
                told += f"; the batch could not be written ({unwritten})"
        return NumericalFailure(told + self._last_good())


def film(replay_file: Path) -> Path:
    """The GIF of a replay, beside it."""
    from environments import replay
    from viz import video
    from viz.viewer import Viewer

    path = replay_file.with_suffix(".gif")
    video.save_gif(Viewer(replay.load(replay_file)), path, height=360)
    return path


def as_tree(value: Any) -> Any:
    """Dataclasses and named tuples of arrays as a tree that a checkpoint takes."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    elif hasattr(value, "__dataclass_fields__"):
        value = {name: getattr(value, name) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {str(key): as_tree(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_tree(item) for item in value]
    return value


def open_sinks(run: runs.Run, plan: Plan, step: int) -> Sinks:
    """The run's file of measurements, the progress display, and the services that were asked for."""
    from marl.metrics.console import Console

    others: list[Sink] = [Console(plan.train.total_steps, step)]
    if plan.train.tensorboard:
        from marl.metrics.tensorboard import TensorBoard

        others.append(TensorBoard(run.folder / "tensorboard"))
    if plan.train.wandb:
        others.append(_weights_and_biases(run, plan))
    return Sinks(JsonLines(run.metrics), others)


def _weights_and_biases(run: runs.Run, plan: Plan) -> WeightsAndBiases:
    from marl.metrics.weights_and_biases import WeightsAndBiases

    train = plan.train
    group = f"{plan.scenario}/{plan.algorithm}/{plan.reward}"
    name = f"{run.folder.parent.name}/{run.folder.name}"
    return WeightsAndBiases(run.folder, train.wandb_mode, train.wandb_project, group, name, plan.to_json())


def print_what_next(run: runs.Run, trainer: Trainer) -> None:
    """The commands that measure, show and continue the run; where nothing of it is saved, the last alone."""
    folder = shlex.quote(str(run.folder))
    told = external.told_faults(run.folder)
    longer = f" --total-steps {2 * trainer.steps}" if trainer.finished else ""
    print(f"run       {run.folder}  ({trainer.steps} of {trainer.total_steps} steps)")
    if told:
        print(f"faults    {told}")
    if not run.checkpoints.exists():
        print(f"resume    marl resume {folder}  (from its start: nothing is saved yet)", flush=True)
        return
    print(f"evaluate  marl evaluate {folder}")
    print(f"watch     marl watch {folder}")
    print(f"resume    marl resume {folder}{longer}", flush=True)


def _due(before: int, now: int, every: int | None) -> bool:
    """True where a multiple of `every` lies in (before, now]: depends on steps alone, so a resumed run agrees."""
    return every is not None and now // every > before // every


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
