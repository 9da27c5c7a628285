"""Files are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from environments.errors import RefusedFile, StorageFailure
from marl import files


def test_replaces_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "file"
    files.write_atomic(path, b"old")
    files.write_atomic(path, b"new")
    assert path.read_bytes() == b"new"

    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageFailure, match=r"cannot write .*file: No space left on device"):
        files.write_atomic(path, b"newest")
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_a_folder_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailure, match="cannot write"):
        files.write_atomic(tmp_path / "file" / "below", b"")


def test_json_is_bounded_and_strict(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"a": [1, 0.1]})
    assert files.read_json(tmp_path / "a.json") == {"a": [1, 0.1]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", float("nan"))
    assert files.read_json(tmp_path / "a.json") == {"a": [1, 0.1]}
    with pytest.raises(RefusedFile, match="there is no file"):
        files.read_json(tmp_path / "b.json")
    with pytest.raises(RefusedFile, match="too large"):
        files.read_json(tmp_path / "a.json", largest=3)
    for content in (b"{", b"\xff", b"[" * 10**5):
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(RefusedFile, match="cannot be read as JSON"):
            files.read_json(tmp_path / "a.json")


def test_leftovers_of_killed_writers_go(tmp_path: Path) -> None:
    left = files.temporary(tmp_path / "x")
    left.mkdir()
    (left / "part").write_text("")
    files.temporary(tmp_path / "y").write_text("")
    (tmp_path / "z").write_text("")
    files.remove_temporaries(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["z"]
