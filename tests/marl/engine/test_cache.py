"""The engine's disk cache: one process compiles, the next loads, an edited callee is compiled again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import marl
from environments.compile import PACKAGE

ACT = """
import numpy as np
from marl.engine import noise
out = np.zeros((2, 3, 1), np.float32)
noise.fill(np.uint64(1), np.arange(2, dtype=np.uint64), np.zeros(2, np.int64), np.arange(3), out)
print(out.tobytes().hex())
"""


def act_in(folder: Path) -> str:
    """What `ACT` prints in a process of its own, with the packages and the cache of that folder."""
    settings = {**os.environ, "PYTHONPATH": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}
    run = subprocess.run(
        [sys.executable, "-c", ACT], cwd=folder, env=settings, capture_output=True, text=True, check=True
    )
    return run.stdout


def test_an_edited_callee_is_compiled_again(tmp_path: Path) -> None:
    skipped = shutil.ignore_patterns("__pycache__", "games", "cli", "policies")
    shutil.copytree(PACKAGE, tmp_path / "environments", ignore=skipped)
    shutil.copytree(Path(marl.__path__[0]), tmp_path / "marl", ignore=skipped)
    before = act_in(tmp_path)
    kept = {path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.nbc")}
    assert kept
    assert act_in(tmp_path) == before
    assert {path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.nbc")} == kept  # loaded, not compiled
    callee = tmp_path / "environments" / "rng.py"
    callee.write_text(callee.read_text().replace("x ^ (x >> U(27))", "x ^ (x >> U(26))"))
    assert act_in(tmp_path) != before
