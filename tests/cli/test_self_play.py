"""`--self-play` from the command line: one learner for all alike, the same run whether interrupted or not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from marl import runs
from marl.cli.main import main
from marl.policy_spec import read_spec

SMALL = ["--num-envs", "16", "--rollout-length", "12", "--hidden", "8", "--threads", "1", "--self-play"]
STEP = 192
PENNIES, BOARD = "matrix/matching_pennies", "board/tictactoe"


def train(scenario: str, folder: Path, *words: str) -> int:
    return main(["train", "ippo", scenario, *SMALL, "--run-dir", str(folder), *words])


def measured(folder: Path) -> list[dict[str, float]]:
    rows = runs.read_metrics(runs.open_run(folder))
    return [{name: value for name, value in row.items() if not name.startswith("time/")} for row in rows]


def weights(folder: Path, team: str) -> dict[str, np.ndarray]:
    return load_file(folder / "policies" / f"{team}.safetensors")


@pytest.mark.parametrize(("scenario", "team"), [(BOARD, "player"), (PENNIES, "odd")])
def test_an_interruption_changes_nothing(scenario: str, team: str, tmp_path: Path) -> None:
    past = ["--self-play-every", "1", "--self-play-kept", "2", "--no-anneal"]
    assert train(scenario, tmp_path / "whole", *past, "--total-steps", str(6 * STEP)) == 0
    assert train(scenario, tmp_path / "parts", *past, "--total-steps", str(3 * STEP)) == 0
    assert main(["resume", str(tmp_path / "parts"), "--total-steps", str(6 * STEP)]) == 0
    assert measured(tmp_path / "whole") == measured(tmp_path / "parts")
    one, two = weights(tmp_path / "whole", team), weights(tmp_path / "parts", team)
    assert all(np.array_equal(one[name], two[name]) for name in one)
    scores = [row for row in measured(tmp_path / "whole") if any(name.endswith("score/past") for name in row)]
    assert scores and any(name.endswith("score/random") for name in scores[-1])


def test_two_kinds_alike_have_one_learner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert train(PENNIES, folder, "--total-steps", str(2 * STEP), "--record", "1", "--env.memory", "true") == 0
    names = {name.split("/")[0] for row in measured(folder) for name in row if name.endswith("/entropy")}
    assert names == {"even"}
    for team in ("even", "odd"):
        about, critic = read_spec(folder / "policies" / f"{team}.safetensors")
        assert (about.kind, about.teams, [g.name for g in about.groups], critic) == (team, 1, [team], None)
    even, odd = weights(folder, "even"), weights(folder, "odd")
    assert len(even) == len(odd) and all(
        np.array_equal(value, odd[name.replace("even", "odd")]) for name, value in even.items()
    )
    assert main(["evaluate", str(folder), "--episodes", "5", "--threads", "1"]) == 0
    assert main(["verify", str(next((folder / "replays").iterdir()))]) == 0
    assert main(["resume", str(folder)]) == 0
    assert "is finished" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("scenario", "words", "told"),
    [
        (
            "particle/tag",
            ["--self-play"],
            "--self-play: no two teams of particle/tag have equal spaces",
        ),
        (PENNIES, ["--self-play", "--team", "odd=ippo,learning_rate=0.5"], "have equal spaces and learn alike"),
        (PENNIES, ["--self-play", "--team", "odd=random"], "have equal spaces and learn alike"),
        (BOARD, ["--self-play-random", "0.2"], "--self-play-random needs --self-play"),
        (BOARD, ["--self-play", "--self-play-opponents", "2"], "--self-play-opponents must be 0 to 1, not 2"),
    ],
)
def test_what_cannot_be_is_one_line(
    scenario: str, words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "ippo", scenario, *words]) == 2
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1


def test_starting_weights_are_the_learners(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(PENNIES, tmp_path / "first", "--total-steps", str(STEP)) == 0
    even, odd = (str(tmp_path / "first" / "policies" / f"{team}.safetensors") for team in ("even", "odd"))
    assert train(PENNIES, tmp_path / "second", "--init", odd) == 2
    assert "the learner of 'even' plays 'odd' too; give it weights of 'even'" in capsys.readouterr().err
    assert train(PENNIES, tmp_path / "second", "--init", even, "--total-steps", str(STEP), "--learning-rate", "0") == 0
    one, two = weights(tmp_path / "first", "even"), weights(tmp_path / "second", "odd")
    assert all(np.array_equal(value, two[name.replace("even", "odd")]) for name, value in one.items())
