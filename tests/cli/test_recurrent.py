"""Networks that remember, from the command line: they train, go on, play themselves, are measured, are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from environments import replay
from marl import policy, runs
from marl.cli.main import main
from marl.config import ALGORITHMS
from tests.cli.test_train import goes_on_alike

SMALL = ["--num-envs", "4", "--rollout-length", "12", "--hidden", "8", "--threads", "1", "--recurrent", "gru"]
SMALL += ["--chunk-length", "4", "--minibatches", "2"]


@pytest.fixture(scope="module")
def noughts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of both seats, against itself, its past and random play; interrupted in the middle of episodes."""
    folder = tmp_path_factory.mktemp("runs") / "noughts"
    words = ["train", "ippo", "board/tictactoe", *SMALL, "--self-play", "--self-play-every", "2"]
    words += ["--total-steps", "288", "--checkpoint-every", "96", "--run-dir", str(folder)]
    assert main(words) == 0
    return folder


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(noughts: Path, tmp_path: Path) -> None:
    goes_on_alike(noughts, tmp_path / "again", 288, 192, "player")


def test_it_is_measured_recorded_verified_and_loaded(
    noughts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(noughts), "--episodes", "6", "--record", "2", "--out", str(tmp_path)]) == 0
    paths = sorted(tmp_path.glob("*.replay"))
    assert len(paths) == 2
    assert main(["verify", str(paths[0])]) == 0
    recorded = replay.load(paths[0])
    assert recorded.groups["player"].probabilities.shape[2] == 9
    against = ["--team", f"player_0={noughts}", "--team", "player_1=random"]
    assert main(["evaluate", str(noughts), "--episodes", "6", *against]) == 0
    capsys.readouterr()
    assert policy.load(runs.open_run(noughts).policy("player")).memory == {"player": 8}


def test_weights_go_where_networks_are_alike(noughts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(runs.open_run(noughts).policy("player"))
    words = ["board/tictactoe", "--total-steps", "48", "--init", file, "--run-dir", str(tmp_path / "next")]
    assert main(["train", "mappo", *words, *SMALL]) == 0
    assert main(["train", "mappo", *words, "--hidden", "8"]) == 3
    assert "has recurrent gru, the run none; set --recurrent" in capsys.readouterr().err
    assert main(["train", "isac", *words, "--hidden", "8", "--activation", "tanh"]) == 3
    assert "remembers, and isac is feed-forward only" in capsys.readouterr().err


def test_values_are_learnt_with_a_memory_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From chunks in a replay buffer, in self-play; stopped, gone on with, measured, recorded, loaded, played."""
    folder = tmp_path / "whole"
    words = ["train", "iql", "board/tictactoe", *SMALL[:-2], "--burn-in", "2", "--self-play", "--self-play-every", "2"]
    words += ["--warmup-steps", "48", "--batch-size", "32", "--buffer-size", "400", "--updates-per-step", "0.04"]
    assert main([*words, "--total-steps", "192", "--checkpoint-every", "96", "--run-dir", str(folder)]) == 0
    goes_on_alike(folder, tmp_path / "again", 192, 96, "player")
    assert main(["evaluate", str(folder), "--episodes", "4", "--record", "1", "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("*.replay")
    assert main(["verify", str(path)]) == 0
    track = replay.load(path).groups["player"]
    assert np.isfinite(track.value[track.acting]).all()
    loaded = policy.load(runs.open_run(folder).policy("player"))
    assert loaded.memory == {"player": 8} and loaded.spec.epsilon is not None
    sight, hidden = np.zeros(loaded.spec.groups[0].observation_space.shape or ()), {}
    action = loaded.act({"player_0": sight}, {"player_0": np.arange(9) == 4}, greedy=True, hidden=hidden)
    assert action == {"player_0": 4} and hidden["player_0"].any()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            "hasac particle/spread --recurrent gru",
            "hasac is feed-forward only; networks that remember have ia2c, maa2c,",
        ),
        ("masac particle/spread --chunk_length=4", "masac is feed-forward only"),
        ("ippo particle/tag --team good=hatd3,recurrent=gru", "hatd3 is feed-forward only"),
        (
            "qmix particle/spread --recurrent gru --chunk-length 5",
            "a rollout of 8 steps cannot be cut into chunks of 5",
        ),
        (
            "ippo particle/spread --recurrent gru --chunk-length 10",
            "128 steps cannot be cut into chunks of 10: set --chu",
        ),
        ("ippo particle/spread --recurrent lstm", "--recurrent cannot be 'lstm'"),
        ("ippo particle/spread --recurrent gru --recurrent-layers 65", "--recurrent-layers must be 1 to 64, not 65"),
        ("ippo particle/spread --recurrent gru --chunk-length 0", "--chunk-length must be at least 1"),
        ("ippo particle/spread --recurrent gru --engine fused", "recurrent networks have no compiled gradients: leave"),
        (
            "ippo particle/spread --recurrent gru --num-envs 1 --minibatches 9",
            "8 chunks of 16 steps cannot be cut into 9",
        ),
    ],
)
def test_what_cannot_be_is_told_in_one_line(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *words.split()]) == 2
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1


def test_the_list_says_who_can_remember(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "algorithms"]) == 0
    lines = capsys.readouterr().out.splitlines()
    place = lines[0].index("recurrent")
    found = {line.split()[0]: line[place:].split()[0] for line in lines[1:] if line.split()[0] in ALGORITHMS}
    assert {name for name, said in found.items() if said == "yes"} == {
        known.name for known in ALGORITHMS.values() if known.family in ("ppo", "a2c", "trpo", "q")
    }
    assert set(found.values()) == {"yes", "no"}
