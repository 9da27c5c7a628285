"""`marl fork`: what if? Go on from a step of a recorded episode with other players, or by hand."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from environments.errors import RefusedFile, UsageError
from marl.cli import play
from marl.cli.watch import newest_replay

if TYPE_CHECKING:
    from environments.replay import Replay
    from environments.spec import EnvSpec
    from marl.cli.evaluate import Match

FORKS = "forks"


@dataclass(frozen=True)
class Fork:
    """Restore the simulator at a step of a replay and go on to the episode's end, or less far; the fork is a replay of
    its own.

    It names its parent and the step, and `marl verify` and `marl watch` take it like any other.
    """

    file: tyro.conf.Positional[Path]
    """A .replay file, or a run's folder: its newest replay is taken."""
    step: int
    """Steps that both episodes have in common; 0 to one less than the replay has."""
    steps: int | None = None
    """Steps of its own after which the fork stops, 1 to 2^20, and is left open; by default it goes on to the end."""
    team: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """NAME=PLAYER, once for each team that somebody else shall play from there: a run, a policy's file, `bot:NAME` or
    `random`. Other teams go on with the policies that were recorded."""
    human: str | None = None
    """Agent that you play from there, in a window, such as agent_0."""
    seed: int | None = None
    """Seed of the acting from there; 0 to 2^63 - 1. By default as recorded: the same players would do the same."""
    greedy: bool | None = None
    """Take the likeliest action instead of a sampled one; by default as recorded."""
    speed: float = 1.0
    """Speed of the game where you play, 0.1 to 100; 1 is the simulation's own time."""
    wait: bool = False
    """Where you play, let the game wait for you at every step."""
    environment: str = ""
    """Name of somebody else's environment, where the replay is of one: to make it runs its code, so you say that you
    know it."""
    out: Path | None = None
    """File of the fork; by default in the folder `forks` beside its parent, named after it and the step."""


def run(options: Fork) -> int:
    """Fork; returns the exit code."""
    from environments import replay

    if options.seed is not None and not 0 <= options.seed < 2**63:
        raise UsageError(f"--seed must be 0 to 2^63 - 1, not {options.seed}")
    if options.out is not None and options.out.suffix != ".replay":
        raise UsageError(f"the file of --out ends with .replay, and {options.out} does not")
    play.check_speed(options.speed)
    if options.steps is not None and not 1 <= options.steps <= 2**20:
        raise UsageError(f"--steps must be 1 to 2^20, not {options.steps}")
    if options.steps is not None and options.human is not None:
        raise UsageError(
            "--steps is for forks without a person; a person closes the window, and what was played is kept"
        )
    if options.human is not None:
        play.check_display(f"marl fork {options.file} --step {options.step} --team NAME=PLAYER")
    path = newest_replay(options.file)
    parent = replay.load(path, options.environment)
    out = options.out or name_of(path, options.step)
    match = match_of(parent, path, options.team, options.human)
    key, greedy = acting_of(parent, options)
    if options.human is not None:
        return play.in_window(
            play.fork_by_hand(match, parent, options.step, options.human, key, greedy, out, options.speed, options.wait)
        )
    fork = play_on(match, parent, options.step, key, greedy, options.steps)
    fork.save(out)
    print(f"fork    {out}  (step {options.step} of {path}, then {fork.steps - options.step} steps of its own)")
    if fork.left_open:
        print(f"left open: marl fork {out} --step {fork.steps} goes on")
    else:
        for team, score, before in zip(fork.spec.team_names, fork.outcome, parent.outcome, strict=True):
            print(f"  {team}  {score:.2f}" + (f"   (was {before:.2f})" if isfinite(before) else ""))
    print(f"watch   marl watch {out}")
    return 0


def name_of(path: Path, step: int) -> Path:
    """Where a fork goes unless somebody says otherwise."""
    from marl.cli.company import unused

    folder = path.parent if path.parent.name == FORKS else path.parent / FORKS
    return unused(folder / f"{path.stem}-fork-{step}.replay")


def match_of(parent: Replay, path: Path, teams: tuple[str, ...], human: str | None, lenient: bool = False) -> Match:
    """Who plays the fork. UsageError or RefusedFile where somebody cannot, or the environment is another one here.

    `lenient`: chance plays for those who are not to be had.
    """
    from marl.cli import company

    return company.recorded(parent, spec_of(parent), path, teams, human, lenient)


def spec_of(parent: Replay) -> EnvSpec:
    """The description of a replay's environment here. RefusedFile where there is none, or nobody vouches for it."""
    from environments.replay_outside import check_vouched
    from marl.cli import plan

    check_vouched(parent)
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in parent.spec.options.items()}
    try:
        return plan.describe(parent.spec.name, options)
    except UsageError as error:
        raise RefusedFile(f"this replay's environment cannot be made: {error}") from None


def acting_of(parent: Replay, options: Fork) -> tuple[int, bool]:
    """(key of the acting noise, greedy) of the fork: as recorded where nothing else is asked for."""
    from marl.cli import company

    key, greedy = company.acting(parent) or (0, False)
    if options.seed is not None:
        from marl.seeding import derive

        key = derive(options.seed, "fork")
    return key, greedy if options.greedy is None else options.greedy


def play_on(match: Match, parent: Replay, step: int, key: int, greedy: bool, most: int | None = None) -> Replay:
    """The fork without a person in it, to its end or for `most` steps. Imports torch, compiles the game."""
    from marl.cli import company
    from viz.session import forked

    others = company.seated(match, key, greedy)
    session = forked(parent, step, others, header=company.header(match, None, key, greedy))
    while not session.over and (most is None or session.steps < step + most):
        session.step()
    return session.replay()
