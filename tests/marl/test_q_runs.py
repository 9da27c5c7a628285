"""Runs of the value-based learners: kinds of agents together, going on after a stop, files, the command line."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from marl import policy, runs
from marl.algorithms.q_learning import QLearning
from marl.cli.main import main
from marl.config import ALGORITHMS
from marl.policy_spec import read_spec
from tests.marl.rollouts import make, shaken
from tests.marl.valued import NAMES, collect, config_of, learner


@pytest.mark.parametrize("parameters", ["shared", "per_agent"])
@pytest.mark.parametrize("game", ["toy/meet", "toy/siege", "toy/noughts", "particle/speaker_listener"])
@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_agent_can_be_trained(name: str, game: str, parameters: str) -> None:
    """Masks, deaths and several choices, turns, agents of different shapes in one team."""
    env = make(game)
    made = learner(env, name, game, parameters=parameters)
    before = [x.detach().clone() for x in made.learnt]
    for rollout in collect(env, made, 3):
        metrics = made.update(rollout, 0.0)
    assert all(math.isfinite(value) for value in metrics.values()) and metrics["updates"] > 0
    assert sum(torch.equal(x, y) for x, y in zip(before, made.learnt, strict=True)) == 0


@pytest.mark.parametrize("game", ["toy/meet", "toy/siege"])
def test_a_saved_policy_acts_alone(game: str, tmp_path: Path) -> None:
    """Greedy: the best legal action; else any with the last epsilon."""
    env = make(game)
    made = learner(env, "qmix", game, final_epsilon=0.5)
    shaken(made.policy)
    made.policy.save(tmp_path / "team.safetensors")
    loaded = policy.load(tmp_path / "team.safetensors")
    assert loaded.spec == made.spec and loaded.spec.epsilon == 0.5
    (group,) = loaded.spec.groups
    members = loaded.spec.members(group)
    generator = np.random.default_rng(2)
    obs = generator.normal(size=(members, *group.observation_space.shape)).astype(np.float32)
    sights = {agent: obs[i] for i, agent in enumerate(group.agents[:members])}
    legal = torch.rand(1, members, group.mask_size, generator=torch.Generator().manual_seed(1)) < 0.6
    legal[..., ::2] = True
    masks = {agent: legal[0, i].numpy() for i, agent in enumerate(sights)}
    best = made._best(made.policy, group, _views(made, torch.from_numpy(obs)[None], legal))[0].numpy()
    acts = loaded.act(sights, masks, greedy=True)
    drawn: dict[str, list[Any]] = {agent: [] for agent in sights}
    for _ in range(300):
        for agent, action in loaded.act(sights, masks, rng=generator).items():
            assert group.action_space.contains(action)
            drawn[agent].append(np.atleast_1d(action))
    shares = []
    for i, agent in enumerate(sights):
        np.testing.assert_array_equal(acts[agent], best[i])
        shares.append(np.mean(np.stack(drawn[agent]) == np.atleast_1d(best[i]), 0))
    assert np.min(shares) > 0.5 and np.min(shares) < 0.95  # a choice with one legal action is always that


def _views(made: QLearning, obs: torch.Tensor, mask: torch.Tensor) -> Any:
    from marl.replay_buffer import Views

    (group,) = made.spec.groups
    return Views({group.name: obs}, {group.name: mask}, torch.ones(obs.shape[:2]).bool(), obs[:, 0], torch.zeros(1))


# --- the command line -----------------------------------------------------------------------------------------------

BRIEF = [
    "--num-envs", "4", "--rollout-length", "25", "--hidden", "8", "--threads", "1", "--warmup-steps", "100",
    "--batch-size", "32", "--buffer-size", "1000", "--updates-per-step", "0.03", "--epsilon-steps", "200",
]  # fmt: skip
"""100 steps an iteration, 3 updates in each."""


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "spread"
    more = ["--total-steps", "400", "--checkpoint-every", "200", "--run-dir", str(folder)]
    assert main(["train", "qmix", "particle/spread", *BRIEF, *more]) == 0
    return folder


def test_a_run_is_evaluated_and_watched(spread: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about = read_spec(runs.open_run(spread).policy("team"))[0]
    assert (about.epsilon, about.about["algorithm"], about.about["steps"]) == (0.05, "qmix", 400)
    for words, told in (([], "sampled actions"), (["--greedy", "--record", "1"], "greedy actions")):
        assert main(["evaluate", str(spread), "--episodes", "8", "--threads", "1", *words]) == 0
        assert told in capsys.readouterr().out
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


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("qmix particle/spread --reward agent", "each earn their own reward"),
        ("vdn particle/spread --reward agent", "set --reward team_sum or team_mean, or train with iql"),
        ("qmix particle/spread --env.continuous-actions true", "qmix cannot learn Box actions, which 'agent_0' has"),
        ("iql particle/spread --env.continuous-actions true", "or set --env.continuous-actions false"),
        ("qmix particle/spread --mixer sum", "qmix with the mixer sum is vdn: train that"),
        ("iql particle/spread --mixer monotone", "iql with the mixer monotone is qmix"),
        ("vdn particle/spread --final-epsilon 1.5", "final_epsilon must be 0 to 1"),
        ("vdn particle/spread --target-period 0", "target_period must be at least 1"),
        ("qmix particle/spread --mixer-hidden 0", "hidden must be widths of 1 to 65536"),
        ("qmix particle/spread --temperature 1", "unknown option"),
        ("qmix particle/spread --engine fused", "qmix has no compiled gradients"),
        ("qmix particle/spread --buffer-size 100", "a rollout has 1024 samples: set --buffer-size"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *words.split()]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_values_start_values_and_nothing_else(spread: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = str(runs.open_run(spread).policy("team"))
    later = ["500" if word == "100" else word for word in BRIEF]
    words = [*later, "--init", start, "--total-steps", "100", "--run-dir", str(tmp_path / "next")]
    assert main(["train", "vdn", "particle/spread", *words]) == 0
    kept = torch.cat([x.flatten() for x in policy.load(start).state_dict().values()])
    own = policy.load(runs.open_run(tmp_path / "next").policy("team"))
    assert torch.equal(kept, torch.cat([x.flatten() for x in own.state_dict().values()]))  # all of it was warm-up
    capsys.readouterr()
    more = ["--hidden", "8", "--init", start, "--activation", "relu"]
    assert main(["train", "mappo", "particle/spread", *more]) == 3
    assert "gives values of actions; mappo needs probabilities" in capsys.readouterr().err


def test_the_grid_names_what_each_algorithm_is() -> None:
    for name, critic in (("iql", "local"), ("vdn", "sum"), ("qmix", "monotone")):
        known = ALGORITHMS[name]
        assert known.config == replace(config_of(name), **vars(known.config)) and known.load() is QLearning
        assert (known.critic, known.order, known.actions) == (critic, "at_once", ("Discrete", "MultiDiscrete"))
