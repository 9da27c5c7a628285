"""The engine against torch in float64: whatever the networks, spaces, masks and losses, the same gradients."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from environments.spec import AgentGroup, EnvSpec, TeamKind
from marl import networks
from marl.acting import View
from marl.algorithms.ppo import PPO
from marl.buffers import Batch
from marl.config import PPOConfig
from marl.distributions import noise_size
from marl.engine import fused, mlp
from marl.policy import Policy
from tests.marl.rollouts import copied, shaken

KINK = 1e-5
"""Rows this near to where a derivative jumps are left out: there float32 may be on the other side."""
UNLIKELY = 30.0
"""Less likely actions (-log-probability) are left out: an error in the log-probability is one in the ratio."""

action_spaces = st.one_of(
    st.integers(1, 9).map(spaces.Discrete),
    st.lists(st.integers(1, 5), min_size=1, max_size=4).map(spaces.MultiDiscrete),
    st.integers(1, 4).map(lambda d: spaces.Box(-np.arange(1.0, d + 1, dtype=np.float32), np.float32(0.5), (d,))),
)


@st.composite
def environments(draw: st.DrawFn) -> EnvSpec:
    """One kind of team of any groups."""
    groups = []
    for name in "ab"[: draw(st.integers(1, 2))]:
        space = draw(action_spaces)
        agents = tuple(f"{name}{i}" for i in range(draw(st.integers(1, 4))))
        width = draw(st.integers(1, 40))
        masked = not isinstance(space, spaces.Box) and draw(st.booleans())
        observed = spaces.Box(-np.inf, np.inf, (width,), np.float32)
        groups.append(AgentGroup(name, "team", agents, observed, space, masked=masked))
    kind = TeamKind("team", tuple(group.name for group in groups))
    agents = tuple(agent for group in groups for agent in group.agents)
    return EnvSpec("drawn", 1, agents, tuple(groups), (kind,), state_size=draw(st.sampled_from([0, 7])))


configs = st.builds(
    PPOConfig,
    critic=st.sampled_from(["local", "central"]),
    parameters=st.sampled_from(["shared", "per_agent"]),
    agent_id=st.booleans(),
    hidden=st.lists(st.integers(4, 70), min_size=1, max_size=3).map(tuple),
    activation=st.sampled_from(["tanh", "relu"]),
    value_loss=st.sampled_from(["huber", "mse"]),
    value_clip=st.sampled_from([None, 0.3]),
    huber_delta=st.just(0.7),
    entropy=st.sampled_from([0.0, 0.1]),
    learning_rate=st.just(0.0),
    max_grad_norm=st.just(1e9),
)


def random_batch(made: PPO, samples: int, seed: int) -> Batch:
    """Joint samples that no environment made: some rows dead, some actions illegal, some ratios clipped."""
    rng = np.random.default_rng(seed)
    obs, masks, actions = {}, {}, {}
    for group in made.spec.groups:
        rows = (samples, len(group.agents))
        obs[group.name] = torch.from_numpy(rng.normal(size=(*rows, *group.observation_space.shape)).astype(np.float32))
        space: Any = group.action_space
        if isinstance(space, spaces.Box):
            masks[group.name] = None
            actions[group.name] = torch.from_numpy(rng.normal(size=(*rows, *space.shape)).astype(np.float32))
            continue
        sizes = np.atleast_1d(space.nvec if isinstance(space, spaces.MultiDiscrete) else space.n)
        chosen = rng.integers(0, sizes, (*rows, len(sizes)))
        legal = rng.random((*rows, int(sizes.sum()))) < 0.6
        places = np.concatenate([[0], np.cumsum(sizes)[:-1]]) + chosen
        np.put_along_axis(legal, places, True, -1)
        masks[group.name] = torch.from_numpy(legal) if group.masked else None
        flat = chosen[..., 0] if isinstance(space, spaces.Discrete) else chosen
        actions[group.name] = torch.from_numpy(flat.astype(np.int32))
    agents = sum(len(group.agents) for group in made.spec.groups)
    columns = 1 if made.value.shape.central and made.value.shape.per_seat else agents
    floats = {name: torch.from_numpy(rng.normal(size=(samples, n)).astype(np.float32)) for name, n in (
        ("log_prob", agents), ("advantage", agents), ("old_value", columns), ("target", columns),
        ("state", made.value.shape.state_size),
    )}  # fmt: skip
    use, use_value = (torch.from_numpy(rng.random((samples, n)) < 0.8) for n in (agents, columns))
    seat = torch.zeros(samples).long()
    batch = Batch(obs, masks, actions, acting=use, use=use, use_value=use_value, seat=seat, old={}, **floats)
    with torch.no_grad():
        log_prob, _ = made.evaluate(batch)
        return replace(batch, log_prob=log_prob + 0.3 * batch.log_prob)


def away_from_kinks(made: PPO, batch: Batch) -> Batch:
    """The batch without the rows in which float32 and float64 may find another slope. `made` is in float64."""
    with torch.no_grad():
        exact = in_float64(batch)
        log_prob, _ = made.evaluate(exact)
        ratio = (log_prob - exact.log_prob).exp()
        use = batch.use & log_prob.abs().lt(UNLIKELY) & ((ratio - 1).abs() - made.config.clip).abs().gt(KINK)
        value = made.value(exact.obs, exact.state, exact.seat)
        error, moved = (value - exact.target).abs(), (value - exact.old_value).abs()
        use_value = batch.use_value & (error - made.config.huber_delta).abs().gt(KINK)
        if made.config.value_clip is not None:
            kept = exact.old_value + (value - exact.old_value).clamp(-made.config.value_clip, made.config.value_clip)
            apart = (error - (kept - exact.target).abs()).abs()
            use_value &= (moved < made.config.value_clip - KINK) | (apart > KINK)
        if made.config.activation == "relu":
            inputs = {group.name: exact.obs[group.name].flatten(2) for group in made.spec.groups}
            near = [nearest_kink(made.policy.actors[name], x) for name, x in inputs.items()]
            use &= torch.cat(near, 1).gt(KINK)
            seen = made.value.inputs(exact.obs, exact.state, exact.seat)
            use_value &= torch.cat([nearest_kink(made.value.heads[n], x) for n, x in seen.items()], 1).gt(KINK)
    return replace(batch, use=use, use_value=use_value)


def nearest_kink(network: Any, x: Tensor) -> Tensor:
    """Smallest size of what any relu of the network is given, `[B, n]`."""
    seen: list[Tensor] = []
    relu = networks.IN_PLACE["relu"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(networks.IN_PLACE, "relu", lambda y: (seen.append(y.abs().amin(-1)), relu(y))[1])
        network(x)
    rows = [y.view(network.agents, -1).T if network.weights[0].shape[0] > 1 else y.view(len(x), -1) for y in seen]
    return torch.stack(rows).amin(0)


def in_float64(batch: Batch) -> Batch:
    return copied(batch, lambda x: x.double() if x.dtype == torch.float32 else x)


def errors(found: Iterable[Tensor], wanted: Iterable[Tensor], summands: Iterable[float]) -> list[float]:
    """||g - g64|| of every tensor, over the sizes of what was summed: where rows cancel, few digits are left."""
    return [
        float((have.double() - want).norm()) / max(size, 1e-9)
        for have, want, size in zip(found, wanted, summands, strict=True)
    ]


def sizes_of_summands(reference: PPO, batch: Batch, counts: tuple[Tensor, Tensor]) -> list[float]:
    """sum over the rows r of ||g_r||, for every tensor of parameters."""
    rows = [reference.block_gradients(batch.take(torch.tensor([row])), *counts)[0] for row in range(len(batch.seat))]
    return [sum(float(g.norm()) for g in gradients) for gradients in zip(*rows, strict=True)]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(environments(), configs, st.sampled_from(["agent", "team_mean"]), st.integers(20, 120), st.integers(0, 2**16))
def test_gradients_are_torchs_in_float64(env: EnvSpec, config: PPOConfig, reward: str, samples: int, seed: int) -> None:
    made, reference = (PPO(env, "team", config, reward, seed, engine=engine) for engine in ("fused", "torch"))
    shaken(made.policy, seed)
    reference.policy.load_state_dict(made.policy.state_dict())
    reference.policy.double()
    batch = away_from_kinks(reference, random_batch(made, samples, seed))
    index = torch.from_numpy(np.random.default_rng(seed).permutation(samples)[: max(1, samples * 3 // 4)])
    counts = batch.use[index].sum().clamp(min=1), batch.use_value[index].sum().clamp(min=1)
    metrics = made._step(batch, index)
    wanted, exact = reference.block_gradients(in_float64(batch).take(index), *counts)
    found = [p.grad.clone() for p in made.parameters if p.grad is not None]
    summands = sizes_of_summands(reference, in_float64(batch).take(index), counts)
    for error in errors(found, wanted, summands):
        assert error < 1e-4  # worst of 10,000 tensors: 9e-6
    for name, value in exact.items():
        assert float(metrics[name]) == pytest.approx(float(value), rel=1e-4, abs=1e-4), name


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(environments(), configs, st.sampled_from(["gaussian", "squashed"]), st.integers(1, 300), st.integers(0, 2**16))
def test_acting_is_torchs(env: EnvSpec, config: PPOConfig, box: str, seats: int, seed: int) -> None:
    """Same noise, same actions (where rounding does not decide), same log-probabilities."""
    made = PPO(env, "team", config, "agent", seed)
    if box == "squashed":
        made.policy = Policy(replace(made.spec, box=box))
    shaken(made.policy, seed)
    batch = random_batch(made, seats, seed)
    views, noise = {}, {}
    for group in env.groups:
        acting = torch.ones(seats, len(group.agents), dtype=torch.bool)
        views[group.name] = View(batch.obs[group.name], batch.action_mask[group.name], acting)
        draws = noise_size(group.action_space)
        generator = torch.Generator().manual_seed(seed)
        noise[group.name] = torch.rand(seats, len(group.agents), draws, generator=generator).clamp(1e-6, 1 - 1e-6)
    for greedy in (False, True):
        made.policy.compiled = True
        fast = made.policy.step(views, noise, greedy)
        made.policy.compiled = False
        slow = made.policy.step(views, noise, greedy)
        for name, (action, log_prob, _) in slow.items():
            assert fast[name].action.dtype == action.dtype
            assert fast[name].action.shape == action.shape
            same = torch.isclose(fast[name].action.double(), action.double(), rtol=1e-4, atol=1e-4)
            same = same.view(*same.shape[:2], -1).all(-1)
            space = env.group(name).action_space
            if box == "squashed" and isinstance(space, spaces.Box):
                # torch finds the noise anew: inverting tanh at the bounds, and over small deviations, with few digits
                low, high = (torch.from_numpy(x) for x in (space.low, space.high))
                with torch.inference_mode():
                    chosen = made.policy.distribution(env.group(name), views[name].obs, None)
                wide = chosen.log_std.gt(-2.0).all(-1)  # type: ignore[union-attr]
                inside = wide & (2 * (action - low) / (high - low) - 1).abs().lt(0.98).all(-1)
                torch.testing.assert_close(fast[name].log_prob[inside], log_prob[inside], rtol=1e-3, atol=1e-3)
                continue
            assert float(same.float().mean()) > (0.98 if seats > 50 else 0.5)
            torch.testing.assert_close(fast[name].log_prob[same], log_prob[same], rtol=1e-4, atol=2e-5)


def test_values_are_torchs_whatever_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    env = EnvSpec(
        "many",
        1,
        tuple(f"a{i}" for i in range(300)),
        (AgentGroup("a", "team", tuple(f"a{i}" for i in range(300)), spaces.Box(-1, 1, (5,)), spaces.Discrete(2)),),
        (TeamKind("team", ("a",)),),
        state_size=3,
    )
    assert len(env.agents) > mlp.ROWS  # one sample is more than a chunk
    for critic in ("local", "central"):
        made = PPO(env, "team", PPOConfig(critic=critic), "agent", 0)
        batch = random_batch(made, 4, 0)
        assert made.fused is not None
        found = made.fused.values(batch.obs, batch.state, batch.seat)
        torch.testing.assert_close(found, made.value(batch.obs, batch.state, batch.seat), rtol=1e-5, atol=1e-6)


def test_parameters_are_found_wherever_torch_put_them() -> None:
    """Loading, copying and re-pointing parameters: the engine sees what torch sees."""
    env = EnvSpec(
        "one",
        1,
        ("a",),
        (AgentGroup("a", "team", ("a",), spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (2,))),),
        (TeamKind("team", ("a",)),),
    )
    made = PPO(env, "team", PPOConfig(critic="local"), "agent", 0)
    batch = random_batch(made, 5, 0)
    views = {"a": View(batch.obs["a"], None, torch.ones(5, 1, dtype=torch.bool))}
    noise = {"a": torch.full((5, 1, 2), 0.3)}

    def act(compiled: bool) -> Tensor:
        made.policy.compiled = compiled
        return made.policy.step(views, noise)["a"].action

    first = act(True)
    for parameter in made.policy.acting_parameters():
        parameter.data = parameter.data + 0.1
    assert not torch.allclose(act(True), first)
    torch.testing.assert_close(act(True), act(False), rtol=1e-5, atol=1e-6)
    made.policy.load_state_dict({name: x * 0.5 for name, x in made.policy.state_dict().items()})
    torch.testing.assert_close(act(True), act(False), rtol=1e-5, atol=1e-6)
    made.policy.double()  # no longer the engine's affair
    assert act(True).dtype == torch.float64


def test_gradients_do_not_depend_on_threads() -> None:
    env = EnvSpec(
        "two",
        1,
        ("a", "b"),
        (AgentGroup("a", "team", ("a", "b"), spaces.Box(-1, 1, (6,)), spaces.Discrete(4)),),
        (TeamKind("team", ("a",)),),
    )
    found = []
    for threads in (1, 2, 3):
        for _ in range(5):
            made = PPO(env, "team", PPOConfig(critic="local"), "agent", 0, threads)
            batch = random_batch(made, 6 * fused.PART, 0)
            minibatches = torch.arange(len(batch.seat)).split(2 * fused.PART)
            made._steps(batch, minibatches, made.turns[0], torch.ones(()))
            found.append(torch.cat([p.detach().flatten() for p in made.parameters]))
    assert all(torch.equal(x, found[0]) for x in found)
