"""`ProcessVectorEnv`: the copies of an environment shared out to worker processes, over shared memory.

Fresh interpreters, one block of memory without a name, a letter there and back for a step. The episodes are those of
one process, whatever the number of workers. A worker that hangs, dies or cannot be understood is killed with all that
it started: its copies' episodes end as truncated with the last good views, `faulted` is True for them, and another
process goes on with new keys that follow from the old ones. Closing takes seconds at most and leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from environments import keys as keys_of
from environments.arrays import check_out, clear_events, publish, publish_last
from environments.errors import EnvironmentFailure
from environments.external.film import Drawn
from environments.external.vector import MAX_FAULTS, Fault, TooManyFaults
from environments.line import DONE, INTO, QUIT, Line
from environments.process_worker import CAPTURE, FAILED, FAULTS, PICTURES, RESET, RESTORE, START, pack, unpack
from environments.shared import Memory, private
from environments.spec import EnvSpec
from environments.vector import Actions, Array, SimState, StepBuffers, missing_actions

STEP_SECONDS, START_SECONDS, CLOSE_SECONDS = 60.0, 120.0, 2.0
"""How long a worker may take for a step, to start, and to end by itself."""
LOOK_SECONDS = 0.5
"""How long nothing is heard of a worker before somebody looks whether it is still there."""
TRACE = 10_000
"""Steps of actions that are kept, to reproduce a fault."""
CODE = """import json, sys
sys.path[:] = json.loads(sys.argv[1])
from environments.process_worker import main
main(*map(int, sys.argv[2:]))"""
QUIET = {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass
class _Process:
    """A worker: its process, our end of the line, its copies."""

    number: int
    first: int
    last: int
    popen: subprocess.Popen[bytes]
    line: Line

    @property
    def copies(self) -> range:
        return range(self.first, self.last)

    def ending(self) -> str | None:
        """How the process has ended, or None; it stays to be reaped, so that its number is still its own."""
        found = os.waitid(os.P_PID, self.popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return None
        return f"exit code {found.si_status}" if found.si_code == os.CLD_EXITED else f"signal {found.si_status}"

    def speaks(self, deadline: float) -> bool:
        """Wait until then at most: True where something can be heard. EOFError where the process is gone.

        Its line may outlive it: what it has forked holds the other end, too.
        """
        while not self.line.speaks(min(LOOK_SECONDS, deadline - time.monotonic())):
            if self.ending() is not None and not self.line.speaks(0.0):
                raise EOFError
            if time.monotonic() >= deadline:
                return False
        return True

    def end(self, patience: float) -> None:
        """End the process and whatever it has started, by force when `patience` seconds are over; reaps it."""
        if self.popen.returncode is not None:
            return
        deadline = time.monotonic() + patience
        while self.ending() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()
        self.line.close()


class ProcessVectorEnv:
    """Copies of an environment in worker processes. See `environments.vector.VectorEnv`."""

    def __init__(
        self,
        name: str,
        spec: EnvSpec,
        num_envs: int,
        workers: int,
        seed: int = 0,
        first_copy: int = 0,
        *,
        max_faults: int = MAX_FAULTS,
        step_seconds: float = STEP_SECONDS,
        filmed: int = 0,
    ) -> None:
        """`name` and `spec.options` make the environment in the workers; 1 <= workers <= num_envs.

        The first `filmed` copies draw themselves, if they can.
        """
        if not 1 <= workers <= num_envs:
            raise ValueError(f"{num_envs} copies cannot be shared out to {workers} workers")
        self.spec, self.num_envs = spec, num_envs
        self._mirror = private(spec, num_envs)
        """What the workers have written, copied out of the shared block."""
        self.buffers = self._mirror.halves[0].buffers
        self.faulted: NDArray[np.bool_] = self._mirror.faulted
        self.episode_seed: NDArray[np.uint64] = self._mirror.seed
        self.episode_step: NDArray[np.int64] = self._mirror.step
        self.faults: list[Fault] = []
        self._name, self._seed, self._first_copy = name, seed, first_copy
        self._max_faults, self._step_seconds, self._filmed = max_faults, step_seconds, filmed
        self._memory = Memory(spec, num_envs, workers)
        self._block = self._memory.block
        self._half = 0
        self._keys = [keys_of.copy_key(seed, first_copy + e) for e in range(num_envs)]
        self._past: deque[dict[str, Array]] = deque(maxlen=TRACE)
        self._ended = False
        """Somebody's life ended in the last step."""
        self._alive = [np.zeros((num_envs, len(group.agents)), np.bool_) for group in spec.groups]
        ends = np.linspace(0, num_envs, workers + 1).round().astype(int).tolist()
        self._workers: list[_Process] = []
        self._closer = weakref.finalize(self, _close, self._workers, self._memory)
        for number, (first, last) in enumerate(itertools.pairwise(ends)):
            self._workers.append(self._start(number, first, last, None))
        for worker in list(self._workers):
            self._greet(worker)
        self._take(self.buffers)

    def reset(self, keys: Sequence[int] | None = None, copies: Sequence[int] | None = None) -> StepBuffers:
        """Start new episodes in the chosen copies; IndexError on a copy that is not there."""
        chosen = self._chosen(copies)
        if keys is not None:
            for e, key in zip(chosen, keys, strict=True):
                self._keys[e] = int(key) % 2**64
        for worker, places in self._shared_out(chosen):
            own = [int(chosen[i]) - worker.first for i in places]
            given = None if keys is None else [int(keys[i]) for i in places]
            self._ask(worker, RESET, pack({"copies": own, "keys": given}, {}))
        self._forget_who_lived(chosen)
        return self._take(self.buffers)

    def step(self, actions: Actions, out: StepBuffers | None = None) -> StepBuffers:
        """Advance every copy; ValueError where `actions` lacks a group, or a shape or type does not fit."""
        buffers = self.buffers if out is None else out
        if out is not None:
            check_out(self.spec.name, out, self.buffers)
        try:
            arrays = {name: actions[name] for name in self._block.actions}
        except KeyError:
            raise missing_actions(self.spec, actions) from None
        for name, shared in self._block.actions.items():
            array = arrays[name]
            if array.shape != shared.shape or array.dtype != shared.dtype:
                given, wanted = f"{array.dtype}{array.shape}", f"{shared.dtype}{shared.shape}"
                raise ValueError(f"{self.spec.name}: actions of group {name!r} are {given}, wanted {wanted}")
            shared[...] = array
        self._half = 1 - self._half
        for worker in self._workers:
            self._send(worker, INTO[self._half])
        self._past.append({name: array.copy() for name, array in arrays.items()})
        self._look_who_lives()
        for worker, why in self._answers():
            self._replace(worker, why)
        return self._take(buffers)

    def capture(self, copies: int | Sequence[int]) -> SimState:
        """Copy out the state of one copy, or of several with a leading axis; shorter pasts are filled up with zeros."""
        chosen = self._chosen(copies)
        parts: dict[str, list[Any]] = {}
        for worker, places in self._shared_out(chosen):
            own = [int(chosen[i]) - worker.first for i in places]
            for name, array in unpack(self._ask(worker, CAPTURE, pack({"copies": own}, {})))[1].items():
                rows = parts.setdefault(name, [None] * len(chosen))
                for i, row in zip(places, array, strict=True):
                    rows[i] = row
        whole = {name: _stacked(rows) for name, rows in parts.items()}
        if isinstance(copies, int | np.integer):
            whole = {name: array[0] for name, array in whole.items()}
        return SimState(_named("array/", whole), _named("clock/", whole), self.spec.digest)

    def restore(
        self,
        copies: int | Sequence[int],
        state: SimState | Mapping[str, Array],
        rekey: int | Sequence[int] | None = None,
    ) -> None:
        """Put a captured state (or some named arrays) into copies; ValueError on a foreign digest, name or shape."""
        chosen = self._chosen(copies)
        single = isinstance(copies, int | np.integer)
        digest = state.digest if isinstance(state, SimState) else None
        arrays, clock = (state.arrays, state.clock) if isinstance(state, SimState) else (state, {})
        given = {f"array/{name}": np.asarray(x) for name, x in arrays.items()}
        given |= {f"clock/{name}": np.asarray(x) for name, x in clock.items()}
        given = {name: x[None] if single else x for name, x in given.items()}
        fresh = np.broadcast_to(np.asarray(rekey, np.uint64), (len(chosen),)) if rekey is not None else None
        if any(x.ndim == 0 or len(x) != len(chosen) for x in given.values()):
            raise ValueError(f"{self.spec.name}: state arrays are not those of {len(chosen)} copies")
        for worker, places in self._shared_out(chosen):
            own = [int(chosen[i]) - worker.first for i in places]
            again = None if fresh is None else [int(fresh[i]) for i in places]
            what = {"copies": own, "digest": digest, "rekey": again}
            self._ask(worker, RESTORE, pack(what, {name: x[places] for name, x in given.items()}))
        known = fresh if fresh is not None else clock.get("key")
        if known is not None:
            for e, key in zip(chosen, np.atleast_1d(known), strict=True):
                self._keys[e] = int(key)
        self._forget_who_lived(chosen)
        self._take(self.buffers)

    def pictures(self, copy: int) -> Drawn:
        """What a watched copy has drawn since the last call."""
        if not self._filmed:
            return Drawn([], "the process that drew them was lost" if self.faults else "none were asked for", 0.0)
        worker = next(worker for worker in self._workers if copy in worker.copies)
        what, drawn = unpack(self._ask(worker, PICTURES, pack({"copy": copy - worker.first}, {})))
        return Drawn([drawn[str(k)] for k in range(len(drawn))], what["missing"], what["seconds"])

    def close(self) -> None:
        """End all workers, by force where they do not end by themselves; release the memory."""
        self._closer()

    def _chosen(self, copies: int | Sequence[int] | None) -> NDArray[np.int64]:
        chosen = np.arange(self.num_envs) if copies is None else np.atleast_1d(np.asarray(copies, np.int64))
        if chosen.size and (chosen.min() < 0 or chosen.max() >= self.num_envs):
            raise IndexError(f"{self.spec.name}: copies {chosen.tolist()} are not all within 0..{self.num_envs - 1}")
        return chosen

    def _shared_out(self, chosen: NDArray[np.int64]) -> list[tuple[_Process, list[int]]]:
        """(worker, places in `chosen` of its copies), for the workers that have some."""
        parts = [(worker, [i for i, e in enumerate(chosen) if e in worker.copies]) for worker in self._workers]
        return [(worker, places) for worker, places in parts if places]

    def _start(self, number: int, first: int, last: int, keys: Sequence[int] | None) -> _Process:
        """Start a worker; it makes its environments while we do something else."""
        ours, theirs = socket.socketpair()
        path = [entry or os.getcwd() for entry in sys.path]
        with theirs:
            popen = subprocess.Popen(
                [sys.executable, "-c", CODE, json.dumps(path), str(theirs.fileno()), str(self._memory.descriptor)],
                pass_fds=(theirs.fileno(), self._memory.descriptor),
                stdin=subprocess.DEVNULL,
                stdout=2,
                env={**os.environ, **QUIET},
                start_new_session=True,
            )
        worker = _Process(number, first, last, popen, Line(ours))
        setup = {
            "parent": os.getpid(),
            "name": self._name,
            "options": dict(self.spec.options),
            "can_capture": self.spec.can_capture,
            "filmed": self._filmed,
            "max_faults": self._max_faults,
            "seed": self._seed,
            "first_copy": self._first_copy,
            "num_envs": self.num_envs,
            "copies": [first, last],
            "workers": len(self._block.playing),
            "worker": number,
            "keys": keys,
            "half": self._half,
            "cores": share_of(os.sched_getaffinity(0), number, len(self._block.playing)),
        }
        self._send(worker, START, json.dumps(setup).encode())
        return worker

    def _greet(self, worker: _Process) -> None:
        """Wait until a worker has begun its episodes. EnvironmentFailure where it does not."""
        if not worker.line.speaks(START_SECONDS):
            raise EnvironmentFailure(f"{self._name}: worker {worker.number} was not ready after {START_SECONDS:.0f} s")
        try:
            self._understand(worker, *worker.line.hear())
        except (EOFError, OSError):
            raise EnvironmentFailure(f"{self._name}: worker {worker.number} ended while it started") from None

    def _send(self, worker: _Process, letter: bytes, more: bytes = b"") -> None:
        with contextlib.suppress(OSError):  # it is dead: whoever waits for its answer finds that out
            worker.line.say(letter, more)

    def _answers(self) -> list[tuple[_Process, str]]:
        """Wait for everybody's answer to a step: (worker, what is wrong) of those from whom none is good.

        One after the other: an answer that lies ready wakes nobody up, who would take a core from the workers.
        """
        deadline = time.monotonic() + self._step_seconds
        lost, told = [], []
        for worker in self._workers:
            try:
                if not worker.speaks(deadline):
                    lost.append((worker, f"no answer within {self._step_seconds:g} s"))
                elif (answer := worker.line.hear())[0] != DONE:
                    told.append((worker, *answer))
            except (EOFError, OSError):
                lost.append((worker, f"the process died ({_soon(worker)})"))
        for answered in told:
            self._understand(*answered)
        return lost

    def _ask(self, worker: _Process, letter: bytes, more: bytes) -> bytes:
        """Anything but a step: the answer. EnvironmentFailure where there is none."""
        self._send(worker, letter, more)
        try:
            if not worker.speaks(time.monotonic() + START_SECONDS):
                raise EOFError
            return self._understand(worker, *worker.line.hear())
        except (EOFError, OSError):
            raise EnvironmentFailure(f"{self._name}: worker {worker.number} does not answer; start again") from None

    def _understand(self, worker: _Process, letter: bytes, more: bytes) -> bytes:
        """Take note of the faults that an answer tells; errors of ours come back as what they were."""
        if letter == FAILED:
            kind, _, text = more.decode().partition(": ")
            known = {"ValueError": ValueError, "IndexError": IndexError, "KeyError": KeyError}
            raise known.get(kind, EnvironmentFailure)(
                text if kind in known else f"worker {worker.number}: {kind}: {text}"
            )
        if letter == FAULTS:
            for told in json.loads(more):
                place = told["copy"] + worker.first
                self._keys[place] = told["next_key"]
                self._note(Fault(**{**told, "copy": place, "worker": worker.number}))
        return more

    def _note(self, fault: Fault) -> None:
        self.faults.append(fault)
        if len(self.faults) > self._max_faults:
            self.close()
            raise TooManyFaults(self.faults)

    def _replace(self, worker: _Process, why: str) -> None:
        """Put another process in the place of one that failed in a step; its copies' episodes are over."""
        worker.end(0.0)
        self._filmed = 0  # it may have been the drawing
        playing = int(self._block.playing[worker.number])
        culprit = worker.first + playing if 0 <= playing < len(worker.copies) else worker.first
        for e in worker.copies:
            self._keys[e] = keys_of.after_fault(self._keys[e])
        self._note(self._fault_of(worker, culprit, why))
        span = slice(worker.first, worker.last)
        fresh = self._start(worker.number, worker.first, worker.last, [self._keys[e] for e in worker.copies])
        self._workers[self._workers.index(worker)] = fresh
        self._greet(fresh)
        now, before = (self._block.halves[half].buffers for half in (self._half, 1 - self._half))
        clear_events(now, span)
        now.episode_over[span] = now.episode_truncated[span] = True
        now.final_state[span] = before.state[span]
        for mine, last, alive in zip(now.groups, before.groups, self._alive, strict=True):
            mine.truncated[span] = alive[span]
            mine.final_obs[span], mine.final_mask[span] = last.obs[span], last.action_mask[span]
            mine.final_agent_state[span] = last.agent_state[span]
        self._block.faulted[span] = True

    def _fault_of(self, worker: _Process, copy: int, why: str) -> Fault:
        steps = int(self.episode_step[copy])
        kept = list(self._past)[-steps - 1 :]
        return Fault(
            environment=self._name,
            copy=copy,
            seed=int(self._mirror.given[copy]),  # the process may have written its next episode's, and died then
            step=steps,
            what=why,
            actions={name: [step[name][copy].tolist() for step in kept] for name in self._block.actions},
            next_key=self._keys[copy],
            worker=worker.number,
        )

    def _forget_who_lived(self, copies: NDArray[np.int64]) -> None:
        for alive in self._alive:
            alive[copies] = False

    def _look_who_lives(self) -> None:
        """Note who is alive in the step that was just asked for, which the other half says."""
        for alive, group in zip(self._alive, self._block.halves[1 - self._half].buffers.groups, strict=True):
            if self._ended:
                alive &= ~(group.terminated | group.truncated)
                alive[self.episode_step == 0] = False
            alive |= group.acting

    def _take(self, out: StepBuffers) -> StepBuffers:
        """Copy what the workers have written out of the block."""
        now, own = self._block.halves[self._half], self._mirror
        own.clock[...] = self._block.clock
        self._ended = bool(now.ended.any())
        if out is not self.buffers:
            publish(now.buffers, out)
            return out
        own.halves[0].told[...] = now.told
        if self._ended:
            publish_last(now.buffers, out)
        return out


def share_of(cores: Collection[int], number: int, workers: int) -> list[int]:
    """The cores on which a worker may run: some of its own. All of them where there are more workers than cores.

    All workers begin a step at the same moment. Left to itself, the system lets two of them take turns on one core now
    and then while another is idle, and moves them away from what its cache holds.
    """
    if workers > len(cores):
        return sorted(cores)
    return sorted(cores)[number * len(cores) // workers : (number + 1) * len(cores) // workers]


def _soon(worker: _Process) -> str:
    """How a worker whose line is closed has ended."""
    for _ in range(500):
        if told := worker.ending():
            return told
        time.sleep(0.002)
    return "its line is closed"


def _stacked(rows: Sequence[Array]) -> Array:
    """Rows of unequal length (of their first axis) as one array, filled up with zeros."""
    if len({row.shape for row in rows}) == 1:
        return np.stack(rows)
    whole = np.zeros((len(rows), max(len(row) for row in rows), *rows[0].shape[1:]), rows[0].dtype)
    for place, row in zip(whole, rows, strict=True):
        place[: len(row)] = row
    return whole


def _named(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _close(workers: list[_Process], memory: Memory) -> None:
    """Ask all workers to end, wait a little, and see to it that they have."""
    for worker in workers:
        with contextlib.suppress(OSError):
            worker.line.say(QUIT)
    deadline = time.monotonic() + CLOSE_SECONDS
    for worker in workers:
        worker.end(deadline - time.monotonic())
    workers.clear()
    memory.close()
