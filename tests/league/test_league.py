"""Leagues: that they go on as if they had never been killed, who meets whom, what is kept and what begins anew."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from environments.errors import RefusedFile
from league.league import League
from league.store import Store
from league.turns import MIRROR, Choice, Line, State, Turn
from marl.algorithms.sac import SAC
from marl.config_replay import SACConfig
from marl.trainer import Learner
from tests.league.leagues import Killed, config, killing, play, remembered, workshop

BOARD = "board/tictactoe"


@pytest.mark.parametrize("plan", ["self-play", "alphastar", "psro"])
def test_a_league_that_is_killed_again_and_again_is_as_one_that_never_was(
    plan: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, settings = workshop(BOARD), config(plan, turns=4 if plan != "alphastar" else 7, league_exploiters=0)
    play(tmp_path / "whole", settings, shop)
    killed, when = 0, np.random.default_rng(len(plan))
    while killed < 8:
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


def test_a_league_that_is_stopped_in_the_middle_of_turns_goes_on_there(tmp_path: Path) -> None:
    """Two mains, each of whom is being played by the other when both are read again."""
    shop, settings = workshop(BOARD), config("alphastar", turns=6, mains=2, games=2, league_exploiters=0)
    play(tmp_path / "whole", settings, shop)
    finished, stops = False, 0
    while not finished:
        with Store(tmp_path / "stopped") as store:
            league = League(tmp_path / "stopped", settings, shop, store)
            for _ in range(3):
                if league.finished:
                    break
                league.iteration()
                if league.turn_is_over:
                    league.end_turn()
            league.save()
            finished, stops = league.finished, stops + 1
    assert stops == 4  # 12 rollouts, three at a time: twice in the middle
    assert remembered(tmp_path / "stopped") == remembered(tmp_path / "whole")


def test_each_kind_of_team_has_learners_that_meet_the_others(tmp_path: Path) -> None:
    shop = workshop("particle/tag", {"wild": {"good": "random", "adversary": "random"}}, max_cycles=5)
    settings = config("alphastar", turns=14, bot_share=0.2, league_exploiters=1, games=2, record=1)
    league = play(tmp_path, settings, shop)
    names = {
        f"{kind}.{part}" for kind in ("adversary", "good") for part in ("main", "main_exploiter", "league_exploiter")
    }
    assert set(league.lines) == names and len({line.total for line in league.lines.values()}) <= 2
    with Store(tmp_path) as store:
        players, matches = store.players(), list(store.matches())
    assert all(len(player.roles) == 1 for player in players.values() if player.name != "wild")
    met = {name: set[str]() for name in names}
    for match in matches:
        assert [seat.role for seat in match.seats] == ["adversary", "good"]
        first, second = (players[seat.player] for seat in match.seats)
        assert "adversary" in first.roles and "good" in second.roles
        if match.learner is not None:
            me, other = (first, second) if match.seats[0].player == match.learner else (second, first)
            met[me.source].add(other.name)
    assert "good.main" in met["adversary.main"] and "adversary.main" in met["good.main_exploiter"]
    assert all("wild" in others for others in met.values())
    kept = [match.replay for match in matches if match.replay is not None]
    assert kept and all((tmp_path / name).exists() for name in kept)


def test_learners_from_a_replay_buffer_play_in_leagues_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = SACConfig(hidden=(8,), rollout_length=12, buffer_size=500, batch_size=16, warmup_steps=20, critic="local")
    shop = workshop(BOARD)

    def make_learner(kind: str, seed: int) -> Learner:
        return SAC(shop.spec, kind, small, "agent", seed, 1)

    shop = replace(shop, make_learner=make_learner)
    settings = config("fictitious", turns=3)
    play(tmp_path / "whole", settings, shop)
    for after in (5, 9):
        with killing(monkeypatch, after), pytest.raises(Killed):
            play(tmp_path / "killed", settings, shop)
    play(tmp_path / "killed", settings, shop)
    assert remembered(tmp_path / "killed") == remembered(tmp_path / "whole")


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state.pop("lines"),
        lambda state: state.update(schema=99),
        lambda state: state["turn"].update(line="nobody"),
        lambda state: state["turn"].update(choices=[1]),
        lambda state: state["lines"][0].update(steps="many"),
        lambda state: state["lines"][0].update(colour="red"),
        lambda state: state.update(turns=None),
        lambda state: state["lines"][0].update(part="chorus"),
        lambda state: state["turn"]["choices"]["player"].update(chances=[0.5]),
        lambda state: state["turn"]["choices"]["player"].update(keys=[[0, -1], [2, -1]]),
    ],
)
def test_a_state_that_is_none_is_refused(damage: Any, tmp_path: Path) -> None:
    choice = Choice((MIRROR,), (1.0,))
    State(3, (Line("main", "player", "main", 1),), Turn("main", 96, {"player": choice})).write(tmp_path)
    assert State.read(tmp_path).turn == Turn("main", 96, {"player": choice})
    content = json.loads((tmp_path / "state.json").read_text())
    damage(content)
    (tmp_path / "state.json").write_text(json.dumps(content))
    with pytest.raises(RefusedFile, match="is not the state of a league"):
        State.read(tmp_path)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda state: state["turn"]["choices"]["player"].update(keys=[[77, -1]], chances=[1.0]), "number 77"),
        (lambda state: state["turn"].update(choices={}), ""),
        (
            lambda state: state["turn"]["choices"].update(stranger={"keys": [[0, -1]], "chances": [1.0]}),
            "kinds of team",
        ),
        (lambda state: state["lines"][0].update(number=88), "number 88"),
        (lambda state: state["lines"][0].update(kind="stranger"), "kinds of team"),
    ],
)
def test_a_state_of_another_league_is_refused(damage: Any, told: str, tmp_path: Path) -> None:
    shop, settings = workshop(BOARD), config("self-play", turns=1)
    with Store(tmp_path) as store:
        League(tmp_path, settings, shop, store)
        content = json.loads((tmp_path / "state.json").read_text())
        damage(content)
        (tmp_path / "state.json").write_text(json.dumps(content))
        with pytest.raises(RefusedFile, match=f"does not fit this league: .*{told}"):
            League(tmp_path, settings, shop, store)
