"""`marl train ALGORITHM SCENARIO`: train teams.

Two stages: the two names say which settings and which environment options there are; then those are parsed.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import tyro

from environments.errors import UsageError
from marl import config as settings
from marl.cli import external
from marl.cli import parse as parser
from marl.cli.resume import work
from marl.config import ALGORITHMS, Algorithm, TrainConfig
from marl.config_checks import require
from scenarios import catalog, presets
from scenarios.scenario import Scenario

if TYPE_CHECKING:
    from marl.cli.plan import Plan

Config = TypeVar("Config")
PROG = "marl train"


@dataclass(frozen=True)
class Launch:
    """What is typed besides settings."""

    seeds: int | None = None
    """Train that many runs, of seeds --seed and following, side by side with a thread each; 1 to 1000."""
    run_dir: Path | None = None
    """Folder of the run, exactly; of several, they are in seed-0, seed-1 ... in it. Else one is made under runs/."""
    team: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """NAME=ALGORITHM or NAME=PLAYER, once for each team that is not as the first algorithm; settings after commas."""
    init: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """Policy file whose weights its team starts from."""
    preset: str | None = None
    """Begin from tuned settings instead of the defaults; what is typed still wins."""

    def __post_init__(self) -> None:
        require(self.seeds is None or 1 <= self.seeds <= 1000, f"seeds must be 1 to 1000, not {self.seeds}")


@dataclass(frozen=True)
class Train:
    """What was typed, checked."""

    plan: Plan
    launch: Launch


def parse(words: Sequence[str]) -> Train:
    """Options of `marl train`. UsageError in one line; `--help` prints and raises SystemExit."""
    names = [word for word in words[:2] if not word.startswith("-")]
    if len(names) < 2:
        if any(word in ("-h", "--help") for word in words):
            parser.print_help(first_help())
            raise SystemExit(0)
        require(False, f"train needs ALGORITHM and SCENARIO first, as in: {PROG} mappo particle/spread")
    algorithm, scenario = settings.algorithm(names[0]), catalog.find(names[1])
    return _second_stage(algorithm, scenario, list(words[2:]))


def first_help() -> str:
    """Help before it is known what is trained where."""
    algorithms = "\n".join(f"  {known.name:8} {known.summary}" for known in ALGORITHMS.values())
    scenarios = "\n".join(f"  {known.name:26} {known.summary}" for known in catalog.SCENARIOS.values())
    return (
        f"usage: {PROG} ALGORITHM SCENARIO [OPTIONS]\n\nTrain teams.\n\nALGORITHM\n{algorithms}\n\n"
        f"SCENARIO\n{scenarios}\n\n{PROG} ALGORITHM SCENARIO --help lists all settings and environment options."
    )


def run(options: Train) -> int:
    """Train; returns the exit code."""
    from marl.cli import plan, side_by_side
    from marl.runs import command_line

    if options.launch.seeds is not None:
        return side_by_side.train(options.plan, options.launch.seeds, options.launch.run_dir, command_line())
    made = plan.begin(options.plan, options.launch.run_dir, command_line())
    print(f"run       {made.folder}")
    if ":" in options.plan.environment:
        print("\n".join(external.told(options.plan.environment, options.plan.options)))
    print(f"engine    {', '.join(sorted(set(options.plan.engines.values())))}", flush=True)
    from marl.runs import Lock

    return work(made, Lock(made))


def _second_stage(algorithm: Algorithm, scenario: Scenario, words: list[str]) -> Train:
    from environments import registry
    from marl.cli import plan as plans
    from marl.cli import players, typed_team

    foreign = registry.is_external(scenario.environment)
    given, words = external.take_options(words) if foreign else ({}, words)
    prog = f"{PROG} {algorithm.name} {scenario.name}"
    preset = _typed_preset(words)
    tuned = {} if preset is None else dict(presets.find(algorithm.name, scenario.name, preset))
    run_names = {each.name for each in dataclasses.fields(TrainConfig)}
    usual = settings.changed(TrainConfig(), {"num_envs": external.COPIES}) if foreign else TrainConfig()
    defaults: dict[str, Any] = {
        "run": settings.changed(usual, {k: v for k, v in tuned.items() if k in run_names}),
        "launch": Launch(),
        "settings": settings.changed(algorithm.config, {k: v for k, v in tuned.items() if k not in run_names}),
    }
    if foreign:
        defaults["external"] = external.External()
    else:
        defaults["env"] = registry.check_options(registry.game(scenario.environment), dict(scenario.options))
    typed_team.check_remembers(algorithm, words)
    with external.helping(scenario.environment) if foreign else contextlib.nullcontext():
        typed = parser.parse(all_options(defaults, prog), words, prog)
    options = {**given, **typed.external.options} if foreign else dataclasses.asdict(typed.env)
    teams = tuple(kind.name for kind in plans.describe(scenario.environment, options).kinds)  # options may add some
    plan = plans.Plan(
        scenario=scenario.name,
        algorithm=algorithm.name,
        environment=scenario.environment,
        options=options,
        reward=typed.run.reward or scenario.reward,
        train=typed.run,
        teams={team: plans.Learns(algorithm.name, typed.settings) for team in teams},
        preset=preset,
    )
    plans.check_place(algorithm, typed.settings)  # before the other words: it is the first that is typed
    named = [typed_team.parse_team(text, plan) for text in typed.launch.team]
    players.check_named_once([name for name, _ in named])
    plan = _with_init(replace(plan, teams={**plan.teams, **dict(named)}), typed.launch.init)
    plan.check()
    return Train(plan, typed.launch)


def all_options(defaults: dict[str, Any], prog: str) -> type[Any]:
    """One class of all options: the run's and the algorithm's by their own names, the environment's as `--env.NAME`."""
    flat = {name: Annotated[type(value), tyro.conf.arg(name="")] for name, value in defaults.items() if name != "env"}
    kinds = {**flat, **({"env": type(defaults["env"])} if "env" in defaults else {})}
    made = dataclasses.make_dataclass(
        "Options", [(name, kinds[name], field(default=value)) for name, value in defaults.items()], frozen=True
    )
    made.__doc__ = f"All options of `{prog}`."
    return made


def _typed_preset(words: Sequence[str]) -> str | None:
    """The preset is needed before the rest can be parsed: it says what the defaults are."""
    for position, word in enumerate(words):
        if word == "--preset" and position + 1 < len(words):
            return words[position + 1]
        if word.startswith("--preset="):
            return word.partition("=")[2]
    return None


def _with_init(plan: Plan, paths: Sequence[Path]) -> Plan:
    """The plan with starting weights, each for the team that the policy was trained for."""
    from marl.policy_spec import read_spec

    teams = dict(plan.teams)
    for path in paths:
        if path.is_dir():
            raise UsageError(f"--init takes a policy's file, and {path} is a folder; a run has some in its policies/")
        team = read_spec(path)[0].kind
        learner = teams.get(team)
        if learner is None or isinstance(learner, str):
            raise UsageError(f"{path} is a policy for the team {team!r}, which is not trained here")
        teams[team] = replace(learner, init=str(path))
    return replace(plan, teams=teams)
