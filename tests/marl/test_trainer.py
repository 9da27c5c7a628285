"""The trainer: one iteration after the other, the same whether interrupted or not, in this process or another."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from marl import checkpoint
from marl.algorithms.ppo import PPO
from marl.policy_spec import PolicySpec
from marl.random_policy import RandomPolicy
from marl.trainer import Trainer
from tests.marl.rollouts import SMALL, make

CASES = [
    ("toy/noughts", "local", "agent"),
    ("toy/siege", "central", "team_sum"),
    ("toy/dock", "local", "team_mean"),
    ("particle/tag", "central", "agent"),
    ("particle/speaker_listener", "local", "team_mean"),
]


def trainer_of(name: str, critic: str, reward: str, seed: int = 0) -> Trainer:
    env = make(name, seed=seed)
    config = replace(SMALL, critic=critic, anneal=True)
    learners = {kind.name: PPO(env.spec, kind.name, config, reward, seed) for kind in env.spec.kinds}
    return Trainer(env, learners, {}, total_steps=5000, rollout_length=SMALL.rollout_length, seed=seed)


def digest(value: Any) -> str:
    """Hash of a tree of tensors, arrays and numbers."""
    whole = hashlib.sha256()

    def add(x: Any) -> None:
        if isinstance(x, dict):
            for key in sorted(x, key=str):
                whole.update(str(key).encode())
                add(x[key])
        elif isinstance(x, list | tuple):
            for item in x:
                add(item)
        elif isinstance(x, torch.Tensor | np.ndarray):
            array = x.detach().numpy() if isinstance(x, torch.Tensor) else x
            whole.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        else:
            whole.update(repr(x).encode())

    add(value)
    return whole.hexdigest()


def run(trainer: Trainer, iterations: int) -> list[dict[str, float]]:
    metrics = [trainer.iteration() for _ in range(iterations)]
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in metrics]


@pytest.mark.parametrize(("name", "critic", "reward"), CASES)
def test_an_interruption_changes_no_bit(name: str, critic: str, reward: str) -> None:
    whole = trainer_of(name, critic, reward)
    run(whole, 2)
    saved = deepcopy(whole.state_dict())
    metrics = run(whole, 2)
    resumed = trainer_of(name, critic, reward, seed=9)  # other weights, other episodes, other shuffling
    resumed.collector.noise_key = whole.collector.noise_key  # of the run's seed, which a run that goes on keeps
    run(resumed, 1)
    before = digest(saved)
    resumed.load_state_dict(saved)
    assert run(resumed, 2) == metrics
    assert digest(resumed.state_dict()) == digest(whole.state_dict())
    assert digest(saved) == before, "what was loaded was written into"


@pytest.mark.parametrize("part", ["steps", "collector", "policy", "optimiser", "shuffle"])
def test_every_part_of_the_state_matters(part: str) -> None:
    """Each part left out shows: so none of them is there in vain, and the comparison can see them."""
    whole = trainer_of(*CASES[1])
    run(whole, 2)
    saved = deepcopy(whole.state_dict())
    other = trainer_of(*CASES[1], seed=9)
    other.collector.noise_key = whole.collector.noise_key
    run(other, 3)
    if part in saved:
        saved[part] = deepcopy(other.state_dict()[part])
    else:
        saved["learners"]["guard"][part] = deepcopy(other.state_dict()["learners"]["guard"][part])
    resumed = trainer_of(*CASES[1])
    resumed.load_state_dict(saved)
    run(resumed, 1)
    run(whole, 1)
    assert digest(resumed.state_dict()["learners"]["guard"]) != digest(whole.state_dict()["learners"]["guard"])


ELSEWHERE = """
import sys
from pathlib import Path
from marl import checkpoint
from tests.marl.test_trainer import CASES, digest, run, trainer_of
for case in (0, 3):
    trainer = trainer_of(*CASES[case])
    step, state = checkpoint.load(Path(sys.argv[1]) / str(case))
    trainer.load_state_dict(state)
    run(trainer, 2)
    print(digest(trainer.state_dict()["learners"]))
"""


def test_another_process_goes_on_bit_for_bit(tmp_path: Path) -> None:
    """With a local and with a central critic: 4 iterations, or 2, a file, a new process, and 2 more."""
    wanted = []
    for case in (0, 3):
        trainer = trainer_of(*CASES[case])
        run(trainer, 2)
        checkpoint.save(tmp_path / str(case), trainer.steps, trainer.state_dict())
        run(trainer, 2)
        wanted.append(digest(trainer.state_dict()["learners"]))
    result = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": "."},
    )
    assert result.stdout.split() == wanted, result.stderr[-2000:]


def test_seeds_differ_and_repeat() -> None:
    digests = []
    for seed in (0, 0, 1):
        trainer = trainer_of("particle/tag", "local", "agent", seed)
        run(trainer, 1)
        digests.append(digest(trainer.state_dict()["learners"]))
    assert digests[0] == digests[1] != digests[2]
    first, second = (PPO(make("particle/tag").spec, kind, SMALL, "agent", 0) for kind in ("adversary", "good"))
    assert digest(first.shuffle.get_state()) != digest(second.shuffle.get_state())


def test_counters_and_names() -> None:
    trainer = trainer_of("particle/tag", "central", "agent")
    metrics = trainer.iteration()
    assert trainer.steps == 12 * 8
    assert trainer.iterations == 1
    assert metrics["good/learning_rate"] == SMALL.learning_rate
    assert trainer.iteration()["good/learning_rate"] == pytest.approx(SMALL.learning_rate * (1 - 96 / 5000))
    assert {"adversary/loss", "good/entropy", "return", "return/good", "episodes", "time/collect"} <= set(metrics)
    assert not trainer.finished
    trainer.steps = 5000
    assert trainer.finished


def test_a_fixed_player_is_not_trained() -> None:
    env = make("particle/tag")
    learner = PPO(env.spec, "good", SMALL, "agent", 0)
    opponent = PPO(env.spec, "adversary", SMALL, "agent", 1).policy
    before = digest(opponent.state_dict())
    trainer = Trainer(env, {"good": learner}, {"adversary": opponent}, 5000, 12, seed=0)
    metrics = trainer.iteration()
    assert digest(opponent.state_dict()) == before
    assert not any(name.startswith("adversary/") for name in metrics)
    random = RandomPolicy(PolicySpec.of(env.spec, "adversary"))
    Trainer(env, {"good": learner}, {"adversary": random}, 5000, 12, seed=0).iteration()


def test_every_team_is_named_once() -> None:
    env = make("particle/tag")
    learner = PPO(env.spec, "good", SMALL, "agent", 0)
    for learners, players in (({"good": learner}, {}), ({"good": learner}, {"good": learner.policy}), ({}, {})):
        with pytest.raises(ValueError, match=r"has teams \['adversary', 'good'\]"):
            Trainer(env, learners, players, 5000, 12, seed=0)
