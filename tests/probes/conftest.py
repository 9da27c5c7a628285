"""Says of every probe's test which row of the table it fills, and for which learner: reports carry it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.probes.table import CONTROLS, CRITICS, MODULES, NAMES


def told(item: Any) -> dict[str, str]:
    """Row, learner and role of a test; nothing where it fills no row."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    probe = parameters.get("probe")
    row = NAMES.get(getattr(probe, "__name__", item.originalname))
    if row is None:
        return {}
    named = [parameters[word] for word in ("name", "other", "learner") if word in parameters]
    learner = (
        named[0]
        if named
        else CRITICS.get(parameters.get("critic", "")) or MODULES[item.path.stem.removesuffix("_planted")]
    )
    role = "control" if "bug" in parameters or item.originalname in CONTROLS else "probe"
    return {"row": row, "learner": learner, "role": role}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Reports hand these properties on, also between processes."""
    for item in items:
        if "tests/probes/" in item.nodeid:
            item.user_properties += list(told(item).items())
