"""What README and the pages say is true: scripts run as written, links lead somewhere, commands and targets exist."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import environments
from marl.algorithms.ppo import PPO
from marl.cli.main import COMMANDS, main
from marl.config import PPOConfig
from marl.trainer import Trainer
from tests.source import ROOT

README = (ROOT / "README.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SCRIPTS = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
TYPED = [(page, line) for page in PAGES for line in re.findall(r"^    (marl .*)$", page.read_text(), re.MULTILINE)]
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def _run(script: str, folder: Path) -> str:
    """What a script prints, run in a folder of its own."""
    path = folder / "script.py"
    path.write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(path)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_script_learns(tmp_path: Path) -> None:
    """The shortest way through everything: make, learner, train, load, act."""
    script = SCRIPTS[0]
    lines = [line for line in script.splitlines() if line.strip()]
    assert len(lines) <= 16  # it is said to be short
    returns = [float(line.split()[1]) for line in _run(script, tmp_path).splitlines()]
    assert sum(returns[-5:]) / 5 > sum(returns[:5]) / 5 + 10  # random play makes -83, a trained team -35
    assert (tmp_path / "spread.safetensors").exists()


def test_the_environment_of_ones_own_trains(tmp_path: Path) -> None:
    """README promises that a `Trainer` takes it as it is."""
    training = """
from marl.algorithms.ppo import PPO
from marl.config import PPOConfig
from marl.trainer import Trainer

env = NativeEnv(GAME, Options(), num_envs=64)
learner = PPO(env.spec, "team", PPOConfig(), reward="agent", seed=0)
trainer = Trainer(env, {"team": learner}, {}, total_steps=40_000, rollout_length=20, seed=0)
while not trainer.finished:
    print(trainer.iteration()["return"])
"""
    assert len(SCRIPTS) == 2
    returns = [float(line) for line in _run(SCRIPTS[1] + training, tmp_path).splitlines()]
    assert returns[-1] > 0.5 * returns[0]  # a distance, negated: at most half of it is left


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        name for page in PAGES for name in re.findall(r"^    (?:\w+=\S+ )?make (\w+)", page.read_text(), re.MULTILINE)
    }
    assert {"demo", "test", "check"} <= named
    assert named <= targets


STAND_INS = {"my_package.arena:parallel_env": "pettingzoo:mpe2.simple_spread_v3"}
"""Names on pages of what a reader would have -> something that is there."""


@pytest.mark.parametrize(("page", "line"), TYPED, ids=[f"{page.name}: {line[:60]}" for page, line in TYPED])
def test_commands_on_pages_can_be_typed(page: Path, line: str) -> None:
    """The command exists and so does every option; what it does is tested with the command."""
    command, *words = shlex.split(line, comments=True)[1:]
    if command == "COMMAND":
        return
    assert command in COMMANDS
    names = words[:2] if command in ("train", "league") else []
    known = _help([command, *(STAND_INS.get(name, name) for name in names), "--help"])
    for word in words:
        if word.startswith("--"):
            option = word.partition("=")[0].replace("--no-", "--")
            if option.startswith("--env.") and ":" in names[-1]:
                continue  # somebody else's environment: its factory knows, not we
            assert re.search(rf"{re.escape(option)}\b", known), f"{command} has no option {option}"


def _help(words: list[str]) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(words) == 0
    return said.getvalue()


def test_all_commands_are_on_the_page() -> None:
    for command in COMMANDS:
        assert f"marl {command}" in README, f"README does not show marl {command}"


def test_the_glossary_of_metrics_is_complete() -> None:
    """Every metric of an iteration has its line on the page, and no line is about one that is not there."""
    env = environments.make("toy/dock", num_envs=4, seed=0)
    learner = PPO(env.spec, "team", PPOConfig(hidden=(8,)), reward="agent", seed=0)
    trainer = Trainer(env, {"team": learner}, {}, total_steps=400, rollout_length=25, seed=0)
    general = {"return/team": "return/TEAM", "metrics/distance": "metrics/NAME"}
    found = {general.get(name, name.removeprefix("team/")) for name in trainer.iteration()}
    page = (ROOT / "docs" / "algorithms" / "mappo.md").read_text()
    rows = re.search(r"\| metric \| means \|\n\|---\|---\|\n((?:\|.*\n)+)", page)
    assert rows is not None
    described = {name for line in rows[1].splitlines() for name in re.findall(r"`([^`]+)`", line.split("|")[1])}
    assert found == described
