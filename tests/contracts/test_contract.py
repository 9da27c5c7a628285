"""Every check of the contract, over every environment."""

from __future__ import annotations

import pytest

from tests.contracts import checks
from tests.contracts.cases import CASES, Case

CHECKS = [
    checks.check_every_element_is_written,
    checks.check_view_is_a_function_of_the_state,
    checks.check_capture_and_restore,
    checks.check_rekey,
    checks.check_an_episode_leaves_nothing_behind,
    checks.check_partial_restore,
    checks.check_refusals,
    checks.check_copies_are_independent,
    checks.check_threads,
    checks.check_autoreset,
    checks.check_lives,
    checks.check_rows,
    checks.check_return,
    checks.check_garbage_actions,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_contract(case: Case, check) -> None:
    check(case.make)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_keys(case: Case) -> None:
    checks.check_keys(case.make, starts=case.starts)


def test_two_threads_are_one_over_a_thousand_steps() -> None:
    checks.check_threads(Case("particle/spread").make, steps=1000)


def test_every_name_is_tested() -> None:
    import environments

    assert {case.name for case in CASES} == set(environments.names(toys=True))
    assert len(environments.names()) >= 18
