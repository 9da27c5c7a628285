"""`--device`: learners on a device that is pretended (`on_pretended.py`), and devices that are not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from environments.errors import UsageError
from marl.cli.main import main
from marl.device import find
from tests.source import ROOT


def test_learners_on_a_device_that_is_pretended() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/gpu/on_pretended.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout


def test_a_device_that_is_not_there_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert find("cuda:0").index == 0
    with pytest.raises(UsageError, match="no cuda:1 on this machine"):
        find("cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    folder = str(tmp_path / "run")
    train = ["train", "mappo", "particle/spread", "--run-dir", folder, "--device"]
    league = ["league", "run", "board/tictactoe", "--dir", folder, "--device"]
    exploit = ["league", "exploit", "bot:board/tictactoe/perfect", "--dir", folder, "--device"]
    for words in (train, league, exploit):
        for device, told in (("cuda", "no cuda on this machine"), ("tpu", "--device must be cpu, cuda or cuda:N")):
            assert main([*words, device]) == 2
            assert told in capsys.readouterr().err.strip()
    assert main([*train, "cuda", "--engine", "fused"]) == 2 and main([*league, "cuda", "--engine", "fused"]) == 2
    assert not (tmp_path / "run").exists()
