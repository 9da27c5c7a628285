"""The compiler's two silent traps stay closed, and kernels stay what they promise to be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import environments
from environments import compile as compiling
from environments.compile import PACKAGE, kernel, kernel_sources

PLAY = """
import sys
import numpy as np
import environments
env = environments.make("toy/dock", num_envs=2)
for _ in range(3):
    out = env.step({"cart": np.ones((2, 2, 2), np.float32)})
print(out.groups[0].obs.tobytes().hex())
"""


def play_in(folder: Path) -> str:
    """What `PLAY` prints in a process of its own, with the packages and the cache of that folder."""
    settings = {**os.environ, "PYTHONPATH": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}
    run = subprocess.run(
        [sys.executable, "-c", PLAY], cwd=folder, env=settings, capture_output=True, text=True, check=True
    )
    return run.stdout


def test_an_edited_callee_is_compiled_again(tmp_path: Path) -> None:
    """Numba's own cache looks at the file of the entry point only and would have run the old code."""
    shutil.copytree(PACKAGE, tmp_path / "environments", ignore=shutil.ignore_patterns("__pycache__", "particle"))
    before = play_in(tmp_path)
    assert play_in(tmp_path) == before
    compiled = {path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.nbc")}
    assert compiled, "nothing was cached"
    callee = tmp_path / "environments" / "rng.py"  # called by the rules, which are called by the loops
    callee.write_text(callee.read_text().replace("UNIT = np.float32(1.0 /", "UNIT = np.float32(0.5 /"))
    assert play_in(tmp_path) != before


def test_every_file_with_kernels_is_watched() -> None:
    for path in PACKAGE.rglob("*.py"):
        if re.search(r"^@kernel", path.read_text(), re.MULTILINE):
            rules = path.parent if "games" in path.parts else None
            assert path in kernel_sources(rules), f"{path.name} holds kernels that the cache does not watch"


def test_rules_use_kernels_of_their_own_folder_and_shared_ones_only() -> None:
    """The cache of a family watches its folder: a kernel from another family would change unseen."""
    for path in (PACKAGE / "games").rglob("*.py"):
        family = path.parent.name
        for imported in re.findall(r"^from environments\.games\.(\w+)", path.read_text(), re.MULTILINE):
            assert imported == family, f"{path.name} imports rules of {imported}"


@kernel(entry=True)
def _looks_at_nan(values, out):
    for i in range(values.shape[0]):
        x = values[i]
        out[i, 0] = np.isnan(x)
        out[i, 1] = np.isfinite(x)
        out[i, 2] = x == x
        out[i, 3] = min(max(x, np.float32(0.0)), np.float32(1.0)) == x


def test_compiled_code_sees_nan_and_infinity() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 0.5], np.float32)
    out = np.zeros((4, 4), np.bool_)
    _looks_at_nan(values, out)
    assert out[:, 0].tolist() == [True, False, False, False]
    assert out[:, 1].tolist() == [False, False, False, True]
    assert out[:, 2].tolist() == [False, True, True, True]
    assert out[3, 3] and not out[0, 2]


def test_no_kernel_has_fastmath() -> None:
    for name in environments.names(toys=True):
        game = environments.game(name)
        for function in (game.reset_one, game.step_one, game.observe_one, game.loops().run):
            options = function.targetoptions
            assert not options.get("fastmath"), f"{name}: {function.__name__}"
            assert options["error_model"] == "numpy" and options["nogil"]


def test_nan_is_not_laundered() -> None:
    """A clipped NaN action ends as NaN in the reward, where it is seen, not as some number."""
    env = environments.make("toy/dock", num_envs=2)
    actions = np.zeros((2, 2, 2), np.float32)
    actions[0, 0, 0] = np.nan
    reward = env.step({"cart": actions}).groups[0].reward
    assert np.isnan(reward[0, 0])
    assert np.isfinite(reward[[0, 1, 1], [1, 0, 1]]).all()


def test_an_inlined_kernel_refuses_to_be_called_from_python() -> None:
    with pytest.raises(TypeError, match="inlined kernel"):
        environments.game("toy/dock").reset_one(None, None, None)


ADD = """
import numpy as np
from environments.compile import kernel
@kernel(entry=True)
def add(x, y):
    for i in range(x.shape[0]):
        x[i] += y[i]
x = np.arange(3.0)
add(x, x)
print(x.tolist(), sum(add.stats.cache_misses.values()))
"""
"""Prints what was added, and how many functions had to be compiled for it."""
TOGETHER = """
import sys
from pathlib import Path
import environments.compile
Path(sys.argv[1]).touch()
sys.stdin.readline()
import add
"""


def started(folder: Path, *words: str) -> subprocess.Popen[str]:
    """A process that kernels are compiled in, with the cache of that folder."""
    settings = {**os.environ, "PYTHONPATH": str(PACKAGE.parent), "XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.Popen([sys.executable, *words], cwd=folder, env=settings, text=True, stdin=-1, stdout=-1)


def test_an_unwritable_cache_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the cache folder should be")
    (tmp_path / "add.py").write_text(ADD)
    assert started(tmp_path, "add.py").communicate()[0].startswith("[0.0, 2.0, 4.0] ")


def test_what_two_processes_need_at_once_is_compiled_by_one(tmp_path: Path) -> None:
    """Both wait until the other has started too; the second then loads what the first has kept."""
    (tmp_path / "add.py").write_text(ADD)
    (tmp_path / "together.py").write_text(TOGETHER)
    pair = [started(tmp_path, "together.py", name) for name in ("one", "two")]
    while not all((tmp_path / name).exists() for name in ("one", "two")):
        assert all(process.poll() is None for process in pair)
        time.sleep(0.01)
    for process in pair:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert sorted(process.communicate()[0] for process in pair) == ["[0.0, 2.0, 4.0] 0\n", "[0.0, 2.0, 4.0] 1\n"]


def test_import_order_changes_nothing() -> None:
    """Whichever of our modules, numba or torch comes first, the same episode is played."""
    heads = ["import environments.facade", "import torch", "import numba, environments.games.toy.siege"]
    outputs = set()
    for head in heads:
        run = subprocess.run(
            [sys.executable, "-c", head + "\n" + PLAY],
            env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.add(run.stdout)
    assert len(outputs) == 1


def test_old_caches_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    root = tmp_path / "marl" / "kernels" / "shared"
    for i in range(compiling.KEPT_CACHES + 3):
        (root / f"old{i}").mkdir(parents=True)
        os.utime(root / f"old{i}", (i, i))
    folder = compiling.cache_folder.__wrapped__()
    kept = {path.name for path in root.iterdir()}
    assert folder.name in kept and len(kept) == compiling.KEPT_CACHES + 1
    assert "old0" not in kept and f"old{compiling.KEPT_CACHES + 2}" in kept
