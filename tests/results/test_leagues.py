"""The documented leagues: the page says what the results say, and the results what the page promises."""

from __future__ import annotations

import json
from typing import Any

import pytest

from results import leagues

FOUND = sorted(path.stem for path in leagues.FOLDER.glob("*.json"))


def result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((leagues.FOLDER / f"{name}.json").read_text())
    return found


def test_the_page_is_in_step() -> None:
    text = leagues.PAGE.read_text()
    assert leagues.page(text) == text
    assert all(f"<!-- league:{name} -->" in text for name in leagues.EXAMPLES)


@pytest.mark.parametrize("name", FOUND)
def test_every_example_took_a_quarter_of_an_hour_at_most(name: str) -> None:
    assert name in leagues.EXAMPLES and 0 < result(name)["seconds"] <= 900


@pytest.mark.parametrize("name", [name for name in FOUND if name.startswith("psro")])
def test_a_mixture_is_hardly_exploitable_where_its_members_are(name: str) -> None:
    told = [row["exploitability"] for row in result(name)["generations"]]
    assert max(told) > 0.5 and told[-1] < 0.05 * max(told)
    assert name != "psro-rps" or told[-1] < 0.05


@pytest.mark.skipif("exploiter" not in FOUND, reason="its result is not committed yet")
def test_the_hole_is_found() -> None:
    value, low, _ = result("exploiter")["gain"]
    assert 0 < low < value


@pytest.mark.skipif("connect-four" not in FOUND, reason="its result is not committed yet")
def test_connect_four_rises() -> None:
    found = result("connect-four")
    against, rows = found["against depth-4"], list(found["mains"].values())
    assert against["last"] > against["first"]
    assert rows[-1]["interval"][0] > rows[0]["interval"][1]
