"""Programs in the seats of a match: what they are told of an agent's spaces, and whether what they answer is legal."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from environments.spec import AgentGroup
from league.programs import Forfeit, Program
from marl.asked import AskedActor


class OutsideTeam:
    """A program that plays one team for one game."""

    def __init__(
        self, program: Program, groups: Sequence[AgentGroup], agents: Mapping[str, Sequence[str]], team: int
    ) -> None:
        """`agents`: for each group, the names of those that the team has in it."""
        self.program, self.groups, self.agents, self.team = program, groups, agents, team
        self.actor = AskedActor(groups, self._ask)
        """It, as somebody who sits in a seat. Its steps raise Forfeit."""
        self._left = program.limits.game_seconds
        self._asked: Counter[str] = Counter()

    def reset(self, seed: int) -> None:
        """Begin the game. Forfeit."""
        with self._named():
            for group in self.groups:
                for number, agent in enumerate(self.agents[group.name]):
                    self.program.reset(agent, (seed + number) % 2**63, describe(group))

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """A forfeit says whose it is."""
        try:
            yield
        except Forfeit as forfeit:
            forfeit.team = self.team
            raise

    def _ask(self, group: AgentGroup, n: int, obs: NDArray[Any], mask: NDArray[np.bool_] | None) -> NDArray[Any]:
        seconds = min(self.program.limits.move_seconds, self._left)
        fresh, started = self.program.fresh, time.monotonic()
        with self._named():
            agent = self.agents[group.name][n]
            try:
                answer = self.program.act(agent, self._asked[agent], obs, mask, seconds)
            except Forfeit as forfeit:
                if forfeit.status == "timeout":
                    of_a_move = self._left >= self.program.limits.move_seconds
                    forfeit.why += " (for a move)" if of_a_move else " (for the game)"
                raise
            action = legal(group, answer, mask)
        self._asked[agent] += 1
        if not fresh:
            self._left -= time.monotonic() - started
        return action


def legal(group: AgentGroup, answer: Any, mask: NDArray[np.bool_] | None) -> NDArray[Any]:
    """The answer as an action of the group. Forfeit where it is none, or one that is not allowed now."""
    space = group.action_space
    try:
        action = np.asarray(answer)
    except ValueError:
        action = np.asarray(None)
    wanted = np.dtype(np.float32) if isinstance(space, spaces.Box) else np.dtype(np.int64)
    if action.dtype.kind not in ("iuf" if wanted.kind == "f" else "iu") or action.shape != (space.shape or ()):
        raise Forfeit("illegal", f"{str(answer)[:80]} is no action of {space}")
    if not space.contains(action.astype(space.dtype)) or not np.isfinite(action).all():
        raise Forfeit("illegal", f"{str(answer)[:80]} is outside {space}")
    if mask is not None:
        first = 0
        for choice, size in zip(np.atleast_1d(action), np.atleast_1d(sizes(space)), strict=True):
            if not mask[first + int(choice)]:
                raise Forfeit("illegal", f"{answer} is not allowed now")
            first += int(size)
    return action


def sizes(space: spaces.Space[Any]) -> NDArray[np.int64]:
    """Numbers of choices of a discrete space."""
    counts = space.nvec if isinstance(space, spaces.MultiDiscrete) else space.n  # type: ignore[attr-defined]
    return np.atleast_1d(np.asarray(counts, np.int64))


def describe(group: AgentGroup) -> dict[str, Any]:
    """A group's spaces as plain data."""
    space: Any = group.action_space
    if isinstance(space, spaces.Box):
        action = {"type": "box", "low": space.low.tolist(), "high": space.high.tolist()}
    elif isinstance(space, spaces.MultiDiscrete):
        action = {"type": "multi_discrete", "nvec": space.nvec.tolist()}
    else:
        action = {"type": "discrete", "n": int(space.n)}
    observed = group.observation_space
    seen = {"shape": list(observed.shape), "dtype": str(observed.dtype), "features": list(group.features)}
    return {"observation": seen, "action": action}
