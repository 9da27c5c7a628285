"""`marl play`: take part. You act for one agent in a window; bots, policies or chance act for the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from environments.errors import UsageError
from environments.keys import copy_key
from marl.cli import external
from marl.cli import parse as parser
from viz.screen import has_display

if TYPE_CHECKING:
    from environments.replay import Replay
    from environments.vector import VectorEnv
    from marl.cli.evaluate import Match
    from viz.playing import Playing
    from viz.session import Session

PLAYED = "played"


@dataclass(frozen=True)
class Play:
    """Play an episode by hand, against bots or beside trained policies; it is kept as a replay.

    Arrows or WASD move, other actions have keys that the window lists; boards are clicked. Turn-based games wait for
    you, others flow at --speed, and your agent does nothing while no key is held.
    """

    scenario: tyro.conf.Positional[str]
    """A scenario, or a run's folder or a policy's file, whose policies then play the others."""
    human: str | None = None
    """The agent that you play, such as agent_0; by default the first."""
    others: str | None = None
    """PLAYER for all other agents: a run, a policy's file, `bot:NAME` or `random`."""
    team: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """NAME=PLAYER, once for each team that somebody else shall play."""
    seed: int = 0
    """Seed of the episode and of the others' acting; 0 to 2^63 - 1."""
    greedy: bool = False
    """Others take their likeliest action instead of a sampled one."""
    speed: float = 1.0
    """Speed of the game, 0.1 to 100; 1 is the simulation's own time."""
    wait: bool = False
    """Let the game wait for you at every step, also where it would flow."""
    out: Path | None = None
    """File of the replay; by default in `played` in the run's replays, else in `replays/played`."""
    options: tyro.conf.Suppress[Mapping[str, Any]] = field(default_factory=dict)


def parse(words: Sequence[str]) -> Play:
    """Options of `marl play`. UsageError in one line; `--help` prints and raises SystemExit."""
    options, rest = external.take_options(words)
    typed: Play = parser.parse(Play, rest, "marl play")
    return replace(typed, options=options)


def run(options: Play) -> int:
    """Play; returns the exit code."""
    from marl.cli import company, evaluate

    if not 0 <= options.seed < 2**63:
        raise UsageError(f"--seed must be 0 to 2^63 - 1, not {options.seed}")
    check_speed(options.speed)
    if options.out is not None and options.out.suffix != ".replay":
        raise UsageError(f"the file of --out ends with .replay, and {options.out} does not")
    match = evaluate.find(options.scenario, options.options)
    human = options.human or match.spec.agents[0]
    company.own_team(match.spec, human)
    if options.others is not None:
        match = company.everybody(match, options.others, human)
    match = evaluate.with_teams(match, options.team)
    check_display(f"marl evaluate {options.scenario} --record 1")
    return in_window(from_start(match, human, options))


def check_speed(speed: float) -> None:
    """UsageError on a speed that is none."""
    if not 0.1 <= speed <= 100:
        raise UsageError(f"--speed must be 0.1 to 100, not {speed:g}")


def check_display(instead: str) -> None:
    """UsageError, with what can be done instead, where no window can open."""
    if not has_display():
        raise UsageError(
            "there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set), and a person plays in a window; without "
            f"one let policies play: {instead}; then export the replay with marl watch FILE --gif FILE"
        )


def from_start(match: Match, human: str, options: Play) -> Playing:
    """A window's content in which a new episode is played, and then those of following seeds. Imports torch."""
    import environments
    from environments.registry import is_external
    from marl.cli import company
    from marl.cli.plan import MEASURED_COPY, made
    from marl.seeding import derive
    from viz.session import Session

    env: VectorEnv
    if is_external(match.environment):
        env = made(match.environment, match.options, 1, options.seed, MEASURED_COPY, 1, workers=0, filmed=1)
    else:
        env = environments.parallel_env(match.environment, **match.options).vector
        env.reset(keys=[copy_key(options.seed, MEASURED_COPY)])
    key = derive(options.seed, "playing")
    others = company.seated(match, key, options.greedy)
    session = Session(env, others, human, company.header(match, human, key, options.greedy))
    out = company.unused(options.out or match.folder / PLAYED / f"play-{human}-{options.seed}.replay")
    following = replace(options, seed=options.seed + 1)
    return by_hand(session, match, out, options.speed, options.wait, lambda: from_start(match, human, following))


def fork_by_hand(
    match: Match, parent: Replay, step: int, human: str, key: int, greedy: bool, out: Path, speed: float, wait: bool
) -> Playing:
    """A window's content in which a person goes on from a step of a replay. Imports torch, compiles the game."""
    from marl.cli import company
    from viz.session import forked

    others = company.seated(match, key, greedy)
    session = forked(parent, step, others, human, company.header(match, human, key, greedy))
    return by_hand(session, match, out, speed, wait)


def by_hand(
    session: Session, match: Match, out: Path, speed: float, wait: bool, again: Callable[[], Playing] | None = None
) -> Playing:
    """A window's content for a session with a person in it; the replay goes to `out` when it is over, or left."""
    from viz.controls import Controls
    from viz.playing import Playing
    from viz.viewer import Viewer

    kept: list[Replay] = []

    def ended() -> str:
        if session.steps == session.repeated:
            return "nothing was kept"
        kept.append(session.replay())
        kept[0].save(out)
        print(f"kept    {out}")
        return f"kept in {out}"

    who = ", ".join(dict.fromkeys(player.text for player in match.players.values()))
    controls = Controls(session.env.spec, session.group, wait)
    return Playing(session, controls, ended, lambda: Viewer(kept[0]), again, speed, f"others: {who}")


def in_window(playing: Playing) -> int:
    """Show it until it is closed; say what came of it."""
    from viz.screen.window import watch

    watch(playing, playing.title)
    if playing.session.over:
        print(playing.result())
    else:
        print(f"closed after {playing.session.moment().step} steps, before the end: {playing.said}")
    return 0
