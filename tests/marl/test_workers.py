"""Threads for blocks of torch work: results in order, errors come out."""

from __future__ import annotations

import threading

import pytest
import torch

from marl import workers


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_order(threads: int) -> None:
    assert list(workers.map(threads, lambda k: k * k, list(range(40)))) == [k * k for k in range(40)]


def test_two_threads_run_side_by_side() -> None:
    meet = threading.Barrier(2, timeout=30)
    names = list(workers.map(2, lambda _: (meet.wait(), threading.current_thread().name)[1], [0, 1]))
    assert len(set(names)) == 2


def test_torch_is_single_threaded_in_a_worker() -> None:
    assert set(workers.map(2, lambda _: torch.get_num_threads(), [0, 1, 2])) == {1}


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_comes_out(threads: int) -> None:
    def work(k: int) -> int:
        if k == 2:
            raise KeyError("planted")
        return k

    with pytest.raises(KeyError, match="planted"):
        list(workers.map(threads, work, [0, 1, 2, 3]))
