"""Checkpoints: every leaf comes back bit for bit; damage, kills and full disks never cost a complete one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from environments.errors import RefusedFile, StorageFailure
from marl import checkpoint, files
from marl.checkpoint import Segment


def tree(seed: int = 0) -> dict:
    generator = torch.Generator().manual_seed(seed)
    model = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    model(torch.randn(4, 3, generator=generator)).sum().backward()
    optimiser.step()
    return {
        "steps": 2**40 + seed,
        "name": "çedilla",
        "none": None,
        "flag": True,
        "odd": [float("nan"), float("inf"), -0.0, 0.1, 5e-324],
        "pair": (1, [2, (3,)]),
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "generator": generator.get_state(),
        "scalar tensor": torch.tensor(2.5, dtype=torch.float64),
        "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "keys": np.array([2**64 - 1, 0], np.uint64),
        "mask": np.array([[True], [False]]),
        "bytes": np.arange(7, dtype=np.uint8),
        "strided": np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2],
        "empty": np.zeros((0, 3), np.int16),
        "number": np.float32(0.1),
        "memory": [
            Segment({"rows": torch.arange(5.0) + i, "more": {"flags": np.array([True, i == 0])}}) for i in (0, 1)
        ],
    }


def same(a: object, b: object) -> bool:
    """Equal in type, structure and every bit."""
    if type(a) is not type(b):
        return isinstance(a, dict) and isinstance(b, dict) and same(dict(a), dict(b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, torch.Tensor):
        bits = [x.contiguous().view(-1).view(torch.uint8) if x.dim() else x.view(1).view(torch.uint8) for x in (a, b)]
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(*bits)
    if isinstance(a, np.ndarray | np.generic):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return repr(a) == repr(b)


def test_every_leaf_comes_back_bit_for_bit(tmp_path: Path) -> None:
    before = tree()
    checkpoint.save(tmp_path, 7, before)
    step, after = checkpoint.load(tmp_path)
    assert step == 7
    assert same(before, after)
    assert not same(tree(1), after)
    after["keys"][0] = 1  # arrays belong to the caller
    optimiser = torch.optim.Adam(torch.nn.Linear(3, 2).parameters())
    optimiser.load_state_dict(after["optimiser"])
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(files.TEMPORARY)] == []


def test_what_cannot_be_stored_is_a_bug_and_leaves_nothing(tmp_path: Path) -> None:
    for value in (object(), np.array(["a"]), np.array([object()]), {1.5: 2}, {"a", "b"}):
        with pytest.raises(TypeError, match="cannot hold"):
            checkpoint.save(tmp_path, 1, {"x": value})
    assert list(tmp_path.iterdir()) == []


def test_the_newest_three_stay_and_the_index_says_which_is_latest(tmp_path: Path) -> None:
    for step in (10, 20, 30, 40, 40):
        checkpoint.save(tmp_path, step, {"at": step})
    index = json.loads((tmp_path / "index.json").read_text())
    folders = sorted(p.name for p in tmp_path.iterdir() if p.is_dir())
    assert folders == ["000000000000020", "000000000000030", "000000000000040-2"]
    assert [entry["name"] for entry in index["checkpoints"]] == folders
    assert index["latest"] == "000000000000040-2"
    stated = index["checkpoints"][-1]["files"]["tree.json"]
    assert stated["sha256"] == files.sha256(tmp_path / index["latest"] / "tree.json")
    assert checkpoint.load(tmp_path, 30) == (30, {"at": 30})
    with pytest.raises(RefusedFile, match="of step 10"):
        checkpoint.load(tmp_path, 10)


def test_every_flipped_bit_is_noticed_and_an_older_one_taken(tmp_path: Path) -> None:
    small = {"weights": torch.arange(3, dtype=torch.float32), "n": 3}
    checkpoint.save(tmp_path, 1, small)
    newest = checkpoint.save(tmp_path, 2, small).folder
    for name in ("arrays.safetensors", "tree.json"):
        whole = (newest / name).read_bytes()
        for position in range(0, len(whole), 3):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << (position % 8)
            (newest / name).write_bytes(bytes(damaged))
            said: list[str] = []
            step, after = checkpoint.load(tmp_path, say=said.append)
            assert step == 1
            assert same(after, small)
            assert len(said) == 1 and "step 2 is damaged" in said[0]
        (newest / name).write_bytes(whole[:-1])
        assert checkpoint.load(tmp_path, say=said.append)[0] == 1
        (newest / name).unlink()
        assert checkpoint.load(tmp_path, say=said.append)[0] == 1
        (newest / name).write_bytes(whole)
    assert checkpoint.load(tmp_path, say=pytest.fail)[0] == 2


def test_a_damaged_or_missing_index_costs_nothing(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, {"a": 1})
    checkpoint.save(tmp_path, 2, {"a": 2})
    index = tmp_path / "index.json"
    whole = index.read_bytes()
    for damaged in (
        whole.replace(b'"step": 2', b'"step": 3'),
        b"",
        b"{}",
        b"[1]",
        b"[" * 10**5,
        whole[: len(whole) // 2],
    ):
        index.write_bytes(damaged)
        said: list[str] = []
        assert checkpoint.load(tmp_path, say=said.append) == (2, {"a": 2})
        assert said and "index.json" in said[0]
    index.unlink()
    assert checkpoint.load(tmp_path, say=said.append) == (2, {"a": 2})
    checkpoint.save(tmp_path, 3, {"a": 3})
    assert [e["step"] for e in json.loads(index.read_text())["checkpoints"]] == [1, 2, 3]


def test_foreign_and_future_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedFile, match="holds no checkpoint"):
        checkpoint.load(tmp_path / "nowhere")
    entry = checkpoint.save(tmp_path, 1, {"a": torch.zeros(2)})
    index = tmp_path / "index.json"
    value = json.loads(index.read_text())
    del value["sha256"]
    index.write_bytes(checkpoint._sealed(value | {"schema": 99}))
    with pytest.raises(RefusedFile, match="schema 99; this version reads 1"):
        checkpoint.load(tmp_path)
    value["checkpoints"][0]["name"] = "../elsewhere"
    index.write_bytes(checkpoint._sealed(value))
    assert checkpoint.load(tmp_path, say=[].append)[0] == 1  # the name is not used as a path
    (entry.folder / "tree.json").write_text(json.dumps({"schema": 1, "tree": {"dict": [["a", {"array": 5}]]}}))
    with pytest.raises(RefusedFile, match="can be read"):
        checkpoint.read(entry)


def test_shapes_and_types_are_checked_against_the_tree(tmp_path: Path) -> None:
    entry = checkpoint.save(tmp_path, 1, {"a": np.zeros((2, 3), np.float32)})
    text = (entry.folder / "tree.json").read_text()
    for old, new in (("[2, 3]", "[3, 2]"), ('"float32"', '"int32"'), ("[2, 3]", "[100000000000, 3]")):
        assert old in text
        (entry.folder / "tree.json").write_text(text.replace(old, new))
        with pytest.raises(RefusedFile, match="not as its tree says"):
            checkpoint.read(entry)
    huge = json.dumps({"0/a": {"dtype": "F32", "shape": [10**11], "data_offsets": [0, 4 * 10**11]}}).encode()
    (entry.folder / "tree.json").write_text(text)
    (entry.folder / "arrays.safetensors").write_bytes(len(huge).to_bytes(8, "little") + huge)
    with pytest.raises(RefusedFile, match="can be read"):
        checkpoint.read(entry)


def segments(folder: Path) -> dict[str, int]:
    """Files of segments -> when they were written, in nanoseconds."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / checkpoint.SEGMENTS).glob("*")}


def test_of_segments_only_new_ones_are_written_and_old_ones_stay_as_long_as_they_are_held(tmp_path: Path) -> None:
    parts = [Segment({"x": np.full(1000, i)}) for i in range(8)]
    first = checkpoint.save(tmp_path, 0, {"memory": parts[:4]})
    assert sum(first.segments.values()) > 4 * 8000 and first.files["arrays.safetensors"]["bytes"] < 100
    seen = segments(tmp_path)
    for step in (1, 2, 3, 4):
        entry = checkpoint.save(tmp_path, step, {"memory": parts[step : step + 4]})
        now = segments(tmp_path)
        assert len(now.keys() - seen.keys()) == 1  # one is new
        assert all(now[name] == seen[name] for name in now.keys() & seen.keys())  # none is written again
        assert now.keys() >= {f"{name}.safetensors" for name in entry.segments}
        assert len(now) <= 4 + 2  # those of the three checkpoints that are kept
        seen = now
        for kept in range(max(0, step - 2), step + 1):
            assert same(checkpoint.load(tmp_path, kept, pytest.fail)[1], {"memory": parts[kept : kept + 4]})


def test_a_damaged_segment_is_noticed_and_mended_by_the_next_checkpoint(tmp_path: Path) -> None:
    parts = [Segment({"x": np.full(1000, i)}) for i in range(3)]
    checkpoint.save(tmp_path, 1, {"memory": parts[:2]})
    entry = checkpoint.save(tmp_path, 2, {"memory": parts[1:]})
    shared, own = entry.segments
    whole = checkpoint.segment_file(tmp_path, own).read_bytes()
    for damaged in (whole[:-1], whole[:500] + b"?" + whole[501:], None):
        path = checkpoint.segment_file(tmp_path, own)
        path.unlink() if damaged is None else path.write_bytes(damaged)
        said: list[str] = []
        assert checkpoint.load(tmp_path, say=said.append)[0] == 1 and "step 2 is damaged" in said[0]
    checkpoint.segment_file(tmp_path, shared).write_bytes(whole)
    with pytest.raises(RefusedFile, match="no checkpoint that can be read"):
        checkpoint.load(tmp_path, say=said.append)
    checkpoint.save(tmp_path, 3, {"memory": parts})
    for step in (1, 2, 3):
        checkpoint.load(tmp_path, step, pytest.fail)


def test_a_segment_is_no_path_to_elsewhere(tmp_path: Path) -> None:
    entry = checkpoint.save(tmp_path, 1, {"memory": Segment({"x": np.zeros(3)})})
    (name,) = entry.segments
    odd = {"name": entry.folder.name, "step": 1, "files": entry.files, "segments": {"../../x": 5}}
    with pytest.raises(ValueError, match="no sha256"):
        checkpoint._entry(tmp_path, odd)
    tree_file = entry.folder / "tree.json"
    tree_file.write_text(tree_file.read_text().replace(name, "../index"))
    with pytest.raises(RefusedFile, match="a segment that its entry does not"):
        checkpoint.read(entry)


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tree()
    checkpoint.save(tmp_path, 1, state)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    real, room = os.fsync, [0]

    def fsync(handle: int) -> None:
        if room[0] == 0:
            raise OSError(28, "No space left on device")
        room[0] -= 1
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    for calls in range(8):  # a segment, three files, three folders, the index: whichever cannot be written
        room[0] = calls
        with pytest.raises(StorageFailure, match=r"No space left.*; the checkpoint of step 1 is safe"):
            checkpoint.save(tmp_path, 2, tree() | {"more": Segment({"x": np.arange(9) + calls})})
        for path, data in before.items():
            assert path.read_bytes() == data
        assert not list(tmp_path.rglob(f"{files.TEMPORARY}*"))  # what was half written takes no space
        assert len(segments(tmp_path)) == 2 or calls >= 6  # nor does a segment that no checkpoint holds
        assert same(checkpoint.load(tmp_path, say=pytest.fail)[1], state)
    room[0] = 10**6
    checkpoint.save(tmp_path, 3, {"a": 1})
    assert checkpoint.load(tmp_path)[0] == 3
    assert len([p for p in tmp_path.iterdir() if p.is_dir()]) == 3  # half-written ones are gone
    assert len(segments(tmp_path)) == 2


WRITER = """
import sys
from pathlib import Path
import numpy as np
from marl import checkpoint
step = checkpoint.find(Path(sys.argv[1])).step if Path(sys.argv[1], "index.json").exists() else 0
while True:
    step += 1
    memory = [checkpoint.Segment({"x": np.full(5000, i)}) for i in range(step - 3, step + 1)]
    weights = np.full(20000, step, np.int64)
    checkpoint.save(Path(sys.argv[1]), step, {"step": step, "weights": weights, "memory": memory})
    print(step, flush=True)
"""


def test_kill_at_any_moment_leaves_the_newest_complete_one(tmp_path: Path) -> None:
    chance = random.Random(5)
    reached = 0
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        said = process.stdout.read().split()
        process.wait()
        step, state = checkpoint.load(tmp_path, say=pytest.fail)
        assert step >= max([reached, *map(int, said)])
        assert state["step"] == step
        assert (state["weights"] == step).all()
        assert [int(part["x"][0]) for part in state["memory"]] == list(range(step - 3, step + 1))
        assert len(segments(tmp_path)) <= 4 + 4  # of three checkpoints, the one under way, and no more
        reached = step
    assert reached > 6


def test_non_finite_names_the_place() -> None:
    assert checkpoint.non_finite({"a": [1.0, np.ones(2)], "b": {"c": torch.ones(2)}, "n": np.array([1])}) is None
    assert checkpoint.non_finite({"a": {"b": [0.0, torch.tensor([1.0, float("nan")])]}}) == "a/b/1"
    assert checkpoint.non_finite({"a": np.array([np.inf])}) == "a"
    assert checkpoint.non_finite({0: float("-inf")}) == "0"


def test_checking_a_checkpoint_needs_no_torch(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 3, tree())
    code = (
        "import sys; from pathlib import Path; from marl import checkpoint;"
        "print(checkpoint.find(Path(sys.argv[1])).step, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "False"]


def test_what_is_saved_again_and_again_pushes_nothing_older_out(tmp_path: Path) -> None:
    for step in (1, 2, 2, 3, 2, 2, 2):
        checkpoint.save(tmp_path, step, {"a": step})
    assert checkpoint.read(checkpoint.find(tmp_path, 1)) == {"a": 1}
    assert checkpoint.find(tmp_path).step == 2
    with pytest.raises(RefusedFile, match="no checkpoint of step 3"):
        checkpoint.find(tmp_path, 3)
