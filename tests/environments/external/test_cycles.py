"""Agents in a cycle are stepped as PettingZoo's own conversion steps them, with less ado."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from pettingzoo.utils.conversions import aec_to_parallel
from pettingzoo.utils.wrappers import AssertOutOfBoundsWrapper, OrderEnforcingWrapper

from environments.external import sources
from environments.external.cycles import Cycle, quick
from environments.external.layout import prepared
from tests.environments.external.arenas import Arena, Duel


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return bool(np.array_equal(np.asarray(a), np.asarray(b)))


@pytest.mark.parametrize(
    ("name", "options", "steps"),
    [
        ("pettingzoo:mpe2.simple_tag_v3", {"max_cycles": 20}, 50),
        ("pettingzoo:mpe2.simple_world_comm_v3", {"continuous_actions": True}, 30),
        ("pettingzoo:sisl.multiwalker_v9", {"max_cycles": 40, "terminate_on_fall": False, "remove_on_fall": True}, 120),
        ("pettingzoo:butterfly.pistonball_v6", {"n_pistons": 4, "max_cycles": 10}, 15),
    ],
)
def test_equals_the_conversion(name: str, options: dict[str, Any], steps: int) -> None:
    """With random actions, over several episodes: views, rewards, ends, and who is there."""
    theirs, ours = (sources.factory_of(name, options)() for _ in range(2))
    ours = prepared(ours, name)
    assert type(ours) is Cycle and type(ours.aec_env) not in (OrderEnforcingWrapper, AssertOutOfBoundsWrapper)
    rng, ended = np.random.default_rng(1), 0
    theirs.reset(seed=5), ours.reset(seed=5)
    for agent in theirs.possible_agents:
        theirs.action_space(agent).seed(int(rng.integers(1000)))
    for t in range(steps):
        actions = {agent: theirs.action_space(agent).sample() for agent in theirs.agents}
        wanted, got = theirs.step(actions), ours.step(actions)
        assert all(same(a, b) for a, b in zip(wanted[:4], got[:4], strict=True)), t
        assert list(theirs.agents) == list(ours.agents)
        if not theirs.agents:
            ended += 1
            assert same(theirs.reset(seed=t)[0], ours.reset(seed=t)[0])
    assert ended or "world" in name
    theirs.close(), ours.close()


def test_what_is_no_conversion_stays() -> None:
    arena = Arena()
    assert quick(arena) is arena and prepared(arena, "arena") is arena
    duel = Duel()
    assert prepared(duel, "duel") is duel  # it is no cycle


def test_turns_out_of_order_are_told() -> None:
    class Disorderly(Duel):
        metadata: ClassVar = {"name": "disorderly", "is_parallelizable": True}

        def step(self, action: Any) -> None:
            super().step(action)
            self.agent_selection = "left"

    env = Cycle(aec_to_parallel(Disorderly()).aec_env)
    env.reset(seed=0)
    with pytest.raises(AssertionError, match="it is the turn of 'left', where 'right' is next"):
        env.step({"left": 0, "right": 0})
