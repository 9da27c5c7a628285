"""Tiny leagues to test on, and a way to kill them between any two things that they write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import environments
from environments.vector import VectorEnv
from league.config import LeagueConfig
from league.league import League, Workshop
from league.store import Store
from marl import checkpoint, files
from marl.algorithms.ppo import PPO
from marl.cli.tournament import load
from marl.trainer import Learner
from tests.marl.rollouts import SMALL

CONFIG = replace(SMALL, critic="local")
COPIES = 8
TURN = COPIES * CONFIG.rollout_length
"""Environment steps of one rollout."""


class Killed(BaseException):
    """Nothing of the process is left."""


def workshop(environment: str, given: dict[str, dict[str, str]] | None = None, **options: Any) -> Workshop:
    spec = environments.make(environment, 1, **options).spec

    def make_env(seed: int) -> VectorEnv:
        return environments.make(environment, COPIES, seed, num_threads=1, **options)

    def make_learner(kind: str, seed: int) -> Learner:
        return PPO(spec, kind, CONFIG, "agent", seed)

    about = {kind.name: {"algorithm": "ippo"} for kind in spec.kinds}
    length = CONFIG.rollout_length
    return Workshop(environment, options, spec, make_env, make_learner, length, load, about, given or {})


def config(plan: Any, turns: int, **more: Any) -> LeagueConfig:
    usual: dict[str, Any] = {"slice_steps": 2 * TURN, "snapshot_steps": 2 * TURN, "games": 4, "num_envs": COPIES}
    return LeagueConfig(plan=plan, total_steps=2 * TURN * turns, **{**usual, **more})


def play(folder: Path, settings: LeagueConfig, shop: Workshop) -> League:
    """From where the folder is to the end."""
    with Store(folder) as store:
        league = League(folder, settings, shop, store)
        while not league.finished:
            while not league.turn_is_over:
                league.iteration()
            league.end_turn()
    return league


@contextmanager
def killing(monkeypatch: pytest.MonkeyPatch, after: int) -> Iterator[None]:
    """Ends everything as soon as so many things were written: matches, players, states or files."""
    left = after

    def counted(write: Any) -> Any:
        def writes(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            result = write(*arguments, **named)
            left -= 1
            if left <= 0:
                raise Killed
            return result

        return writes

    with monkeypatch.context() as patch:
        patch.setattr(Store, "_write", counted(Store._write))
        patch.setattr(checkpoint, "save", counted(checkpoint.save))
        patch.setattr(files, "write_atomic", counted(files.write_atomic))
        yield


def remembered(folder: Path) -> tuple[Any, ...]:
    """All that a league is: its players, its matches in order, its state, and the weights of its learners."""
    with Store(folder) as store:
        players, matches = store.players(), list(store.matches())
    states = {
        path.name: {file: stated["sha256"] for file, stated in checkpoint.find(path).files.items()}
        for path in sorted((folder / "learners").iterdir())
    }
    return players, matches, files.read_json(folder / "state.json"), states
