"""Learners from a replay buffer that are stopped and go on: bit for bit, also in another process."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from marl import checkpoint
from marl.config import ALGORITHMS
from marl.trainer import Trainer
from tests.marl.replay import config_of, make
from tests.marl.test_trainer import digest, run


class Case(NamedTuple):
    """A learner in a game, of small settings."""

    game: str
    name: str
    reward: str
    changed: dict[str, Any]
    done: int
    """Iterations before the stop: between two updates of actors or targets, the ring filling or full."""


CASES = [
    Case("toy/dock", "hasac", "team_mean", {"drift": "kl", "n_step": 3}, 5),
    Case(
        "toy/siege",
        "masac",
        "team_sum",
        {"critic_temperature": "team", "value_norm": True, "critic_network": "droq"},
        5,
    ),
    Case("particle/tag", "isac", "agent", {"critic_network": "simba", "hidden": (16, 16)}, 5),
    Case("toy/noughts", "hasac", "agent", {"n_step": 2, "expectation": "own"}, 5),
    Case("perilous", "hatd3", "agent", {"n_step": 3, "value_norm": True}, 4),
    Case("particle/tag", "maddpg", "team_mean", {}, 4),
    Case("toy/dock", "matd3", "team_sum", {"critic": "local", "parameters": "shared"}, 4),
    Case("particle/speaker_listener", "haddpg", "team_mean", {"policy_delay": 3}, 4),
    Case("toy/siege", "qmix", "team_sum", {"n_step": 3, "value_norm": True, "epsilon_steps": 480}, 3),
    Case("particle/tag", "iql", "agent", {"parameters": "per_agent"}, 3),
    Case("toy/noughts", "vdn", "agent", {"target_period": 5, "polyak": 1.0}, 3),
    Case("particle/speaker_listener", "qmix", "team_mean", {"double": False}, 3),
]
every = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}-{case.game}")


def trainer_of(case: Case, seed: int = 0) -> Trainer:
    env = make(case.name, case.game, seed=seed)
    buffer = {"buffer_size": 8 * 20 * max(kind.teams for kind in env.spec.kinds)}
    config = config_of(case.name, **{**buffer, "warmup_steps": 60, "updates_per_step": 3 / 48, **case.changed})
    made = ALGORITHMS[case.name].load()
    learners = {kind.name: made(env.spec, kind.name, config, case.reward, seed) for kind in env.spec.kinds}
    return Trainer(env, learners, {}, total_steps=5000, rollout_length=6, seed=seed)


@every
@pytest.mark.parametrize("early", [True, False], ids=["in the warm-up", "later"])
def test_an_interruption_changes_no_bit(case: Case, early: bool) -> None:
    whole = trainer_of(case)
    run(whole, 1 if early else case.done)
    saved = copy.deepcopy(whole.state_dict())
    metrics = run(whole, 4)
    resumed = trainer_of(case, seed=9)
    resumed.collector.noise_key = whole.collector.noise_key
    run(resumed, 2)
    before = digest(saved)
    resumed.load_state_dict(saved)
    assert run(resumed, 4) == metrics
    assert digest(resumed.state_dict()) == digest(whole.state_dict())
    assert digest(saved) == before, "what was loaded was written into"


COMMON = ("policy", "norm", "optimisers", "generators", "buffer")
PARTS = [
    *((CASES[0], part) for part in ("earlier", "counters")),
    *((CASES[1], part) for part in (*COMMON, "critic", "target", "temperature", "team_temperature")),
    *((CASES[4], part) for part in (*COMMON, "counters", "critic", "target", "target_policy")),
    *((CASES[8], part) for part in (*COMMON, "counters", "target_policy", "mixer", "target_mixer")),
]


@pytest.mark.parametrize(("case", "part"), PARTS, ids=lambda x: x if isinstance(x, str) else x.name)
def test_every_part_of_the_state_matters(case: Case, part: str) -> None:
    """Each part left out shows: so none of them is there in vain, and the comparison can see them."""
    whole, other = trainer_of(case), trainer_of(case, seed=9)
    run(whole, 4)
    run(other, 5)
    saved = copy.deepcopy(whole.state_dict())
    team = min(whole.learners)
    saved["learners"][team][part] = copy.deepcopy(other.state_dict()["learners"][team][part])
    resumed = trainer_of(case)
    resumed.load_state_dict(saved)
    run(resumed, 2)
    run(whole, 2)
    states = [trainer.state_dict()["learners"][team] for trainer in (whole, resumed)]
    rest = [{k: v for k, v in state.items() if k != part} for state in states]
    assert digest(rest[0]) != digest(rest[1])


ELSEWHERE = """
import sys
from pathlib import Path
from marl import checkpoint
from tests.marl.test_going_on import CASES, trainer_of
from tests.marl.test_trainer import digest, run
for number, case in enumerate(CASES):
    trainer = trainer_of(case)
    trainer.load_state_dict(checkpoint.load(Path(sys.argv[1]) / str(number))[1])
    run(trainer, 3)
    print(digest(trainer.state_dict()["learners"]))
"""


def test_another_process_goes_on_bit_for_bit(tmp_path: Path) -> None:
    wanted = []
    for number, case in enumerate(CASES):
        trainer = trainer_of(case)
        run(trainer, case.done)
        checkpoint.save(tmp_path / str(number), trainer.steps, trainer.state_dict())
        run(trainer, 3)
        wanted.append(digest(trainer.state_dict()["learners"]))
    command = [sys.executable, "-c", ELSEWHERE, str(tmp_path)]
    told = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert told.stdout.split() == wanted
