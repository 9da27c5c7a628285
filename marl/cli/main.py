"""The command `marl`: finds the command that was typed, imports that one alone, and turns errors into one line.

Exit codes: 0 done, 2 usage, 3 refused file, 4 numerical failure, 5 storage failure, 6 environment failure,
75 interrupted by SIGTERM and resumable, 130 interrupted by Ctrl-C.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from environments.errors import MarlError, UsageError, nearest
from marl import garbage

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before anything starts OpenMP threads: 100 times slower otherwise

INTERRUPTED, TERMINATED = 130, 75
BUG = 1


class Terminated(BaseException):
    """SIGTERM came while nothing could be saved."""


class Command(NamedTuple):
    """A command: where it is and what it is for."""

    module: str
    options: str
    """Name of its dataclass of options; `run(options)` in the same module does the work."""
    summary: str


COMMANDS = {
    "train": Command("marl.cli.train", "Train", "train teams"),
    "resume": Command("marl.cli.resume", "Resume", "go on with a run that was stopped"),
    "evaluate": Command("marl.cli.evaluate", "Evaluate", "measure policies over whole episodes"),
    "play": Command("marl.cli.play", "Play", "take part: you act for one agent"),
    "watch": Command("marl.cli.watch", "Watch", "look at a recorded episode, or export it"),
    "fork": Command("marl.cli.fork", "Fork", "what if: go on otherwise from a step of an episode"),
    "verify": Command("marl.cli.verify", "Verify", "simulate a recorded episode again and compare"),
    "list": Command("marl.cli.list", "List", "scenarios, algorithms, bots or runs"),
    "plot": Command("marl.cli.plot", "Plot", "learning curves of runs, as a picture"),
    "compare": Command("marl.cli.compare", "Compare", "which runs are better, and how surely"),
    "tournament": Command("marl.cli.tournament", "Tournament", "let players meet, and rate them"),
    "league": Command("marl.cli.league", "League", "populations that train against one another, and last"),
    "check": Command("marl.cli.check", "Check", "examine an environment of your own"),
    "bench": Command("marl.cli.bench", "Bench", "how fast it is on this machine"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, by default this process's own; returns its exit code."""
    if argv is None:
        garbage.spare_the_start()
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        with _terminable():
            return _dispatch(words)
    except (KeyboardInterrupt, Terminated) as end:
        asked = isinstance(end, KeyboardInterrupt)
        notes = ["the same command goes on"] if words[:1] == ["tournament"] else getattr(end, "__notes__", [])
        print("; ".join(["marl: interrupted" if asked else "marl: terminated", *notes]), file=sys.stderr)
        return INTERRUPTED if asked else TERMINATED
    except BrokenPipeError:  # `marl list ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            raise
        return _report(error)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM raises, as Ctrl-C does, until a command that can save its work handles both itself."""

    def end(number: int, frame: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():  # only there can signals be handled
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def usage() -> str:
    """All commands, a line each."""
    rows = [f"  {name:10} {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: marl COMMAND ... [--debug]",
            "",
            "Train teams of agents on batched simulators, measure them, and watch what happened.",
            "",
            *rows,
            "",
            "marl COMMAND --help says more; --debug shows where an error comes from.",
        ]
    )


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if words else 2
    if words[0] == "--version":
        from importlib.metadata import version

        print(version("marl"))
        return 0
    name, *rest = words
    if name not in COMMANDS:
        raise UsageError(f"unknown command {name!r}{nearest(name, COMMANDS)}")
    command = COMMANDS[name]
    module = importlib.import_module(command.module)
    try:
        options = _parse(module, command, rest, f"marl {name}")
    except SystemExit as end:  # --help
        return int(end.code or 0)
    with _telling():
        return int(module.run(options))


@contextlib.contextmanager
def _telling() -> Iterator[None]:
    """What environments say while one waits for them is told, a line each, beside what a command prints."""
    import logging

    log, teller = logging.getLogger("environments"), logging.StreamHandler()
    before = log.level
    log.addHandler(teller)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(before)
        log.removeHandler(teller)


def _parse(module: Any, command: Command, words: list[str], prog: str) -> Any:
    """By the module's own `parse(words)` where it has one (two stages), else from its dataclass."""
    if hasattr(module, "parse"):
        return module.parse(words)
    from marl.cli import parse

    return parse.parse(getattr(module, command.options), words, prog)


def _report(error: Exception) -> int:
    """Print one line for an error; its exit code."""
    if isinstance(error, MarlError):
        message, code = str(error.args[0]) if error.args else type(error).__name__, error.exit_code
    elif isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # the latter is torch's RuntimeError
        message, code = "there is not enough memory; fewer copies (--num-envs) or a shorter rollout need less", 2
    else:
        told = f"{type(error).__name__}: {error}"
        message, code = f"a bug, sorry: {told}; --debug shows where", BUG
    print(f"marl: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
