"""`marl tournament`: players of any kind against one another, and a table that can be believed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from environments.errors import RefusedFile, UsageError
from marl import files
from marl.cli import external, populations, tables
from marl.cli.parse import check_option
from marl.cli.play import check_display
from marl.cli.progress import progress
from scenarios import catalog

if TYPE_CHECKING:
    from environments.spec import EnvSpec
    from league.contest import Contest, Entrant, Person
    from league.sequential import SPRT
    from league.store import Store
    from marl.acting import Actor
    from marl.cli.players import Player

Format = Literal["round-robin", "swiss", "gauntlet", "single-elimination"]
SPRT_BLOCK = 64
"""Games between two looks at a sequential test."""


@dataclass(frozen=True)
class Tournament:
    """Let players meet, a fixed number of games each, with seats swapped in pairs on one key; rate them by all games.

    Ctrl-C ends it, and the same command goes on where it stopped: no game is played twice and none is missing.
    """

    scenario: tyro.conf.Positional[str]
    """What is played: a scenario with two teams, or somebody else's environment (pettingzoo:MODULE, gymnasium:ID,
    MODULE:FACTORY, FILE.py:OBJECT)."""
    players: tyro.conf.Positional[tuple[str, ...]]
    """At least two, each PLAYER or NAME=PLAYER: a run's folder, a policy's file, `bot:NAME`, `random`, a class
    (`MODULE:CLASS`, `FILE.py:CLASS`), a program (`cmd:COMMAND`), or `human`: you, in a window."""
    format: Format = "round-robin"
    """round-robin: all pairs; gauntlet: the first against each other one; swiss: equals meet, as many rounds as single
    one out; single-elimination: losers leave, of a drawn pairing the one listed later."""
    games: int = 100
    """Games of each pairing; even, 2 to 1M. With --sprt the most that are played."""
    sprt: str | None = None
    """ELO0,ELO1: of two players, play until it is sure enough whether the first is at least ELO1 stronger or at most
    ELO0 (sequential probability ratio test on pairs of games, 5 % errors); `0,35` is usual, with --games 20k."""
    interval: float | None = None
    """Elo points: play on, --games more of every pairing at a time, until all ratings are known to plus or minus
    this."""
    most_games: int = 10_000
    """Games of each pairing at which --interval gives up; 2 to 1M."""
    seed: int = 0
    """Seed of the games and of the acting; 0 to 2^63 - 1."""
    sampled: bool = False
    """Sample actions instead of taking the likeliest."""
    workers: int = 1
    """Processes that play; 1 to 256. The result does not depend on it."""
    crossplay: bool = False
    """For a scenario with one team: teams of two players, every other agent each, against teams of one."""
    focal: int = 0
    """Slots (teams, or agents of the only team) that each player fills in turn, as Melting Pot's focal population; a
    background player fills the rest. 0: none of this."""
    background: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """With --focal: name of a player who is met as background only; once for each. By default all meet all."""
    move_timeout: float = 10.0
    """Seconds that a class or a program may take for an action; above 0."""
    game_timeout: float = 600.0
    """Seconds that it may take for all actions of a game; above 0."""
    record: int = 0
    """Games of each pairing that are kept as replays; 0 to all."""
    dir: Path | None = None
    """Folder of the tournament; by default one under `tournaments`, named after what is played."""
    json: Path | None = None
    """Write the table to this file, as JSON."""
    csv: Path | None = None
    """Write the crosstable (points of the row against the column) to this file."""
    png: Path | None = None
    """Draw the crosstable as a heat map."""


def run(options: Tournament) -> int:
    """Play, rate, print; returns the exit code."""
    check(options)
    test = None if options.sprt is None else parse_test(options.sprt, len(options.players))
    spec, environment, settings = describe(options.scenario, None if options.focal else 1 if options.crossplay else 2)
    entered = enter(options.players, spec, programs_too=not (options.crossplay or options.focal))
    if options.focal:
        populations.check(options, spec, entered)
    folder = options.dir or default_folder(options, spec, entered)

    def play(person: Person | None = None) -> dict[str, Any]:
        return hold(options, spec, environment, settings, entered, folder, test, person)

    mine = next((roles for roles in entered.values() if is_person(roles)), None)
    table = play() if mine is None else by_hand(options, spec, environment, settings, next(iter(mine)), play)
    shown = populations.show if options.focal else tables.show_together if options.crossplay else tables.show
    shown(table, folder)
    tables.write(table, options.json, options.csv, options.png)
    return 0


def check(options: Tournament) -> None:
    """UsageError where a setting is out of range, or where two do not go together."""
    for name, value, low, high in (
        ("games", options.games, 2, 10**6),
        ("most_games", options.most_games, 2, 10**6),
        ("seed", options.seed, 0, 2**63 - 1),
        ("workers", options.workers, 1, 256),
        ("record", options.record, 0, options.games),
    ):
        check_option(name, value, low, high)
    for name, seconds in (("move_timeout", options.move_timeout), ("game_timeout", options.game_timeout)):
        if not 0 < seconds < float("inf"):
            raise UsageError(f"--{name.replace('_', '-')} must be a number of seconds above 0, not {seconds}")
    if options.games % 2:
        raise UsageError(f"--games must be even, for they are played in pairs with sides swapped; not {options.games}")
    if options.png is not None and options.png.suffix.lower() != ".png":
        raise UsageError(f"--png takes a name that ends in .png, not {options.png}")
    if options.dir is not None and options.dir.exists() and not options.dir.is_dir():
        raise UsageError(f"--dir takes a folder, and {options.dir} is a file")
    wanted, at_once = options.interval, options.format in ("round-robin", "gauntlet")
    if wanted is not None and not (0 < wanted < float("inf") and at_once):
        raise UsageError("--interval is a number of points above 0, and for round-robin and gauntlet")
    if options.sprt is not None and (options.interval is not None or options.format != "round-robin"):
        raise UsageError("--sprt is a rule for two players; it goes with no other --format and no --interval")
    if options.background and not options.focal:
        raise UsageError("--background needs --focal SLOTS")
    if options.crossplay and (options.format != "round-robin" or options.sprt or options.interval is not None):
        raise UsageError(
            "--crossplay plays every pair --games times; it goes with no other --format and no stopping rule"
        )


def is_person(roles: Mapping[str, Player]) -> bool:
    """Whether a player is the one at the keyboard."""
    from league.contest import HUMAN

    return any(player.text == HUMAN for player in roles.values())


def by_hand(
    options: Tournament,
    spec: EnvSpec,
    environment: str,
    settings: Mapping[str, Any],
    kind: str,
    play: Callable[[Person], dict[str, Any]],
) -> dict[str, Any]:
    """What `play` returns, with a window in which a person plays a kind of team. UsageError where there can be none."""
    from environments.registry import is_external
    from marl.cli import person

    if options.workers != 1 or is_external(environment):
        what = "in one process (--workers 1)" if options.workers != 1 else "the platform's own environments"
        raise UsageError(f"a person plays {what}")
    check_display(f"marl tournament {options.scenario} PLAYER PLAYER --record 1")
    (agent, *_) = next(iter(spec.members(spec.team_kinds.index(kind)).values()))
    return person.while_watching(options.scenario, environment, settings, agent, play)


def parse_test(text: str, players: int) -> SPRT:
    """`0,35` as a test. UsageError."""
    from league.sequential import SPRT

    if players != 2:
        raise UsageError(f"--sprt compares two players, not {players}")
    try:
        low, high = (float(part) for part in text.split(","))
        return SPRT(low, high)
    except ValueError:
        raise UsageError(
            f"--sprt takes two numbers of Elo points from -4000 to 4000, the lower first, as in 0,35; not {text!r}"
        ) from None


def describe(scenario: str, teams: int | None) -> tuple[EnvSpec, str, Mapping[str, Any]]:
    """What is played: its description, the environment's name and its options. UsageError unless so many teams meet
    (None: any number)."""
    from marl.cli import plan

    found = catalog.find(scenario)
    spec = plan.describe(found.environment, found.options)
    if teams is not None and spec.num_teams != teams:
        found_teams = "one team" if spec.num_teams == 1 else f"{spec.num_teams} teams"
        others = "one: --crossplay" if spec.num_teams == 1 else "more: --focal"
        wanted = "--crossplay is for one" if teams == 1 else f"a tournament is played between two ({others})"
        raise UsageError(f"{scenario} has {found_teams}; {wanted}")
    if len(spec.agents) < 2:
        raise UsageError(f"{scenario} has one agent, with nobody beside it whom others could play")
    return spec, found.environment, found.options


def enter(texts: Sequence[str], spec: EnvSpec, programs_too: bool) -> dict[str, dict[str, Player]]:
    """Name -> kind of team -> player, for each kind of team that it can play. UsageError, RefusedFile."""
    from league import programs
    from league.contest import HUMAN
    from marl.cli import person, players

    if len(texts) < 2:
        raise UsageError(f"a tournament needs at least two players, not {len(texts)}")
    entered: dict[str, dict[str, Player]] = {}
    for text in texts:
        name, what = named(text)
        if name in entered:
            raise UsageError(f"two players are called {name!r}; write NAME=PLAYER")
        if not programs_too and (programs.is_outside(what) or what == HUMAN):
            kind = "person" if what == HUMAN else "program"
            raise UsageError(f"{what} is a {kind}; teams are mixed of policies and bots")
        if what == HUMAN:
            entered[name] = dict.fromkeys(person.kinds(spec), players.Player(HUMAN))
        else:
            entered[name] = roles_of(what, spec)
    seen: dict[str, str] = {}
    for name, roles in entered.items():
        first = seen.setdefault(identity(roles), name)
        if first != name:
            raise UsageError(f"{first!r} and {name!r} are the same player")
    return entered


def named(text: str) -> tuple[str, str]:
    """NAME=PLAYER as (name, player); without a name a player is called what it is. UsageError where one is empty."""
    name, equals, what = text.partition("=")
    if text.strip() and (not equals or ":" in name or Path(text).exists()):  # cmd:./engine --depth=4, runs/rate=3
        return text, text
    if not name.strip() or not what.strip():
        raise UsageError(f"{text!r} names no player; write PLAYER or NAME=PLAYER")
    return name, what


def identity(roles: Mapping[str, Player]) -> str:
    """What a player plays, whatever it is called: the content of its policies or of its class's file, or its text."""
    from league import programs

    digests = [f"{kind}={files.sha256(player.file)}" for kind, player in roles.items() if player.file is not None]
    text = next(iter(roles.values())).text
    code = programs.file_of(text)
    return " ".join(digests) or (text if code is None else f"{text} {files.sha256(code)}")


def roles_of(text: str, spec: EnvSpec) -> dict[str, Player]:
    """Kind of team -> the player, for each that it can play. UsageError or RefusedFile where there is none."""
    from league import programs
    from marl.cli import players

    if programs.is_outside(text):
        if text.startswith("pyspiel:") and spec.name != "roshambo/repeated":
            raise UsageError(f"{text} plays roshambo/repeated, not {spec.name}")
        programs.check(text)
        return {kind.name: players.Player(text) for kind in spec.kinds}
    found: dict[str, Player] = {}
    refused: list[UsageError | RefusedFile] = []
    for kind in spec.kinds:
        try:
            found[kind.name] = players.find(text, spec, kind.name)
        except (UsageError, RefusedFile) as error:
            refused.append(error)
    if not found:
        raise refused[0]
    return found


def default_folder(options: Tournament, spec: EnvSpec, entered: Mapping[str, Mapping[str, Player]]) -> Path:
    """The same folder for the same tournament."""
    from league.contest import match_key

    who = [f"{name}={identity(roles)}" for name, roles in entered.items()]
    who += [f"focal {options.focal}", *options.background] if options.focal else []
    number = match_key(spec.digest, options.format, options.seed, options.sampled, *who)
    named = re.sub(r"[^\w.-]+", "-", options.scenario).strip("-.")  # others' names have colons
    return Path("tournaments") / f"{named}-{number >> 32:08x}"


def hold(
    options: Tournament,
    spec: EnvSpec,
    environment: str,
    settings: Mapping[str, Any],
    entered: Mapping[str, Mapping[str, Player]],
    folder: Path,
    test: SPRT | None = None,
    person: Person | None = None,
) -> dict[str, Any]:
    """Play what is not played yet and return the standings. Imports torch, compiles the game."""
    import torch

    from environments import registry
    from league import standings
    from league.contest import BLOCK, Contest
    from league.programs import Limits
    from league.store import Store

    torch.set_num_threads(1)
    about = terms(options, spec, entered)
    claim(folder, about)
    with Store(folder) as store:
        if store.mended:
            print(f"note: {store.mended}")
        entrants = [register(store, name, roles) for name, roles in entered.items()]
        contest = Contest(
            environment=environment,
            options=settings,
            load=load,
            games=options.games,
            block=external.COPIES if registry.is_external(environment) else BLOCK,
            seed=options.seed,
            greedy=not options.sampled,
            record=options.record,
            folder=folder,
            header={"scenario": options.scenario},
            limits=Limits(options.move_timeout, options.game_timeout),
            person=person,
        )
        if options.focal:
            return {**about, **populations.hold(contest, entrants, store, options)}
        if options.crossplay:
            return {**about, **together(contest, entrants, store, options.workers)}
        said: dict[str, Any] = {"rounds": []}
        if test is not None:
            said = {"test": settle(contest, entrants, store, test, options.workers)}
        else:
            said = {"rounds": play_on(contest, entrants, store, options)}
        table = standings.standings(store)
    return {**about, "players": table.pop("players"), **table, **said}


def terms(options: Tournament, spec: EnvSpec, entered: Mapping[str, Mapping[str, Player]]) -> dict[str, Any]:
    """What makes a tournament another one."""
    from league import programs

    about: dict[str, Any] = {
        "scenario": options.scenario,
        "digest": spec.digest,
        "format": options.format,
        "games": options.games,
        "seed": options.seed,
        "greedy": not options.sampled,
        "sprt": options.sprt,
        "interval": options.interval,
        "names": list(entered),
    }
    if options.focal:
        about |= {"focal": options.focal, "background": list(options.background)}
    code = {name: programs.file_of(next(iter(roles.values())).text) for name, roles in entered.items()}
    if any(code.values()):  # a class that was edited is another player
        about["code"] = {name: files.sha256(path) for name, path in code.items() if path is not None}
    return about


def play_on(
    contest: Contest, entrants: Sequence[Entrant], store: Store, options: Tournament
) -> list[list[dict[str, Any]]]:
    """The tournament, once or as often as --interval asks; what the pairings of every round came to."""
    from league import ratings, runner, tournament

    next_round, played = tournament.FORMATS[options.format], []
    for cycle in range(1 if options.interval is None else max(1, options.most_games // options.games)):
        with progress("", "games", expected(len(entrants), options)) as report:
            played += runner.run(contest, entrants, store, next_round, options.workers, report, cycle)
        widest = ratings.ELO * ratings.bradley_terry(store.results().score).half_widths().max()
        if options.interval is not None and widest <= options.interval:
            break
    names = [store.player(entrant.number).name for entrant in entrants]
    return [
        [
            {"players": [names[place] for place in pair], "points": list(score)}
            for pair, score in zip(each.pairings, each.scores, strict=True)
        ]
        for each in played
    ]


def together(contest: Contest, entrants: Sequence[Entrant], store: Store, workers: int) -> dict[str, Any]:
    """Cross-play: the matrix of mixed teams."""
    from league import crossplay

    count = len(entrants)
    with progress("", "games", contest.games * count * (count + 1) // 2) as report:
        found = crossplay.run(contest, entrants, store, workers, report)
    names = [store.player(entrant.number).name for entrant in entrants]
    return {"crossplay": True, "players": [{"name": name} for name in names], **crossplay.summary(found)}


def settle(contest: Contest, entrants: Sequence[Entrant], store: Store, test: SPRT, workers: int) -> dict[str, Any]:
    """A sequential test between two: its verdict, and by what."""
    from league import runner
    from league.sequential import expected_score, log_likelihood_ratio

    with progress("", "games", contest.games) as report:
        first, second = entrants
        verdict, counts = runner.duel(replace(contest, block=SPRT_BLOCK), first, second, store, test, workers, report)
    ratio = log_likelihood_ratio(counts, expected_score(test.elo_0), expected_score(test.elo_1))
    return {"verdict": verdict, "log_likelihood_ratio": ratio, "pairs": counts.tolist(), **asdict(test)}


def claim(folder: Path, about: Mapping[str, Any]) -> None:
    """Say in the folder what is played there. UsageError where something else is."""
    path = folder / "tournament.json"
    if path.exists():
        there = files.read_json(path)
        differ = [name for name in about if there.get(name) != about[name]] if isinstance(there, dict) else ["it"]
        if differ:
            raise UsageError(f"{folder} holds another tournament ({', '.join(differ)} differ); choose another --dir")
        return
    files.write_json(path, dict(about))


def expected(entrants: int, options: Tournament) -> int:
    """Games of the whole tournament, for the progress bar."""
    pairings = {
        "round-robin": entrants * (entrants - 1) // 2,
        "gauntlet": entrants - 1,
        "single-elimination": entrants - 1,
        "swiss": (entrants // 2) * max(1, (entrants - 1).bit_length()),
    }[options.format]
    return pairings * options.games


def register(store: Store, name: str, roles: Mapping[str, Player]) -> Entrant:
    """Enter a player in the store, with a copy of its policies, so that later training does not change what played."""
    from league.contest import Entrant
    from league.records import Player as Entry

    snapshots = tuple((kind, store.add_snapshot(p.file)) for kind, p in roles.items() if p.file is not None)
    text = next(iter(roles.values())).text
    about = next(iter(roles.values())).about
    steps = int(str(about.about.get("steps", 0))) if about is not None else 0
    number = store.add_player(Entry(name=name, source=text, roles=tuple(roles), snapshots=snapshots, steps=steps))
    kept = {kind: str(store.snapshot(digest)) for kind, digest in snapshots}
    sources = {kind: kept.get(kind, player.text) for kind, player in roles.items()}
    return Entrant(number, identity(roles), sources)


def load(source: str, spec: EnvSpec, kind: str) -> Actor:
    """For workers: somebody who acts, from what an entrant's `sources` say."""
    from marl.cli import players

    return players.load(players.find(source, spec, kind), spec, kind)
