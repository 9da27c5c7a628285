"""Every question is answered by every learner that it can be asked, and by none that a bug has been planted in.

Each question once for every core of learners; of all of them with `PROBES=all` in the environment (`make probes`).
"""

from __future__ import annotations

import pytest

from marl.config import ALGORITHMS
from tests.probes import deeds, worth  # noqa: F401  questions
from tests.probes.asking import QUESTIONS
from tests.probes.planted import PLANTED, Bug
from tests.probes.table import LEARNERS, ROLLOUTS, ROWS, STANDS, TESTS, WHOLE, reason

ASKED = [
    (name, learner)
    for name, question in QUESTIONS.items()
    for core in LEARNERS
    for learner in question.asked(core, WHOLE or (name == "echo" and core in ROLLOUTS))
]


@pytest.mark.parametrize(("question", "learner"), ASKED)
def test_probe(question: str, learner: str) -> None:
    QUESTIONS[question](learner)


@pytest.mark.parametrize(("bug", "question", "learner"), PLANTED, ids=lambda x: getattr(x, "__name__", x))
def test_a_planted_bug_is_found(bug: Bug, question: str, learner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe is worth something: it finds a bug that is planted for it."""
    bug(monkeypatch)
    with pytest.raises(AssertionError):
        QUESTIONS[question](learner)


def test_no_learner_is_left_out() -> None:
    known = {name for names in LEARNERS.values() for name in names}
    assert ALGORITHMS.keys() <= known
    assert all(set(STANDS[core]) <= set(names) for core, names in LEARNERS.items())


@pytest.mark.parametrize("core", [core for core in LEARNERS if STANDS[core]])
def test_every_row_is_asked_of_every_core(core: str) -> None:
    """In CI too; memory's tests stand apart."""
    asked = {row for name, learner in ASKED if learner in LEARNERS[core] for row in QUESTIONS[name].rows}
    apart = {row for row, _ in TESTS.values()}
    assert asked | apart >= {row for row in ROWS if any(reason(row, core, name) is None for name in LEARNERS[core])}
