"""`kernel`: the one decorator for compiled functions, and `instantiate`: one source file compiled around many games.

Two silent traps of Numba's disk cache are closed here: it does not notice an edit in *another* file that a cached
function calls, so the cache folder is named by a hash of every kernel source; and default division checks for zero,
which stops loops from vectorising, so the error model is numpy's. `fastmath` stays off: results must not depend on
how a function happens to be inlined, and NaN checks must see NaN.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])
PACKAGE = Path(__file__).parent
KEPT_CACHES = 6


def kernel_sources() -> list[Path]:
    """Every file whose code may end up inside a compiled function."""
    return [PACKAGE / "compile.py", PACKAGE / "rng.py", PACKAGE / "loops.py", *sorted(PACKAGE.glob("games/**/*.py"))]


@cache
def cache_folder() -> Path:
    """Folder of compiled code for exactly these sources; older ones beyond the newest few are deleted."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in kernel_sources():
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "marl" / "kernels"
    folder = root / digest.hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        others = sorted((p for p in root.iterdir() if p != folder), key=lambda p: p.stat().st_mtime, reverse=True)
        for old in others[KEPT_CACHES:]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError:  # a read-only home: Numba falls back to compiling in memory
        pass
    return folder


def kernel(function: Function | None = None, *, entry: bool = False) -> Any:
    """Compile a function with this project's flags and its own disk cache.

    Kernels take records, arrays and a copy's row, allocate nothing and hold no Python object, so that the same source
    can be compiled for other targets. All are inlined into the `entry` points (called from Python, without the GIL):
    passing arrays between functions would count references at every call.
    """
    if function is None:
        return lambda f: _compile(f, entry)
    return _compile(function, entry)


def _compile(function: Callable[..., Any], entry: bool) -> Any:
    folder = cache_folder() / function.__module__  # instances of one template share a file name
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder)  # read by Numba when the cache locator is made, that is now
    try:
        return numba.njit(
            function,
            cache=entry and os.access(cache_folder(), os.W_OK),
            nogil=True,
            _nrt=False,
            forceinline=not entry,
            error_model="numpy",
            boundscheck=False,
        )
    finally:
        numba.config.CACHE_DIR = before


@cache
def instantiate(template: str, name: str, **names: Any) -> ModuleType:
    """Load `environments/<template>.py` once more as `environments.<template>.<name>`, with `names` defined in it.

    The batch loops are written once and compiled around each game's rules, as a C++ template would be. Every
    instance is a module of its own, so Numba caches each on disk under its own name.
    """
    full_name = f"environments.{template}.{name}"
    spec = importlib.util.spec_from_file_location(full_name, PACKAGE / f"{template}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    vars(module).update(names)
    sys.modules[full_name] = module
    spec.loader.exec_module(module)
    return module
