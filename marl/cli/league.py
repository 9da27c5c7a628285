"""`marl league`: populations of learners and players that play one another. One file per subcommand."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from environments.errors import UsageError, nearest
from marl.cli import parse as parser

PROG = "marl league"


@dataclass(frozen=True)
class League:
    """A subcommand with its options."""

    module: Any
    options: Any


SUBCOMMANDS = {
    "run": ("marl.cli.league_run", "Launch", "train a population"),
    "show": ("marl.cli.league_show", "Show", "show players, ratings and win rates"),
    "exploit": ("marl.cli.league_exploit", "Exploit", "how exploitable a player is, by an approximate best response"),
    "resume": ("marl.cli.league_resume", "Resume", "go on with a population that was stopped"),
}
"""Name -> module, its dataclass of options, what it is for. A module may have a `parse(words)` of its own."""


def parse(words: Sequence[str]) -> League:
    """The subcommand and its options. UsageError in one line; `--help` prints and raises SystemExit."""
    if not words or words[0] in ("-h", "--help", "help"):
        parser.print_help(usage())
        raise SystemExit(0 if words else 2)
    name, *rest = words
    if name not in SUBCOMMANDS:
        raise UsageError(f"unknown subcommand {name!r} of {PROG}{nearest(name, SUBCOMMANDS)}")
    path, options, _ = SUBCOMMANDS[name]
    module = importlib.import_module(path)
    if hasattr(module, "parse"):
        return League(module, module.parse(rest))

    return League(module, parser.parse(getattr(module, options), rest, f"{PROG} {name}"))


def run(options: League) -> int:
    """Do it; returns the exit code."""
    return int(options.module.run(options.options))


def usage() -> str:
    """All subcommands, a line each."""
    rows = [f"  {name:8} {summary}" for name, (_, _, summary) in SUBCOMMANDS.items()]
    return "\n".join(
        [
            f"usage: {PROG} SUBCOMMAND ...",
            "",
            "Populations: learners that train against their past, one another, exploiters and given players.",
            "",
            *rows,
            "",
            f"{PROG} SUBCOMMAND --help says more.",
        ]
    )
