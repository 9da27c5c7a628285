"""The doctor finds every illness, says it in words, and finds nothing in the healthy."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest
from gymnasium import spaces

import environments
from environments.external.check import examine
from marl.cli import main
from tests.environments.external import arenas

ILL = "tests.environments.external.arenas:Ill"


def faults(factory: Any, steps: int = 300) -> dict[str, str]:
    """What -> what is wrong with it, advice aside."""
    found = list(examine(factory, "it", steps=steps))
    assert len(found) >= 8 or any(finding.wrong for finding in found)
    return {finding.what: finding.wrong for finding in found if finding.wrong and not finding.advice}


@pytest.mark.parametrize("factory", [arenas.Arena, arenas.Duel, partial(environments.env, "toy/noughts")])
def test_the_healthy(factory: Any) -> None:
    assert not faults(factory)


@pytest.mark.parametrize(
    ("illness", "words"),
    [
        ("narrow", r"the number 3 at \[0\] of an observation, and its space ends at -1 and 2: clip it"),
        ("wide type", r"agent 'a' at step 1: an observation of type float64, .*end with \.astype\('float32'\)"),
        ("no reward", "the reward of 'a' at step 1 is None: make it a float"),
        ("shared memory", "the observation of 'a' at step 1 changed in the next step: return a copy"),
        ("left out", "rewards of step 3 leave out 'b', who was alive"),
        ("revived", "'b' ended and is back at step 4"),
        ("vanished", "'a' left env.agents at step 4 with neither termination nor truncation"),
        ("haunted", "infos of step 1 speak of 'ghost', who is not in possible_agents"),
        ("endless", "none did in 300 steps: end it by terminations, or by truncations"),
        ("careless", "the observation of 'a' differs at step 1: draw every random number"),
    ],
)
def test_the_ill(illness: str, words: str) -> None:
    found = faults(partial(arenas.Ill, illness))
    assert any(re.search(words, wrong) for wrong in found.values()), found


class Nested(arenas.Duel):
    """A duel with an observation that PettingZoo's tests do not understand."""

    def __init__(self) -> None:
        super().__init__()
        for agent, seen in self.seen.items():
            parts = {"observation": spaces.Tuple((seen["observation"],)), "action_mask": seen["action_mask"]}
            self.seen[agent] = spaces.Dict(parts)

    def observe(self, agent: str) -> Any:
        view = super().observe(agent)
        return {**view, "observation": (view["observation"],)}


def test_where_pettingzoo_fails_nobody_else_is_to_blame() -> None:
    found = {finding.what: finding for finding in examine(Nested, "it", steps=30)}
    finding = found["it passes PettingZoo's own tests"]
    assert finding.advice and re.match(r"they cannot look at it: \w+Error", finding.wrong), finding


def test_what_infos_forbid_is_not_done() -> None:
    found = faults(arenas.Ruled)
    assert set(found) <= {"it passes PettingZoo's own tests"}, found  # they look for legal actions in observations only


@pytest.mark.parametrize(
    ("fault", "words"),
    [("nan", "NaN or infinity"), ("raises", r"it raises RuntimeError: the roof fell in \(arenas.py, line \d+\)")],
)
def test_faults(fault: str, words: str) -> None:
    found = faults(partial(arenas.Faulty, fault))
    assert any(re.search(words, wrong) for wrong in found.values()), found


def test_what_depends_on_the_past_is_told_as_advice() -> None:
    notes = [finding for finding in examine(arenas.Unseeded, "it", steps=60) if finding.advice and finding.wrong]
    assert any("runs cannot be resumed bit for bit" in str(note) for note in notes) and str(notes[0]).startswith("note")


def test_from_the_command_line(capsys: Any) -> None:
    assert main.main(["check", ILL, "--teams", "one", "--steps", "100"]) == 0
    out = capsys.readouterr().out
    assert "teams   team: a b c" in out and f"marl train mappo {ILL}" in out and "FAULT" not in out
    assert main.main(["check", ILL, "--env.illness", "endless", "--steps", "100"]) == 6
    told = capsys.readouterr()
    assert "FAULT   episodes end: none did in 100 steps" in told.out and told.err == f"marl: {ILL} has 1 fault\n"
    assert main.main(["check", "particle/spread"]) == 2
    assert main.main(["check", "no_such_module:make"]) == 2
    assert main.main(["check", "tests.environments.external.arenas:Refused"]) == 2
    assert "cannot be learnt here" in capsys.readouterr().err
