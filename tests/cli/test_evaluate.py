"""`marl evaluate`: numbers that can be repeated, in the promised format, and replays of what was measured."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import environments
from environments import replay
from marl.cli import evaluate, results
from marl.cli.evaluate import Evaluate
from marl.cli.main import main
from marl.cli.plan import MEASURED_COPY, TRAINING_COPY, WATCHED_COPY
from marl.evaluate import Evaluation


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tag run of one iteration."""
    folder = tmp_path_factory.mktemp("runs") / "tag"
    small = ["--num-envs", "4", "--rollout-length", "25", "--hidden", "8", "--total-steps", "100", "--threads", "1"]
    assert main(["train", "ippo", "particle/tag", *small, "--run-dir", str(folder)]) == 0
    return folder


def measure(*words: str, to: Path) -> dict[str, Any]:
    assert main(["evaluate", *words, "--episodes", "20", "--threads", "1", "--json", str(to)]) == 0
    result: dict[str, Any] = json.loads(to.read_text())
    return result


def test_the_promised_format(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = measure(str(run), "--record", "2", to=tmp_path / "a.json")
    told = capsys.readouterr().out
    assert list(found["teams"]) == ["adversary", "good"]
    for value in (*found["teams"].values(), found["sum"]):
        assert value["low"] < value["mean"] < value["high"]
    total = sum(team["mean"] for team in found["teams"].values())
    assert found["sum"]["mean"] == pytest.approx(total)
    assert (found["episodes"], found["greedy"], found["seed"], found["reward"]) == (20, False, 0, "agent")
    assert found["players"]["good"]["algorithm"] == "ippo" and len(found["players"]["good"]["sha256"]) == 64
    assert "20 episodes, sampled actions, seed 0" in told and "adversary" in told
    assert [Path(path).name for path in found["replays"]] == ["evaluation-0-0.replay", "evaluation-0-1.replay"]
    for path in found["replays"]:
        recorded = replay.load(path)
        assert recorded.header["policies"]["good"]["algorithm"] == "ippo"
        assert np.isfinite(recorded.groups["agent"].probabilities.astype(float)).all()
        assert f"marl watch {path}" in told
    assert main(["verify", found["replays"][0]]) == 0


def test_a_seed_repeats_and_anything_else_differs(run: Path, tmp_path: Path) -> None:
    first = measure(str(run), to=tmp_path / "a.json")
    assert measure(str(run), to=tmp_path / "b.json") == first
    assert measure(str(run), "--seed", "1", to=tmp_path / "c.json")["sum"] != first["sum"]
    greedy = measure(str(run), "--greedy", to=tmp_path / "d.json")
    assert greedy["teams"] != first["teams"]
    others = measure(str(run), "--greedy", "--team", "good=random", to=tmp_path / "e.json")
    assert others["teams"]["good"] != greedy["teams"]["good"]
    assert others["players"]["good"] == {"player": "random"}


def test_a_policy_file_plays_against_random(run: Path, tmp_path: Path) -> None:
    file = run / "policies" / "good.safetensors"
    alone = measure(str(file), to=tmp_path / "a.json")
    named = measure(str(run), "--team", "adversary=random", to=tmp_path / "b.json")
    assert alone["teams"] == named["teams"]
    assert alone["scenario"] == "particle/tag" and alone["algorithm"] == "ippo"


def test_a_scenarios_name_is_random_play(tmp_path: Path) -> None:
    found = measure("particle/spread", to=tmp_path / "a.json")
    assert -130 < found["teams"]["team"]["mean"] < -50
    assert found["players"] == {"team": {"player": "random"}}


def test_episodes_are_never_those_that_were_trained_on() -> None:
    """One seed gives every copy's number another key, so ranges of numbers that do not meet share no episode."""
    starts = sorted([TRAINING_COPY, WATCHED_COPY, MEASURED_COPY])
    assert all(b - a >= 2**20 for a, b in itertools.pairwise(starts))
    seeds = [environments.make("particle/spread", 8, 0, first).episode_seed for first in starts]
    assert len(set(np.concatenate(seeds).tolist())) == 24


def test_means_and_intervals_are_those_of_the_episodes() -> None:
    returns = np.array([[1.0, 10.0], [3.0, 20.0]])
    lengths, outcomes, metrics = np.array([5, 7]), returns.astype(np.float32), np.array([[0.5], [1.5]], np.float32)
    measured = Evaluation(("a", "b"), returns, lengths, outcomes, metrics, [])
    found = results.to_json(measured, (("hits", "1"),), greedy=True, seed=3, scenario="x")
    assert found["teams"]["a"]["mean"] == 2.0 and found["teams"]["b"]["mean"] == 15.0
    assert found["sum"]["mean"] == 17.0 and found["episode_length"]["mean"] == 6.0
    assert found["metrics"]["hits"]["mean"] == 1.0 and found["metrics"]["hits"]["unit"] == "1"
    assert found["teams"]["a"]["high"] == pytest.approx(
        2 + 12.706 * 1.0, rel=1e-3
    )  # t(1 degree), deviation / sqrt(2) = 1
    told = results.describe(found)
    assert told[0].endswith("greedy actions, seed 3") and any(line.startswith("  sum") for line in told)
    hits = next(line for line in told if line.startswith("  hits")).split()
    assert hits[1] == "1.000" and hits[2].startswith("[-5.") and hits[-1] == "1"  # mean, interval, unit
    shared = results.describe({**found, "reward": "team_mean"})
    assert shared[0].endswith("greedy actions, seed 3, trained on reward team_mean")


def test_one_episode_has_no_interval(tmp_path: Path) -> None:
    assert main(["evaluate", "particle/spread", "--episodes", "1", "--json", str(tmp_path / "a.json")]) == 0
    found = json.loads((tmp_path / "a.json").read_text())["sum"]
    assert found["low"] is None and found["high"] is None


def test_a_scenario_says_how_many_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int | None] = []

    def measured(match: object, options: Evaluate) -> dict[str, Any]:
        asked.append(options.episodes)
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "measure", measured)
    assert main(["evaluate", "particle/spread"]) == 130
    assert asked == [1000]


def test_replays_that_cannot_be_written_are_exit_5(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    words = ["evaluate", "particle/spread", "--episodes", "2", "--record", "1", "--out", str(tmp_path / "file")]
    assert main(words) == 5
    told = capsys.readouterr().err
    assert "cannot write" in told and "nothing was replaced" in told and told.count("\n") == 1
