"""`python -m tests.gpu.simulate FILE...`: step recorded copies once more under Numba's CUDA simulator, in place.

Each file holds one game's copies before a step (`test_simulator.record` writes it); what they are after it is written
back. The simulator runs a kernel's Python source, one thread for each copy, so every rule here is a device function in
Python: `environments.compile` is told so before any rules are loaded, and the intrinsics, which write LLVM
instructions, are replaced by what they do.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numba import cuda
from numba.cuda.simulator import kernel
from numba.cuda.simulator.cudadrv import devicearray
from numba.cuda.simulator.cudadrv.devicearray import FakeWithinKernelCUDAArray

from environments import compile as compiler
from environments import intrinsics
from environments.vector import allocate
from tests.contracts.play import arrays


def scratch_row(like: Any, dtype: Any) -> Any:
    """What the intrinsic does, in Python: memory that holds anything, so not the zeros that would hide a mistake."""
    return np.ones(like.shape[0] + 1, dtype)


def scratch_table(like: Any, dtype: Any) -> Any:
    """The same with as many rows as columns."""
    return np.ones((like.shape[0] + 1, like.shape[0] + 1), dtype)


def copy_row(target: Any, row: int, column: int, source: Any, source_row: int) -> int:
    """What the intrinsic does, in Python."""
    flat = np.asarray(source[source_row]).reshape(-1)
    target[row, column : column + flat.size] = flat
    return column + flat.size


def clear_rows(array: Any, first: int, stop: int) -> None:
    """What the intrinsic does, in Python."""
    array[first:stop] = 0


def step_again(path: Path) -> None:
    """Step the copies of one file by `clear_events` and `advance`, each in a thread of its own."""
    from environments import registry
    from environments.native import limits_of

    with np.load(path) as file:
        given = dict(file)
    game = registry.game(str(given["name"]))
    options = registry.check_options(game, json.loads(str(given["options"])))
    spec = game.spec(options)
    states, clocks = given["states"], given["clocks"]
    buffers = allocate(spec, len(states))
    for name, array in arrays(buffers):
        array[...] = given[name]
    moves = [given[f"actions.{group.name}"] for group in spec.groups]
    actions = tuple(each.astype(object) if each.dtype.kind == "i" else each for each in moves)  # as in `Plain`
    loops = game.loops()

    @cuda.jit
    def step(states: Any, params: Any, limits: Any, clocks: Any) -> None:
        e = cuda.grid(1)
        with np.errstate(over="ignore"):  # random streams wrap at 64 bits
            loops.clear_events(buffers, e, e + 1)
            loops.advance(states[e], params[0], limits[0], clocks[e], actions, buffers, e, loops.STEP)

    step[len(states), 1](states, game.params(options), limits_of(spec, hold=False), clocks)
    np.savez(path, states=states, clocks=clocks, **dict(arrays(buffers)))


class Plain(FakeWithinKernelCUDAArray):
    """The simulator's arrays and records within a kernel, read as compiled code reads them.

    A record's own fields go before NumPy's attributes (`size`). Small whole numbers and truths are Python's: compiled
    code computes with 64 bits, where NumPy's numbers of 8 wrap and its truths cannot be subtracted; but random streams
    need NumPy's 64 unsigned bits.
    """

    def __getattr__(self, name: str) -> Any:
        fields = self._item.dtype.names or ()
        return self[name] if name in fields else super().__getattr__(name)

    def __getitem__(self, which: Any) -> Any:
        value = super().__getitem__(which)
        small = isinstance(value, np.integer | np.bool_) and not isinstance(value, np.uint64)
        return value.item() if small else value


def main(paths: list[str]) -> None:
    """Step the copies of every file."""
    for replacement in (scratch_row, scratch_table, copy_row, clear_rows):
        setattr(intrinsics, replacement.__name__, replacement)
    kernel.FakeWithinKernelCUDAArray = devicearray.FakeWithinKernelCUDAArray = Plain
    compiler._compile = lambda function, entry, python: cuda.jit(function, device=True)
    for path in paths:
        try:
            step_again(Path(path))
        except Exception as error:  # the test of that game says so
            raise RuntimeError(Path(path).stem) from error


if __name__ == "__main__":
    main(sys.argv[1:])
