"""`marl check`: examine an environment before anything is trained on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import tyro

from environments.errors import EnvironmentFailure, UsageError
from marl.cli import external
from marl.cli import parse as parser

PROG = "marl check"


@dataclass(frozen=True)
class Check:
    """Examine somebody else's environment like a doctor; its own options are typed as --env.KEY JSON.

    Exit code 6 where something is wrong.
    """

    name: tyro.conf.Positional[str]
    """pettingzoo:MODULE, gymnasium:ID, MODULE:FACTORY or FILE.py:OBJECT."""
    teams: str | None = None
    """Who is a team: one, each, prefix, or NAME=PATTERN,...; none: prefix, and each in a turn-based environment."""
    steps: int = 1000
    """Steps that are played for every check; 10 to 1M."""
    options: tyro.conf.Suppress[Mapping[str, Any]] = field(default_factory=dict)


def parse(words: Sequence[str]) -> Check:
    """Options of `marl check`. UsageError in one line; `--help` prints and raises SystemExit."""
    options, rest = external.take_options(words)
    return replace(parser.parse(Check, rest, PROG), options=options)


def run(options: Check) -> int:
    """Examine and tell; returns the exit code."""
    from environments.external import check, named, teams
    from environments.registry import is_external

    if not 10 <= options.steps <= 10**6:
        raise UsageError(f"--steps must be 10 to 1000000, not {options.steps}")
    if not is_external(options.name):
        raise UsageError(
            f"{options.name!r} is not the name of somebody else's environment: give MODULE:FACTORY or FILE.py:OBJECT"
        )
    given = dict(options.options) | ({} if options.teams is None else {named.TEAMS: options.teams})
    factory = named.made_by(options.name, given)
    faults = 0
    for finding in check.apart(factory, options.name, options.teams, options.steps):
        print(finding, flush=True)
        faults += bool(finding.wrong) and not finding.advice
    if faults:
        raise EnvironmentFailure(f"{options.name} has {faults} fault{'s' if faults > 1 else ''}")
    spec = named.describe(options.name, given)
    print(f"teams   {teams.told(spec.groups, spec.kinds)}")
    print(f"train   marl train mappo {options.name}")
    return 0
