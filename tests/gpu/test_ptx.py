"""Every game's per-copy functions compile to PTX, without a GPU. Skipped where NVIDIA's libnvvm is not installed.

A game of each family here; `make test-gpu` compiles all of them.
"""

from __future__ import annotations

import os

import numba
import pytest

import environments
from environments import device
from environments.errors import UsageError
from environments.native import NativeEnv
from tests.contracts.cases import CONTINUOUS, Case

FAMILIES = (
    "board/hex",
    "colorgrid/leader_follower",
    "foraging/field",
    "matrix/climbing",
    "memory/recall",
    "particle/line",
    "roshambo/repeated",
    "skirmish/battle",
    "warehouse/robots",
)
CHOSEN = [Case(name) for name in FAMILIES]
EVERY = [Case(name) for name in environments.names()] + CONTINUOUS
ALL = os.environ.get("EVERY_GAME") == "1"


def ptx(case: Case) -> dict[str, str]:
    env = case.make()
    assert isinstance(env, NativeEnv)
    return device.ptx(env)


@pytest.fixture(scope="module")
def nvvm() -> None:
    try:
        with device.compiling_for(device.AMPERE):
            pass
    except UsageError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("case", EVERY if ALL else CHOSEN, ids=str)
def test_the_rules_of_a_game_compile_to_ptx(case: Case, nvvm: None) -> None:
    for function, text in ptx(case).items():
        assert ".target sm_80" in text
        assert any(".visible .func" in line and function in line for line in text.splitlines())


def test_no_family_is_left_out() -> None:
    assert {name.split("/")[0] for name in environments.names()} == {name.split("/")[0] for name in FAMILIES}


def test_what_cuda_cannot_do_is_refused(nvvm: None) -> None:
    def asks(x: float) -> float:
        return x + float(input())

    with device.compiling_for(device.AMPERE) as compile_ptx, pytest.raises(numba.core.errors.NumbaError):
        compile_ptx(asks, (1.0,))
