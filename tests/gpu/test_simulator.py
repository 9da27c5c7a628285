"""Every game's per-copy functions give under Numba's CUDA simulator what the compiled ones gave, on real play.

The simulator runs Python source, so what is tested is that the rules, as device functions of a kernel, mean in Python's
arithmetic what they mean in compiled code, and call nothing but one another. It cannot tell how a GPU rounds.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import environments
from environments.native import NativeEnv
from environments.vector import Array
from tests.contracts import play
from tests.source import ROOT

COPIES = 2
AMID = 6
"""The step that is compared amid an episode; the other is the one in which an episode ends."""
PRECISION = 1e-6

Arrays = dict[str, Array]


def snapshot(env: NativeEnv) -> Arrays:
    """Everything that a step may change."""
    return {"states": env.states.copy(), "clocks": env.clocks.copy(), **play.snapshot(env.buffers)}


def record(name: str) -> tuple[Arrays, Arrays]:
    """(copies and their actions before a step, the copies after it): some amid an episode, some at an episode's end."""
    env = environments.make(name, COPIES, seed=7, num_threads=1)
    assert isinstance(env, NativeEnv)
    rng = np.random.default_rng(7)
    pairs: list[tuple[Arrays, Arrays]] = []
    for step in range(10_000):
        actions = play.random_actions(env, rng)
        before = snapshot(env) | {f"actions.{group}": array for group, array in actions.items()}
        over = env.step(actions).episode_over.any()
        if step == AMID or over:
            pairs.append((before, snapshot(env)))
        if step >= AMID and over:
            break
    first, last = pairs[0], pairs[-1]
    before, after = ({key: np.concatenate([first[k][key], last[k][key]]) for key in first[k]} for k in (0, 1))
    return before, after


def differences(ours: Arrays, theirs: Arrays) -> list[str]:
    """Names of the arrays, and of the fields of records, that differ; floats within `PRECISION`."""
    found = []
    for name, array in ours.items():
        fields = {name: array}
        if array.dtype.names:
            fields = {f"{name}.{field}": array[field] for field in array.dtype.names}
        for field, own in fields.items():
            other = theirs[name][field.split(".")[-1]] if array.dtype.names else theirs[name]
            tolerance = PRECISION if own.dtype.kind == "f" else 0
            if not np.allclose(own, other, rtol=tolerance, atol=tolerance, equal_nan=True):
                found.append(f"{field}: {own.tolist()} became {other.tolist()}"[:400])
    return found


def test_rules_mean_the_same_under_the_simulator(tmp_path: Path) -> None:
    """All games in one test: the simulator's process starts once."""
    compiled, paths = {}, {}
    for name in environments.names(toys=True):
        before, compiled[name] = record(name)
        paths[name] = tmp_path / f"{name.replace('/', '_')}.npz"
        np.savez(paths[name], name=np.array(name), **before)
    command = [sys.executable, "-m", "tests.gpu.simulate", *map(str, paths.values())]
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = {name: differences(compiled[name], _read(path)) for name, path in paths.items()}
    assert not {name: of_game for name, of_game in found.items() if of_game}


def _read(path: Path) -> Arrays:
    with np.load(path) as file:
        return dict(file)


def test_a_difference_is_found() -> None:
    before, after = record("toy/meet")
    assert differences(after, before)
