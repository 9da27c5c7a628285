"""Errors that a person caused or can mend: one line each (what happened, what is safe, what to do), with an exit code.

Everything that is not one of these is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable

MOST_TOLD = 12
"""Names that are told where one is unknown and none is like it."""


class MarlError(Exception):
    """Base of all errors shown to people as one line; `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(MarlError):
    """A name, option or size that cannot be used."""

    exit_code = 2


class RefusedFile(MarlError):
    """An input file that is damaged, foreign or does not fit."""

    exit_code = 3


class NumericalFailure(MarlError):
    """NaN or infinity in a loss, gradient or observation; `batch` is the data in which it arose, where known."""

    exit_code = 4

    def __init__(self, message: str, batch: object = None) -> None:
        super().__init__(message)
        self.batch = batch


class StorageFailure(MarlError):
    """A file that could not be written."""

    exit_code = 5


class EnvironmentFailure(MarlError):
    """An environment or one of its workers failed more often than allowed."""

    exit_code = 6


def nearest(name: str, known: Iterable[str], listed: str = "") -> str:
    """`; did you mean 'x'?` for the closest known name, or a list where none is close.

    Of many names those of the same family are told, or the first ones; `listed` is the command that lists them all.
    """
    import difflib  # every command would wait for what only a slip needs

    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    if len(names) > MOST_TOLD:
        family = name.partition("/")[0] + "/"
        names = [each for each in names if each.startswith(family)] or names
    more = f" and {len(names) - MOST_TOLD} more" if len(names) > MOST_TOLD else ""
    all_of_them = f"; {listed} names all" if listed else ""
    return f"; known: {', '.join(names[:MOST_TOLD])}{more}{all_of_them}"


def check_range(name: str, value: float, low: float, high: float) -> None:
    """ValueError unless `low <= value <= high` (so NaN is refused)."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low} and {high}, not {value}")
