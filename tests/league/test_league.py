"""Leagues: that they go on as if they had never been killed, who meets whom, what is kept and what begins anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from league.store import Store
from tests.league.leagues import Killed, config, killing, play, remembered, workshop

BOARD = "board/tictactoe"


@pytest.mark.parametrize("plan", ["self-play", "alphastar", "psro"])
def test_a_league_that_is_killed_again_and_again_is_as_one_that_never_was(
    plan: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, settings = workshop(BOARD), config(plan, turns=4 if plan != "alphastar" else 7, league_exploiters=0)
    play(tmp_path / "whole", settings, shop)
    killed, when = 0, np.random.default_rng(len(plan))
    while killed < 12:
        with killing(monkeypatch, int(when.integers(1, 9))):
            try:
                play(tmp_path / "killed", settings, shop)
                break
            except Killed:
                killed += 1
    play(tmp_path / "killed", settings, shop)
    assert killed >= 3
    whole, again = remembered(tmp_path / "whole"), remembered(tmp_path / "killed")
    assert again[0] == whole[0] and again[1] == whole[1]
    assert again[2:] == whole[2:]
    with Store(tmp_path / "whole") as store:
        assert store.count() > 40
