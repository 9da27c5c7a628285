"""What is typed for somebody else's environment: `--env.KEY JSON`, `--teams`, `--wrap`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

from environments.errors import EnvironmentFailure, UsageError
from marl import files

COPIES = 16
"""Copies of somebody else's environment that are trained on, or measured at once, unless somebody says otherwise."""
EPISODES = 100
"""Episodes that measure somebody else's environment unless somebody says otherwise."""
PREFIX = "--env."
FAULTS = "faults.jsonl"
"""File of a run with a line for every failure of its environment."""


@dataclass(frozen=True)
class External:
    """How somebody else's environment is used; its own options are typed as --env.KEY JSON."""

    teams: str | None = None
    """Who is a team: one (everybody), each (every agent for itself), prefix (names that differ in a number), or
    NAME=PATTERN,...; none: prefix, and each in a turn-based environment."""
    wrap: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """NAME or NAME:ARGUMENT, once for each of SuperSuit's wrappers, the first innermost: frame_stack:4."""

    @property
    def options(self) -> dict[str, Any]:
        """What is added to the factory's own options."""
        from environments.external.named import TEAMS, WRAP

        chosen = {TEAMS: self.teams, WRAP: list(self.wrap)}
        return {name: value for name, value in chosen.items() if value}


def take_options(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """(the factory's options, all other words) of a command line: `--env.num-good 2` is `{"num_good": 2}`.

    A value that is no JSON is text; a key without a value is true. UsageError where a key comes twice.
    """
    options: dict[str, Any] = {}
    rest: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith(PREFIX):
            rest.append(word)
            continue
        key, equals, value = word.removeprefix(PREFIX).partition("=")
        if not equals:
            value = "true" if not waiting or waiting[0].startswith("--") else waiting.pop(0)
        name = key.replace("-", "_")
        if name in options:
            raise UsageError(f"{PREFIX}{key} is there twice")
        options[name] = literal(value)
    return options, rest


def literal(text: str) -> Any:
    """JSON, `True`, `False` and `none` in any case, or else the text itself."""
    spoken = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in spoken:
        return spoken[text.lower()]
    try:
        return json.loads(text)
    except ValueError:
        return text


@contextlib.contextmanager
def helping(environment: str) -> Iterator[None]:
    """Where help is printed, print too what options the environment's factory takes."""
    try:
        yield
    except SystemExit:
        from environments.external.sources import maker
        from environments.external.taken import taught

        lines = taught(maker(environment))
        print(f"\noptions of {environment}, as far as it says:\n{lines or '  none; try --env.NAME JSON'}")
        raise


def told(environment: str, options: Mapping[str, Any]) -> list[str]:
    """Who is a team with whom, and whether the run can be repeated, in lines."""
    from environments.external import named, teams

    spec = named.describe(environment, options)
    lines = [f"teams     {teams.told(spec.groups, spec.kinds)}"]
    if not spec.can_capture:
        lines.append(
            "exact     no: this environment does not repeat itself, so a resumed run is not the same bit for bit"
        )
    return lines


@contextlib.contextmanager
def traced(folder: Path) -> Iterator[None]:
    """Where an environment fails once too often, write down how to see it again, and say where that stands."""
    try:
        yield
    except EnvironmentFailure as error:
        fault = getattr(error, "fault", None)
        if fault is None:
            raise
        path = folder / "fault.json"
        files.write_json(path, asdict(fault))
        raise EnvironmentFailure(f"{error.args[0]}; all its actions since the reset are in {path}") from None


def note_faults(folder: Path, env: Any, told: int) -> int:
    """Append the failures of an environment after the first `told` to the run's file of them; how many there are."""
    faults = getattr(env, "faults", [])
    if len(faults) > told:
        with (folder / FAULTS).open("a") as file:
            file.writelines(json.dumps(asdict(fault)) + "\n" for fault in faults[told:])
    return len(faults)


def told_faults(folder: Path) -> str:
    """How often a run's environment failed, and where that stands; empty where it never did."""
    path = folder / FAULTS
    if not path.exists():
        return ""
    with path.open("rb") as file:
        count = sum(1 for _ in file)
    return f"{count} of the environment, left out of what is measured; seeds and actions are in {path}"
