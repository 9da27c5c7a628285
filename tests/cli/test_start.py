"""How a command begins: what it loads and what it leaves alone, in whatever time."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numba
import pytest

from marl import garbage
from marl.cli import bench_start, compiling, main
from scenarios import catalog

UNUSED = ("wandb", "pygame", "supersuit", "pettingzoo", "matplotlib", "PIL", "tensorboard", "sympy", "torch._dynamo")


def test_a_second_start_compiles_nothing_and_loads_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_DEBUG_CACHE", "1")
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    done: list[subprocess.CompletedProcess[str]] = []
    real = subprocess.run
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", lambda *words, **how: done.append(real(*words, **how)) or done[-1])
        while not done or (len(done) == 1 and "data saved to" in done[0].stdout):  # nobody has trained that here yet
            assert bench_start.begun("mappo", catalog.find("matrix/climbing"), 1, {}) > 0
    assert done[-1].stdout.count("data loaded from") > 4 and "data saved to" not in done[-1].stdout
    loaded = {line.rpartition("|")[2].strip() for line in done[-1].stderr.splitlines()}
    assert {"torch", "numba"} <= loaded and not loaded & set(UNUSED)


def test_compiling_learners_functions_is_told_once_and_loading_them_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    def made(module: str) -> Any:
        def function(x):  # type: ignore[no-untyped-def]
            return x + 1

        function.__module__ = module
        return numba.njit(function)

    with compiling.told():
        made("environments.loops.a_game")(1)
    assert capsys.readouterr().out == ""
    ours = made("marl.engine.a"), made("marl.engine.b")
    for _ in range(2):
        with compiling.told():
            assert [function(1) for function in ours] == [2, 2]
    assert capsys.readouterr().out == "compiling the learners' functions, once for this machine: about 20 s\n"


@pytest.fixture
def usual() -> Iterator[tuple[int, int, int]]:
    """The usual settings of the search for garbage, which come back after the test."""
    before, callbacks = gc.get_threshold(), list(gc.callbacks)
    yield before
    gc.callbacks[:] = callbacks
    gc.set_threshold(*before)


def test_the_first_search_for_garbage_is_late_and_all_others_as_usual(
    usual: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(garbage, "LOADED", 20_000)
    searches: list[str] = []
    gc.callbacks.append(lambda phase, _: searches.append(phase))
    gc.collect(0)
    garbage.spare_the_start()
    searches.clear()
    kept: list[Any] = [[] for _ in range(15_000)]
    assert searches == []
    kept += [[] for _ in range(10_000)]
    assert searches[:2] == ["start", "stop"] and gc.get_threshold() == usual
    assert len(searches) > 2 * 3_000 / usual[0], "and often after that"


def test_a_process_of_its_own_begins_so_and_calls_from_python_do_not(
    usual: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["--version"]) == 0 and gc.get_threshold() == usual
    monkeypatch.setattr(sys, "argv", ["marl", "--version"])
    assert main.main() == 0 and gc.get_threshold()[0] == garbage.LOADED
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
