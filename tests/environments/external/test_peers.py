"""One of each kind of other people's environments is trained on for 2,000 steps; `make test-envs` tries all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from results import peers

ONE_OF_EACH = {
    "parallel": "mpe2-simple_spread_v3",
    "masks": "classic-connect_four_v3",
    "deaths": "butterfly-knights_archers_zombies_v11-200",
    "image": "butterfly-cooperative_pong_v6-50",
    "mujoco": "gymnasium_robotics-mamujoco_v1-HalfCheetah-2x3",
    "grid": "rware-tiny-2ag-v2-100",
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo leaves MUJOCO_LOG.TXT where it is used."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_trains(kind: str) -> None:
    (peer,) = (peer for peer in peers.PEERS if peer.title == ONE_OF_EACH[kind])
    assert peer.kind == kind
    row = peers.measure(peer)
    assert peers.works(row), row
    assert row["agents"] >= 2 and (row["episodes"] > 0 or kind == "mujoco")


def test_what_was_found_is_kept() -> None:
    """Every environment of the table has its row, and the row says that it worked."""
    rows: dict[str, Any] = {path.stem: json.loads(path.read_text()) for path in peers.HOME.glob("*.json")}
    assert set(rows) == {peer.title for peer in peers.PEERS}
    assert all(peers.works(row) for row in rows.values())


def test_a_failure_is_not_taken_for_success() -> None:
    row = {"exit_code": 0, "faults": 0, "steps": 2000}
    assert peers.works(row)
    for wrong in ({"exit_code": 6}, {"faults": 1}, {"steps": 1999}):
        assert not peers.works({**row, **wrong})
