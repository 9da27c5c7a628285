"""Worker processes: the same episodes as in one process, every fault survived, nothing left behind."""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from environments import keys
from environments.errors import EnvironmentFailure
from environments.external import named
from environments.line import INTO
from environments.process import ProcessVectorEnv, share_of
from environments.vector import VectorEnv
from tests.contracts import checks, play

ARENAS = "tests.environments.external.arenas"
HERE = os.getpid()


def process(
    name: str = f"{ARENAS}:Arena",
    options: dict[str, Any] | None = None,
    num_envs: int = 4,
    workers: int = 2,
    seed: int = 0,
    first_copy: int = 0,
    **more: Any,
) -> ProcessVectorEnv:
    """Copies in worker processes."""
    options = options or {}
    harmless = {**options, "every": 10**6} if "every" in options else options
    spec = named.describe(name, harmless)  # looking at it shall not kill us
    spec = type(spec)(**{**{f: getattr(spec, f) for f in spec.__dataclass_fields__}, "options": options})
    return ProcessVectorEnv(name, spec, num_envs, workers, seed, first_copy, **more)


def children() -> set[int]:
    """Processes of ours, dead ones that nobody has asked about too."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                text = (folder / "stat").read_text()
            except OSError:
                continue
            if int(text.rpartition(")")[2].split()[1]) == HERE:
                found.add(int(folder.name))
    return found


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No process, no zombie, no file in shared memory, no open file."""
    gc.collect()
    before = children(), set(os.listdir("/dev/shm")), len(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    assert children() <= before[0]
    assert set(os.listdir("/dev/shm")) <= before[1]
    assert len(os.listdir("/proc/self/fd")) <= before[2]


@pytest.mark.parametrize("name", ["Arena", "Rooms", "Duel"])
def test_the_same_episodes_with_any_number_of_workers(name: str) -> None:
    full = f"{ARENAS}:{name}"
    envs: list[VectorEnv] = [named.make(full, 4, seed=5, first_copy=2)]
    envs += [process(full, num_envs=4, workers=workers, seed=5, first_copy=2) for workers in (1, 2, 4)]
    rng = np.random.default_rng(5)
    for t in range(15):
        if t == 7:
            for env in envs:
                env.reset(copies=[1, 3], keys=[11, 12])
        actions = play.random_actions(envs[0], rng)
        shots = [play.valid(env.step(actions)) for env in envs]
        for env, shot in zip(envs, shots, strict=True):
            play.assert_same(shots[0], shot, f"step {t}")
            assert (env.episode_seed == envs[0].episode_seed).all() and (env.episode_step == envs[0].episode_step).all()
    kept = [env.capture([3, 0, 2]) for env in envs]
    for state in kept[1:]:
        for part in ("arrays", "clock"):
            play.assert_same(dict(getattr(kept[0], part)), dict(getattr(state, part)), part)
    for env, state in zip(envs, reversed(kept), strict=True):
        env.restore([1, 2, 3], state)
        play.assert_same(play.valid(envs[0].buffers), play.valid(env.buffers), "restored")
        env.close()


@pytest.mark.parametrize(
    "check",
    [
        checks.check_every_element_is_written,
        checks.check_capture_and_restore,
        checks.check_rekey,
        checks.check_refusals,
    ],
)
def test_contract(check: Any) -> None:
    made: list[ProcessVectorEnv] = []

    def make(num_envs: int = 1, seed: int = 0, first_copy: int = 0) -> ProcessVectorEnv:
        made.append(process(num_envs=num_envs, workers=min(2, num_envs), seed=seed, first_copy=first_copy))
        return made[-1]

    try:
        check(make)
    finally:
        for env in made:
            env.close()


def test_workers_share_out_the_cores() -> None:
    for cores, workers in (({0, 1}, 1), ({0, 1}, 2), ({3, 5, 6, 9, 11}, 3), (set(range(64)), 7)):
        shares = [share_of(cores, number, workers) for number in range(workers)]
        assert sorted(core for share in shares for core in share) == sorted(cores)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert share_of({4, 2}, 2, 3) == [2, 4]


def test_an_environment_of_ours_in_processes() -> None:
    import environments

    native = environments.make("toy/siege", 3, seed=4)
    spread = ProcessVectorEnv("toy/siege", native.spec, 3, 2, seed=4)
    cores = os.sched_getaffinity(0)
    for worker in spread._workers:
        assert os.sched_getaffinity(worker.popen.pid) == set(share_of(cores, worker.number, 2))
    rng = np.random.default_rng(4)
    for t in range(50):
        actions = play.random_actions(native, rng)
        play.assert_same(play.valid(native.step(actions)), play.valid(spread.step(actions)), t)
    spread.close()


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("fault", ["dies", "sleeps", "spins", "raises", "nan", "shape", "stranger"])
def test_faults(fault: str, victim: int) -> None:
    """One copy's environment fails; the other worker's copies live on as if nothing had happened."""
    name, options = f"{ARENAS}:Faulty", {"fault": fault, "every": 4, "only": victim * 2}
    env = process(name, options, num_envs=4, workers=2, seed=6, step_seconds=1.0)
    calm = named.make(f"{ARENAS}:Arena", 4, seed=6)
    lonely = fault in ("dies", "sleeps", "spins")  # its worker's other copy goes down with it
    lost = [victim * 2, victim * 2 + 1] if lonely else [victim * 2]
    others = [e for e in range(4) if e not in lost]
    rng = np.random.default_rng(6)
    before = play.snapshot(env.buffers)
    for t in range(24):
        actions = play.random_actions(env, rng)
        started = time.monotonic()
        a, b = env.step(actions), calm.step(actions)
        play.assert_same(play.valid(a, others), play.valid(b, others), t)
        if env.faulted.any():
            break
        before = play.snapshot(a)
    assert time.monotonic() - started < 1.0 * (fault in ("sleeps", "spins")) + 5
    assert np.flatnonzero(env.faulted).tolist() == lost
    for e in lost:
        for g, group in enumerate(a.groups):
            ended = group.truncated[e]
            assert play.same_bits(group.final_obs[e, ended], before[f"{g}.obs"][e, ended])
            assert not group.reward[e].any() and not group.terminated[e].any()
        assert np.concatenate([group.truncated[e] for group in a.groups]).any()
        assert a.episode_over[e] and a.episode_truncated[e] and env.episode_step[e] == 0
    (found,) = env.faults
    assert found.worker == victim and found.copy == victim * 2 and found.step == 3
    assert [len(rows) for rows in found.actions.values()] == [4] * len(env.spec.groups)
    assert env.episode_seed[lost[0]] == keys.episode_seed(keys.after_fault(keys.copy_key(6, lost[0])), 0)
    assert found.next_key == keys.after_fault(keys.copy_key(6, lost[0]))
    for _ in range(8):
        env.step(play.random_actions(env, rng))
        assert not env.faulted.any()
    started = time.monotonic()
    env.close()
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("fault", ["dies", "raises"])
def test_a_fault_names_the_seed_that_its_environment_was_given(fault: str) -> None:
    env = process(f"{ARENAS}:Short", {"fault": fault, "every": 1}, num_envs=1, workers=1, seed=6)
    seed = keys.episode_seed(keys.copy_key(6, 0), 0)
    for _ in range(4):
        env.step({name: np.zeros_like(array) for name, array in env._block.actions.items()})
    env.close()
    assert env.faults[0].seed == seed >> 33


def test_closing_while_a_worker_hangs() -> None:
    env = process(f"{ARENAS}:Faulty", {"fault": "spins", "every": 1, "only": 0}, num_envs=2, step_seconds=60)
    zeros = {name: np.zeros_like(array) for name, array in env._block.actions.items()}
    for name, array in zeros.items():
        env._block.actions[name][...] = array
    for _ in range(4):  # ask, and do not wait for the last answer
        for worker in env._workers:
            env._send(worker, INTO[0])
        if _ < 3:
            assert not env._answers()
    time.sleep(0.2)
    started = time.monotonic()
    env.close()
    assert time.monotonic() - started < 5
    env.close()


def test_too_many_faults() -> None:
    env = process(f"{ARENAS}:Faulty", {"fault": "dies", "every": 1}, num_envs=2, max_faults=1)
    with pytest.raises(
        EnvironmentFailure, match=r"Faulty failed 2 times.*copy . of worker ., seed \d+, step 3: the process died"
    ):
        for _ in range(9):
            env.step({name: np.zeros_like(array) for name, array in env._block.actions.items()})


@pytest.mark.parametrize("episodes", [1, 3])
def test_what_cannot_begin_again_has_failed_too_often(episodes: int) -> None:
    """At once, and not when the time for a step and for a start is over. The first episode is only looked at."""
    started = time.monotonic()
    told = r"Shut failed 4 times.*copy 0 of worker 0, seed \d+, step 0: reset: RuntimeError: the door is shut"
    with pytest.raises(EnvironmentFailure, match=told):
        env = process(f"{ARENAS}:Shut", {"every": episodes}, num_envs=1, workers=1, max_faults=3)
        for _ in range(20):
            env.step({name: np.zeros_like(array) for name, array in env._block.actions.items()})
    assert time.monotonic() - started < 45


def test_a_process_that_dies_before_it_answers_is_known_by_the_episode_it_was_in() -> None:
    env = process(num_envs=2, workers=1, seed=6)
    zeros = {name: np.zeros_like(array) for name, array in env._block.actions.items()}
    seeds = env.episode_seed.tolist()
    env._workers[0].popen.kill()
    env._block.given[...] = 7  # as if it had gone on to another episode and said so before it died
    env.step(zeros)
    env.close()
    assert env.faults[0].seed == seeds[0] and env.faulted.all()


def test_a_process_that_dies_and_leaves_another_with_its_line() -> None:
    env = process(f"{ARENAS}:Faulty", {"fault": "forks", "every": 1}, num_envs=1, workers=1, step_seconds=60)
    started = time.monotonic()
    for _ in range(4):
        env.step({name: np.zeros_like(array) for name, array in env._block.actions.items()})
    assert time.monotonic() - started < 30
    env.close()
    assert [fault.what for fault in env.faults] == ["the process died (signal 9)"]


def test_somebody_elses_time_out_for_sockets_is_none_of_ours() -> None:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(0.2)
    try:
        env = process(num_envs=2, workers=1)
    finally:
        socket.setdefaulttimeout(before)
    for _ in range(3):
        time.sleep(0.3)  # for the worker to come to where it waits
        env.step({name: np.zeros_like(array) for name, array in env._block.actions.items()})
    env.close()
    assert not env.faults


def test_a_worker_imports_neither_torch_nor_numba() -> None:
    script = "import sys, environments.process_worker, environments.external.named as n; n.make('%s:Arena', 1);"
    script += "import json; print(json.dumps([m for m in ('torch', 'numba', 'supersuit') if m in sys.modules]))"
    ran = subprocess.run([sys.executable, "-c", script % ARENAS], capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == []


def test_workers_end_with_their_parent() -> None:
    script = partial(
        "import os; from tests.environments.external.test_process import process; e = process(num_envs=2);"
        "print([w.popen.pid for w in e._workers], flush=True); os.kill(os.getpid(), {})".format,
        9,
    )()
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    pids = json.loads(ran.stdout)
    assert ran.returncode == -9 and len(pids) == 2
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_runs(pid) for pid in pids)


def _runs(pid: int) -> bool:
    try:
        return "environments" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False
