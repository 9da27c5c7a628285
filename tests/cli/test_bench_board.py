"""What the board games are measured against plays whole games by legal moves."""

from __future__ import annotations

from typing import Any

import pytest
from pettingzoo.classic import connect_four_v3, tictactoe_v3

from marl.cli import bench_peers
from scenarios import catalog


@pytest.mark.parametrize("module", [tictactoe_v3, connect_four_v3])
def test_turns_are_legal_and_start_again(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    env = module.env()
    resets, moves = [], []
    reset, step = env.reset, env.step
    monkeypatch.setattr(env, "reset", lambda **seed: (resets.append(1), reset(**seed)))

    def checked(action: int) -> None:
        assert env.last()[0]["action_mask"][action]
        moves.append(action)
        step(action)

    monkeypatch.setattr(env, "step", checked)
    play = bench_peers.turns(env)
    for k in range(200):
        play(k)
    assert len(moves) == 200 and len(resets) > 3


@pytest.mark.parametrize("name", ["board/tictactoe", "board/connect_four", "board/hex", "board/hex-7"])
def test_every_board_has_a_peer(name: str) -> None:
    found = bench_peers.find(catalog.find(name))
    assert found is not None
    assert found[0].startswith("open_spiel" if "hex" in name else "pettingzoo")
    for k in range(150):
        found[1](k)
