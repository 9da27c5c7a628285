"""A copy lives the same life, to the last bit, in a batch of 64 and alone, on one thread and on two."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from environments import workers
from environments.native import NativeEnv
from environments.vector import Array, StepBuffers
from tests.environments.particle import mpe

COPIES = 64
STEPS = 1000
ALONE = (0, 37, 63)
CASES = [(name, False) for name in mpe.NAMES] + [("spread", True), ("world_comm", True)]


def arrays(buffers: StepBuffers) -> Iterator[Array]:
    """Every array of the buffers."""
    for group in buffers.groups:
        yield from group
    yield from buffers[1:]


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads for small batches too, also where there is only one core."""
    monkeypatch.setattr(workers, "PARALLEL_COPIES", 2)
    monkeypatch.setattr(workers, "available_cores", lambda: 2)


def actions_of(env: NativeEnv, seed: int) -> list[dict[str, Array]]:
    """A few rounds of actions, to be repeated."""
    generator = np.random.default_rng(seed)
    return [mpe.random_actions(env, generator) for _ in range(13)]


@pytest.mark.parametrize(("name", "continuous"), CASES)
@pytest.mark.usefixtures("two_threads")
def test_same_bits(name: str, continuous: bool) -> None:
    options: dict[str, Any] = {"seed": 3, "continuous_actions": continuous}
    batch = mpe.make(name, COPIES, **options)
    threaded = mpe.make(name, COPIES, num_threads=2, **options)
    assert threaded._workers.count == 2
    alone = {e: mpe.make(name, 1, first_copy=e, **options) for e in ALONE}
    rounds = actions_of(batch, seed=1)
    ends = 0
    for step in range(STEPS):
        actions = rounds[step % len(rounds)]
        batch.step(actions)
        threaded.step(actions)
        ends += int(batch.buffers.episode_over.sum())
        assert all(same(a, b) for a, b in zip(arrays(batch.buffers), arrays(threaded.buffers), strict=True)), step
        for e, env in alone.items():
            env.step({group: values[e : e + 1] for group, values in actions.items()})
            pairs = zip(arrays(batch.buffers), arrays(env.buffers), strict=True)
            assert all(same(a[e : e + 1], b) for a, b in pairs), (step, e)
    assert ends == COPIES * (STEPS // 25)
    assert batch.states.tobytes() == threaded.states.tobytes()
    assert all(batch.states[e : e + 1].tobytes() == env.states.tobytes() for e, env in alone.items())


def same(a: Array, b: Array) -> bool:
    """Equal in every bit."""
    return a.tobytes() == b.tobytes()
