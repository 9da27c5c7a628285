"""Soft actor-critics from the command line: they train, go on, are measured and seen, and refuse in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from environments import replay
from marl import policy, runs
from marl.cli.main import main
from marl.config import ALGORITHMS, changed
from marl.config_replay import SACConfig
from tests.cli.test_train import goes_on_alike, measured

SMALL = ["--num-envs", "4", "--rollout-length", "25", "--hidden", "8", "--threads", "1", "--batch-size", "32"]
SMALL += ["--warmup-steps", "150", "--buffer-size", "400"]
"""100 steps and 5 updates an iteration; the ring of memories goes round."""


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "spread"
    words = ["train", "hasac", "particle/spread", *SMALL, "--env.continuous-actions", "true", "--n-step", "3"]
    assert main([*words, "--total-steps", "900", "--checkpoint-every", "300", "--run-dir", str(folder)]) == 0
    return folder


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(spread: Path, tmp_path: Path) -> None:
    goes_on_alike(spread, tmp_path / "again", 900, 600, "team")


def test_it_learns_on_schedule(spread: Path) -> None:
    rows = measured(spread)
    assert [row["team/updates"] for row in rows] == [0.0] + [5.0] * 8
    assert [row["team/remembered"] for row in rows] == [100, 200, 300, 400, 400, 400, 400, 400, 400]
    assert "team/critic_loss" not in rows[0] and rows[1]["team/critic_loss"] > 0


def test_it_is_measured_recorded_and_loaded(spread: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(spread), "--episodes", "4", "--record", "1", "--out", str(tmp_path), "--greedy", "true"]
    assert main(words) == 0
    assert "4 episodes, greedy actions" in capsys.readouterr().out
    (path,) = tmp_path.glob("*.replay")
    assert replay.load(path).steps == 25
    loaded = policy.load(runs.open_run(spread).policy("team"))
    assert loaded.spec.box == "squashed" and loaded.spec.about["algorithm"] == "hasac"


def test_weights_go_from_one_soft_learner_to_another(spread: Path, tmp_path: Path) -> None:
    file = str(runs.open_run(spread).policy("team"))
    words = ["particle/spread", *SMALL, "--env.continuous-actions", "true", "--total-steps", "100", "--init", file]
    assert main(["train", "masac", *words, "--parameters", "per_agent", "--run-dir", str(tmp_path / "next")]) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("hasac particle/spread --order at_once", "updates agents agent by agent; at once it is masac"),
        ("masac particle/spread --critic local", "has a central critic and updates agents at once; with a local one"),
        ("hasac particle/spread --parameters shared", "agent by agent needs --parameters per_agent"),
        ("hasac particle/spread --env.continuous-actions true --expectation joint", "has continuous actions"),
        ("hasac particle/spread --buffer-size 100", "a rollout has 1024 samples: set --buffer-size"),
        ("isac particle/spread --critic-temperature team", "a local critic has no team temperature"),
        ("hasac particle/spread --polyak 0", "polyak must be above 0"),
        (
            "hasac particle/spread --buffer-size 1000000000000",
            "a replay buffer of 1000000000000 samples of 'team' needs",
        ),
    ],
)
def test_what_cannot_be_is_said_in_one_line(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *words.split()]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_a_gaussian_policy_starts_no_squashed_one(spread: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(runs.open_run(spread).policy("team"))
    words = ["train", "mappo", "particle/spread", "--hidden", "8", "--env.continuous-actions", "true", "--init", file]
    assert main([*words, "--parameters", "per_agent", "--activation", "relu"]) == 3
    assert "draws squashed Box actions; mappo needs gaussian ones" in capsys.readouterr().err


def test_the_grid_names_what_each_algorithm_is() -> None:
    for name in ("isac", "masac", "hasac"):
        known = ALGORITHMS[name]
        assert isinstance(known.config, SACConfig) and known.load().__name__ == "SAC"
        assert (known.critic, known.order) == (known.config.critic, known.config.order)
    assert changed(ALGORITHMS["hasac"].config, {"n_step": 3}).n_step == 3
