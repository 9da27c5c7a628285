"""Weights & Biases, in a process of its own: whatever its server, its key or its code does, training does not notice.

The run puts rows into a bounded queue and never waits: a thread carries them to the child over a pipe, and where the
child does not keep up, the oldest rows are dropped (`metrics.jsonl` has them all). The child is given 15 s to begin;
online, it then goes on offline. At the end it is given 30 s; what it has written stays in the run's folder, and the
command that sends it is printed.

`python -m marl.metrics.weights_and_biases` is the child; it holds the only import of wandb.
"""

from __future__ import annotations

import contextlib
import json
import queue
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from environments.errors import MarlError
from marl import files
from marl.metrics import warn

INIT_SECONDS = 15.0
FINISH_SECONDS = 30.0
QUEUE = 1000
"""Rows that may wait."""


class WeightsAndBiases:
    """A sink whose every method returns at once, but `close`, which takes `FINISH_SECONDS` at most."""

    def __init__(
        self,
        folder: Path,
        mode: str,
        project: str,
        group: str,
        name: str,
        config: Mapping[str, Any],
        init_seconds: float = INIT_SECONDS,
        finish_seconds: float = FINISH_SECONDS,
    ) -> None:
        """`folder` is the run's: the W&B run id is kept there, so that a resumed run goes on with the same one."""
        self._folder = folder
        self._finish_seconds = finish_seconds
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(QUEUE)
        self._dropped = 0
        self._said: list[str] = []
        self.run_id = _run_id(folder / "wandb.json")
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C is for the run, which then ends this one in order
        )
        begin = {
            "id": self.run_id,
            "dir": str(folder.resolve()),
            "mode": mode,
            "project": project,
            "group": group,
            "name": name,
            "config": dict(config),
            "init_seconds": init_seconds,
        }
        self._put({"begin": begin})
        self._writer = threading.Thread(target=self._carry, name="wandb-writer", daemon=True)
        self._reader = threading.Thread(target=self._listen, name="wandb-reader", daemon=True)
        self._writer.start()
        self._reader.start()

    def write(self, step: int, row: Mapping[str, float]) -> None:
        """Hand over a row."""
        self._put({"step": step, "row": {name: float(value) for name, value in row.items()}})

    def artifact(self, path: Path, kind: str) -> None:
        """Hand over a file: a `policy`, or a `gif` to show."""
        self._put({"artifact": str(path.resolve()), "kind": kind})

    def close(self) -> None:
        """Let the child finish, for `FINISH_SECONDS` at most; then it is ended."""
        deadline = time.monotonic() + self._finish_seconds
        self._put(None)
        self._writer.join(max(deadline - time.monotonic(), 0))
        try:
            self._process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            warn(f"W&B did not finish within {self._finish_seconds:.0f} s and was ended; its data is kept")
        self._reader.join(1.0)
        if self._dropped:
            warn(f"W&B did not keep up: it lacks {self._dropped} rows, which are in metrics.jsonl")
        offline = sorted(self._folder.glob("wandb/offline-run-*"))
        if offline:
            print(f"send to W&B:  wandb sync {' '.join(str(path) for path in offline)}", file=sys.stderr, flush=True)

    def _put(self, message: dict[str, Any] | None) -> None:
        while True:
            try:
                self._queue.put_nowait(message)
                return
            except queue.Full:
                with contextlib.suppress(queue.Empty):
                    self._queue.get_nowait()
                    self._dropped += 1

    def _carry(self) -> None:
        """Thread: queue -> pipe. A child that ended is no reason to stop emptying the queue."""
        pipe = self._process.stdin
        assert pipe is not None
        while (message := self._queue.get()) is not None:
            with contextlib.suppress(OSError, ValueError):
                pipe.write(json.dumps(message) + "\n")
                pipe.flush()
        with contextlib.suppress(OSError):
            pipe.close()

    def _listen(self) -> None:
        """Thread: what the child has to say, each line once."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(SAYS) and line not in self._said:
                self._said.append(line)
                warn(line.removeprefix(SAYS))


SAYS = "marl-says: "


def _run_id(path: Path) -> str:
    """The id kept in `path`, or a new one, kept there."""
    try:
        return str(files.read_json(path)["id"])
    except (MarlError, KeyError, TypeError):
        new = secrets.token_hex(4)
        with contextlib.suppress(MarlError):  # metrics go to the file in any case
            files.write_json(path, {"id": new})
        return new


def _say(line: object) -> None:
    print(SAYS + " ".join(str(line).split())[:300], flush=True)


def _begin(wandb: Any, begin: Mapping[str, Any]) -> Any:
    """The W&B run: as asked for, or else offline; None where neither can be had."""
    modes = [begin["mode"]] if begin["mode"] == "offline" else [begin["mode"], "offline"]
    for mode in modes:
        try:
            return wandb.init(
                id=begin["id"],
                dir=begin["dir"],
                mode=mode,
                project=begin["project"],
                group=begin["group"],
                name=begin["name"],
                config=begin["config"],
                resume="allow" if mode == "online" else None,
                settings=wandb.Settings(init_timeout=begin["init_seconds"], console="off", silent=True),
            )
        except Exception as error:
            after = "; going on offline" if mode != modes[-1] else "; going on without it"
            _say(f"W&B cannot begin {mode} ({type(error).__name__}: {error}){after}")
            wandb.teardown()  # its service still holds the run id
    return None


def _handle(wandb: Any, run: Any, message: Mapping[str, Any]) -> None:
    if "row" in message:
        run.log({"environment_steps": message["step"], **message["row"]})
    elif message["kind"] == "gif":
        run.log({"evaluation": wandb.Video(message["artifact"], format="gif")})
    else:
        path = Path(message["artifact"])
        artifact = wandb.Artifact(f"{run.id}-{path.stem}", type=message["kind"])
        artifact.add_file(str(path))
        run.log_artifact(artifact)


def child(lines: IO[str]) -> None:
    """Read messages until they end. Says what fails, once, and never raises."""
    try:
        import wandb

        run = _begin(wandb, json.loads(next(lines))["begin"])
        if run is None:
            return
        run.define_metric("*", step_metric="environment_steps")
        for line in lines:
            try:
                _handle(wandb, run, json.loads(line))
            except Exception as error:
                _say(f"W&B: {type(error).__name__}: {error}")
        run.finish()
    except Exception as error:
        _say(f"W&B is left out ({type(error).__name__}: {error})")


if __name__ == "__main__":
    child(sys.stdin)
