"""The matrix of probes: what a report says is what the page shows, and what is wanting is named."""

from __future__ import annotations

import json
from pathlib import Path

from results import probes
from tests.probes import deeds, worth  # noqa: F401  questions
from tests.probes.asking import QUESTIONS
from tests.probes.table import LEARNERS, NEVER, ROWS, TESTS, reason

REPORT = """<testsuites><testsuite>
{}
</testsuite></testsuites>"""
CASE = (
    '<testcase name="{name}" time="1.25"><properties><property name="row" value="{row}"/>'
    '<property name="learner" value="{learner}"/><property name="role" value="{role}"/></properties>{end}</testcase>'
)


def told(tmp_path: Path, *cases: tuple[str, str, str, str]) -> dict:
    lines = [
        CASE.format(name=f"test_{i}", row=row, learner=learner, role=role, end=end)
        for i, (row, learner, role, end) in enumerate(cases)
    ]
    report = tmp_path / "report.xml"
    report.write_text(REPORT.format("\n".join([*lines, '<testcase name="of its own" time="1"/>'])))
    return {"machine": "here", "rows": probes.read(report)}


def test_a_report_becomes_a_table(tmp_path: Path) -> None:
    result = told(
        tmp_path,
        ("P21 P29", "hatrpo", "probe", ""),
        ("P21", "hatrpo", "control", ""),
        ("P04", "hasac", "probe", '<failure message="off by 1"/>'),
        ("P05", "hasac", "probe", "<skipped/>"),
        ("P19", "mappo", "probe", ""),
    )
    rows = result["rows"]
    assert rows["P21"]["hatrpo"] == {"probes": 1, "controls": 1, "seconds": 2.5}
    assert rows["P29"]["hatrpo"]["probes"] == 1
    assert rows["P04"]["hasac"]["failed"] == ["test_2"] and "hasac" not in rows["P05"]
    assert rows["P19"]["mappo"]["probes"] == 1  # asked, whatever the table says of its core
    text = probes.table(result)
    assert "| P21 | own reward, sum, mean | yes (1) |" in text and "**missing**" in text
    assert "- P16, maddpg, matd3, haddpg, hatd3: its actions are continuous: no masks" in text
    found = probes.wanting(result)
    assert "P04 hasac: fails" in found and "P05 hasac: missing" in found
    assert not any(each.startswith(("P29 hatrpo", "P25", "P16 hatd3")) for each in found)


def test_the_page_shows_what_the_file_holds() -> None:
    if not probes.FILE.exists():
        assert "Not asked yet." in probes.PAGE.read_text()
        return
    result = json.loads(probes.FILE.read_text())
    assert probes.PAGE.read_text() == probes.render(result)
    assert not probes.wanting(result)


def test_the_table_names_rows_and_learners_that_there_are() -> None:
    learners = {*LEARNERS, *(name for names in LEARNERS.values() for name in names)}
    rows = {row for question in QUESTIONS.values() for row in question.rows} | {row for row, _ in TESTS.values()}
    assert rows == ROWS.keys() - {"P25", "P26"}  # these two are of the league
    assert NEVER.keys() <= ROWS.keys() and all(said.keys() <= learners for said in NEVER.values())
    assert len(ROWS) == 31


def test_whoever_can_be_asked_is_asked() -> None:
    """`make probes` leaves no cell empty; memory's tests stand apart."""
    apart = {row for row, _ in TESTS.values()}
    for core, names in LEARNERS.items():
        for name in names:
            asked = {row for question in QUESTIONS.values() if question.way(name) for row in question.rows}
            assert asked | apart >= {row for row in ROWS if reason(row, core, name) is None}, name
