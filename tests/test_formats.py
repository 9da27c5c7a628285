"""What the pages about files say is so in the files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors

import environments
from environments import replay_file
from environments.replay_record import OWN_HEADER
from marl import checkpoint, policy
from marl.cli.main import main
from tests.recording import record
from tests.source import ROOT

FORMATS = ROOT / "docs" / "formats"
POLICY_PAGE, RUN_PAGE = ((FORMATS / f"{name}.md").read_text() for name in ("policy", "run"))
SPREAD = ROOT / "marl" / "policies" / "spread.safetensors"


def named(page: str, heading: str) -> set[str]:
    """The names in the first column of the first table below a heading or line."""
    table = page[page.index(heading) :].split("|---|", 1)[1].split("\n\n")[0]
    return {name for row in re.findall(r"^\| (.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(.*?)`", row)}


def test_arrays_of_a_replay() -> None:
    page = (ROOT / "docs" / "replay-format.md").read_text()
    recorded = record("toy/meet")
    written = {*recorded.tracks(), *(f"{name} in start" for name in recorded.start())}
    known = {name.partition("/")[0] for name in named(page, "## Arrays") if name != "start"}
    assert known == {name.partition("/")[0] for name in written} | {"obs", "mask"}
    assert f"u32 schema ({replay_file.SCHEMA})" in page
    about = page[page.index("## `about`") : page.index("## What a reader")]
    assert all(f"`{name}`" in about for name in {*recorded.header, *OWN_HEADER, "no_observations", "parent"})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("formats") / "run"
    small = [
        "--num-envs",
        "4",
        "--rollout-length",
        "25",
        "--hidden",
        "8",
        "--threads",
        "1",
        "--total-steps",
        "100",
        "--eval-every",
        "100",
    ]
    assert main(["train", "mappo", "particle/spread", *small, "--eval-episodes", "2", "--run-dir", str(folder)]) == 0
    return folder


def test_the_pages_script_acts_as_the_policy_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    script = re.findall(r"^```python\n(.*?)^```$", POLICY_PAGE, re.DOTALL | re.MULTILINE)[0]
    defined: dict[str, Any] = {}
    exec(script, defined)
    game, loaded = environments.parallel_env("particle/spread"), policy.load(SPREAD)
    seen, _ = game.reset(seed=4)
    while game.agents:
        found = defined["logits"](np.stack([seen[agent] for agent in game.agents])).argmax(1)
        chosen = loaded.act(seen, greedy=True)
        assert dict(zip(game.agents, found.tolist(), strict=True)) == {a: int(x) for a, x in chosen.items()}
        seen, *_ = game.step(chosen)


def test_fields_of_a_policy(run: Path) -> None:
    with safetensors.safe_open(str(run / "policies" / "team.safetensors"), "np") as file:
        metadata = file.metadata()
    assert named(POLICY_PAGE, "## Metadata") == metadata.keys()
    spec = json.loads(metadata["policy"])
    assert named(POLICY_PAGE, "The fields of `policy`") == spec.keys()
    told = re.findall(r"`(\w+)`", re.findall(r"^\| `groups` \|(.*)$", POLICY_PAGE, re.MULTILINE)[0].split("(`{")[0])
    assert set(told) == spec["groups"][0].keys()
    assert {"algorithm", "scenario", "reward", "seed", "steps"} == spec["about"].keys()


def test_parts_of_a_run(run: Path) -> None:
    listed = {line.split()[0].rstrip("/") for line in RUN_PAGE.split("\n\n")[1].splitlines()}
    assert {path.name for path in run.iterdir()} <= listed
    assert named(RUN_PAGE, "## `config.json`") == json.loads((run / "config.json").read_text()).keys()
    manifest = RUN_PAGE[RUN_PAGE.index("## `manifest.json`") : RUN_PAGE.index("## `metrics.jsonl`")]
    assert all(f"`{name}`" in manifest for name in json.loads((run / "manifest.json").read_text()))


def test_names_of_measurements(run: Path) -> None:
    row = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    said = {name.replace("TEAM", "team") for name in named(RUN_PAGE, "The algorithms' pages")}
    of_others = {name for name in row if name.startswith(("team/", "metrics/"))} | {"step"}
    assert row.keys() - of_others == said - {"metrics/NAME"}


def test_keys_of_a_checkpoints_tree(run: Path) -> None:
    entry = checkpoint.find(run / "checkpoints")
    index = json.loads((run / "checkpoints" / "index.json").read_text())
    assert index.keys() == {"schema", "latest", "checkpoints", "sha256"}
    assert {path.name for path in entry.folder.iterdir()} == {checkpoint.TREE, checkpoint.ARRAYS, checkpoint.ENTRY}
    odd = {"a": (1, [2.5, float("nan")]), 3: np.float32(1), "b": np.zeros(2), "c": checkpoint.Segment()}
    keys = named(RUN_PAGE, "`tree.json` is")
    node = json.dumps(checkpoint._encode(odd, "", checkpoint._Aside()))
    found = set(re.findall(r'"(\w+)": [\[{"]', node)) - {"name", "shape"}
    assert found - {"dtype"} == keys - {"tensor"}
    assert '"tensor"' in (entry.folder / checkpoint.TREE).read_text()
