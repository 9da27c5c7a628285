"""Measurements reach the file, whatever the other sinks do."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from environments.errors import StorageFailure
from marl.metrics import JsonLines, Sinks, console
from marl.metrics import weights_and_biases as wb
from marl.metrics.weights_and_biases import WeightsAndBiases


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_row_is_on_disk_at_once(tmp_path: Path) -> None:
    sink = JsonLines(tmp_path / "metrics.jsonl")
    sink.write(128, {"return": np.float32(-0.5), "bad": float("nan"), "n": np.int64(3)})
    assert rows(tmp_path / "metrics.jsonl") == [{"step": 128, "return": -0.5, "bad": None, "n": 3}]
    sink.close()
    again = JsonLines(tmp_path / "metrics.jsonl")
    again.write(256, {})
    assert [row["step"] for row in rows(tmp_path / "metrics.jsonl")] == [128, 256]
    again.close()


def test_a_full_disk_is_a_storage_failure() -> None:
    sink = JsonLines(Path("/dev/full"))
    with pytest.raises(StorageFailure, match="cannot write /dev/full: No space left"):
        sink.write(1, {"a": 1.0})


class Broken:
    def __init__(self) -> None:
        self.calls = 0

    def write(self, step: int, row: object) -> None:
        self.calls += 1
        raise RuntimeError("the service\nis gone")

    def close(self) -> None:
        raise AssertionError("closed after it was left out")


def test_a_progress_display_that_nobody_reads_does_not_end_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under `marl train ... 2>&1 | head -1`: every line to standard error fails."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as closed:
        monkeypatch.setattr(sys, "stderr", closed)
        monkeypatch.setattr(console, "PLAIN_SECONDS", 0.0)
        sinks = Sinks(JsonLines(tmp_path / "m"), [console.Console(100)])
        for step in (1, 2):
            sinks.write(step, {})
        sinks.close()
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)  # what is buffered can be written at last
    assert [row["step"] for row in rows(tmp_path / "m")] == [1, 2]


def test_a_broken_sink_is_left_out_with_one_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = Broken()
    sinks = Sinks(JsonLines(tmp_path / "m"), [broken])
    for step in range(3):
        sinks.write(step, {})
    sinks.close()
    assert broken.calls == 1
    assert len(rows(tmp_path / "m")) == 3
    assert capsys.readouterr().err == "warning: Broken is left out from here on: the service is gone\n"


def test_plain_lines_tell_speed_return_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    out = io.StringIO()
    shown = console.Console(1_000_000, step=500_000, stream=out)
    now[0] = 101.0
    shown.write(510_000, {"return": -20.0})
    assert out.getvalue() == ""
    now[0] = 110.0
    shown.write(600_000, {})
    assert out.getvalue() == "600k of 1M steps  10k steps/s  return -20.00  40 s left\n"
    shown.write(1_000_000, {"return": 0.0, "return/good": 1.0, "return/adversary": -1.0})
    assert "return good 1.00, adversary -1.00" in out.getvalue()


def test_numbers_and_durations_for_people() -> None:
    assert [console.short(n) for n in (0, 950, 12345, 4.56e6, 2e9)] == ["0", "950", "12.3k", "4.56M", "2G"]
    assert [console.duration(s) for s in (5, 65, 3720, float("inf"))] == ["5 s", "1 min 05 s", "1 h 02 min", "?"]


def sink(folder: Path, mode: str = "offline", **limits: float) -> WeightsAndBiases:
    return WeightsAndBiases(folder, mode, "test", "group", "0", {"seed": 0}, **limits)


def test_wandb_offline_keeps_its_data_in_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = sink(tmp_path)
    first.write(128, {"return": 1.0})
    policy = tmp_path / "team.safetensors"
    policy.write_bytes(b"weights")
    first.artifact(policy, "policy")
    first.close()
    said = capsys.readouterr().err
    assert "wandb sync" in said and "warning" not in said
    stored = list(tmp_path.glob(f"wandb/offline-run-*-{first.run_id}/*.wandb"))
    assert len(stored) == 1 and b"return" in stored[0].read_bytes()
    assert json.loads((tmp_path / "wandb.json").read_text()) == {"id": first.run_id}


def test_a_resumed_run_goes_on_with_the_same_wandb_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/true")
    first, second = sink(tmp_path), sink(tmp_path)
    assert first.run_id == second.run_id
    (tmp_path / "elsewhere").mkdir()
    assert sink(tmp_path / "elsewhere").run_id != first.run_id


@pytest.mark.parametrize("key", ["x" * 40, ""], ids=["dead server", "missing key"])
def test_wandb_without_server_or_key_costs_one_warning(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("HOME", str(tmp_path))  # no ~/.netrc
    monkeypatch.delenv("WANDB_MODE", raising=False)
    online = sink(tmp_path, "online", init_seconds=2.0)
    started = time.monotonic()
    for step in range(3000):
        online.write(step, {"return": 1.0})
    assert time.monotonic() - started < 20.0  # a client that blocked would take its minute and a half
    online.close()
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert "W&B cannot begin online" in warnings[0] and "going on offline" in warnings[0]
    assert all("rows" in line for line in warnings[1:])
    assert list(tmp_path.glob("wandb/offline-run-*"))


def test_a_hanging_service_is_ended_at_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hang = tmp_path / "hang"
    hang.write_text("#!/bin/sh\nexec sleep 600\n")
    hang.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(hang))
    monkeypatch.setattr(wb, "QUEUE", 10)
    stuck = sink(tmp_path, finish_seconds=0.5)
    started = time.monotonic()
    for step in range(5000):  # more than the pipe holds
        stuck.write(step, {"return": float(step)})
    written = time.monotonic() - started
    stuck.close()
    assert written < 2.0
    assert time.monotonic() - started < 10.0
    said = capsys.readouterr().err
    assert "did not finish within" in said and "rows, which are in metrics.jsonl" in said
    with pytest.raises(ProcessLookupError):
        os.kill(stuck._process.pid, 0)
