"""Runs of the deterministic learners: refusing, kinds of agents together, going on after a stop, the command line."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces

from environments.errors import UsageError
from marl import policy, runs
from marl.algorithms.ddpg import DDPG
from marl.cli.main import main
from marl.config import ALGORITHMS
from marl.policy_spec import read_spec
from tests.marl.deterministic import NAMES, SMALL, collect, learner, make
from tests.marl.rollouts import shaken
from tests.probes.environment import FunctionEnv, Rules


class Endless(Rules):
    """Actions without bounds."""

    actions = spaces.Box(-np.inf, np.inf, (2,), np.float32)


def test_what_it_cannot_do_is_said_in_one_line() -> None:
    with pytest.raises(UsageError, match="group 'team': its actions"):
        DDPG(FunctionEnv(Endless(), 2).spec, "team", SMALL, "agent", 0)
    with pytest.raises(UsageError, match="agent by agent needs --parameters per_agent"):
        replace(SMALL, parameters="shared")


@pytest.mark.parametrize("game", ["toy/dock", "particle/tag", "particle/speaker_listener", "perilous"])
@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_agent_can_be_trained(name: str, game: str) -> None:
    """Lopsided boxes, two kinds of team, agents of different shapes in one team, deaths."""
    env = make(game)
    made = learner(env, name, game, "team_mean")
    before = [x.clone() for x in made.policy.parameters()]
    for rollout in collect(env, made, 3):
        metrics = made.update(rollout, 0.0)
    assert all(math.isfinite(value) for value in metrics.values()) and metrics["updates"] > 0
    assert all(not torch.equal(x, y) for x, y in zip(before, made.policy.parameters(), strict=True))


def test_metrics_are_means_over_the_updates_that_tell_them() -> None:
    env = make()
    made = learner(env, "hatd3", warmup_steps=0, updates_per_step=3 / 48)
    gradients: list[float] = []
    whole = made._one_by_one
    made._one_by_one = lambda *given: gradients.append(whole(*given)) or gradients[-1]  # type: ignore[assignment, func-returns-value]
    for rollout in collect(env, made, 4):
        gradients.clear()
        metrics = made.update(rollout, 0.0)
        assert metrics["updates"] == 3 and len(gradients) in (1, 2)
        assert metrics["actor_gradient"] == pytest.approx(sum(gradients) / len(gradients))


def test_a_saved_policy_acts_alone_and_the_same_each_time(tmp_path: Path) -> None:
    env = make("toy/dock")
    made = learner(env, "hatd3", "toy/dock")
    shaken(made.policy)
    made.policy.save(tmp_path / "team.safetensors")
    loaded = policy.load(tmp_path / "team.safetensors")
    assert loaded.spec == made.spec and loaded.spec.box == "deterministic"
    (group,) = loaded.spec.groups
    sights = {
        agent: np.full(group.observation_space.shape, 0.3 * i, np.float32) for i, agent in enumerate(group.agents)
    }
    acts = [loaded.act(sights, greedy=greedy, rng=np.random.default_rng(i)) for i, greedy in enumerate((True, False))]
    for i, agent in enumerate(group.agents):
        assert group.action_space.contains(acts[0][agent])
        np.testing.assert_array_equal(acts[0][agent], acts[1][agent])
        obs = torch.full((1, len(group.agents), *group.observation_space.shape), 0.3 * i)
        with torch.no_grad():
            y = torch.tanh(made.policy.actors[group.name](obs))[0, i].numpy()
        low, high = group.action_space.low, group.action_space.high  # type: ignore[attr-defined]
        np.testing.assert_allclose(acts[0][agent], (low + high) / 2 + (high - low) / 2 * y, rtol=1e-5, atol=1e-6)


# --- the command line -----------------------------------------------------------------------------------------------

BRIEF = [
    "--env.continuous-actions", "true", "--num-envs", "4", "--rollout-length", "25", "--hidden", "8", "--threads", "1",
    "--warmup-steps", "100", "--batch-size", "32", "--buffer-size", "1000", "--updates-per-step", "0.03",
]  # fmt: skip
"""100 steps an iteration, 3 updates in each."""


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "spread"
    more = ["--total-steps", "400", "--checkpoint-every", "200", "--run-dir", str(folder)]
    assert main(["train", "hatd3", "particle/spread", *BRIEF, *more]) == 0
    return folder


def test_a_run_is_evaluated_and_watched(spread: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about = read_spec(runs.open_run(spread).policy("team"))[0]
    assert (about.box, about.about["algorithm"], about.about["steps"]) == ("deterministic", "hatd3", 400)
    assert main(["evaluate", str(spread), "--episodes", "8", "--greedy", "--record", "1", "--threads", "1"]) == 0
    assert "greedy actions" in capsys.readouterr().out
    picture = tmp_path / "frame.png"
    assert main(["watch", str(spread), "--png", "3", "--panel", "true", "--out", str(picture)]) == 0
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_a_new_process_resumes_a_run_bit_for_bit(spread: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(spread, again)
    shutil.rmtree(again / "checkpoints" / "000000000000400")
    command = [sys.executable, "-m", "marl.cli.main", "resume", str(again)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "resumed at step 200" in done.stdout
    arrays = "checkpoints/000000000000400/arrays.safetensors"
    assert (again / arrays).read_bytes() == (spread / arrays).read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_discrete_actions_are_refused_in_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", name, "particle/spread"]) == 2
    told = capsys.readouterr().err.strip()
    assert "\n" not in told and f"{name} cannot learn Discrete actions, which 'agent_0' has (Discrete(5))" in told
    ways = ", ".join(known.name for known in ALGORITHMS.values() if "Discrete" in known.actions)
    assert "mappo" in ways and "hatd3" not in ways
    assert f"train with {ways}, or set --env.continuous-actions true" in told
    assert main(["train", name, "matrix/climbing"]) == 2
    told = capsys.readouterr().err.strip()
    assert f"train with {ways}" in told and "set --env" not in told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("hatd3 --order at_once", "hatd3 has a central critic and updates agents agent by agent; at once it is matd3"),
        (
            "maddpg --order agent_by_agent",
            "maddpg has a central critic and updates agents at once; agent by agent it is",
        ),
        ("haddpg --buffer-size 10", "a rollout has 100 samples: set --buffer-size"),
        ("matd3 --policy-delay 0", "policy_delay must be at least 1"),
        ("matd3 --temperature 1", "unknown option"),
    ],
)
def test_bad_settings_are_refused(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, *rest = words.split()
    assert main(["train", name, "particle/spread", *BRIEF, *rest]) == 2
    assert told in capsys.readouterr().err


def test_weights_of_another_kind_of_box_are_refused(
    spread: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And those of its own are taken; a local critic is a setting like others."""
    start = str(runs.open_run(spread).policy("team"))
    words = ["train", "hasac", "particle/spread", *BRIEF, "--init", start]
    assert main(words) == 3
    assert "draws deterministic Box actions; hasac needs squashed ones" in capsys.readouterr().err
    more = [
        "--critic",
        "local",
        "--parameters",
        "per_agent",
        "--total-steps",
        "100",
        "--run-dir",
        str(tmp_path / "own"),
    ]
    assert main(["train", "matd3", "particle/spread", *BRIEF, "--init", start, *more]) == 0
