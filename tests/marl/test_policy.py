"""Policies: they act as their networks say, travel in one file, and nothing damaged is ever loaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from gymnasium import spaces

from environments import replay_file
from environments.errors import RefusedFile
from environments.spec import AgentGroup, EnvSpec, TeamKind
from marl import policy as policies
from marl.acting import PolicyStep, View
from marl.distributions import noise_size
from marl.policy import Policy
from marl.policy_spec import PolicySpec, checksum
from marl.random_policy import RandomPolicy
from marl.values import CriticShape, ValueFunction

LOPSIDED = spaces.Box(np.array([-1, 0], np.float32), np.array([3, 10], np.float32))
PICTURE = spaces.Box(0, 255, (2, 3), np.uint8)
FLAT = spaces.Box(-np.inf, np.inf, (4,), np.float32)


def environment(teams: int = 2) -> EnvSpec:
    """Four groups in one kind of team: every kind of action, masked and not, images and numbers."""
    made = []
    for name, space, observation, masked, members in (
        ("mover", spaces.Discrete(3), FLAT, True, 2),
        ("chooser", spaces.MultiDiscrete([2, 3]), PICTURE, True, 1),
        ("driver", LOPSIDED, FLAT, False, 3),
        ("talker", spaces.Discrete(4, start=2), FLAT, False, 1),
    ):
        agents = tuple(f"{name}_{i}" for i in range(members * teams))
        made.append(AgentGroup(name, "team", agents, observation, space, masked=masked))
    agents = tuple(agent for group in made for agent in group.agents)
    kind = TeamKind("team", tuple(group.name for group in made), teams)
    return EnvSpec("test/all", 1, agents, tuple(made), (kind,), state_size=5)


def trained(parameters: str = "shared", critic: bool = False) -> Policy:
    """A policy whose numbers are anything but their initial ones."""
    spec = PolicySpec.of(environment(), "team", parameters=parameters, hidden=(8,))
    policy = Policy(spec)
    if critic:
        shape = CriticShape(5, True, False, (8,), True)
        policy.critic = ValueFunction(spec, shape, torch.Generator().manual_seed(1))
        policy.critic.adapt(torch.tensor([1.0, 5.0]), torch.tensor([True, True]))
    generator = torch.Generator().manual_seed(2)
    for parameter in policy.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return policy


def random_views(policy: Policy, seats: int, seed: int = 0) -> tuple[dict[str, View], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    views, noise = {}, {}
    for group in policy.spec.groups:
        n = policy.spec.members(group)
        obs = torch.randn(seats, n, *group.observation_space.shape, generator=generator)
        if group.observation_space.dtype == np.uint8:
            obs = (obs.abs() * 50).to(torch.uint8)
        mask = torch.rand(seats, n, group.mask_size, generator=generator) < 0.6
        if group.masked:
            mask[..., [0, 2]] = True  # 2: the first of the chooser's second choice
        views[group.name] = View(obs, mask if group.masked else None, torch.ones(seats, n, dtype=torch.bool))
        draws = torch.rand(seats, n, noise_size(group.action_space), generator=generator)
        noise[group.name] = draws.clamp(1e-6, 1 - 1e-6)
    return views, noise


def same(a: dict[str, PolicyStep], b: dict[str, PolicyStep]) -> bool:
    pairs = [(a[k], b[k]) for k in a] if a.keys() == b.keys() else []
    return bool(pairs) and all(
        torch.equal(x.action, y.action) and torch.equal(x.log_prob, y.log_prob) and x.hidden is y.hidden is None
        for x, y in pairs
    )


@pytest.mark.parametrize("parameters", ["shared", "per_agent"])
@pytest.mark.parametrize("critic", [False, True])
def test_a_policy_is_the_same_after_a_file(tmp_path: Path, parameters: str, critic: bool) -> None:
    policy = trained(parameters, critic)
    policy.save(tmp_path / "p.safetensors", steps=12, parent=None)
    loaded = policies.load(tmp_path / "p.safetensors")
    assert loaded.spec.about == {"steps": 12, "parent": None}
    assert loaded.spec.groups == policy.spec.groups
    views, noise = random_views(policy, 7)
    for greedy in (False, True):
        assert same(loaded.step(views, noise, greedy), policy.step(views, noise, greedy))
    explained, again = (p.explain(views, torch.ones(7, 5)) for p in (policy, loaded))
    for name, (parameters_shown, value) in explained.items():
        assert torch.equal(again[name][0], parameters_shown)
        assert bool(value.isnan().all()) == (not critic)
        torch.testing.assert_close(again[name][1], value, rtol=0, atol=0, equal_nan=True)


def test_one_agent_acts_as_the_batch_does() -> None:
    policy = trained("per_agent")
    views, noise = random_views(policy, 2)
    steps = policy.step(views, noise, greedy=True)
    observations, masks = {}, {}
    for group in policy.spec.groups:
        for k, agent in enumerate(group.agents):
            seat, row = divmod(k, policy.spec.members(group))
            observations[agent] = views[group.name].obs[seat, row].numpy()
            if group.masked:
                masks[agent] = views[group.name].action_mask[seat, row].numpy()
    actions = policy.act(observations, masks, greedy=True)
    for group in policy.spec.groups:
        for k, agent in enumerate(group.agents):
            wanted = steps[group.name].action[divmod(k, policy.spec.members(group))].numpy()
            if isinstance(group.action_space, spaces.Box):
                wanted = np.clip(wanted, group.action_space.low, group.action_space.high)
                np.testing.assert_allclose(actions[agent], wanted, rtol=1e-5, atol=1e-5)
            else:
                np.testing.assert_array_equal(actions[agent], wanted + group.action_space.start)
            assert group.action_space.contains(actions[agent])
    dicts = {
        agent: {"observation": view, "action_mask": masks[agent].astype(np.int8)} if agent in masks else view
        for agent, view in observations.items()
    }
    chooser = dicts["chooser_0"]["action_mask"]
    dicts["chooser_0"]["action_mask"] = (chooser[:2], chooser[2:])  # as faces give them for MultiDiscrete
    again = policy.act(dicts, greedy=True)
    assert all(np.array_equal(again[agent], actions[agent]) for agent in actions)


def test_who_has_acted_can_be_trained() -> None:
    """Acting puts the parameters in one array: where graphs begin as before."""
    policy = trained()
    views, noise = random_views(policy, 2)
    policy.act({"driver_0": views["driver"].obs[0, 0].numpy()})
    before = policy.step(views, noise)
    for group in policy.spec.groups:
        view = views[group.name]
        policy.distribution(group, view.obs, view.action_mask).log_prob(before[group.name].action).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in policy.acting_parameters())
    torch.optim.SGD(policy.acting_parameters(), 0.1).step()
    assert not torch.equal(policy.step(views, noise)["driver"].log_prob, before["driver"].log_prob)


def test_acting_by_hand() -> None:
    policy = trained()
    view = np.ones(4, np.float32)
    mask = {"mover_1": np.array([0, 1, 0], np.int8)}
    rng = np.random.default_rng(0)
    assert {policy.act({"mover_1": view}, mask, rng=rng)["mover_1"] for _ in range(50)} == {1}
    assert len({policy.act({"mover_1": view}, rng=rng)["mover_1"] for _ in range(50)}) == 3
    off_turn = policy.act({"mover_1": {"observation": view, "action_mask": np.zeros(3, np.int8)}})
    assert off_turn["mover_1"] in (0, 1, 2)
    assert policy.act({"stranger": view}) == {}
    draws = np.stack([policy.act({"driver_4": view}, rng=rng)["driver_4"] for _ in range(300)])
    assert draws.dtype == np.float32
    assert LOPSIDED.contains(draws.min(0))
    assert LOPSIDED.contains(draws.max(0))
    with pytest.raises(ValueError, match="driver_4: observation"):
        policy.act({"driver_4": np.float32(1.0)})


@pytest.mark.parametrize("agent", ["mover_1", "chooser_0", "driver_4", "talker_0"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_acted_on(agent: str, value: float) -> None:
    policy = trained()
    (group,) = (group for group in policy.spec.groups if agent in group.agents)
    seen = np.ones(group.observation_space.shape)
    seen.reshape(-1)[-1] = value
    with pytest.raises(ValueError, match=f"^{agent}: the observation is not finite$"):
        policy.act({agent: seen})
    if group.masked:  # who waits may be shown anything
        assert policy.act({agent: seen}, {agent: np.zeros(group.mask_size)}, greedy=True).keys() == {agent}


def test_an_actor_does_not_know_the_state() -> None:
    """Nothing that a policy is handed to act on holds the state, and the critic's input moves no action."""
    policy = trained(critic=True)
    views, noise = random_views(policy, 3)
    parameters = [policy.explain(views, state)["mover"][0] for state in (torch.zeros(3, 5), torch.full((3, 5), np.nan))]
    assert torch.equal(*parameters)
    before = policy.step(views, noise)
    assert policy.critic is not None
    for parameter in policy.critic.parameters():
        parameter.data.fill_(np.nan)
    assert same(policy.step(views, noise), before)
    acting = {id(p) for p in policy.acting_parameters()}
    assert not acting & {id(p) for p in policy.critic.parameters()}
    assert len(acting) + len(list(policy.critic.parameters())) == len(list(policy.parameters()))


def test_random_players_are_uniform_over_what_is_legal() -> None:
    policy = trained()
    player = RandomPolicy(policy.spec)
    views, noise = random_views(policy, 30_000)
    steps = player.step(views, noise)
    mask, moved = views["mover"].action_mask, steps["mover"].action.long()
    assert mask is not None
    assert bool(mask.gather(2, moved.unsqueeze(2)).all())
    torch.testing.assert_close(steps["mover"].log_prob, -mask.sum(2).float().log())
    free = moved[mask.all(2)]
    assert torch.bincount(free).float().div(len(free)).sub(1 / 3).abs().max() < 0.02
    driven = steps["driver"].action.reshape(-1, 2)
    for low, mean, high, d in ((-1, 1, 3, 0), (0, 5, 10, 1)):
        assert low <= float(driven[:, d].min()) < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < float(driven[:, d].max()) <= high
        assert float(driven[:, d].mean()) == pytest.approx(mean, abs=0.05)
    torch.testing.assert_close(steps["driver"].log_prob, torch.full((30_000, 3), -np.log(40.0)).float())


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("policy") / "p.safetensors"
    trained(critic=True).save(path)
    return path.read_bytes()


def refuse(path: Path, content: bytes, match: str | None = None) -> None:
    path.write_bytes(content)
    with pytest.raises(RefusedFile, match=match) as caught:
        policies.load(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_cut_file_is_refused(tmp_path: Path, file: bytes) -> None:
    rng = np.random.default_rng(0)
    ends = {*range(80), *range(len(file) - 80, len(file)), *rng.integers(0, len(file), 150).tolist()}
    for end in ends:
        refuse(tmp_path / "p", file[:end])
    refuse(tmp_path / "p", file + b"\0")


def test_a_flipped_bit_is_refused(tmp_path: Path, file: bytes) -> None:
    """safetensors has no checksum of its own: a flip in a weight would load as another number."""
    header = 8 + int.from_bytes(file[:8], "little")
    rng = np.random.default_rng(1)
    places = [*rng.integers(0, header, 250), *rng.integers(header, len(file), 250)]
    for place in places:
        damaged = bytearray(file)
        damaged[place] ^= 1 << int(rng.integers(0, 8))
        refuse(tmp_path / "p", bytes(damaged))


def test_what_is_not_a_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedFile, match="no policy file at"):
        policies.load(tmp_path / "missing")
    with pytest.raises(RefusedFile):
        policies.load(tmp_path)  # a folder
    refuse(tmp_path / "p", b"")
    refuse(tmp_path / "p", b"\xff" * 100)
    refuse(tmp_path / "p", (2**40).to_bytes(8, "little") + b"{}")
    refuse(tmp_path / "p", safetensors.numpy.save({"x": np.zeros(3)}), "another program")
    refuse(tmp_path / "p", safetensors.numpy.save({"x": np.zeros(3)}, {"schema": "99"}), "another schema")
    refuse(tmp_path / "p", replay_file.MAGIC + b"\0" * 100, "p is a replay, not a policy: marl watch .*p$")


def forged(file: bytes, spec: dict | None = None, critic: dict | None = None, **weights: np.ndarray) -> bytes:
    """A file with a right checksum over other content: what a hostile writer can make."""
    header = json.loads(file[8 : 8 + int.from_bytes(file[:8], "little")])["__metadata__"]
    old = json.loads(header["policy"])
    header["policy"] = json.dumps(old | (spec or {}))
    header["critic"] = json.dumps(json.loads(header["critic"]) | (critic or {}))
    tensors = safetensors.numpy.load(file) | weights
    header["sha256"] = checksum(header, tensors.items())
    return safetensors.numpy.save(tensors, header)


def test_a_file_that_promises_what_it_does_not_hold_is_refused(tmp_path: Path, file: bytes) -> None:
    """Sizes that would take gigabytes are refused before memory is taken."""
    path = tmp_path / "p"
    path.write_bytes(forged(file))
    policies.load(path)  # the forger's tools work
    group = json.loads(json.loads(file[8 : 8 + int.from_bytes(file[:8], "little")])["__metadata__"]["policy"])[
        "groups"
    ][0]
    box = {"type": "Box", "dtype": "float32", "low": ["0.0"], "high": ["1.0"]}
    spaces_ = [
        box | {"shape": [10**11]},
        box | {"shape": [-1]},
        box | {"shape": [4], "dtype": "object"},
        box | {"shape": [2**12, 2**12]},
        {"type": "Text"},
    ]
    actions = [
        {"type": "Discrete", "n": 10**9, "start": 0},
        {"type": "Discrete", "n": 0, "start": 0},
        {"type": "MultiDiscrete", "nvec": [2, -1], "start": [0, 0]},
    ]
    hostile = [
        {"hidden": [65536] * 60},
        {"hidden": [10**9]},
        {"hidden": [8] * 10**5},
        {"hidden": [8.5]},
        {"hidden": "88"},
        {"teams": 0},
        {"teams": 3},
        {"parameters": "other"},
        {"activation": "other"},
        {"unknown": 1},
        {"groups": []},
        {"groups": [1]},
        *({"groups": [group | {"observation": space}]} for space in spaces_),
        *({"groups": [group | {"action": space}]} for space in actions),
    ]
    for spec in hostile:
        refuse(path, forged(file, spec=spec))
    for critic in ({"state_size": 10**12}, {"hidden": [65536] * 60}, {"hidden": None}, {"central": False}):
        refuse(path, forged(file, critic=critic))
    refuse(path, forged(file, extra=np.zeros(3, np.float32)), "not those of its spec")
    weights = safetensors.numpy.load(file)
    name = next(name for name, values in weights.items() if values.size > 1)
    refuse(path, forged(file, **{name: weights[name][:0]}), "not those of its spec")
    for value in (np.nan, np.inf):
        damaged = weights[name].copy()
        damaged.reshape(-1)[0] = value
        refuse(path, forged(file, **{name: damaged}), "not finite")
