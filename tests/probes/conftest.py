"""Says of every probe's test which row of the table it fills, and for which learner: reports carry it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.probes.asking import QUESTIONS
from tests.probes.table import TESTS


def told(item: Any) -> dict[str, str]:
    """Row, learner and role of a test; nothing where it fills no row."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    learner = parameters.get("learner", "mappo")
    if "question" in parameters:
        question = QUESTIONS[parameters["question"]]
        role = "control" if question.control or "bug" in parameters else "probe"
        return {"row": " ".join(question.rows), "learner": learner, "role": role} if question.rows else {}
    if item.originalname in TESTS:
        row, role = TESTS[item.originalname]
        return {"row": row, "learner": learner, "role": role}
    return {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Reports hand these properties on, also between processes."""
    for item in items:
        if "tests/probes/" in item.nodeid:
            item.user_properties += list(told(item).items())
