"""Somebody else's environment looked at in a copy of this process: if it hangs or dies, it does so alone."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from environments.errors import EnvironmentFailure, UsageError
from environments.external.layout import last_line

Work = Callable[[Callable[[str], None]], None]
"""Something to do, which tells what it finds by the function that it is given."""
THREADED = ("torch", "numba")
"""Packages with threads of their own: a copy of a process has none of those, and would wait for them."""
DIE_WITH_PARENT = 1  # prctl's PR_SET_PDEATHSIG
SAID, USAGE, FAILED, DONE = b"s", b"u", b"f", b"d"


class Lost(Exception):
    """The copy died, or was silent for too long; the message says which."""

    def __init__(self, why: str, hangs: bool) -> None:
        super().__init__(why)
        self.hangs = hangs


def possible() -> bool:
    """True where this process can be copied: on Linux, while it has one thread."""
    alone = threading.active_count() == 1 and not any(name in sys.modules for name in THREADED)
    return sys.platform.startswith("linux") and alone


def apart(work: Work, patience: float) -> Iterator[str]:
    """What `work` tells, as it comes. Lost where its process dies or says nothing for `patience` seconds.

    UsageError as `work` raises it; EnvironmentFailure for any other of its errors.
    """
    ours, theirs = Pipe(duplex=False)
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _be(work, theirs)
    theirs.close()
    try:
        while True:
            if not ours.poll(patience):
                raise Lost(f"it hangs: nothing came of it for {patience:g} s", True)
            try:
                said = ours.recv_bytes()
            except EOFError:
                raise Lost(f"its process died ({_ending(child)})", False) from None
            if said[:1] == DONE:
                return
            if said[:1] != SAID:
                raise (UsageError if said[:1] == USAGE else EnvironmentFailure)(said[1:].decode())
            yield said[1:].decode()
    finally:
        ours.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(child, signal.SIGKILL)  # before it had a group of its own
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)


def _be(work: Work, line: Connection) -> None:
    """What the copy does; never returns."""
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
        work(lambda text: line.send_bytes(SAID + text.encode()))
        line.send_bytes(DONE)
    except Exception as error:
        kind, text = (USAGE, str(error)) if isinstance(error, UsageError) else (FAILED, last_line(error))
        line.send_bytes(kind + text.encode())
    except SystemExit as error:
        os._exit(error.code if isinstance(error.code, int) else 1)
    finally:
        os._exit(0)


def _ending(child: int) -> str:
    """How the copy, whose line is closed, has ended."""
    found = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    if found is None or found.si_code == os.CLD_EXITED:
        return f"exit code {found.si_status if found else 0}"
    return f"signal {found.si_status}"
