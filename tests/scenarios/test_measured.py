"""What is known of a scenario comes from the committed measurements, and the list shows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from marl.cli.list import scenarios
from marl.cli.main import main
from results import table
from scenarios import catalog, measured


def _run(seed: int, mean: float) -> dict[str, Any]:
    result: dict[str, Any] = {
        "teams": {"ally": {"mean": mean, "low": mean - 1, "high": mean + 1}},
        "episodes": 10,
        "greedy": False,
    }
    result["metrics"] = {"won": {"mean": mean / 20, "low": 0.0, "high": 1.0, "unit": "episodes"}}
    run = {"scenario": "skirmish/3m", "algorithm": "mappo", "variant": "default", "reward": "team_mean"}
    return run | {"seed": seed, "total_steps": 1000, "evaluation": result, "greedy": result, "random": result}


def test_measurements_become_what_a_scenario_knows_of_itself(monkeypatch: Any, tmp_path: Any) -> None:
    speeds = [{"name": "skirmish/3m, 4096 copies, 2 threads", "value": 5e6}]
    baselines = {"skirmish/3m": {"teams": {"ally": {"mean": 4.0}}}}
    content = table.measured([_run(0, 18.0), _run(1, 19.0), _run(2, 20.0)], speeds, baselines)
    assert set(content) == set(catalog.SCENARIOS)
    (tmp_path / "measured.json").write_text(json.dumps(content))
    monkeypatch.setattr(measured, "FILE", tmp_path / "measured.json")
    measured._read.cache_clear()
    try:
        found = measured.of("skirmish/3m")
        assert (found.speed, found.random) == (5e6, {"ally": 4.0})
        (learned,) = found.learned
        assert (learned.algorithm, learned.steps, learned.seeds) == ("mappo", 1000, 3)
        middle, low, high = learned.returns["ally"]
        assert 18.0 <= low <= middle == 19.0 <= high <= 20.0
        assert learned.metrics["won"][0] == pytest.approx(0.95)
        assert measured.of("skirmish/8m") == measured.Measured() == measured.of("nobody/knows")
    finally:
        measured._read.cache_clear()


def test_every_scenario_that_ships_has_a_random_baseline() -> None:
    missing = [name for name in catalog.SCENARIOS if not measured.of(name).random]
    assert not missing, f"run: python results/baselines.py; python results/table.py ({missing})"


def test_the_list_says_who_plays_and_with_what() -> None:
    rows = {row["scenario"]: row for row in scenarios()}
    assert rows["particle/tag"]["teams"] == "adversary 3, good 1"
    assert rows["board/tictactoe"]["teams"] == "player 1 x2"
    assert rows["particle/speaker_listener"]["actions"] == "3 5"
    assert rows["skirmish/3m"]["steps/s"].endswith("M")


def test_the_list_as_json_says_all_of_a_scenario(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "scenarios", "--json", str(tmp_path / "all.json")]) == 0
    assert "evaluation" not in capsys.readouterr().out
    rows = {row["scenario"]: row for row in json.loads((tmp_path / "all.json").read_text())}
    assert set(rows) == set(catalog.SCENARIOS)
    battle = rows["skirmish/3m"]
    assert battle["environment"] == "skirmish/battle" and battle["options"]["allies"] == "3 marine"
    assert battle["evaluation"] == {"episodes": 1000, "greedy": False} and battle["teams"] == "ally 3"
    (learned,) = (row for row in battle["learned"] if row["algorithm"] == "mappo")
    assert learned["metrics"]["won"][0] > 0.95 and 0 < battle["random"]["ally"] < learned["returns"]["ally"][0]
