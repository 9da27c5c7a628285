"""The rules of one copy as code for NVIDIA GPUs: their PTX, and what Numba's CUDA target lacks for them.

Nothing here needs a GPU: PTX is text, which a driver turns into machine code where there is one. Numba's `min` and
`max` take any number of arguments, which its CUDA target cannot call, and it knows few of NumPy's functions there; the
rules use them all the same, and what they mean for CUDA is registered here. On the processor nothing changes.
"""

from __future__ import annotations

import importlib.util
import inspect
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import overload

from environments.errors import UsageError
from environments.native import NativeEnv
from environments.vector import Array, action_shape

AMPERE = (8, 0)
"""Compute capability that is compiled for by default; later GPUs run its PTX too."""
Function = Callable[..., Any]


def ptx(env: NativeEnv, capability: tuple[int, int] = AMPERE) -> dict[str, str]:
    """PTX of the functions that a copy's step consists of, by name; UsageError where libnvvm is missing.

    A thread that has copy `e` calls `clear_events` on its events, then `advance`, as `environments.loops.run` does for
    a block of copies. Each text holds all that its function calls, the three rules of the game among it.
    """
    actions: tuple[Array, ...] = tuple(np.zeros(*action_shape(group, 1)) for group in env.spec.groups)
    records = (env.states[0], env.params[0], env.limits[0], env.clocks[0])
    arguments = {"clear_events": (env.buffers, 0, 1), "advance": (*records, actions, env.buffers, 0, 0)}
    loops = env.game.loops()
    with compiling_for(capability) as compile_ptx:
        return {name: compile_ptx(getattr(loops, name).py_func, given) for name, given in arguments.items()}


@contextmanager
def compiling_for(capability: tuple[int, int]) -> Iterator[Callable[[Function, tuple[Any, ...]], str]]:
    """A function from (Python function, arguments of the types it takes) to PTX.

    For functions called by the one that is compiled, Numba asks the GPU at hand what it can do; here none need be.
    """
    from numba import cuda
    from numba.cuda import dispatcher
    from numba.cuda.cudadrv import nvvm

    asked, home = dispatcher.get_current_device, os.environ.get("CUDA_HOME")
    if home is None and (folder := _wheel()) is not None:
        os.environ["CUDA_HOME"] = str(folder)
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    try:
        nvvm.NVVM()
        yield lambda function, given: cuda.compile_ptx(
            function, tuple(numba.typeof(value) for value in given), device=True, cc=capability
        )[0]
    except nvvm.NvvmSupportError as error:
        raise UsageError("PTX needs NVIDIA's libnvvm: pip install 'marl[gpu]', or set CUDA_HOME") from error
    finally:
        dispatcher.get_current_device = asked
        if home is None:
            os.environ.pop("CUDA_HOME", None)


def _wheel() -> Path | None:
    """Where the package nvidia-cuda-nvcc-cu12 put its folder."""
    found = importlib.util.find_spec("nvidia")
    folders = [] if found is None else [Path(each) / "cuda_nvcc" for each in found.submodule_search_locations or []]
    return next((folder for folder in folders if folder.is_dir()), None)


# What the rules use and Numba's CUDA target lacks. Of numbers that are equal or not ordered, `min` and
# `max` is the first, as on the processor.


def _means(known: Function, implementation: Function) -> None:
    """On CUDA, a call of `known` with so many numbers means `implementation`."""

    def chosen(*given: Any) -> Function | None:
        return implementation if all(isinstance(each, types.Number | types.Boolean) for each in given) else None

    chosen.__signature__ = inspect.signature(implementation)  # type: ignore[attr-defined]
    overload(known, target="cuda")(chosen)


_means(min, lambda x, y: y if y < x else x)
_means(max, lambda x, y: y if y > x else x)
_means(min, lambda x, y, z: min(min(x, y), z))
_means(max, lambda x, y, z: max(max(x, y), z))
_means(np.sqrt, lambda x: math.sqrt(x))
_means(np.exp, lambda x: math.exp(x))
_means(np.log1p, lambda x: math.log1p(x))
