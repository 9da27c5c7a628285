"""Settings: out of range is a usage error; the table resolves; plain data and back."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import subprocess
import sys
from typing import Any

import pytest

from environments.errors import UsageError
from marl import config
from marl.config import ALGORITHMS, PPOConfig, TrainConfig
from marl.config_replay import DDPGConfig, OffPolicyConfig, QConfig, SACConfig

BAD: list[tuple[type, str, Any]] = [
    (PPOConfig, "hidden", ()),
    (PPOConfig, "hidden", (64, 0)),
    (PPOConfig, "rollout_length", 0),
    (PPOConfig, "epochs", 0),
    (PPOConfig, "minibatches", -1),
    (PPOConfig, "learning_rate", -1e-9),
    (PPOConfig, "learning_rate", float("inf")),
    (PPOConfig, "gamma", 1.1),
    (PPOConfig, "gamma", float("nan")),
    (PPOConfig, "gae_lambda", -0.1),
    (PPOConfig, "adam_eps", 0.0),
    (PPOConfig, "clip", 0.0),
    (PPOConfig, "value_clip", 0.0),
    (PPOConfig, "target_kl", -1.0),
    (PPOConfig, "critic", "centre"),
    (PPOConfig, "advantage_norm", None),
    (DDPGConfig, "hidden", (0,)),
    (DDPGConfig, "batch_size", 0),
    (DDPGConfig, "policy_delay", 0),
    (DDPGConfig, "polyak", 0.0),
    (DDPGConfig, "exploration_noise", -0.1),
    (DDPGConfig, "target_noise", float("inf")),
    (DDPGConfig, "target_noise_clip", float("nan")),
    (DDPGConfig, "order", "together"),
    (DDPGConfig, "updates_per_step", float("inf")),
    (SACConfig, "kl_radius", float("inf")),
    (TrainConfig, "seed", -1),
    (TrainConfig, "seed", 2**63),
    (TrainConfig, "total_steps", 0),
    (TrainConfig, "num_envs", 0),
    (TrainConfig, "num_envs", 2**20 + 1),
    (TrainConfig, "threads", 0),
    (TrainConfig, "record", 257),
    (TrainConfig, "eval_every", 0),
    (TrainConfig, "max_minutes", 0.0),
    (TrainConfig, "max_minutes", float("inf")),
    (TrainConfig, "reward", "sum"),
]


@pytest.mark.parametrize(("cls", "name", "value"), BAD)
def test_out_of_range_names_the_setting(cls: type, name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"^{name} must be"):
        cls(**{name: value})


def test_edges_of_the_ranges_are_in() -> None:
    PPOConfig(gamma=1.0, gae_lambda=0.0, learning_rate=0.0, entropy=0.0, value_clip=None, hidden=(1,))
    TrainConfig(seed=2**63 - 1, num_envs=2**20, total_steps=1, reward="team_sum", eval_every=1)


@pytest.mark.parametrize("cls", [PPOConfig, SACConfig, DDPGConfig, TrainConfig])
def test_every_setting_has_its_sentence(cls: type) -> None:
    described = set()
    for part in cls.__mro__[:-1]:
        body = ast.parse(inspect.getsource(part)).body[0]
        assert isinstance(body, ast.ClassDef)
        described |= {
            field.target.id
            for field, text in zip(body.body, body.body[1:], strict=False)
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr)
            if not ast.unparse(field.annotation).startswith("ClassVar")
        }
    assert described == {field.name for field in dataclasses.fields(cls)}


@pytest.mark.parametrize(
    ("config", "seats", "max_wait", "what", "least"),
    [
        (SACConfig(rollout_length=8), 3, 0, "a rollout", 24),
        (SACConfig(rollout_length=2), 4, 1, "a rollout", 8),
        (SACConfig(rollout_length=1), 4, 1, "a sequence of 2 steps", 8),
        (DDPGConfig(rollout_length=1), 4, 0, "a rollout", 4),
        (QConfig(rollout_length=8, recurrent="gru", chunk_length=4, burn_in=6), 3, 1, "a sequence of 12 steps", 36),
        (QConfig(rollout_length=8, recurrent="gru", chunk_length=4, burn_in=3), 3, 1, "a rollout", 24),
        (QConfig(rollout_length=8, chunk_length=4, burn_in=6), 3, 1, "a rollout", 24),
    ],
)
def test_a_memory_too_small_to_sample_is_refused(
    config: OffPolicyConfig, seats: int, max_wait: int, what: str, least: int
) -> None:
    dataclasses.replace(config, buffer_size=least).check_buffer(seats, max_wait)
    with pytest.raises(UsageError, match=f"^{what} has {least} samples: set --buffer-size to that or more$"):
        dataclasses.replace(config, buffer_size=least - 1).check_buffer(seats, max_wait)


def test_plain_data_and_back() -> None:
    changed = PPOConfig(hidden=(32, 16), value_clip=None, gamma=0.9)
    assert config.changed(PPOConfig(), config.to_json(changed)) == changed
    with pytest.raises(UsageError, match=r"unknown setting 'gama'; did you mean 'gamma'"):
        config.changed(PPOConfig(), {"gama": 0.9})
    with pytest.raises(UsageError, match="wrong type"):
        config.changed(PPOConfig(), {"gamma": "high"})


def test_every_algorithm_resolves_and_says_what_it_is() -> None:
    with pytest.raises(UsageError, match="did you mean 'mappo'"):
        config.algorithm("mapo")
    for name, known in ALGORITHMS.items():
        assert known.name == name and config.algorithm(name) is known
        assert known.config.critic == known.critic
        assert callable(known.load().update)


def test_settings_need_nothing_heavy() -> None:
    code = "import sys, marl.config; print(sorted({'torch', 'numpy', 'numba', 'gymnasium'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
