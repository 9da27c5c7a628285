"""`kernel`: the one decorator for compiled functions, and `instantiate`: one source file compiled around many games.

Two silent traps of Numba's disk cache are closed here: it does not notice an edit in *another* file that a cached
function calls, so the cache folder is named by a hash of every source that may end up inside; and default division
checks for zero, which stops loops from vectorising, so the error model is numpy's. `fastmath` stays off: results must
not depend on how a function happens to be inlined, and NaN checks must see NaN.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import inspect
import os
import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numba
from numba.extending import overload

Function = TypeVar("Function", bound=Callable[..., Any])
PACKAGE = Path(__file__).parent
SHARED_SOURCES = ("compile.py", "intrinsics.py", "rng.py", "workers.py", "loops.py")
"""What every game's compiled code contains, besides the files in the folder of its rules."""
KEPT_CACHES = 4
"""Caches of older sources kept per folder of rules, for those who switch between versions."""


FLAGS = {"nogil": True, "_nrt": False, "error_model": "numpy", "boundscheck": False, "no_cfunc_wrapper": True}


def kernel_sources(rules: Path | None = None) -> list[Path]:
    """Files whose code may end up inside a function compiled around the rules in folder `rules`."""
    shared = [PACKAGE / name for name in SHARED_SOURCES]
    return shared if rules is None else [*shared, *sorted(rules.glob("*.py"))]


@cache
def cache_folder(rules: Path | None = None) -> Path:
    """Folder of compiled code for exactly these sources; older ones beyond the newest few are deleted."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in kernel_sources(rules):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "marl" / "kernels"
    root = root / ("shared" if rules is None else f"{rules.name}-{hashlib.sha256(bytes(rules)).hexdigest()[:8]}")
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


def kernel(function: Function | None = None, *, entry: bool = False, python: bool = False) -> Any:
    """Compile a function with this project's flags and its own disk cache.

    Kernels take records, arrays and a copy's row, allocate nothing and hold no Python object, so that the same source
    can be compiled for other targets. All are inlined into the `entry` points (called from Python, without the GIL):
    passing arrays between functions would count references at every call. An inlined kernel cannot be called from
    Python, which saves a third of the time to compile, unless `python` is set.
    """
    if function is None:
        return lambda f: _compile(f, entry, entry or python)
    return _compile(function, entry, entry or python)


def kernel_for(generic: Callable[..., Any], kind: type) -> Callable[[Function], Function]:
    """Compile a function as what `generic`, called in a kernel, does if its first argument is a NamedTuple `kind`."""

    def register(function: Function) -> Function:
        def chosen(*arguments: Any) -> Function | None:
            return function if getattr(arguments[0], "instance_class", None) is kind else None

        chosen.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
        overload(generic, jit_options={**FLAGS, "forceinline": True, "no_cpython_wrapper": True})(chosen)
        return function

    return register


def _compile(function: Callable[..., Any], entry: bool, python: bool) -> Any:
    root = cache_folder(function.__globals__.get(RULES_FOLDER)) if entry else Path()
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(root / function.__module__)  # read by Numba when the cache locator is made: now
    try:
        compiled = numba.njit(
            function,
            cache=entry and os.access(root, os.W_OK),
            forceinline=not entry,
            no_cpython_wrapper=not python,
            **FLAGS,
        )
    finally:
        numba.config.CACHE_DIR = before
    if not python:
        _refuse_python(compiled)
    if entry:
        _compile_once(compiled, root / f"{function.__module__}.{function.__qualname__}.lock")
    return compiled


def _compile_once(compiled: Any, lock: Path) -> None:
    """Let processes that need the same function at the same time wait for the first: they load what it has compiled."""
    compile_now = compiled.compile

    def compile_in_turn(signature: Any) -> Any:
        try:
            file = lock.open("w")
        except OSError:  # nothing can be kept there either
            return compile_now(signature)
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            return compile_now(signature)

    compiled.compile = compile_in_turn


def _refuse_python(compiled: Any) -> None:
    """Make a call from Python an error: without the wrapper that was not compiled, it would crash the process."""

    def refuse(*_: Any, **__: Any) -> None:
        raise TypeError(
            f"{compiled.__name__} is an inlined kernel; to call it from Python mark it @kernel(python=True)"
        )

    compiled._insert = lambda *_: None  # keeps Numba's table of callable versions empty ...
    compiled._compile_for_args = refuse  # ... so that every call from Python ends up here


RULES_FOLDER = "_rules_folder"
"""Name, in a module made by `instantiate`, of the folder that holds the rules compiled into it."""


@cache
def instantiate(template: str, name: str, **names: Any) -> ModuleType:
    """Load `environments/<template>.py` once more as `environments.<template>.<name>`, with `names` defined in it.

    The batch loops are written once and compiled around each game's rules, as a C++ template would be. Every
    instance is a module of its own, so Numba caches each on disk under its own name. `names` are compiled functions;
    the cache watches all files in the folder of the first one.
    """
    full_name = f"environments.{template}.{name}"
    spec = importlib.util.spec_from_file_location(full_name, PACKAGE / f"{template}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    rules = next(iter(names.values())).py_func.__code__.co_filename
    vars(module).update(names, **{RULES_FOLDER: Path(rules).parent})
    sys.modules[full_name] = module
    spec.loader.exec_module(module)
    return module
