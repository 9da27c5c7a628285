"""A loaded policy acts as its environment wants it, though its networks know actions from 0, in one row."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from environments.external import teams, views
from environments.spec import EnvSpec
from marl import policy as policies
from marl.one_kind import merged_spec
from marl.policy import Policy
from marl.policy_spec import PolicySpec

SIGHT = spaces.Box(-1, 1, (2,), np.float32)
OWN = (
    spaces.Discrete(3, start=1),
    spaces.Discrete(4, start=-2, dtype=np.int8),
    spaces.MultiDiscrete([2, 3], start=[1, -4]),
    spaces.MultiDiscrete([[2, 3], [4, 5]], np.int16, start=[[0, 1], [2, 3]]),
    spaces.MultiBinary(3),
    spaces.MultiBinary((2, 2)),
    spaces.Box(-1, 1, (2, 2), np.float32),
    spaces.Box(0.1, np.array([0.10001, 0.3, 0.7]), dtype=np.float64),
    spaces.Box(-2, 3, (2, 1), np.int8),
    spaces.Box(-np.inf, np.inf, (2,), np.int64),
)
"""All but the last, which has no bounds that floats could keep to, can be acted in."""
SEEN = np.random.default_rng(1).uniform(-1, 1, (30, 2))
ORDINARY = (spaces.Discrete(3), spaces.MultiDiscrete([2, 5]), spaces.Box(-1, 1, (2, 2), np.float32))


def environment(*done: spaces.Space[Any], how: str = "one") -> EnvSpec:
    """Somebody else's, whose agents `a_0`, `a_1`, .. have those actions."""
    seen = views.sight_of(SIGHT, False)
    members = [teams.Member(f"a_{k}", seen, views.moves_of(space), False) for k, space in enumerate(done)]
    groups, kinds = teams.arrange(members, how)
    return EnvSpec("somebody:else", 0, tuple(agent for group in groups for agent in group.agents), groups, kinds)


def reloaded(spec: EnvSpec, path: Path, **network: Any) -> Policy:
    """A policy for its first kind of team, from a file, whose actions are of all sorts."""
    made = Policy(PolicySpec.of(spec, spec.kinds[0].name, hidden=(8,), **network))
    for parameter in made.parameters():
        parameter.data += 0.5 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    made.save(path / "p.safetensors")
    return policies.load(path / "p.safetensors")


@pytest.mark.parametrize("space", OWN[:-1], ids=str)
def test_actions_are_inside_the_environments_own_space(space: spaces.Space[Any], tmp_path: Path) -> None:
    policy, rng, taken = reloaded(environment(space), tmp_path), np.random.default_rng(0), set()
    for t in range(40):
        chosen = policy.act({"a_0": rng.uniform(-1, 1, 2)}, greedy=t % 4 == 0, rng=rng)["a_0"]
        assert space.contains(chosen), chosen
        taken.add(str(chosen))
    assert len(taken) > 2, "not the same again and again"


def test_agents_of_a_group_may_count_from_different_numbers(tmp_path: Path) -> None:
    """They share arrays and networks as before: learners see no difference."""
    spec = environment(spaces.Discrete(3), spaces.Discrete(3, start=1), spaces.Discrete(3, start=7))
    (group,) = spec.groups
    assert group.action_space == spaces.Discrete(3) and group.own_action_spaces.keys() == {"a_1", "a_2"}
    policy = reloaded(spec, tmp_path, agent_id=False)
    played = [policy.act(dict.fromkeys(group.agents, seen), greedy=True) for seen in 9 * SEEN]
    assert all(each == {"a_0": each["a_0"], "a_1": each["a_0"] + 1, "a_2": each["a_0"] + 7} for each in played)
    assert {0, 2} <= {each["a_0"] for each in played} <= {0, 1, 2}
    each = environment(spaces.Discrete(2), spaces.Discrete(3, start=1), how="a=a_0,b=a_1")
    same = replace(each, groups=tuple(replace(g, action_space=spaces.Discrete(3)) for g in each.groups))
    assert merged_spec(same, ("a", "b")).groups[0].own_action_spaces == {"a_1": spaces.Discrete(3, start=1)}


def test_files_say_it_only_where_it_differs(tmp_path: Path) -> None:
    spec = PolicySpec.of(environment(*OWN), "team")
    again = PolicySpec.from_json(json.loads(json.dumps(spec.to_json())))
    told = [(g.own_action_spaces, h.own_action_spaces) for g, h in zip(spec.groups, again.groups, strict=True)]
    assert again == spec and sum(len(own) for own, _ in told) == len(OWN) - 1
    assert all(repr(own) == repr(read) for own, read in told)
    plain = PolicySpec.of(environment(*ORDINARY), "team").to_json()
    assert not any("own_actions" in group for group in plain["groups"])
    assert all(group.own_action_spaces == {} for group in PolicySpec.from_json(plain).groups)


@pytest.mark.parametrize(
    "own",
    [
        {"type": "Discrete", "n": 4, "start": 1, "dtype": "int64"},
        {"type": "Discrete", "n": 3, "start": 1, "dtype": "object"},
        {"type": "MultiBinary", "n": 10**9},
        {"type": "MultiBinary", "n": [2**20, 2**20]},
        {"type": "MultiDiscrete", "nvec": [[2], [1]], "start": [[0], [0]], "dtype": "int64"},
        {"type": "Box", "shape": [3], "low": ["0"], "high": ["1"], "dtype": "float64"},
        {"type": "Text"},
    ],
)
def test_what_is_another_choice_is_refused(own: dict[str, Any]) -> None:
    data = PolicySpec.of(environment(spaces.Discrete(3, start=1)), "team").to_json()
    assert PolicySpec.from_json(data).groups[0].own_action_spaces
    data["groups"][0]["own_actions"]["a_0"] = own
    with pytest.raises((ValueError, TypeError, KeyError, AssertionError)):
        PolicySpec.from_json(data)
