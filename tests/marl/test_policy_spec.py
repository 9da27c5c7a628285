"""What a policy is for, as plain data; and whether it fits an environment."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces
from safetensors.numpy import load

from environments.errors import RefusedFile
from environments.spec import AgentGroup, EnvSpec, TeamKind
from marl.policy import Policy
from marl.policy_spec import PolicySpec, check_fits, read_spec, settled

FLAT = spaces.Box(-np.inf, np.inf, (4,), np.float32)
SPACES = (
    spaces.Discrete(3),
    spaces.Discrete(3, start=1),
    spaces.MultiDiscrete([2, 5]),
    spaces.MultiDiscrete([2, 5], start=[1, 0]),
    spaces.Box(-1, 1, (2,), np.float32),
    spaces.Box(np.array([-1, 0.1], np.float32), np.array([3, np.inf], np.float32)),
    spaces.Box(0, 1, (0,), np.float32),
)


def environment(
    *action_spaces: spaces.Space, members: int = 2, name: str = "test/one", masked: bool = False
) -> EnvSpec:
    groups = tuple(
        AgentGroup(
            f"g{k}", "team", tuple(f"g{k}_{i}" for i in range(members)), FLAT, space, ("a", "b", "c", "d"), masked
        )
        for k, space in enumerate(action_spaces)
    )
    agents = tuple(agent for group in groups for agent in group.agents)
    kind = TeamKind("team", tuple(group.name for group in groups))
    return EnvSpec(name, 1, agents, groups, (kind,), options={"n": members})


def test_a_spec_survives_json() -> None:
    spec = PolicySpec.of(environment(*SPACES[:-1]), "team", hidden=(8, 9), parameters="per_agent", activation="relu")
    spec = replace(spec, about={"scenario": "x", "steps": 3})
    again = PolicySpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert again == spec
    for group, own in zip(again.groups, spec.groups, strict=True):
        assert group.action_space == own.action_space
        assert group.action_space.dtype == own.action_space.dtype


def test_only_spaces_that_can_act_are_stored() -> None:
    spec = PolicySpec.of(environment(spaces.MultiBinary(3)), "team")
    with pytest.raises(TypeError, match="cannot store space"):
        spec.to_json()


def test_a_policy_that_fits() -> None:
    env = environment(spaces.Discrete(3))
    for changed in (env, replace(env, name="test/other"), environment(spaces.Discrete(3), masked=True)):
        check_fits(PolicySpec.of(env, "team"), changed, "team")
    more = environment(spaces.Discrete(3), members=5)
    check_fits(PolicySpec.of(env, "team", agent_id=False), more, "team")  # one network for any number of agents


@pytest.mark.parametrize(
    ("env", "words"),
    [
        (environment(spaces.Discrete(4)), "the policy's action space is Discrete(3), test/one's is Discrete(4)"),
        (environment(spaces.Discrete(3), members=3), "the policy has 2 agents, test/one has 3"),
        (environment(spaces.Discrete(3), spaces.Discrete(3)), "has no group 'g1', test/one needs it"),
    ],
)
def test_a_policy_that_does_not_fit(env: EnvSpec, words: str) -> None:
    with pytest.raises(RefusedFile) as caught:
        check_fits(PolicySpec.of(environment(spaces.Discrete(3)), "team"), env, "team")
    assert words in str(caught.value)


def test_other_views_and_too_many_groups_do_not_fit() -> None:
    env = environment(spaces.Discrete(3))
    wide = replace(env.groups[0], observation_space=spaces.Box(-1, 1, (5,), np.float32))
    with pytest.raises(RefusedFile, match="observation space"):
        check_fits(PolicySpec.of(env, "team"), replace(env, groups=(wide,)), "team")
    two = PolicySpec.of(environment(spaces.Discrete(3), spaces.Discrete(3)), "team")
    with pytest.raises(RefusedFile, match="group 'g1'"):
        check_fits(two, env, "team")


def test_a_spec_is_read_without_torch(tmp_path: Path) -> None:
    spec = PolicySpec.of(environment(spaces.Discrete(3)), "team", hidden=(4,))
    Policy(spec).save(tmp_path / "p.safetensors", steps=1)
    assert read_spec(tmp_path / "p.safetensors")[0].about == {"steps": 1}
    code = f"import sys; from marl.policy_spec import read_spec; read_spec({str(tmp_path / 'p.safetensors')!r}); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_equal_policies_are_equal_files_whatever_order_the_library_writes(tmp_path: Path) -> None:
    header = {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    facts = [("schema", "1"), ("sha256", "x"), ("critic", "null")]
    files = []
    for order in (facts, facts[::-1]):
        text = json.dumps({"__metadata__": dict(order)} | header).encode()
        files.append(struct.pack("<Q", len(text)) + text + b"\x00\x00\x80\x3f")
    assert files[0] != files[1] and settled(files[0]) == settled(files[1])
    assert load(settled(files[0])) == {"w": np.ones(1, np.float32)}
