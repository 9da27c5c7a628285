"""Somebody else's environment from the command line: by name, with options, teams, and words where it cannot be."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from environments import replay
from environments.external.named import TEAMS
from marl import runs
from marl.cli import main
from marl.cli.external import literal, take_options
from marl.cli.train import parse
from tests.environments.external.drawn import picture
from tests.source import ROOT

TINY = ["--total-steps", "200", "--num-envs", "2", "--rollout-length", "20", "--hidden", "8", "--threads", "1"]
ARENA, DRAWN = "tests.environments.external.arenas:Arena", "tests.environments.external.drawn:Drawn"


def marl(capsys: Any, *words: object) -> tuple[int, str, str]:
    """Run a command; its exit code, and what it said on both channels."""
    code = main.main([str(word) for word in words])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_a_run_from_its_start_to_its_measurement(tmp_path: Path, capsys: Any) -> None:
    name, run = "pettingzoo:mpe2.simple_tag_v3", tmp_path / "run"
    words = ["train", "mappo", name, "--env.num-good", "2", "--env.max-cycles=10", *TINY, "--run-dir", run]
    code, out, _ = marl(capsys, *words)
    assert code == 0 and "teams     adversary: adversary_0 adversary_1 adversary_2; agent: agent_0 agent_1" in out
    config = runs.open_run(run).config
    assert config["options"] == {"num_good": 2, "max_cycles": 10} and set(config["teams"]) == {"adversary", "agent"}
    assert marl(capsys, "resume", run, "--total-steps", 400)[0] == 0
    code, out, _ = marl(capsys, "evaluate", run, "--episodes", 3, "--json", tmp_path / "measured.json")
    measured = json.loads((tmp_path / "measured.json").read_text())
    assert code == 0 and measured["options"]["num_good"] == 2 and measured["episode_length"]["mean"] == 10
    assert name in marl(capsys, "list", "runs", "--folder", tmp_path)[1]
    assert marl(capsys, "evaluate", run / "policies" / "agent.safetensors", "--episodes", 2)[0] == 0


def test_a_run_records_what_its_environment_draws(tmp_path: Path, capsys: Any) -> None:
    """At the end of training and when measured, with policies and what they thought; watched without any screen."""
    run = tmp_path / "run"
    words = ["train", "mappo", DRAWN, "--env.length", "20", *TINY, "--eval-episodes", "2", "--record", "1"]
    code, out, _ = marl(capsys, *words, "--teams", "one", "--run-dir", run)
    assert code == 0 and f"marl watch {run}" in out and "without pictures" not in out
    found = [replay.load(path) for path in sorted((run / "replays").glob("*.replay"))]
    assert marl(capsys, "evaluate", run, "--episodes", 3, "--record", 2, "--out", tmp_path)[0] == 0
    found += [replay.load(tmp_path / f"evaluation-0-{k}.replay") for k in range(2)]
    assert len(found) == 3
    for recorded in found:
        assert recorded.pictures is not None and len(recorded.pictures) == 21
        np.testing.assert_array_equal(recorded.pictures.at(20), picture(20))
        track = recorded.groups["team"]
        assert track.probabilities.shape == (20, 2, 5) and np.isfinite(track.value).all()
        np.testing.assert_allclose(track.probabilities.astype(float).sum(-1), 1, atol=0.02)
        identity = recorded.policies["team"]
        assert identity.steps == 200 and identity.sha256 is not None and identity.name.endswith("team.safetensors")
    code, out, _ = marl(capsys, "watch", run, "--png", 7, "--out", tmp_path / "a.png", "--height", 300)
    with Image.open(tmp_path / "a.png") as shown:
        colors = np.asarray(shown).reshape(-1, 3).astype(int)
    assert code == 0 and (abs(colors - [7, 248, 0]).max(1) < 5).any(), "the moving square of step 7"
    code, _, said = marl(capsys, "verify", run)
    assert code == 3 and f"say so with --environment {DRAWN}" in said and said.count("\n") == 1
    code, out, _ = marl(capsys, "verify", run, "--environment", DRAWN)
    assert code == 0 and "exact: all 20 steps" in out


def test_what_cannot_draw_itself_is_recorded_and_said(tmp_path: Path, capsys: Any) -> None:
    words = ["--env.trouble", "blind", "--env.length", 9, "--episodes", 2, "--record", 1, "--out", tmp_path]
    code, out, _ = marl(capsys, "evaluate", DRAWN, *words)
    assert code == 0 and "replays without pictures, or not to the end: " in out and "no render mode rgb_array" in out
    assert replay.load(tmp_path / "evaluation-0-0.replay").pictures is None
    file = tmp_path / "own.py"
    file.write_text(f"from {ARENA.partition(':')[0]} import Arena\n\n\ndef make(end=5):\n    return Arena(end)\n")
    code, out, _ = marl(capsys, "evaluate", f"{file}:make", "--episodes", 1, "--record", 1, "--out", tmp_path)
    assert code == 0 and f"not to the end: {file}:make takes no render_mode\n" in out
    assert marl(capsys, "watch", tmp_path, "--png", 0, "--out", tmp_path / "a.png")[0] == 0


def test_training_goes_on_bit_for_bit(tmp_path: Path, capsys: Any) -> None:
    words = ["train", "ippo", ARENA, *TINY, "--teams", "one", "--no-anneal"]
    assert marl(capsys, *words, "--run-dir", tmp_path / "whole")[0] == 0
    assert marl(capsys, *words, "--run-dir", tmp_path / "parts", "--total-steps", 80)[0] == 0
    assert marl(capsys, "resume", tmp_path / "parts", "--total-steps", 200)[0] == 0
    one, two = (load_file(tmp_path / run / "policies" / "team.safetensors") for run in ("whole", "parts"))
    assert all((one[name] == two[name]).all() for name in one) and one.keys() == two.keys()


def test_what_does_not_repeat_itself_says_so(tmp_path: Path, capsys: Any) -> None:
    name, run = ARENA.replace(":Arena", ":Unseeded"), tmp_path / "run"
    code, out, _ = marl(capsys, "train", "ippo", name, *TINY, "--run-dir", run)
    assert code == 0 and "exact     no: this environment does not repeat itself" in out
    assert marl(capsys, "resume", run, "--total-steps", 300)[0] == 0
    assert "exact" not in marl(capsys, "train", "ippo", ARENA, *TINY, "--run-dir", tmp_path / "other")[1]


def test_a_file_of_ones_own(tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"from {ARENA.partition(':')[0]} import Arena\n\n\ndef make(end=5):\n    return Arena(end)\n")
    plan = parse(["ippo", f"{file}:make", "--env.end", "7", "--teams", "one", *TINY]).plan
    assert plan.options == {"end": 7, TEAMS: "one"} and list(plan.teams) == ["team"]
    code, out, _ = marl(capsys, "train", "ippo", f"{file}:make", *TINY, "--run-dir", tmp_path / "run")
    assert code == 0 and "teams     a: a; b: b; c: c" in out
    assert marl(capsys, "evaluate", f"{file}:make", "--episodes", 2)[0] == 0
    policy = tmp_path / "run" / "policies" / "a.safetensors"  # one that came from elsewhere must not choose what is run
    file.write_text("raise SystemExit('run all the same')\n")
    code, _, said = marl(capsys, "evaluate", policy, "--episodes", 2)
    assert code == 3 and said.count("\n") == 1 and f"evaluate it with --environment {file}:make" in said
    file.write_text(f"from {ARENA.partition(':')[0]} import Arena\n\n\ndef make(end=5):\n    return Arena(end)\n")
    assert marl(capsys, "evaluate", policy, "--environment", f"{file}:make", "--episodes", 2)[0] == 0


@pytest.mark.parametrize(
    ("name", "words", "answer"),
    [
        (ARENA, ["--env.ende", "3"], "does not take these options: .*'ende'.*it takes end"),
        (ARENA, ["--teams", "x"], "--teams is one of one, each, prefix, or NAME=PATTERN"),
        (ARENA, ["--env.end", "3", "--env.end=4"], "--env.end is there twice"),
        (ARENA, ["--tems", "one"], "unknown option --tems; did you mean --team"),
        (ARENA + "s", [], "Arenas of .*arenas does not exist; did you mean 'Arena'"),
        ("no.such_module:make", [], "there is no module no.such_module"),
        ("no_such.py:make", [], "there is no file no_such.py"),
        ("pettingzoo:no_such_v0", [], r"there is no module no_such_v0; pip install 'marl\[envs\]'"),
        ("pettingzoo:json", [], "json has none of parallel_env, env, raw_env"),
        ("gymnasium:NoSuch-v0", [], "unknown Gymnasium environment 'NoSuch-v0'"),
        ("tests.environments.external.arenas:Refused", [], r"agent 'a': actions of parts \(Tuple\) cannot be learnt"),
        ("tests.environments.external.arenas:Nameless", [], "has no fixed possible_agents"),
    ],
)
def test_mistakes_are_one_line(name: str, words: list[str], answer: str, capsys: Any) -> None:
    code, _, said = marl(capsys, "train", "ippo", name, *words)
    assert code == 2 and said.count("\n") == 1 and re.search(answer, said), said


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("import nothing_there", "ModuleNotFoundError: No module named 'nothing_there' (broken.py, line 1)"),
        ("\nx = 1 / 0", "ZeroDivisionError: division by zero (broken.py, line 2)"),
        ("def make(:", "SyntaxError: "),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_file_that_cannot_be_imported(text: str, last: str, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "broken.py"
    file.write_text(text)
    code, _, said = marl(capsys, "train", "ippo", f"{file}:make")
    assert code == 2 and said.count("\n") == 1 and last in said, said


def test_what_is_typed_for_an_environment() -> None:
    words = (
        "--env.num-good 2 --seed 3 --env.text=2x3 --env.flag --env.none None --env.list [1,2] --teams one --env.last"
    )
    assert take_options(words.split()) == (
        {"num_good": 2, "text": "2x3", "flag": True, "none": None, "list": [1, 2], "last": True},
        ["--seed", "3", "--teams", "one"],
    )
    assert literal("False") is False and literal("-1.5") == -1.5 and literal('"3"') == "3"


FAULTY = "tests.environments.external.arenas:Faulty"


def test_workers_make_no_difference(tmp_path: Path, capsys: Any) -> None:
    words = ["train", "ippo", ARENA, *TINY, "--teams", "one"]
    for workers in (0, 2):
        assert marl(capsys, *words, "--workers", workers, "--run-dir", tmp_path / str(workers))[0] == 0
    one, two = (load_file(tmp_path / run / "policies" / "team.safetensors") for run in ("0", "2"))
    assert all((one[name] == two[name]).all() for name in one) and one.keys() == two.keys()


@pytest.mark.parametrize("workers", [0, 1])
def test_faults_are_counted_and_left_out(workers: int, tmp_path: Path, capsys: Any) -> None:
    """An arena's episode has six steps, or none that is counted."""
    run = tmp_path / "run"
    words = ["train", "ippo", FAULTY, "--env.every", 3, "--teams", "one", *TINY, "--workers", workers]
    code, out, _ = marl(capsys, *words, "--run-dir", run, "--max-faults", 100)
    assert code == 0
    rows = runs.read_metrics(runs.open_run(run))
    assert {row["episode_length"] for row in rows if row.get("episodes")} == {6}
    told = [json.loads(line) for line in (run / "faults.jsonl").read_text().splitlines()]
    assert len(told) == sum(row.get("faults", 0) for row in rows) > 5
    assert f"faults    {len(told)} of the environment, left out" in out
    assert {fault["what"].split(" (")[0] for fault in told} == {"RuntimeError: the roof fell in"}
    assert {fault["worker"] for fault in told} == {0 if workers else None} and told[0]["actions"]["team"]
    code, _, said = marl(capsys, *words, "--run-dir", tmp_path / "other", "--max-faults", 1)
    where = "of worker 0, " if workers else ""
    assert code == 6 and said.count("\n") == 1
    assert re.search(
        rf"{FAULTY} failed 2 times.*copy \d.* {where}?seed \d+, step 3: RuntimeError: the roof fell in", said
    )
    fault = json.loads((tmp_path / "other" / "fault.json").read_text())
    assert len(fault["actions"]["team"]) == 4 and fault["seed"] > 0
    told = [json.loads(line) for line in (tmp_path / "other" / "faults.jsonl").read_text().splitlines()]
    assert len(told) == 2 and told[-1] == fault
    code, _, said = marl(capsys, "evaluate", run, "--episodes", 4, "--json", tmp_path / "measured.json")
    assert code == 0 and json.loads((tmp_path / "measured.json").read_text())["episode_length"]["mean"] == 6


def test_workers_are_not_for_environments_of_ours(capsys: Any) -> None:
    code, _, said = marl(capsys, "train", "mappo", "particle/spread", "--workers", 2)
    assert code == 2 and "--workers is for other people's environments" in said


def test_the_page_from_an_empty_file_to_a_trained_team(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "bring-your-own.md").read_text()
    (script,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "arena.py").write_text(script)
    monkeypatch.chdir(tmp_path)
    said = []
    for commands in re.findall(r"^```sh\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        for line in commands.splitlines():
            code, out, _ = marl(capsys, *shlex.split(line.removeprefix("marl ")))
            assert code == 0, line
            said.append(out)
    check, train, trained, random, resumed = said
    assert "FAULT" not in check and "teams     walker: walker_0 walker_1" in train and "resumed at step 30" in resumed
    returns = [float(re.search(r"walker +(-?[\d.]+)", out)[1]) for out in (trained, random)]  # type: ignore[index]
    assert returns[0] > returns[1] + 50, returns  # random play makes about -150 in twenty steps


def test_more_replays_than_copies_are_not_promised(tmp_path: Path, capsys: Any) -> None:
    for option in ("--record", "--eval-record"):
        code, _, said = marl(capsys, "train", "ippo", ARENA, *TINY, option, 17, "--run-dir", tmp_path / "run")
        assert code == 2 and "at most 16 episodes are recorded at once, not 17" in said and said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_random_play_with_options(tmp_path: Path, capsys: Any) -> None:
    words = ["evaluate", ARENA, "--env.end", "8", "--teams", "one", "--episodes", 2, "--json", tmp_path / "r.json"]
    assert marl(capsys, *words)[0] == 0
    measured = json.loads((tmp_path / "r.json").read_text())
    assert measured["episode_length"]["mean"] == 8 and list(measured["teams"]) == ["team"]
    assert marl(capsys, "evaluate", "particle/spread", "--env.n", "5", "--episodes", 1)[0] == 2
    policy = ROOT / "marl" / "policies" / "spread.safetensors"
    code, _, said = marl(capsys, "evaluate", policy, "--env.n", "5")
    assert code == 2 and "brings its environment's options: leave out n" in said


def test_wrappers_are_remembered(tmp_path: Path, capsys: Any) -> None:
    name, run = ARENA.replace(":Arena", ":Plain"), tmp_path / "run"
    words = ["train", "ippo", name, *TINY, "--wrap", "dtype:float32", "--wrap", "frame_stack:3", "--run-dir", run]
    assert marl(capsys, *words)[0] == 0
    assert runs.open_run(run).config["options"] == {"--wrap": ["dtype:float32", "frame_stack:3"]}
    policy = run / "policies" / "walker.safetensors"
    assert marl(capsys, "evaluate", policy, "--episodes", 2, "--environment", name)[0] == 0
    code, _, said = marl(capsys, "train", "ippo", name, "--wrap", "frame_stak:3")
    assert code == 2 and "unknown wrapper 'frame_stak'; did you mean 'frame_stack'" in said


def test_bench(tmp_path: Path, capsys: Any) -> None:
    name, file = "pettingzoo:mpe2.simple_v3", tmp_path / "rows.json"
    words = ["bench", "env", name, "--copies", 4, "--rounds", 1, "--seconds", 0.05, "--json", file]
    assert marl(capsys, *words)[0] == 0
    rows = json.loads(file.read_text())
    labels = ["1 copy, as it is", "1 copy in this process", "4 copies in this process", "4 copies in 2 workers"]
    theirs = "4 copies in 2 workers, SuperSuit's own"
    assert [row["name"] for row in rows] == [f"{name}, {label}" for label in [*labels, theirs, labels[-1]]]
    assert all(row["value"] > 0 for row in rows)
    assert [row["against"] for row in rows] == [None, *["1 copy, as it is"] * 4, theirs]
    assert rows[-1]["value"] == rows[3]["value"] == rows[-1]["ratio"] * rows[4]["value"]
    assert marl(capsys, *["bench", "env", "pettingzoo:classic.tictactoe_v3", *words[3:]])[0] == 0
    assert [row["ratio"] is None for row in json.loads(file.read_text())] == [True, False, False]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (ARENA, {"end": "default: 6"}),
        ("pettingzoo:mpe2.simple_tag_v3", {"num-good": "default: 1", "continuous-actions": "default: false"}),
        ("pettingzoo:sisl.pursuit_v5", {"n-evaders": "default: 30", "evader-controller": "default: null"}),
        ("gymnasium:Foraging-8x8-2p-3f-v3", {"players": "default: 2", "field-size": "default: [8, 8]"}),
        ("pettingzoo:gymnasium_robotics.mamujoco_v1", {"scenario": "needed", "agent-obsk": "default: 1"}),
    ],
)
def test_help_teaches_the_factory_options(name: str, options: dict[str, str], capsys: Any) -> None:
    """Also where a factory takes anything and hands it on."""
    code, out, _ = marl(capsys, "train", "ippo", name, "--help")
    shown = out.splitlines()
    assert code == 0 and "--wrap" in out and "render-mode" not in out
    assert all(f"  --env.{option} JSON  ({told})" in shown for option, told in options.items())
