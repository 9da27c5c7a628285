"""What a description says of its teams."""

from __future__ import annotations

import pytest
from gymnasium import spaces

from environments.spec import AgentGroup, EnvSpec, TeamKind

SIGHT, CHOICE = spaces.Box(-1.0, 1.0, (2,)), spaces.Discrete(3)
SPEC = EnvSpec(
    "hunt",
    1,
    ("fox", "hen_0", "cock_0", "hen_1", "hen_2", "cock_1", "hen_3"),
    (
        AgentGroup("fox", "foxes", ("fox",), SIGHT, CHOICE),
        AgentGroup("hen", "flock", ("hen_0", "hen_1", "hen_2", "hen_3"), SIGHT, CHOICE),
        AgentGroup("cock", "flock", ("cock_0", "cock_1"), SIGHT, CHOICE),
    ),
    (TeamKind("foxes", ("fox",)), TeamKind("flock", ("hen", "cock"), 2)),
)


def test_every_team_has_a_kind_and_its_agents() -> None:
    assert SPEC.team_kinds == ("foxes", "flock", "flock")
    assert [SPEC.members(team) for team in range(SPEC.num_teams)] == [
        {"fox": ("fox",)},
        {"hen": ("hen_0", "hen_1"), "cock": ("cock_0",)},
        {"hen": ("hen_2", "hen_3"), "cock": ("cock_1",)},
    ]
    with pytest.raises(IndexError):
        SPEC.members(3)
