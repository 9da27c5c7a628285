"""A league from its first turn, or from its newest state, to its end: iterate, save, snapshot, stop."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from environments.errors import NumericalFailure, RefusedFile, StorageFailure, UsageError
from league.config import LeagueConfig
from marl import config as settings
from marl import files, runs
from marl.cli import external, players
from marl.cli import plan as plans
from marl.cli.plan import Plan
from marl.cli.resume import print_changes
from marl.cli.stop import Interrupted, Stop, going_on
from marl.metrics import JsonLines, Sinks

if TYPE_CHECKING:
    from environments.vector import VectorEnv
    from league.league import League, Workshop
    from league.store import Store
    from marl.cli.league_run import Start
    from marl.trainer import Learner

GIVEN = "given"
"""Folder in a league's that holds the policies of players who were there from the beginning."""


def begin(start: Start, command: list[str]) -> runs.Run:
    """Make the league's folder, with copies of the policies of given players."""
    config = {**start.plan.to_json(), "league": settings.to_json(start.league), "given": None}  # not there yet
    method = f"league-{start.league.plan}"
    if start.exploit:
        config["exploit"], method = dict(start.exploit), f"exploit-{start.plan.algorithm}"
    run = runs.create(start.dir, config, command, method)
    kept = {}
    for number, (name, roles) in enumerate(start.given.items()):
        kept[name] = {kind: _copied(run, number, kind, player) for kind, player in roles.items()}
    return runs.rewrite_config(run, {**config, "given": kept})


def _copied(run: runs.Run, number: int, kind: str, player: players.Player) -> str:
    """What a given player is from now on: a copy of its policy within the folder, or its name."""
    if player.file is None:
        return player.text
    name = f"{GIVEN}/{number}-{kind}.safetensors"
    files.write_atomic(run.folder / name, player.file.read_bytes())
    return name


def open_league(folder: Path) -> tuple[runs.Run, Plan, LeagueConfig]:
    """A league's folder and settings. UsageError where there is none; RefusedFile where they cannot be read."""
    run = runs.open_run(folder)
    if not isinstance(run.config.get("league"), dict):
        raise UsageError(f"{folder} is a run, not a league: marl resume {shlex.quote(str(folder))}")
    if not isinstance(run.config.get("given"), dict):
        raise RefusedFile(f"{folder / runs.CONFIG} is not the config of a league: it has no given players")
    try:
        plan, config = plans.of_run(run), settings.changed(LeagueConfig(), run.config["league"])
        return run, replace(plan, train=replace(plan.train, device=config.device)), config
    except UsageError as error:
        raise RefusedFile(f"{folder / runs.CONFIG} is not the config of a league: {error}") from None


def work(run: runs.Run, lock: runs.Lock) -> int:
    """Train a league from its newest state to its end; the exit code. The lock is released at the end."""
    run, plan, config = open_league(run.folder)
    plan.check()
    print(f"engine    {', '.join(sorted(set(plan.engines.values())))}", flush=True)
    from marl.cli import compiling

    again = f"marl league resume {shlex.quote(str(run.folder))}"
    with going_on(again):
        import torch

        from league.league import League
        from league.store import Store

    torch.set_num_threads(1)  # blocks of work go to threads as a whole
    with Store(run.folder) as store:
        if store.mended:
            print(f"note: {store.mended}")
        stop = Stop()
        with stop.watching():
            try:
                with external.traced(run.folder), compiling.told():
                    league = League(run.folder, config, workshop(run, plan, config), store)
                    runs.cut_metrics(run, league.steps)
                    if league.finished:
                        done = f"{league.steps} of {config.total_steps} steps; --total-steps sets a new end"
                        print(f"{run.folder} is finished: {done}")
                    _train(league, run, stop)
                    league.close()
            except (NumericalFailure, StorageFailure) as error:
                raise type(error)(f"{error.args[0]}; the league is safe up to its last turn: {again}") from None
            except Interrupted:
                print("the iteration under way took too long to wait for: its work is lost", file=sys.stderr)
                lock.release()
                return stop.code or 0
        if "exploit" in run.config and league.finished:
            from marl.cli.league_exploit import report

            report(run, league, measured(run))
        print_what_next(run, league, store)
    lock.release()
    return stop.code or 0


def _train(league: League, run: runs.Run, stop: Stop) -> None:
    from marl.metrics.console import Console

    config, begun = league.config, time.monotonic()
    sinks, faults = Sinks(JsonLines(run.metrics), [Console(config.total_steps, league.steps)]), dict[str, int]()
    try:
        while not league.finished and stop.code is None:
            assert league.turn is not None
            name = league.lines[league.turn.line].live
            rows: list[Mapping[str, float]] = []
            while not league.turn_is_over and stop.code is None:
                if config.max_minutes is not None and time.monotonic() - begun >= 60 * config.max_minutes:
                    league.save()
                    return
                rows.append(league.iteration())
                env = league.students[league.turn.line].trainer.env
                faults[name] = external.note_faults(run.folder, env, faults.get(name, 0))
            if not league.turn_is_over:
                break
            league.end_turn(lambda told: print(told, flush=True))
            sinks.write(league.steps, {**_means(name, rows), **league.measured})
        stop.in_time()
        league.save()
    finally:
        sinks.close()


def _means(name: str, rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What a turn's iterations measured, on average, under the learner's name."""
    every = {key for row in rows for key in row}
    values = {key: [row[key] for row in rows if key in row] for key in sorted(every)}
    means = {f"{name}/{key}": sum(x) / len(x) for key, x in values.items()}
    return {**means, **({"return": means[f"{name}/return"]} if f"{name}/return" in means else {})}


def workshop(run: runs.Run, plan: Plan, config: LeagueConfig) -> Workshop:
    """How the parts of a league are made from its settings."""
    from environments.registry import is_external
    from league.contest import BLOCK
    from league.league import Workshop
    from marl.cli.tournament import load

    spec = plan.spec()

    def make_env(seed: int) -> VectorEnv:
        return plan.environment_of(config.num_envs, plans.TRAINING_COPY, seed)

    def make_learner(kind: str, seed: int) -> Learner:
        return plan.learner(spec, kind, seed)

    return Workshop(
        environment=plan.environment,
        options=plan.options,
        spec=spec,
        make_env=make_env,
        make_learner=make_learner,
        rollout_length=plan.rollout_length,
        load=load,
        about={
            kind: {"algorithm": team.algorithm, "scenario": plan.scenario, "reward": plan.reward}
            for kind, team in plan.learners.items()
        },
        given={
            name: {kind: _found(run, text) for kind, text in roles.items()}
            for name, roles in run.config.get("given", {}).items()
        },
        block=external.COPIES if is_external(plan.environment) else BLOCK,
    )


def measured(run: runs.Run) -> dict[str, str]:
    """Who plays what where an exploiter is measured: the player, and who was named instead of it."""
    roles = [dict(kinds) for kinds in run.config["given"].values()]
    return {kind: _found(run, text) for each in reversed(roles) for kind, text in each.items()}


def _found(run: runs.Run, text: str) -> str:
    return str(run.folder / text) if text.startswith(f"{GIVEN}/") else text


def print_what_next(run: runs.Run, league: League, store: Store) -> None:
    """The commands that show, measure and continue the league."""
    folder = shlex.quote(str(run.folder))
    snapshots = sum(player.kind == "historical" for player in store.players().values())
    print(f"league    {run.folder}  ({league.steps} of {league.config.total_steps} steps)")
    print(f"holds     {snapshots} snapshot{'s' * (snapshots != 1)}, {store.count()} matches")
    if league.config.plan == "psro":
        for kind, mixture in league.mixtures().items():
            shares = sorted(mixture.items(), key=lambda item: -item[1])
            print(f"mixture   {kind}: " + ", ".join(f"{name} {share:.2f}" for name, share in shares if share >= 0.005))
    print(f"evaluate  marl evaluate {folder}")
    longer = f" --total-steps {2 * max(league.config.total_steps, league.steps)}" if league.finished else ""
    print(f"show      marl league show {folder}")
    print(f"watch     marl watch {folder}")
    print(f"resume    marl league resume {folder}{longer}", flush=True)


def changed(run: runs.Run, before: LeagueConfig, fresh: LeagueConfig, names: Iterable[str]) -> runs.Run:
    """The league with other settings, those of some `names`, for what may change when it goes on."""
    after = settings.to_json(fresh)
    print_changes(settings.to_json(before), after, names)
    return runs.rewrite_config(run, {**run.config, "league": after})
