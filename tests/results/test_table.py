"""Measurements become tables: what is grouped, what is stated, and that pages follow the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from results import table

MACHINE = {"processor": "two cores"}


def _run(seed: int, mean: float, **changes: Any) -> dict[str, Any]:
    def measured(value: float) -> dict[str, Any]:
        return {
            "teams": {"team": {"mean": value, "low": value - 1, "high": value + 1}},
            "episodes": 1000,
            "greedy": False,
        }

    run = {"scenario": "particle/spread", "algorithm": "mappo", "variant": "default", "reward": "team_mean"}
    run |= {"seed": seed, "total_steps": 10_000_000, "seconds": 120.0, "machine": MACHINE}
    return run | {"evaluation": measured(mean), "greedy": measured(mean + 2), "random": measured(-83.0)} | changes


def _rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_runs_that_differ_by_their_seed_are_one_row() -> None:
    (row,) = _rows(table.learning_table([_run(seed, mean) for seed, mean in enumerate([-90.0, -50, -40, -30, 0])]))
    assert row[:5] == ["particle/spread", "mappo", "team_mean", "10M", "5"]
    assert row[5].startswith("-40.0 [")  # the interquartile mean, not the mean (-42)
    assert row[6].startswith("-38.0 [")
    assert row[7:] == ["-83.0", "2.0"]
    (row,) = _rows(table.learning_table([_run(0, -40.0, processor_seconds=60.0), _run(1, -40.0)]))
    assert row[8] == "1.5"  # a processor's minutes where they are known, else the clock's


def test_small_returns_have_a_digit_more() -> None:
    (row,) = _rows(table.learning_table([_run(0, 0.968)]))
    assert row[5:7] == ["0.97 [-0.03, 1.97]", "3.0 [1.97, 4.0]"]


def test_what_differs_otherwise_is_a_row_of_its_own() -> None:
    runs = [_run(0, -40.0), _run(0, -41.0, reward="agent"), _run(0, -35.0, variant="tuned")]
    rows = _rows(table.learning_table([*runs, _run(0, -60.0, total_steps=250_000)]))
    assert {(row[1], row[2], row[3]) for row in rows} == {
        ("mappo", "team_mean", "10M"),
        ("mappo", "agent", "10M"),
        ("mappo, tuned", "team_mean", "10M"),
        ("mappo", "team_mean", "250k"),
    }


def test_one_seed_shows_the_interval_of_its_episodes() -> None:
    (row,) = _rows(table.learning_table([_run(0, -40.0)]))
    assert row[5] == "-40.0 [-41.0, -39.0]"


def test_teams_are_never_added_up() -> None:
    teams = {"good": {"mean": -5.0, "low": -6, "high": -4}, "adversary": {"mean": 12.0, "low": 11, "high": 13}}
    both = {"teams": teams, "episodes": 10, "greedy": True}
    text = table.learning_table([_run(0, 0.0, evaluation=both, greedy=both, random=both)])
    (row,) = _rows(text)
    assert row[5] == "good -5.0 [-6.0, -4.0]<br>adversary 12.0 [11.0, 13.0]"
    assert "10 episodes, greedy actions" in text
    assert "two cores" in text


def test_curves_are_of_whole_runs() -> None:
    def curve(*returns: float) -> list[dict[str, float]]:
        return [{"step": step, "return": x} for step, x in zip((50_000, 1_000_000), returns, strict=False)]

    seeds = [_run(seed, 0.0, curve=curve(-10.0 * seed, -seed)) for seed in range(5)]
    alone = _run(0, 0.0, algorithm="ippo", total_steps=120_000, curve=curve(-70.0))
    text = table.curves_table([*seeds, alone])
    assert "| algorithm | reward | seeds | 50k | 1M |" in text
    ippo, mappo = _rows(text)
    assert ippo == ["ippo", "team_mean", "1", "-70.0", ""]  # one seed has no interval
    assert mappo[:3] == ["mappo", "team_mean", "5"]
    assert mappo[3].startswith("-20.0 [") and mappo[4].startswith("-2.0 [")
    assert table.curves_table([_run(0, -40.0)]) == table.NOTHING


def test_greedy_play_stands_beside_the_references() -> None:
    def curve(*returns: float) -> list[dict[str, float]]:
        return [{"step": step, "return": x} for step, x in zip((35_000, 85_000), returns, strict=False)]

    seeds = [_run(seed, 0.0, greedy_curve=curve(-60.0 - seed, -50.0)) for seed in range(3)]
    alone = _run(0, 0.0, algorithm="masac", greedy_curve=curve(-55.0))
    known = {"hasac, continuous": {35_000: -59.3, 285_000: -41.7}}
    text = table.greedy_table([*seeds, alone, _run(1, -40.0)], known)
    assert "| algorithm | seeds | 35k | 85k | 285k |" in text
    reference, mappo, masac = _rows(text)
    assert reference == ["hasac, continuous, published implementation", "1", "-59.3", "", "-41.7"]
    assert mappo[:2] == ["mappo, default", "3"] and mappo[2].startswith("-61.0 [-62.0") and mappo[4] == ""
    assert masac == ["masac, default", "1", "-55.0", "", ""]
    assert table.greedy_table([_run(0, -40.0)], known) == table.NOTHING
    page = "<!-- results:greedy:particle/spread -->\n<!-- end -->\n"
    rows = _rows(table.fill(page, seeds, []))
    assert [row[0].split(",")[0] for row in rows] == ["happo", "mappo", "hasac", "hatd3", "mappo"]


def test_victories_are_counted_where_there_are_any() -> None:
    def won(share: float) -> dict[str, Any]:
        figure = {"mean": share, "low": share - 0.01, "high": share + 0.01}
        return {"teams": {"team": figure}, "episodes": 1000, "greedy": False, "metrics": {"won": figure}}

    runs = [_run(k, 0.0, evaluation=won(x), greedy=won(1.0), random=won(0.0)) for k, x in enumerate([0.5, 0.7, 0.9])]
    (row,) = _rows(table.wins_table([*runs, _run(0, -40.0)]))
    assert row[:4] == ["particle/spread", "mappo", "10M", "3"] and row[4].startswith("70.0 % [")
    assert row[5:] == ["100.0 % [100.0, 100.0]", "0.0 % [0.0, 0.0]"]
    (row,) = _rows(table.wins_table(runs[:1]))
    assert row[4:] == ["50.0 % [49.0, 51.0]", "100.0 % [99.0, 100.0]", "0.0 % [0.0, 1.0]"]
    assert table.wins_table([_run(0, -40.0)]) == table.NOTHING


def test_games_of_one_table_are_columns() -> None:
    def play(paid: float, optimal: float) -> dict[str, Any]:
        figure = {"mean": optimal, "low": optimal, "high": optimal}
        team = {"mean": paid, "low": paid, "high": paid}
        return {"teams": {"team": team}, "episodes": 1000, "greedy": True, "metrics": {"optimal": figure}}

    found = [(550.0, 1.0), (550.0, 1.0), (350.0, 0.0)]
    climbing = {"algorithm": "hasac", "scenario": "matrix/climbing"}
    runs = [_run(k, 0.0, **climbing, variant="tuned", greedy=play(*x)) for k, x in enumerate(found)]
    runs.append(_run(0, 0.0, **climbing, variant="published", greedy=play(350.0, 0.0)))
    runs.append(_run(0, 0.0, algorithm="hasac", scenario="matrix/penalty", variant="25", greedy=play(500.0, 0.9)))
    runs.append(_run(0, 0.0, scenario="matrix/penalty", variant="100", greedy=play(100.0, 0.0)))
    hasac, published, mappo = _rows(table.matrix_table(runs))
    assert hasac[0] == "hasac" and hasac[1].startswith("258.3 [") and hasac[1].endswith("], 2 of 3")
    assert hasac[2:] == ["", "250.0 [250.0, 250.0], 1 of 1", ""]
    assert published == ["hasac, published", "175.0 [175.0, 175.0], 0 of 1", "", "", ""]
    assert mappo == ["mappo", "", "", "", "50.0 [50.0, 50.0], 0 of 1"]
    assert table.matrix_table([_run(0, -40.0)]) == table.NOTHING
    page = "<!-- results:all -->\n<!-- end -->\n"
    assert "particle/spread" in table.fill(page, [*runs, _run(0, -40.0)], [])
    assert "matrix/" not in table.fill(page, [*runs, _run(0, -40.0)], [])


def test_some_rows_are_the_longest_and_then_the_best() -> None:
    whole = {"total_steps": 10_000_000, "algorithm": "ippo"}
    short, poor, good = (
        {**whole, "total_steps": 2_000_000},
        {**whole, "reward": "agent"},
        {**whole, "reward": "team_sum"},
    )
    runs = []
    for mean, row in ((-10.0, short), (-40.0, poor), (-30.0, good), (-5.0, {**whole, "variant": "nobody asked"})):
        run = _run(0, mean, **row)
        runs.append(run | {"evaluation": run["evaluation"] | {"sum": run["evaluation"]["teams"]["team"]}})
    assert table.some(runs) == [runs[2]]


def test_lines_of_play_are_those_of_both_seats(tmp_path: Path) -> None:
    for seed, lost in enumerate((0, 3)):
        seats = {
            "moving first": {"won": 10, "drawn": 2, "lost": lost},
            "moving second": {"won": 5, "drawn": 1, "lost": 1},
        }
        run = {"lines": seats, "steps": 6_004_736, "seconds": 90.0}
        (tmp_path / f"by-lot-{seed}.json").write_text(json.dumps(run))
    text = table.lines_table(table.load_lines(tmp_path))
    assert _rows(text) == [["by-lot", "6.0M", "2", "15, 15", "3, 3", "1, 4", "2"]]
    page = "<!-- results:tictactoe -->\n<!-- end -->\n"
    assert text in table.fill(page, [], [], table.load_lines(tmp_path)) and table.NOTHING in table.fill(page, [], [])


def test_speed_rows() -> None:
    bench = {"name": "env particle/spread", "value": 2.5e7, "unit": "steps/s", "ratio": 5200.0, "against": "mpe2"}
    text = table.speed_table([{**bench, "machine": MACHINE}])
    assert _rows(text) == [["env particle/spread", "25,000,000 steps/s", "5,200.0x", "mpe2"]]
    assert "two cores" in text


def test_a_run_of_all_parts_has_a_table_of_its_own() -> None:
    row = {
        "name": "particle/spread, x",
        "value": 1.0,
        "unit": "steps/s",
        "ratio": 2.0,
        "against": "y",
        "machine": MACHINE,
    }
    page = "<!-- results:bench -->\n<!-- end -->\n<!-- results:speed -->\n<!-- end -->\n"
    whole = {**row, "value": 3.0, "part": "env"}
    both, speed = table.fill(page, [], [row, whole]).split("<!-- results:speed -->")
    assert _rows(both) == [["env: particle/spread, x", "3.00 steps/s", "2.0x", "y"]]
    assert _rows(speed) == [["particle/spread, x", "1.00 steps/s", "2.0x", "y"]]
    known = table.measured([], [{**whole, "name": f"particle/spread, {table.SPEED_AT}"}], {})
    assert known["particle/spread"]["speed"] is None


def test_only_what_is_marked_is_filled() -> None:
    page = (
        "before\n<!-- results:ippo -->\nold\n<!-- end -->\nbetween <!-- end -->\n<!-- results:all -->\n<!-- end -->\n"
    )
    filled = table.fill(page, [_run(0, -40.0)], [])
    assert filled.startswith(f"before\n<!-- results:ippo -->\n{table.NOTHING}<!-- end -->\nbetween <!-- end -->\n")
    assert "-40.0" in filled
    assert table.fill(filled, [_run(0, -40.0)], []) == filled


def test_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "particle").mkdir()
    (tmp_path / "particle" / "a.json").write_text(json.dumps(_run(0, -40.0)))
    (tmp_path / "bench.json").write_text(json.dumps([{"name": "x"}]))
    runs, speeds = table.load(tmp_path)
    assert ([run["seed"] for run in runs], speeds) == ([0], [{"name": "x"}])
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ValueError, match=r"other\.json"):
        table.load(tmp_path)


def test_pages_are_in_step_with_the_measurements() -> None:
    (runs, speeds), lines = table.load(), table.load_lines()
    pages = [path for pattern in table.PAGES for path in table.ROOT.glob(pattern)]
    assert pages
    for path in pages:
        page = path.read_text()
        assert table.fill(page, runs, speeds, lines) == page, f"{path.name} is out of step: run python results/table.py"
