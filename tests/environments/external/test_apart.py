"""Looking at an environment that hangs or dies: in a process without threads, it does so alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from environments.external import apart, check, named
from tests.environments.external import arenas

FAULTY = "tests.environments.external.arenas:Faulty"
SCRIPT = """
import contextlib, io, json, os
from environments.errors import MarlError
from environments.external import apart, check, named
from tests.environments.external import arenas

class Stuck(arenas.Arena):
    def reset(self, seed=None, options=None):
        while True:
            pass

arenas.Stuck = Stuck
assert apart.possible()
named.LOOK_SECONDS = 1.0
told = {}
for fault in ("dies", "sleeps", "spins", "leaves", "raises"):
    told[fault] = named.describe("FAULTY", {"fault": fault, "every": 1}).can_capture
told["healthy"] = named.describe("tests.environments.external.arenas:Arena", {}).can_capture
for name, options in (("Stuck", {}), ("Refused", {})):
    try:
        named.describe(f"tests.environments.external.arenas:{name}", options)
    except MarlError as error:
        told[name] = f"{type(error).__name__}: {error}"
for fault in ("dies", "sleeps", "leaves"):
    found = check.apart(lambda: arenas.Faulty(fault, 1), "x", "one", 20, patience=0.5)
    told[f"check {fault}"] = [str(finding) for finding in found]
from marl.cli.main import main
from marl.cli.train import parse

words = ["--env.fault", "dies", "--env.every", "1", "--teams", "one"]
plan = parse(["ippo", "FAULTY", *words]).plan
told["train"] = [list(plan.teams), plan.spec().can_capture, apart.possible()]
with contextlib.redirect_stdout(io.StringIO()):
    told["check"] = main(["check", "FAULTY", *words])
told["children"] = os.path.exists(f"/proc/{os.getpid()}/task/{os.getpid()}/children") and open(
    f"/proc/{os.getpid()}/task/{os.getpid()}/children"
).read()
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """What comes of looking at environments of every bad kind, in a process of its own."""
    script = SCRIPT.replace("FAULTY", FAULTY)
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def test_who_looks_lives_on(told: dict[str, Any]) -> None:
    """What dies or hangs while it is played is taken for what does not repeat itself: workers deal with the rest."""
    assert not (told["dies"] or told["sleeps"] or told["spins"])
    assert told["leaves"] and told["raises"] and told["healthy"], "an error may well repeat itself"
    assert not told["children"]


def test_what_cannot_begin_is_told(told: dict[str, Any]) -> None:
    assert told["Stuck"] == (
        "EnvironmentFailure: tests.environments.external.arenas:Stuck cannot be made and reset: "
        "it hangs: nothing came of it for 1 s"
    )
    assert told["Refused"].startswith("UsageError: tests.environments.external.arenas:Refused, agent 'a': actions of")


def test_the_doctor_survives_its_patients(told: dict[str, Any]) -> None:
    for fault, words in (
        ("dies", "FAULT   it answers, whatever is done: its process died (signal 9)"),
        ("sleeps", "FAULT   it answers, whatever is done: it hangs: nothing came of it for 2.5 s; if it is only slow"),
    ):
        *before, last = told[f"check {fault}"]
        assert before[0].startswith("ok ") and last.startswith(words)
    assert any("it raises SystemExit: 3" in line for line in told["check leaves"])
    assert not any("it answers" in line for line in told["check leaves"])


def test_a_process_with_threads_looks_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba  # noqa: F401 (it has threads)

    def refused() -> int:
        raise AssertionError("this process has threads")

    monkeypatch.setattr(os, "fork", refused)
    assert not apart.possible()
    assert named.describe("tests.environments.external.arenas:Plain", {}).can_capture
    assert next(check.apart(arenas.Plain, "x", steps=20)).wrong == ""


def test_commands_look_before_they_have_threads(told: dict[str, Any]) -> None:
    """Else an environment that dies in its first episode would take `marl train` with it."""
    assert told["train"] == [["team"], False, True] and told["check"] == 6
