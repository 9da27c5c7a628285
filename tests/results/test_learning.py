"""Rows of the learning tables: several in one process, each as if its commands had been typed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from results import learning

SMALL = ("--num-envs", "4", "--warmup-steps", "100", "--batch-size", "8", "--hidden", "8", "--updates-per-step", "0.05")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, folder in {"ROOT": "", "FOLDER": "learning", "RUNS": "runs"}.items():
        monkeypatch.setattr(learning, name, tmp_path / folder)
    (tmp_path / "runs").mkdir()


def row(algorithm: str, variant: str) -> learning.Row:
    return learning.Row(algorithm, "matrix/climbing", variant, 400, 1, "team_sum", SMALL, episodes=8)


def test_rows_of_one_process_leave_nothing_to_those_after_them(tmp_path: Path) -> None:
    rows = [row("hasac", "first"), row("qmix", "between"), row("hasac", "last")]
    before = list(sys.argv), Path.cwd()
    for each in rows:
        learning.measure(each, 3)
    assert (sys.argv, Path.cwd()) == before
    found = [json.loads((tmp_path / "learning" / f"{each.name}-3.json").read_text()) for each in rows]
    shas = [run["evaluation"]["players"]["team"]["sha256"] for run in found]
    assert shas[0] == shas[2] != shas[1]
    assert found[0]["evaluation"]["sum"] == found[2]["evaluation"]["sum"] != found[0]["random"]["sum"]
    typed = json.loads((tmp_path / "runs" / f"{rows[0].name}-3" / "manifest.json").read_text())["command"]
    assert " ".join(typed) == found[0]["commands"][0]
    assert found[0]["commands"][0].startswith("marl train hasac matrix/climbing --seed 3 --total-steps 400")
    assert not list((tmp_path / "runs").glob("*.json"))


def test_greedy_play_is_noted_at_the_first_evaluation_from_each_step() -> None:
    steps = {34_880: -60.0, 35_040: -50.0, 40_000: -45.0, 85_120: -40.004}
    metrics = [{"step": step, "eval/return": x, "eval/episodes": 100.0} for step, x in steps.items()]
    found = learning._greedy_curve([*metrics, {"step": 110_080}])
    assert [(each["step"], each["return"]) for each in found] == [(35_000, -50.0), (85_000, -40.0)]


def test_a_command_that_fails_is_told_with_its_reason() -> None:
    with pytest.raises(SystemExit, match="failed with 2: marl: no preset 'none' for hasac in matrix/climbing"):
        learning._run(["marl", "train", "hasac", "matrix/climbing", "--preset", "none"], apart=False)
