"""Freed memory is kept: arrays that come and go are not asked of the system again and again."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import resource, sys
import numpy as np
from marl import heap
if sys.argv[1] == "kept":
    heap.keep_freed()
for _ in range(3):
    [np.ones(2**18) for _ in range(8)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    [np.ones(2**18) for _ in range(8)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages(what: str) -> int:
    """Asked of the system for as many arrays of 2 MiB, eight at a time."""
    done = subprocess.run([sys.executable, "-c", CODE, what], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_arrays_that_come_and_go_take_pages_once() -> None:
    assert pages("kept") < 100 < pages("given back")
