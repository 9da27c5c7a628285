"""`marl league run SCENARIO`: train a population.

Two stages, as in `marl train`: the scenario and the algorithm say which settings and which environment options there
are; then those are parsed.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from league.config import LeagueConfig
from marl import config as settings
from marl.cli import external
from marl.cli import parse as parser
from marl.cli.tournament import roles_of
from marl.cli.train import all_options
from marl.config import Algorithm, TrainConfig
from marl.config_checks import require
from scenarios import catalog
from scenarios.scenario import Scenario

if TYPE_CHECKING:
    from environments.spec import EnvSpec
    from marl.cli.plan import Plan
    from marl.cli.players import Player

PROG = "marl league run"
ALGORITHM = "ippo"
ALONE = "marl train, or --plan fictitious --mixed-teams 0.5 to play with its past"


@dataclass(frozen=True)
class Launch:
    """What is typed besides settings."""

    algorithm: str = ALGORITHM
    """How all learners learn: an algorithm that `marl list algorithms` names."""
    dir: Path | None = None
    """Folder of the league, exactly; else one is made under runs/."""
    team: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """NAME=ALGORITHM, once for each kind of team whose learners learn otherwise; settings after commas."""
    player: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """PLAYER or NAME=PLAYER, once for each who is in the population from the beginning and never changes: a run, a
    policy's file, `bot:NAME`, `league:DIR/ID` or `random`."""


@dataclass(frozen=True)
class Start:
    """What was typed, checked."""

    plan: Plan
    """Of the learners, as of a run."""
    league: LeagueConfig
    given: Mapping[str, Mapping[str, Player]]
    """Players by name and kind of team."""
    dir: Path | None
    exploit: Mapping[str, Any] = field(default_factory=dict)
    """What is to be measured at the end of `marl league exploit`."""


def parse(words: Sequence[str]) -> Start:
    """Options of `marl league run`. UsageError in one line; `--help` prints and raises SystemExit."""
    if not words or words[0].startswith("-"):
        if any(word in ("-h", "--help") for word in words):
            parser.print_help(first_help())
            raise SystemExit(0)
        require(False, f"league run needs SCENARIO first, as in: {PROG} board/connect_four --plan self-play")
    algorithm = settings.algorithm(typed_algorithm(words))
    return _second_stage(algorithm, catalog.find(words[0]), list(words[1:]))


def first_help() -> str:
    """Help before it is known what is played."""
    return f"""usage: {PROG} SCENARIO [OPTIONS]

Train a population. Every learner trains in turns; whom it meets is drawn anew for every episode of every copy, from
its past, from other learners and from given players, as the plan says. Snapshots are kept for good, every match
between different players is written to a log, and ratings, payoffs and matchmaking are computed from that log.

  --plan self-play    a main learner meets itself, and its past now and then
  --plan fictitious   it meets all of its past alike
  --plan pfsp         it meets those of its past that are hardest to beat
  --plan alphastar    besides, exploiters look for weaknesses of the main learner and of all
  --plan psro         best responses to a mixture of the past, by a meta-solver

A league that was stopped or killed goes on with: marl league resume DIR

Examples
  {PROG} board/connect_four --plan self-play --total-steps 5M
  {PROG} skirmish/3m --env.opponent self --plan alphastar
  {PROG} roshambo/repeated --env.throws 1 --plan psro --snapshot-steps 50k --games 2000

{PROG} SCENARIO --help lists all settings and environment options."""


def run(options: Start) -> int:
    """Begin the league and train it; returns the exit code."""
    from marl.cli import league_work
    from marl.runs import Lock, command_line

    made = league_work.begin(options, command_line())
    print(f"league    {made.folder}", flush=True)
    if ":" in options.plan.environment:
        print("\n".join(external.told(options.plan.environment, options.plan.options)), flush=True)
    return league_work.work(made, Lock(made))


def typed_algorithm(words: Sequence[str]) -> str:
    """The algorithm is needed before the rest can be parsed: it says which settings there are."""
    for position, word in enumerate(words):
        if word == "--algorithm" and position + 1 < len(words):
            return words[position + 1]
        if word.startswith("--algorithm="):
            return word.partition("=")[2]
    return ALGORITHM


def _second_stage(algorithm: Algorithm, scenario: Scenario, words: list[str]) -> Start:
    from environments import registry
    from marl.cli import plan as plans
    from marl.cli import typed_team

    foreign = registry.is_external(scenario.environment)
    asked, words = external.take_options(words) if foreign else ({}, words)
    prog = f"{PROG} {scenario.name}"
    defaults: dict[str, Any] = {
        "league": LeagueConfig(num_envs=external.COPIES) if foreign else LeagueConfig(),
        "launch": Launch(),
        "settings": algorithm.config,
    }
    if foreign:
        defaults["external"] = external.External()
    else:
        defaults["env"] = registry.check_options(registry.game(scenario.environment), dict(scenario.options))
    with external.helping(scenario.environment) if foreign else contextlib.nullcontext():
        typed = parser.parse(all_options(defaults, prog), words, prog)
    options = {**asked, **typed.external.options} if foreign else dataclasses.asdict(typed.env)
    spec = plans.describe(scenario.environment, options)
    league: LeagueConfig = typed.league
    teams: dict[str, Any] = {kind.name: plans.Learns(algorithm.name, typed.settings) for kind in spec.kinds}
    names = ("seed", "total_steps", "num_envs", "threads", "device", "engine")
    shared = {name: getattr(league, name) for name in names}
    plan = plans.Plan(
        scenario=scenario.name,
        algorithm=algorithm.name,
        environment=scenario.environment,
        options=options,
        reward=league.reward or scenario.reward,
        train=replace(TrainConfig(), **shared),
        teams=teams,
    )
    plans.check_place(algorithm, typed.settings)
    for text in typed.launch.team:
        name, learns = typed_team.parse_team(text, plan)
        require(not isinstance(learns, str), f"--team takes NAME=ALGORITHM here, not {text!r}; see --player")
        plan = replace(plan, teams={**plan.teams, name: learns})
    plan.check()
    found = given(typed.launch.player, spec)
    _check_population(league, spec, found)
    _check_mixed(league, spec)
    return Start(plan, league, found, typed.launch.dir)


def _check_population(league: LeagueConfig, spec: EnvSpec, others: Collection[str]) -> None:
    """UsageError where nobody meets anybody, or the plan cannot be; `others` are the names of given players."""
    from league import plans, psro

    alone = spec.num_teams == 1
    apart = "--teams each makes several, or: " if ":" in spec.name else ""
    require(not alone or league.mixed_teams > 0, f"{spec.name} has one team, which meets nobody: {apart}{ALONE}")
    by_wins = league.plan not in ("self-play", "fictitious")
    require(not (alone and by_wins), f"{league.plan} goes by who beats whom, and {spec.name} has one team: {ALONE}")
    if league.plan == "psro":
        kinds = psro.sides(spec)
        same = kinds[0] == kinds[1]
        require(league.meta != "alpha-rank" or same, "--meta alpha-rank is for one kind of team that meets itself")
        require(league.bot_share == 0.0, "psro trains against a mixture of snapshots: leave --bot-share out")
    require(league.bot_share == 0.0 or bool(others), "--bot-share is of players given by --player: name one")
    for learner in plans.names(league, [kind.name for kind in spec.kinds]):
        taken = next((name for name in others if plans.is_of(name, learner)), None)
        require(taken is None, f"--player {taken}=..: the learner {learner!r} and its snapshots are called so")


def _check_mixed(league: LeagueConfig, spec: EnvSpec) -> None:
    """UsageError where teams are to be mixed that cannot be, or of whom nobody could learn."""
    if not league.mixed_teams:
        return
    largest = max(sum(map(len, spec.members(team).values())) for team in range(spec.num_teams))
    require(largest > 1, f"teams of {spec.name} have one agent: leave --mixed-teams out")
    itself = league.plan == "self-play" and league.latest == 1.0 and league.mains == 1 and not league.bot_share
    require(not itself, "with --latest 1 nobody but the learner is drawn for --mixed-teams: set it below")


def given(texts: Sequence[str], spec: EnvSpec) -> dict[str, dict[str, Player]]:
    """Name -> kind of team -> player, for each kind of team that it can play. UsageError, RefusedFile."""
    from league import programs

    found: dict[str, dict[str, Player]] = {}
    for text in texts:
        name, equals, what = text.partition("=")
        if not equals:
            name = what = text
        require(name not in found, f"two players are called {name!r}; write NAME=PLAYER")
        require(not programs.is_outside(what), f"{what} is a program; leagues train with policies and bots")
        found[name] = roles_of(what, spec)
    return found
