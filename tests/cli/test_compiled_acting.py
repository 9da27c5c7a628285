"""Whoever acts, wherever it is asked from, acts by compiled functions: torch computes no perceptron there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import environments
from marl import policy as policies
from marl.cli.main import main
from marl.engine.fused import Passes
from marl.engine.perceptrons import Perceptrons
from marl.networks import AgentMLP, computed_by
from marl.policy import Policy
from marl.policy_spec import PolicySpec
from tests.probes import games
from tests.probes.environment import FunctionEnv

BOARD, BOX = "board/tictactoe", "particle/spread"
TINY = ["--num-envs", "8", "--rollout-length", "12", "--hidden", "8", "--threads", "1", "--epochs", "1"]
ONE = ["--threads", "1"]


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """Of every compiled pass: how many networks, and how many rows. Fails where torch computes one instead."""
    found: list[tuple[int, int]] = []
    real = Passes.evaluate_each

    def evaluate_each(self: Passes, members: Any, ends: Any, task: Any, inputs: Any, index: Any) -> None:
        found.append((len(members), len(index)))
        real(self, members, ends, task, inputs, index)

    def run(self: Perceptrons, x: torch.Tensor, *arguments: Any) -> torch.Tensor:
        found.append((1, x.shape[:-1].numel()))
        return computed(self, x, *arguments)

    def by_torch(self: AgentMLP, x: torch.Tensor) -> torch.Tensor:
        raise AssertionError("torch was asked")

    computed = Perceptrons.__call__
    with monkeypatch.context() as patch:
        patch.setattr(Passes, "evaluate_each", evaluate_each)
        patch.setattr(Perceptrons, "__call__", run)
        patch.setattr(AgentMLP, "_shared", by_torch)
        patch.setattr(AgentMLP, "_per_agent", by_torch)
        yield found


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each kind of actions."""
    folder = tmp_path_factory.mktemp("runs")
    continuous = ["--env.continuous-actions", "true", "--env.max-cycles", "6"]
    for name, scenario, more in (("discrete", BOARD, []), ("continuous", BOX, continuous)):
        words = ["--total-steps", "96", "--run-dir", str(folder / name)]
        assert main(["train", "ippo", scenario, *TINY, *words, *more]) == 0
    remembering = ["--total-steps", "64", "--num-envs", "4", "--hidden", "8", "--warmup-steps", "1000", *ONE]
    for name, algorithm, more in (
        ("squashed", "hasac", continuous),
        ("points", "hatd3", continuous),
        ("values", "iql", continuous[2:]),
    ):
        assert main(["train", algorithm, BOX, *remembering, *more, "--run-dir", str(folder / name)]) == 0
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["discrete", "continuous", "squashed", "points", "values"])
def test_evaluation_and_a_file_that_is_used_alone(
    name: str, runs: dict[str, Path], rows: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["evaluate", str(runs[name]), "--episodes", "4", *ONE]) == 0
    seats = {"discrete": 8, "points": 4 * 3, "values": 4 * 3}.get(name, 4)
    assert {count for _, count in rows} == {seats}
    rows.clear()
    (file,) = (runs[name] / "policies").iterdir()
    policy = policies.load(file)
    space = policy.spec.groups[0].observation_space
    agents = [agent for group in policy.spec.groups for agent in group.agents]
    legal = {agent: np.ones(9, np.bool_) for agent in agents} if name == "discrete" else None
    policy.act({agent: np.zeros(space.shape, np.float32) for agent in agents}, legal)
    assert rows


def test_games_of_a_tournament(runs: dict[str, Path], rows: list[tuple[int, int]], tmp_path: Path) -> None:
    policies.load(runs["discrete"] / "policies" / "player.safetensors").save(tmp_path / "b.safetensors", steps=0)
    players = [str(runs["discrete"] / "policies" / "player.safetensors"), str(tmp_path / "b.safetensors")]
    assert main(["tournament", BOARD, *players, "random", "--games", "4", "--dir", str(tmp_path / "t")]) == 0
    assert {networks for networks, _ in rows} == {1, 2}, "policies of one build act together, those against others too"


@pytest.mark.parametrize("algorithm", ["ippo", "isac"])
def test_past_states_in_self_play(algorithm: str, rows: list[tuple[int, int]], tmp_path: Path) -> None:
    past = ["--self-play", "--self-play-every", "1", "--self-play-random", "0"]
    words = ["--total-steps", "480", "--run-dir", str(tmp_path / "run"), *(TINY if algorithm == "ippo" else TINY[:-2])]
    assert main(["train", algorithm, BOARD, *past, *words]) == 0
    assert max(networks for networks, _ in rows) > 2


def test_opponents_and_matches_of_a_league_and_an_exploiter(rows: list[tuple[int, int]], tmp_path: Path) -> None:
    turns = ["--slice-steps", "96", "--snapshot-steps", "96", "--games", "2", "--plan", "pfsp"]
    words = ["--total-steps", "480", "--dir", str(tmp_path / "league")]
    assert main(["league", "run", BOARD, *TINY, *turns, *words]) == 0
    assert max(networks for networks, _ in rows) > 2
    rows.clear()
    words = ["--budget", "96", "--games", "2", "--num-envs", "8", "--dir", str(tmp_path / "exploiter"), *ONE]
    small = ["--rollout-length", "12", "--hidden", "8", "--epochs", "1"]
    assert main(["league", "exploit", f"league:{tmp_path / 'league'}/main-0", *words, *small]) == 0
    assert {networks for networks, _ in rows} == {1, 2}


def test_what_remembers_or_sees_images_is_computed_by_torch() -> None:
    plain, bright = environments.make(BOX, 1).spec, FunctionEnv(games.Bright(), 1).spec
    small = {"hidden": (8,)}
    assert Policy(PolicySpec.of(plain, "team", **small)).acts_compiled
    for env, more in ((plain, {"recurrent": "gru"}), (bright, {})):
        policy = Policy(PolicySpec.of(env, "team", **small, **more))
        assert not policy.acts_compiled and computed_by(policy) is None
