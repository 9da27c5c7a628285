"""Asking: a question is a game, how long each core of learners gets in it, what differs for it, and what must come out.

`asks` puts questions into `QUESTIONS`; `table` says of whom one cannot be asked, and who is asked in CI.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.probes.environment import Rules
from tests.probes.table import LEARNERS, ROLLOUTS, STANDS, TEAMS, core_of, reason
from tests.probes.train import probe_of


@dataclass(frozen=True)
class Way:
    """How the learners of a core are asked."""

    effort: int
    """Iterations of learners from rollouts, updates of the others."""
    within: float = 0.05
    """How near values have to come."""
    reward: str | None = None
    """None: agents' own; of values of actions, the team's mean."""
    game: Callable[[], Rules] | None = None
    """Where it is not that of the others."""
    of: tuple[str, ...] = ()
    """Which of them, those first who stand for the core; none: all, as the table has them."""
    settings: Mapping[str, Any] = field(default_factory=dict)


def way(effort: int, within: float = 0.05, reward: str | None = None, **rest: Any) -> Way:
    """`game` and `of` as they are; what else is named is a setting of the learner."""
    own = {name: rest.pop(name) for name in ("game", "of") if name in rest}
    return Way(effort, within, reward, settings=rest, **own)


@dataclass(frozen=True)
class Question:
    """Of a row of the table, or of its own; called with a learner's name: AssertionError where the answer is wrong."""

    name: str
    rows: tuple[str, ...]
    game: Callable[[], Rules]
    ways: Mapping[str, Way]
    """Core -> how; "ppo" stands for all cores of learners from rollouts."""
    check: Callable[[Ask], None]
    control: bool = False
    """Whether it is the other side of a question: that what cannot be known is not known."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of all learners."""

    def way(self, name: str) -> Way | None:
        """How a learner is asked; None: not at all."""
        core = core_of(name)
        found = self.ways.get("ppo" if core in ROLLOUTS else core)
        if found is None or (found.of and name not in found.of):
            return None
        if name in TEAMS and self.reward(name) == "agent":
            return None
        return None if any(reason(row, core, name) for row in self.rows) else found

    def asked(self, core: str, whole: bool) -> list[str]:
        """Whom of a core: all that can be asked, or who stands for them."""
        able = [name for name in LEARNERS[core] if self.way(name)]
        if whole or not able or not STANDS[core]:
            return able if whole else []
        order = self.way(able[0]).of or able  # type: ignore[union-attr]
        return [name for name in STANDS[core] if name in able] or [name for name in order if name in able][:1]

    def reward(self, name: str) -> str:
        """Which reward that learner learns from."""
        core = core_of(name)
        found = self.ways["ppo" if core in ROLLOUTS else core]
        asked: str | None = self.settings.get("reward", found.reward)
        return asked or ("team_mean" if core == "q" else "agent")

    def __call__(self, name: str) -> None:
        self.check(Ask(self, name))


class Ask:
    """A question put to a learner; called, a learner that has been trained for it."""

    def __init__(self, question: Question, name: str) -> None:
        found = question.way(name)
        assert found is not None, f"{question.name} is not asked of {name}"
        self.question, self.name, self.core, self.way = question, name, core_of(name), found
        self.from_rollouts = self.core in ROLLOUTS
        self.reward = question.reward(name)
        self.given = {**found.settings, **question.settings}
        self.given.pop("reward", None)

    def __call__(self, game: Rules | None = None, effort: int | None = None, **changed: Any) -> Any:
        """Trained in the question's game, unless another is given, and as long as the way says."""
        game = game or (self.way.game or self.question.game)()
        look = probe_of(game, self.name, self.reward, **{**self.given, **changed})
        look.train(self.way.effort if effort is None else effort)
        return look

    def near(self, values: object, wanted: object) -> None:
        """As near as the way asks."""
        near(values, wanted, self.way.within)


def rewards(*names: str) -> list[dict[str, str]]:
    """A question asked with each of those rewards."""
    return [{"reward": name} for name in names]


def near(values: object, wanted: object, within: float) -> None:
    worst = float(np.abs(np.asarray(values) - np.asarray(wanted)).max())
    assert worst <= within, f"off by {worst}"


QUESTIONS: dict[str, Question] = {}


def asks(
    row: str,
    game: Callable[[], Rules],
    control: bool = False,
    each: Sequence[Mapping[str, Any]] = ({},),
    **ways: int | Way,
) -> Callable[[Callable[[Ask], None]], Callable[[Ask], None]]:
    """Ask, with each of some settings; a number is a way with nothing else said."""

    def entered(check: Callable[[Ask], None]) -> Callable[[Ask], None]:
        known = {core: Way(x) if isinstance(x, int) else x for core, x in ways.items()}
        for settings in each:
            name = "-".join([check.__name__, *map(str, settings.values())])
            QUESTIONS[name] = Question(name, (row,) if row else (), game, known, check, control, settings)
        return check

    return entered
