"""`marl plot` and `marl compare`: which runs belong together, and what is made of their measurements."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from marl import runs, statistics
from marl.cli import curves
from marl.cli.main import main


def made(
    folder: Path, algorithm: str, seed: int, values: list[float], preset: str | None = None, **train: object
) -> runs.Run:
    config = {
        "preset": preset,
        "scenario": "particle/spread",
        "algorithm": algorithm,
        "reward": "agent",
        "teams": {},
        "train": {"seed": seed, "total_steps": 1000, "threads": 1, **train},
    }
    run = runs.create(folder / f"{algorithm}-{seed}-{len(train)}{preset or ''}", config, [])
    rows = [{"step": 100 * (k + 1), "return": value} for k, value in enumerate(values)]
    run.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three seeds of one learner, two of a better one."""
    for seed, offset in enumerate((0.0, 1.0, 2.0)):
        made(tmp_path, "ippo", seed, [offset - 50 + 10 * k for k in range(4)], max_minutes=seed)
    for seed in range(2):
        made(tmp_path, "mappo", seed, [seed - 40 + 10 * k for k in range(4)])
    return tmp_path


def test_runs_that_differ_by_seed_alone_are_one_learner(folder: Path) -> None:
    groups = curves.grouped(curves.find_runs([folder, folder / "ippo-0-1"]))
    assert {group.label: len(group.runs) for group in groups} == {"ippo": 3, "mappo": 2}


def test_settings_of_a_preset_are_as_good_as_typed_ones(folder: Path) -> None:
    made(folder, "mappo", 2, [0.0, 1.0], "tuned")
    made(folder, "ippo", 0, [0.0, 1.0], "tuned", num_envs=7)
    groups = {group.label: len(group.runs) for group in curves.grouped(curves.find_runs([folder]))}
    assert groups == {"ippo": 3, "ippo (preset=tuned, num_envs=7)": 1, "mappo": 3}


def test_labels_say_what_differs(folder: Path) -> None:
    made(folder, "mappo", 0, [0.0, 1.0], num_envs=7)
    labels = {group.label for group in curves.grouped(curves.find_runs([folder]))}
    assert labels == {"ippo", "mappo (num_envs=7)", "mappo"}


def test_curves_are_the_interquartile_mean_at_every_step(folder: Path) -> None:
    group = next(g for g in curves.grouped(curves.find_runs([folder])) if g.label == "ippo")
    x, middle, low, high = curves.curve(group, "return")
    assert (x[0], x[-1]) == (100, 400)
    assert middle[0] == pytest.approx(statistics.interquartile_mean([-50.0, -49.0, -48.0]))
    assert middle[-1] == pytest.approx(middle[0] + 30)
    assert np.all(low <= middle) and np.all(middle <= high) and low[0] >= -50 and high[0] <= -48


def test_a_curve_ends_with_its_shortest_run(tmp_path: Path) -> None:
    made(tmp_path, "ippo", 0, [1.0, 2.0, 3.0])
    made(tmp_path, "ippo", 1, [1.0, 2.0])
    (group,) = curves.grouped(curves.find_runs([tmp_path]))
    assert curves.curve(group, "return")[0][-1] == 200


def test_a_score_is_the_end_of_the_run(tmp_path: Path) -> None:
    run = made(tmp_path, "ippo", 0, [0.0] * 18 + [4.0, 6.0])
    assert curves.score(run, "return") == pytest.approx((4 + 6) / 2)


def test_plot_draws_every_learner_and_its_band(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "curves.png"
    assert main(["plot", str(folder), "--out", str(out)]) == 0
    with Image.open(out) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int).reshape(-1, 3)
    for colour in ((0x30, 0x69, 0xB0), (0xD1, 0x66, 0x2A)):  # both lines
        assert (np.abs(pixels - colour).max(1) < 12).sum() > 200
    pale = np.abs(pixels - (np.array([0x30, 0x69, 0xB0]) * 0.2 + 255 * 0.8)).max(1) < 6  # a band of the first colour
    assert pale.sum() > 500
    for suffix in (".svg", ".pdf"):
        assert main(["plot", str(folder), "--out", str(out.with_suffix(suffix))]) == 0
        assert out.with_suffix(suffix).stat().st_size > 1000


def test_plot_says_what_it_lacks(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", str(folder), "--metric", "retrun"]) == 2
    assert "has no measurement 'retrun'; did you mean 'return'?" in capsys.readouterr().err
    assert main(["plot", str(folder), "--out", "a.bmp"]) == 2
    assert "not '.bmp'" in capsys.readouterr().err
    assert main(["plot", str(folder), "--out", "/proc/a.png"]) == 5
    assert "cannot write /proc/a.png" in capsys.readouterr().err


def test_compare(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "c.json"
    assert main(["compare", str(folder), "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    by_name = {each["learner"]: each for each in found["learners"]}
    assert by_name["ippo"]["scores"] == [-20.0, -19.0, -18.0] and by_name["mappo"]["scores"] == [-10.0, -9.0]
    assert by_name["ippo"]["iqm"]["mean"] == pytest.approx(-19)
    better = next(each for each in found["improvement"] if each["learner"] == "mappo")
    assert (better["than"], better["mean"], better["low"]) == ("ippo", 1.0, 1.0)
    told = capsys.readouterr().out
    assert "P(mappo > ippo) = 1.00  [1.00, 1.00]  in particle/spread" in told
    assert main(["compare", str(folder / "ippo-0-1")]) == 0
    assert "one run" in capsys.readouterr().out


def test_list_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "runs", "--folder", str(folder)]) == 0
    told = capsys.readouterr().out
    assert len(told.splitlines()) == 6 and "-18.0" in told
