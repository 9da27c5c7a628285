"""A Python class as a player in a process of its own: `python -m league.host FILE.py:CLASS` or `MODULE:CLASS`.

It speaks the protocol of `league.outside` on standard input and output; what the class prints goes to standard error.
The class has `act(obs, mask=None, state=None) -> action` and, if it likes, `reset(seed)`. One object is made for every
agent. Who takes a `state` answers with a pair, `(action, state)`, and is handed that state with the next observation;
it is None where a game begins. Imports neither torch nor numba unless the class does.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np


def find(text: str) -> Callable[[], Any]:
    """The class that `FILE.py:CLASS` or `MODULE:CLASS` names; `pyspiel:NAME` is one of OpenSpiel's bots.

    ImportError, AttributeError or what the import raises.
    """
    where, _, name = text.rpartition(":")
    if where == "pyspiel":
        from league.spiel import RoshamboBot

        RoshamboBot(name)
        return partial(RoshamboBot, name)
    if where.endswith(".py"):
        spec = importlib.util.spec_from_file_location(Path(where).stem, where)
        if spec is None or spec.loader is None:
            raise ImportError(f"{where} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        sys.path.insert(0, str(Path(where).resolve().parent))
        spec.loader.exec_module(module)
    else:
        sys.path.insert(0, os.getcwd())
        module = importlib.import_module(where)
    found: Callable[[], Any] = getattr(module, name)
    inspect.signature(found.act)  # type: ignore[attr-defined]  # an AttributeError says what it lacks
    return found


def serve(player: Callable[[], Any], requests: TextIO, answers: TextIO) -> None:
    """Answer requests until there are no more."""
    agents: dict[str, Any] = {}
    states: dict[str, Any] = {}
    taken: set[str] = set()
    for line in requests:
        request = json.loads(line)
        agent = request["agent"]
        if request["type"] == "reset":
            agents[agent] = agents.get(agent) or player()
            taken = set(inspect.signature(agents[agent].act).parameters)
            states[agent] = None
            if hasattr(agents[agent], "reset"):
                agents[agent].reset(request["seed"])
            continue
        obs = np.asarray(request["obs"], np.float32)
        mask = None if request["mask"] is None else np.asarray(request["mask"], np.bool_)
        told = {"mask": mask, "state": states[agent]}
        action = agents[agent].act(obs, **{name: value for name, value in told.items() if name in taken})
        if "state" in taken and isinstance(action, tuple) and len(action) == 2:
            action, states[agent] = action
        answers.write(json.dumps({"action": np.asarray(action).tolist()}) + "\n")
        answers.flush()


def main() -> None:
    """Serve the class that the command line names; with `--check`, only find it."""
    if sys.argv[2:] == ["--check"]:
        find(sys.argv[1])
        return
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the class prints must not mix with its answers
    serve(find(sys.argv[1]), sys.stdin, answers)


if __name__ == "__main__":
    main()
