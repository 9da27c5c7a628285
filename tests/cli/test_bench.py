"""`marl bench`: rows in the promised format, ratios that are those of their own values."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from marl.cli import bench, bench_peers, bench_plain, bench_rows, bench_soft, bench_start
from marl.cli.main import main
from scenarios import catalog

QUICK = ["--rounds", "1", "--seconds", "0.01", "--threads", "1"]


def measured(*words: str, to: Path) -> list[dict[str, Any]]:
    assert main(["bench", *QUICK, *words, "--json", str(to)]) == 0
    rows: list[dict[str, Any]] = json.loads(to.read_text())
    return rows


def test_environments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = measured("env", "particle/spread", "--copies", "1", "64", to=tmp_path / "a.json")
    names = [row["name"] for row in rows]
    version = importlib.metadata.version("mpe2")
    assert names == [
        f"particle/spread, mpe2 {version} parallel_env",
        "particle/spread, 1 copy, PettingZoo parallel",
        "particle/spread, 1 copy, 1 thread",
        "particle/spread, 64 copies, 1 thread",
    ]
    for row in rows:
        assert set(row) == {"name", "value", "unit", "ratio", "against", "machine"}
        assert row["value"] > 0 and row["unit"] == "environment steps/s" and "cores" in row["machine"]
    assert rows[0]["ratio"] is None
    for row in rows[1:]:
        assert row["ratio"] == pytest.approx(row["value"] / rows[0]["value"])
        assert row["against"] == f"mpe2 {version} parallel_env"
    assert "64 copies" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("scenario", "package", "face"),
    [
        ("foraging/2s-8x8-2p-2f-coop", "lbforaging", "gymnasium"),
        ("warehouse/tiny-2ag-hard", "rware", "gymnasium"),
        ("roshambo/population", "open_spiel", "repeated_game"),
    ],
)
def test_a_scenario_with_options_is_measured_beside_its_peer(
    scenario: str, package: str, face: str, tmp_path: Path
) -> None:
    rows = measured("env", scenario, "--copies", "64", to=tmp_path / "a.json")
    peer = f"{package} {importlib.metadata.version(package)} {face}"
    assert [row["name"] for row in rows] == [
        f"{scenario}, {name}" for name in (peer, "1 copy, PettingZoo parallel", "64 copies, 1 thread")
    ]
    assert all(row["against"] == peer for row in rows[1:])


def test_every_scenario_has_its_row() -> None:
    ours = {scenario.environment for scenario in catalog.SCENARIOS.values()}
    assert set(bench_peers.MPE2) == {name for name in ours if name.startswith("particle/")}


def test_without_mpe2_there_are_no_ratios_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(bench_peers.MPE2, "particle/spread", "not_there")
    rows = measured("env", "particle/spread", "--copies", "64", to=tmp_path / "a.json")
    assert all(row["ratio"] is None for row in rows) and len(rows) == 2
    assert "skipped: mpe2 is not installed" in capsys.readouterr().err


def test_games_between_players_and_training_against_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_plain, "STEPS", 16)
    file = tmp_path / "bench.json"
    words = ["board/tictactoe", "--rounds", "1", "--seconds", "0.05", "--copies", "16", "--json", str(file)]
    assert main(["bench", "league", *words]) == 0
    rows = json.loads(file.read_text())
    assert [row["name"].split(", ", 1)[1] for row in rows] == [
        "OpenSpiel, random play",
        "random play, 1 process",
        "two 64x64 networks, 1 process",
        "two 64x64 networks, 2 processes",
        "ippo, 16 x 16, 1 opponent",
        "ippo, 16 x 16, 32 opponents",
    ]
    assert [row["unit"] for row in rows] == ["games/s"] * 4 + ["environment steps/s"] * 2
    assert all(row["value"] > 0 for row in rows)
    assert [row["ratio"] is None for row in rows] == [True, False, False, False, True, False]
    assert main(["bench", "league", "particle/spread"]) == 2
    assert "two teams of one kind" in capsys.readouterr().err


def test_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_plain, "STEPS", 4)
    monkeypatch.setattr(bench_soft, "BATCH", 8)
    monkeypatch.setattr(bench_start, "TORCH", "import math")
    monkeypatch.setattr(bench_start, "begun", lambda algorithm, *_: {"mappo": 1.5, "hasac": 1.75}[algorithm])
    rows = measured("train", "--copies", "4", "8", "--threads", "2", to=tmp_path / "a.json")
    assert [row["name"].split(", ", 1)[1] for row in rows] == [
        "plain torch PPO",
        "ippo, 4 x 4, 2 threads",
        "mappo, 4 x 4, 2 threads",
        "mappo, 4 x 4, 1 thread",
        "mappo, 4 x 4, 2 threads, torch engine",
        "mappo, 4 x 4, 128 wide, 2 threads",
        "mappo, 4 x 4, 2 threads, updates alone",
        "mappo, 4 x 4, 2 threads, one core busy",
        "mappo, 8 x 4, 2 threads",
        "continuous, hasac, batch 8, 128 wide, 1 thread, a plain list of modules",
        "continuous, hasac, batch 8, 128 wide, 1 thread, torch engine",
        "continuous, hasac, batch 8, 128 wide, 1 thread",
        "continuous, hasac, batch 8, 128 wide, 1 thread, beside its products",
        "continuous, hasac, batch 8, 128 wide, 2 threads",
        "second start of marl train mappo",
        "second start of marl train hasac",
    ]
    assert [row["against"] for row in rows] == [
        None, *["plain torch PPO"] * 5, "its matrix products", "mappo, 4 x 4, 2 threads", None,
        None, *["a plain list of modules"] * 2, "its matrix products", "1 thread", "import math", "import math",
    ]  # fmt: skip
    assert rows[2]["ratio"] == pytest.approx(rows[2]["value"] / rows[0]["value"])
    assert 0 < rows[6]["ratio"] < 1
    assert rows[7]["ratio"] == pytest.approx(rows[7]["value"] / rows[2]["value"])
    assert all(row["value"] > 0 for row in rows)
    assert [(row["value"], row["unit"]) for row in rows[-2:]] == [(1.5, "s"), (1.75, "s")]
    assert bench.line(rows[-2]).split()[-6:-4] == ["1.50", "s"]


def test_viewer(tmp_path: Path) -> None:
    rows = measured("viewer", to=tmp_path / "a.json")
    peer = f"mpe2 {importlib.metadata.version('mpe2')} render()"
    assert [row["name"] for row in rows] == [
        f"particle/spread, {name}" for name in (peer, "render()", "watching", "scrubbing")
    ]
    assert [row["against"] for row in rows] == [None, peer, *["a screen's 60 frames/s"] * 2]
    assert all(row["unit"] == "frames/s" and row["value"] > 0 for row in rows)
    assert rows[1]["ratio"] == pytest.approx(rows[1]["value"] / rows[0]["value"])
    assert rows[2]["ratio"] == pytest.approx(rows[2]["value"] / 60)


def test_without_a_word_all_parts_are_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(bench.WHOLE) == ["env", "train", "league", "viewer"]
    assert {name for names, _ in bench.WHOLE.values() for name in names} <= set(catalog.SCENARIOS)
    asked: list[tuple[str, tuple[str, ...], tuple[int, ...]]] = []

    def measure(part: str, names: tuple[str, ...], rounds: bench_rows.Rounds) -> list[dict[str, Any]]:
        asked.append((part, names, rounds.copies))
        return [bench_rows.row(name, 3.0, ("a peer", 2.0)) for name in names]

    monkeypatch.setattr(bench, "measured", measure)
    rows = measured(to=tmp_path / "a.json")
    assert asked == [(part, *which) for part, which in bench.WHOLE.items()]
    assert [(row["part"], row["name"]) for row in rows] == [(part, name) for part, names, _ in asked for name in names]
    assert all(row["ratio"] == 1.5 and "cores" in row["machine"] for row in rows)
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(rows)
    assert main(["bench", "all", "particle/spread"]) == 2
    assert "marl bench env" in capsys.readouterr().err


def test_the_plain_soft_loop_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ours is measured against moves every parameter, and lowers its critics' error on its one batch."""
    monkeypatch.setattr(bench_soft, "BATCH", 32)
    plain = bench_soft.Plain()
    networks = [*plain.actors, *plain.critics, *plain.targets]
    before = [p.detach().clone() for network in networks for p in network.parameters()]
    alpha = plain.log_alpha.detach().clone()
    for _ in range(3):
        plain.update()
    after = [p for network in networks for p in network.parameters()]
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert (plain.log_alpha != alpha).all()


def test_the_plain_loop_does_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ours is measured against makes as many gradient steps over as many samples, and moves every parameter."""
    monkeypatch.setattr(bench_plain, "STEPS", 10)
    plain = bench_plain.Plain(catalog.find("particle/spread"), 8, 1)
    sizes: list[int] = []
    real = plain._update
    monkeypatch.setattr(plain, "_update", lambda *batch: (sizes.append(len(batch[0])), real(*batch)))
    before = [parameter.detach().clone() for parameter in plain.parameters]
    plain.iteration()
    assert len(sizes) == 16 and sum(sizes) == 4 * 10 * 8 * 3
    assert not any(torch.equal(a, b) for a, b in zip(before, plain.parameters, strict=True))
    assert plain.env.episode_step[0] == 10


def test_median() -> None:
    assert bench_rows.median([3.0, 1.0, 2.0]) == 2.0
    assert bench_rows.median([4.0, 1.0, 2.0, 3.0]) == 2.5
