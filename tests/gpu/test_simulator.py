"""Every game's per-copy functions give under Numba's CUDA simulator what the compiled ones gave, on real play.

The simulator runs Python source, so what is tested is that the rules, as device functions of a kernel, mean in Python's
arithmetic what they mean in compiled code, and call nothing but one another. It cannot tell how a GPU rounds.

Every game by its own options; `make test-gpu` takes the options of the contract tests too, and more steps of each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import environments
from environments.native import NativeEnv
from environments.vector import Array
from tests.contracts import play
from tests.contracts.cases import CASES, Case
from tests.source import ROOT

COPIES = 2
ALL = os.environ.get("EVERY_GAME") == "1"
AMID = (1, 6, 15, 35) if ALL else (6,)
"""Steps that are compared amid episodes; besides, those in which an episode ends, until these are over."""
PLAYED = CASES if ALL else [Case(name) for name in environments.names(toys=True)]
PRECISION = 1e-6

Arrays = dict[str, Array]


def snapshot(env: NativeEnv) -> Arrays:
    """Everything that a step may change."""
    return {"states": env.states.copy(), "clocks": env.clocks.copy(), **play.snapshot(env.buffers)}


def record(case: Case) -> tuple[Arrays, Arrays]:
    """(copies and their actions before a step, the copies after it): some amid an episode, some at an episode's end."""
    env = case.make(COPIES, seed=7, num_threads=1)
    assert isinstance(env, NativeEnv)
    rng = np.random.default_rng(7)
    pairs: list[tuple[Arrays, Arrays]] = []
    for step in range(10_000):
        actions = play.random_actions(env, rng)
        before = snapshot(env) | {f"actions.{group}": array for group, array in actions.items()}
        over = env.step(actions).episode_over.any()
        if step in AMID or over:
            pairs.append((before, snapshot(env)))
        if step >= AMID[-1] and over:
            break
    before, after = ({key: np.concatenate([pair[k][key] for pair in pairs]) for key in pairs[0][k]} for k in (0, 1))
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
    compiled: dict[Path, Arrays] = {}
    for number, case in enumerate(PLAYED):
        path = tmp_path / f"{number}-{case.name.replace('/', '_')}.npz"
        before, compiled[path] = record(case)
        np.savez(path, name=np.array(case.name), options=np.array(json.dumps(case.options)), **before)
    command = [sys.executable, "-m", "tests.gpu.simulate", *map(str, compiled)]
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = {path.stem: differences(after, _read(path)) for path, after in compiled.items()}
    assert not {name: of_game for name, of_game in found.items() if of_game}


def _read(path: Path) -> Arrays:
    with np.load(path) as file:
        return dict(file)


def test_a_difference_is_found() -> None:
    before, after = record(Case("toy/meet"))
    assert differences(after, before)
