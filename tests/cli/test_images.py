"""Environments whose agents see images: trained on by every family, gone on with, played and measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from marl.cli.main import main

PISTONS = ["pettingzoo:butterfly.pistonball_v6", "--env.n-pistons", 5, "--env.max-cycles", 30]
PADDLES = ["pettingzoo:butterfly.cooperative_pong_v6", "--env.max-cycles", 30]
SEEN = ["--wrap", "color_reduction", "--wrap", "resize:16x12", "--wrap", "frame_stack:2"]
ROLLOUTS = ["--no-anneal", "--rollout-length", 20, "--minibatches", 2, "--epochs", 2]
REMEMBERED = ["--rollout-length", 10, "--warmup-steps", 40, "--buffer-size", 200, "--batch-size", 16]
"""The ring goes round: what is forgotten is part of the test."""
SHORT = [*SEEN, "--hidden", 16, "--num-envs", 2, "--threads", 1, "--workers", 0]


def marl(capsys: Any, *words: object) -> str:
    assert main([str(word) for word in words]) == 0, capsys.readouterr().err
    out: str = capsys.readouterr().out
    return out


@pytest.mark.parametrize(
    ("algorithm", "words"),
    [
        ("mappo", [*PISTONS, *ROLLOUTS]),
        ("hasac", [*PISTONS, *REMEMBERED]),
        ("qmix", [*PADDLES, *REMEMBERED, "--reward", "team_sum"]),
    ],
)
def test_images_are_trained_on(algorithm: str, words: list[Any], tmp_path: Path, capsys: Any) -> None:
    """A few hundred steps, in one go or in two: the same bits; then the policy plays from its file."""
    train = ["train", algorithm, *words, *SHORT, "--total-steps"]
    out = marl(capsys, *train, 240, "--run-dir", tmp_path / "whole")
    assert "engine    torch (" in out
    marl(capsys, *train, 120, "--run-dir", tmp_path / "parts")
    assert "step 120" in marl(capsys, "resume", tmp_path / "parts", "--total-steps", 240)
    (path,) = (tmp_path / "whole" / "policies").glob("*.safetensors")
    one, two = load_file(path), load_file(tmp_path / "parts" / "policies" / path.name)
    assert one.keys() == two.keys() and all((one[name] == two[name]).all() for name in one)
    assert any(name.startswith("encoders.") and values.ndim == 5 for name, values in one.items())
    assert "(undiscounted returns" in marl(capsys, "evaluate", path, "--episodes", 2, "--greedy")


def test_the_engine_is_asked_for_in_vain(capsys: Any) -> None:
    words = ["train", "ippo", *PADDLES, *SHORT, "--engine", "fused"]
    assert main([str(word) for word in words]) == 2
    assert "networks that see images have no compiled gradients: leave --engine out" in capsys.readouterr().err
