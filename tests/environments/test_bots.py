"""Bots by name."""

from __future__ import annotations

import numpy as np
import pytest

import environments
from environments.bots import BOTS, plays
from environments.errors import UsageError


def low(obs: np.ndarray, mask: np.ndarray | None, noise: np.ndarray) -> np.ndarray:
    """A bot for these tests: always action 0."""
    return np.zeros(len(obs), np.int32)


@pytest.fixture
def two_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("toy/noughts/low", "toy/high"):
        monkeypatch.setitem(BOTS, name, f"{__name__}:low")


@pytest.mark.usefixtures("two_more")
def test_names_are_sorted_and_found() -> None:
    assert [name for name in environments.bots() if name.startswith("toy/")] == ["toy/high", "toy/noughts/low"]
    assert environments.bot("toy/noughts/low") is low


@pytest.mark.usefixtures("two_more")
def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown bot 'toy/noughts/lo'; did you mean 'toy/noughts/low'\?"):
        environments.bot("toy/noughts/lo")


def test_a_name_says_what_is_played() -> None:
    assert plays("board/tictactoe/perfect", "board/tictactoe")
    assert not plays("board/tictactoe/perfect", "board/connect_four")
    assert plays("skirmish/nearest", "skirmish/3m")
    assert not plays("skirmish/nearest", "skirmishes/3m")


@pytest.mark.parametrize("name", environments.bots())
def test_every_bot_stands_where_the_table_says(name: str) -> None:
    assert callable(environments.bot(name))
    assert any(plays(name, each) for each in environments.names())
