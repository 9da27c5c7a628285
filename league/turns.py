"""What a league's turn is, as plain data: who trains, how far every learner is, whom it may meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from environments.errors import RefusedFile
from league.plans import Part
from marl import files

SCHEMA = 1
STATE = "state.json"
COUNTS = ("number", "generation", "steps", "total", "since", "snapshots")
"""Fields of a line that are whole numbers."""
Key = tuple[int, int]
"""A player's number in the store, and for a learner in some state its steps; -1 for those who never change."""
FROZEN = -1
MIRROR: Key = (0, FROZEN)
"""The learner itself, as an opponent."""


@dataclass(frozen=True)
class Choice:
    """Who may sit in the seats of one kind of team, and how likely."""

    keys: tuple[Key, ...]
    chances: tuple[float, ...]

    def __post_init__(self) -> None:
        likely = all(0.0 <= chance <= 1.0 for chance in self.chances) and abs(sum(self.chances) - 1.0) < 1e-6
        if len(self.keys) != len(self.chances) or not likely:
            raise ValueError(f"no chances of {len(self.keys)} players: {self.chances}")

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` reads it back."""
        return {"keys": [list(key) for key in self.keys], "chances": list(self.chances)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Choice:
        """An exception of some kind where the data is not what `to_json` writes."""
        keys = tuple((int(number), int(steps)) for number, steps in data["keys"])
        return cls(keys, tuple(float(x) for x in data["chances"]))


@dataclass(frozen=True)
class Line:
    """A learner, as far as it is: a line of snapshots."""

    name: str
    kind: str
    part: Part
    number: int = 0
    """In the store, of its present generation."""
    generation: int = 0
    """How often it began anew."""
    steps: int = 0
    """Environment steps of this generation."""
    total: int = 0
    """Of all generations."""
    since: int = 0
    """Steps at which its last snapshot was taken."""
    snapshots: int = 0
    """Snapshots of all generations."""

    @property
    def live(self) -> str:
        """Name of the present generation in the store."""
        return self.name if self.generation == 0 else f"{self.name}.{self.generation + 1}"


@dataclass(frozen=True)
class Turn:
    """Who trains, until when, against whom."""

    line: str
    until: int
    """Steps of the line's generation."""
    choices: Mapping[str, Choice]

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` reads it back."""
        return {
            "line": self.line,
            "until": self.until,
            "choices": {kind: choice.to_json() for kind, choice in self.choices.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Turn:
        """An exception of some kind where the data is not what `to_json` writes."""
        choices = {kind: Choice.from_json(choice) for kind, choice in data["choices"].items()}
        return cls(str(data["line"]), int(data["until"]), choices)


@dataclass(frozen=True)
class State:
    """All of a league that is not in its log, its snapshots or its learners' own states."""

    turns: int
    """That are over."""
    lines: tuple[Line, ...]
    turn: Turn | None
    """None where the league is finished."""

    def write(self, folder: Path) -> None:
        """Make it the state of the league in a folder. StorageFailure where that cannot be done."""
        turn = None if self.turn is None else self.turn.to_json()
        lines = [asdict(line) for line in self.lines]
        files.write_json(folder / STATE, {"schema": SCHEMA, "turns": self.turns, "lines": lines, "turn": turn})

    @classmethod
    def read(cls, folder: Path) -> State:
        """The state of the league in a folder. RefusedFile where it is none."""
        path = folder / STATE
        state = files.read_json(path)
        try:
            if state["schema"] != SCHEMA:
                raise ValueError(f"it has schema {state['schema']}; this version reads {SCHEMA}")
            turn = None if state["turn"] is None else Turn.from_json(state["turn"])
            lines = tuple(Line(**line) for line in state["lines"])
            if not lines or (turn is not None and turn.line not in {line.name for line in lines}):
                raise ValueError("whose turn it is does not learn here")
            if not all(isinstance(getattr(line, name), int) for line in lines for name in COUNTS):
                raise ValueError("a count is no whole number")
            if not all(line.part in get_args(Part) for line in lines):
                raise ValueError("a learner has no part")
            return cls(int(state["turns"]), lines, turn)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RefusedFile(f"{path} is not the state of a league ({type(error).__name__}: {error})") from None
