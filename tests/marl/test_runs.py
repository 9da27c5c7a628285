"""The run folder: made once, found again, never written over."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from environments.errors import RefusedFile, StorageFailure, UsageError
from marl import runs

CONFIG = {"scenario": "particle/spread", "algorithm": "mappo", "teams": {}, "train": {"seed": 3, "total_steps": 9}}


def test_a_run_is_found_again_with_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = runs.create(None, CONFIG, ["marl", "train"])
    assert run.folder.parent == Path("runs/particle/spread/mappo") and run.folder.name.startswith("3-")
    again = runs.create(None, CONFIG, ["marl", "train"])
    assert again.folder != run.folder
    opened = runs.open_run(run.folder)
    assert (opened.scenario, opened.algorithm, opened.seed) == ("particle/spread", "mappo", 3)
    assert [found.folder for found in runs.within()] == sorted([run.folder, again.folder])
    told = json.loads((run.folder / "manifest.json").read_text())
    assert told["seed"] == 3 and told["command"] == ["marl", "train"]
    assert told["versions"]["numpy"] and told["machine"]["cores"] >= 1 and len(told["git"]["commit"]) == 40


def test_nothing_is_written_over(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    runs.create(folder, CONFIG, [])
    before = (folder / "config.json").read_bytes()
    with pytest.raises(UsageError, match=r"exists and is not empty; to go on with it: marl resume"):
        runs.create(folder, CONFIG | {"algorithm": "ippo"}, [])
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="exists and is not empty"):
        runs.create(tmp_path / "file", CONFIG, [])
    assert (folder / "config.json").read_bytes() == before
    (tmp_path / "empty").mkdir()
    runs.create(tmp_path / "empty", CONFIG, [])


def test_what_is_not_a_run_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no run at"):
        runs.open_run(tmp_path / "nowhere")
    runs.create(tmp_path / "deep" / "run", CONFIG, [])
    with pytest.raises(UsageError, match=r"is not a run: it has no config.json; there is one at .*deep/run"):
        runs.open_run(tmp_path)
    for content, message in (
        ("[]", "not the config of a run"),
        ("{", "cannot be read as JSON"),
        (json.dumps({**CONFIG, "schema": 99}), "schema 99; this version reads 1"),
        (json.dumps({"schema": 1, "train": {}}), "not the config of a run"),
        (json.dumps({**CONFIG, "schema": 1, "scenario": 5}), "not the config of a run: scenario is 5"),
        (json.dumps({**CONFIG, "schema": 1, "teams": None}), "not the config of a run: teams is None"),
        (json.dumps({**CONFIG, "schema": 1, "train": {"seed": 3}}), "not the config of a run: total_steps is None"),
    ):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(RefusedFile, match=message):
            runs.open_run(tmp_path)
    assert [run.folder for run in runs.within(tmp_path)] == [tmp_path / "deep" / "run"]


def test_metrics_past_the_checkpoint_are_cut(tmp_path: Path) -> None:
    run = runs.create(tmp_path / "run", CONFIG, [])
    assert runs.cut_metrics(run, 10) == 0
    lines = [json.dumps({"step": step, "return": -step}) + "\n" for step in (10, 20, 30)]
    run.metrics.write_text("".join(lines) + '{"step": 40, "ret')
    assert [row["step"] for row in runs.read_metrics(run)] == [10, 20, 30]
    assert runs.cut_metrics(run, 20) == 2
    assert run.metrics.read_text() == "".join(lines[:2])
    assert runs.cut_metrics(run, 20) == 0


def test_two_processes_cannot_use_one_run(tmp_path: Path) -> None:
    run = runs.create(tmp_path / "run", CONFIG, [])
    lock = runs.Lock(run)
    code = "import sys; from marl import runs; runs.Lock(runs.open_run(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(run.folder)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "is in use by another process" in refused.stderr and runs.is_held(run)
    lock.release()
    assert not runs.is_held(run)
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    (run.folder / ".lock").unlink()
    (run.folder / ".lock").mkdir()
    with pytest.raises(StorageFailure, match=r"^cannot write .*: Is a directory$"):
        runs.Lock(run)
