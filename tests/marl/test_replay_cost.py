"""What a replay buffer costs: memory, the time of a sample, what a checkpoint writes."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from marl import checkpoint, replay_buffer
from marl.policy_spec import bytes_per_sample
from marl.replay_buffer import ReplayBuffer
from tests.marl.rings import filled, paid, sample_of, tensors
from tests.marl.rollouts import GAMES, kind_of, same_bits


def test_memory_is_what_is_said() -> None:
    for name in GAMES:
        env, buffer, _ = filled(name, True)
        rows = buffer.arrays["reward"].shape[2]
        stated = bytes_per_sample(buffer.spec, env.spec.critic_size(kind_of(name)), rows) * buffer.length * buffer.seats
        assert sum(x.nbytes for x in buffer.arrays.values()) - 4 * buffer.length == stated, name
        assert buffer.nbytes == sum(x.nbytes for x in (*buffer.arrays.values(), *buffer.finals.values()))


def test_memory_is_taken_as_it_fills() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    before = resident()
    _, buffer, _ = filled("particle/spread", True, count=1, capacity=10**6)
    held = sum(x.nbytes for x in buffer.arrays.values())
    assert held > 2**28
    assert resident() - before < held / 4


class Work(TorchDispatchMode):
    """Counts the entries that operations read and write; of those that look entries up, what they found."""

    def __init__(self) -> None:
        super().__init__()
        self.entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        is_a_view = any(each.alias_info and not each.alias_info.is_write for each in func._schema.returns)
        looks_up = func in (torch.ops.aten.index_select.default, torch.ops.aten.index.Tensor)
        touched = () if is_a_view else (found,) if looks_up else (args, kwargs, found)
        self.entries += sum(x.numel() for x in tree_leaves(touched) if isinstance(x, Tensor))
        return found


@pytest.mark.parametrize("per_agent", [False, True])
def test_drawing_a_sample_costs_what_it_holds_not_what_is_remembered(per_agent: bool) -> None:
    work = {}
    for capacity in (100, 100_000):
        _, buffer, _ = filled("particle/spread", per_agent, capacity=capacity)
        for name, value in (("acting", True), ("mine", True), ("ended", 0)):  # both draw once, and find no end
            buffer.arrays[name].fill_(value)
        buffer.size = buffer.length - 1
        with Work() as counted:
            sample_of(buffer, count=32)
        work[capacity] = counted.entries
    assert 0 < work[100_000] == work[100]


def test_a_second_checkpoint_writes_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the ring has gone round; and what is read is what was saved."""
    monkeypatch.setattr(replay_buffer, "SEGMENT_BYTES", 4000)
    capacity = 8 * 40
    env, buffer, history = filled("toy/siege", False, 2, capacity)
    held: set[str] = set()
    grown = []
    for number in range(9):
        buffer.add(history[number % 2], paid(buffer.spec, history[number % 2], False))
        entry = checkpoint.save(tmp_path, number, {"buffer": buffer.state_dict()})
        grown.append(len(entry.segments.keys() - held) / len(entry.segments))
        held = set(entry.segments)
        other = ReplayBuffer(buffer.spec, False, capacity, env.spec.max_wait)
        other.load_state_dict(checkpoint.read(entry)["buffer"])
        assert same_bits(tensors(sample_of(buffer)), tensors(sample_of(other)))
    assert buffer.size == buffer.length - 1 and len(held) > 8
    assert max(grown[-3:]) < 0.5, grown
