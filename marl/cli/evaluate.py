"""`marl evaluate`: measure policies over whole episodes that they were never trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from environments.errors import RefusedFile, UsageError, nearest
from marl import files
from marl.cli import external
from marl.cli import parse as parser
from marl.cli.external import EPISODES
from marl.cli.parse import check_option
from marl.cli.progress import progress
from scenarios import catalog

if TYPE_CHECKING:
    from environments.spec import EnvSpec, TeamKind
    from marl.acting import Actor
    from marl.cli.players import Player
    from marl.seats import Seats


@dataclass(frozen=True)
class Evaluate:
    """Measure a run's or a file's policy: returns with 95 % intervals."""

    policy: tyro.conf.Positional[str]
    """A run's folder, a policy's file, `league:DIR/ID`, or a scenario, where every team then plays at random."""
    episodes: int | None = None
    """Whole episodes, their number fixed before the first is played; 1 to 100M. By default as the scenario says."""
    greedy: bool = False
    """Take the likeliest action instead of a sampled one."""
    seed: int = 0
    """Seed of the episodes and of the acting; 0 to 2^63 - 1."""
    team: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """NAME=PLAYER, once for each team that somebody else shall play: a run, a policy's file, `league:DIR/ID`,
    `bot:NAME` or `random`.

    Where a game has several teams of one kind, NAME may be one of them, as in player_1=random."""
    record: int = 0
    """Episodes that are written as replays; 0 to 256."""
    out: Path | None = None
    """Folder of the replays; by default the run's own, else `replays`."""
    json: Path | None = None
    """Write the result to this file, as JSON."""
    threads: int = 2
    """Processor threads for the environment, or processes for somebody else's; 1 to 1024."""
    teams: str | None = None
    """Who is a team in somebody else's environment; its own options are typed as --env.KEY JSON."""
    environment: str = ""
    """Name of somebody else's environment, where a policy's file is for one: to make it runs its code, so you say that
    you know it."""
    options: tyro.conf.Suppress[Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Match:
    """What is played, found from what was typed."""

    scenario: str
    environment: str
    options: Mapping[str, Any]
    spec: EnvSpec
    players: Mapping[str, Player]
    """By kind of team; where the teams of a kind have different players, by team."""
    folder: Path
    """Where replays go unless somebody says otherwise."""
    about: Mapping[str, Any] = field(default_factory=dict)


def parse(words: Sequence[str]) -> Evaluate:
    """Options of `marl evaluate`. UsageError in one line; `--help` prints and raises SystemExit."""
    options, rest = external.take_options(words)
    typed: Evaluate = parser.parse(Evaluate, rest, "marl evaluate")
    return replace(typed, options=options | external.External(typed.teams).options)


def run(options: Evaluate) -> int:
    """Measure and print; returns the exit code."""
    match = find(options.policy, options.options, options.environment)
    match = with_teams(match, options.team)
    episodes = options.episodes
    if episodes is None:
        known = catalog.SCENARIOS.get(match.scenario)
        episodes = known.evaluation.episodes if known else EPISODES if ":" in match.environment else 1000
    for name, value, low, high in (
        ("episodes", episodes, 1, 10**8),
        ("record", options.record, 0, min(external.COPIES if ":" in match.environment else 256, episodes)),
        ("threads", options.threads, 1, 1024),
        ("seed", options.seed, 0, 2**63 - 1),
    ):
        check_option(name, value, low, high)
    with external.traced(match.folder):
        result = measure(match, replace(options, episodes=episodes))
    from marl.cli import results

    print("\n".join(results.describe(result)))
    for path in result["replays"]:
        print(f"replay  {path}    marl watch {path}")
    if options.json is not None:
        files.write_json(options.json, result)
    return 0


def find(text: str, typed: Mapping[str, Any] | None = None, vouched: str = "") -> Match:
    """What a run, a policy's file or a scenario's name stands for. UsageError or RefusedFile where it is none.

    `typed` are options for the environment of somebody else; a run or a policy brings its own. A policy's file from
    anywhere must not choose what is run here: its environment is of a known package, or the one that is `vouched` for.
    """
    typed = typed or {}
    from environments.external.sources import may_be_made
    from environments.registry import is_external, says_options
    from marl.cli import plan as plans
    from marl.cli import players
    from marl.policy_spec import read_spec

    path = players.league_file(text) if text.startswith(players.LEAGUE) else Path(text)
    if (text in catalog.SCENARIOS or is_external(text) or says_options(text)) and not path.exists():
        scenario = catalog.find(text)
        options = {**scenario.options, **typed}
        spec = plans.describe(scenario.environment, options)
        everybody = {kind.name: players.Player(players.RANDOM) for kind in spec.kinds}
        return Match(text, scenario.environment, options, spec, everybody, Path("replays"))
    if typed:
        raise UsageError(f"{text} brings its environment's options: leave out {', '.join(typed)}")
    if path.is_dir():
        return _of_run(path)
    if not path.exists():
        hint = nearest(text, catalog.SCENARIOS) if text.startswith("particle") else ""
        raise UsageError(f"there is no run, policy or scenario {text!r}{hint}")
    about, _ = read_spec(path)
    team = about.kind
    if not may_be_made(about.environment, vouched):
        how = f"if it is yours or you know it, evaluate it with --environment {about.environment}"
        raise RefusedFile(f"{path} names code to run, {about.environment}: {how}")
    spec = plans.describe(about.environment, about.options)
    others = {kind.name: players.Player(players.RANDOM) for kind in spec.kinds if kind.name != team}
    found = {team: players.find(str(path), spec, team)} | others
    scenario_name = str(about.about.get("scenario", about.environment))
    origin = {name: about.about[name] for name in ("algorithm", "reward", "steps") if name in about.about}
    return Match(scenario_name, about.environment, about.options, spec, found, Path("replays"), origin)


def _of_run(path: Path) -> Match:
    from marl import runs
    from marl.cli import plan as plans
    from marl.cli import players

    run = runs.open_run(path)
    plan = plans.of_run(run)
    spec = plan.spec()
    found = {
        name: players.find(team if isinstance(team, str) else str(path), spec, name)
        for name, team in plan.teams.items()
    }
    about = {"run": str(path), "algorithm": plan.algorithm, "reward": plan.reward}
    return Match(plan.scenario, plan.environment, plan.options, spec, found, run.replays, about)


def with_teams(match: Match, texts: tuple[str, ...]) -> Match:
    """The match with other players in some teams' seats. UsageError on an unknown team or player."""
    from marl.cli import players

    changed = dict(match.players)
    players.check_named_once([text.partition("=")[0] for text in texts])
    for text in texts:
        name, equals, what = text.partition("=")
        if not equals:
            raise UsageError(f"--team takes NAME=PLAYER, not {text!r}")
        kind = kind_of(match.spec, name)
        if kind is None:
            known = {*match.players, *match.spec.team_names}
            raise UsageError(f"{match.scenario} has no team {name!r}{nearest(name, known)}")
        if name != kind.name and kind.name in changed:
            everywhere = changed.pop(kind.name)
            changed |= dict.fromkeys(teams_of(kind), everywhere)
        elif name == kind.name:
            changed = {team: player for team, player in changed.items() if team not in teams_of(kind)}
        changed[name] = players.find(what, match.spec, kind.name)
    return replace(match, players=changed)


def teams_of(kind: TeamKind) -> list[str]:
    """Names of a kind's teams, as in `spec.team_names`."""
    return [kind.name] if kind.teams == 1 else [f"{kind.name}_{i}" for i in range(kind.teams)]


def kind_of(spec: EnvSpec, name: str) -> TeamKind | None:
    """The kind of team that a name means: its own, or that of one of its teams."""
    return next((kind for kind in spec.kinds if name in (kind.name, *teams_of(kind))), None)


def seated(match: Match, spec: EnvSpec, copies: int) -> dict[str, Actor | Seats]:
    """Who sits where in every kind of team of so many copies. Imports torch."""
    import numpy as np

    from marl.cli import players
    from marl.seats import Seats

    found: dict[str, Actor | Seats] = {}
    for kind in spec.kinds:
        if kind.name in match.players:
            found[kind.name] = players.load(match.players[kind.name], spec, kind.name)
        else:
            apart = [players.load(match.players[team], spec, kind.name) for team in teams_of(kind)]
            found[kind.name] = Seats(apart, np.tile(np.arange(kind.teams, dtype=np.int16), copies))
    return found


def measure(match: Match, options: Evaluate) -> dict[str, Any]:
    """Play the episodes; the result as plain data, with the paths of replays. Imports torch, compiles the game."""
    import torch

    from marl.cli import results
    from marl.cli.plan import MEASURED_COPY, made, measured_copies
    from marl.evaluate import evaluate
    from marl.seeding import derive

    torch.set_num_threads(1)
    assert options.episodes is not None
    copies = measured_copies(match.environment, options.episodes)
    threads = options.threads
    record = min(options.record, copies)
    env = made(
        match.environment, match.options, copies, options.seed, MEASURED_COPY, threads, workers=threads, filmed=record
    )
    who = {name: player.to_json() for name, player in match.players.items()}
    seats = seated(match, env.spec, env.num_envs)
    header = {"scenario": match.scenario, "policies": who}
    key = derive(options.seed, "measuring")
    name = f"evaluation-{options.seed}" + ("-greedy" if options.greedy else "")
    written = results.replay_files(options.out or match.folder, name, record)
    with progress("", "episodes", options.episodes) as report:
        measured = evaluate(env, seats, options.episodes, key, options.greedy, written, header, report)
    env.close()
    if note := results.without_pictures(measured.replays):
        print(note)
    return results.to_json(
        measured,
        env.spec.metrics,
        greedy=options.greedy,
        seed=options.seed,
        scenario=match.scenario,
        environment=match.environment,
        version=env.spec.version,
        options=dict(match.options),
        players=who,
        **match.about,
        replays=[str(path) for path in written],
    )
