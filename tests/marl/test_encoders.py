"""What agents that see images are taught: shapes, gradients in every learner, and that what they see is learnt from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from environments.spec import image_size, is_image
from marl import policy as policies
from marl.acting import View
from marl.algorithms.off_policy import OffPolicy
from marl.algorithms.on_policy import OnPolicy
from marl.collector import Collector
from marl.config import ALGORITHMS
from marl.config_rollout import A2CConfig, RolloutConfig
from marl.encoders import STACKS, Encoder, stack_of
from marl.seats import Seats
from tests.probes import games
from tests.probes.environment import FunctionEnv, Rules

torch.set_num_threads(1)

Learner = Any  # OnPolicy | OffPolicy
COPIES = 32
SMALL: dict[str, Any] = {
    "hidden": (32,),
    "rollout_length": 2,
    "minibatches": 1,
    "epochs": 2,
    "learning_rate": 5e-3,
    "actor_learning_rate": 3e-3,
    "critic_learning_rate": 5e-3,
    "anneal": False,
    "warmup_steps": COPIES * 8,
    "updates_per_step": 4 / (COPIES * 2),
    "batch_size": 64,
    "buffer_size": 4096,
    "temperature": 0.1,
    "temperature_learning_rate": 0.0,
    "polyak": 0.1,
    "target_period": 4,
    "epsilon_steps": 512,
    "n_step": 1,
}


class Still(games.Bright):
    """What is paid has nothing to do with what is seen."""

    def obs(self, hidden: np.ndarray, step: np.ndarray) -> np.ndarray:
        return super().obs(np.full_like(hidden, 0.3), step)


def make(name: str, game: Rules) -> tuple[Learner, Collector]:
    """A small learner of a game of one kind of team, and who collects what it plays."""
    env, known = FunctionEnv(game, COPIES), ALGORITHMS[name]
    wanted = SMALL | ({"epochs": 1} if isinstance(known.config, A2CConfig) else {})
    config = replace(known.config, **{k: v for k, v in wanted.items() if hasattr(known.config, k)})
    reward = "team_sum" if getattr(config, "mixer", "none") != "none" else "agent"
    engine = {"engine": "fused"} if isinstance(config, RolloutConfig) else {}
    learner = known.load()(env.spec, "team", config, reward, 3, **engine)
    actor = learner.policy if isinstance(learner, OnPolicy) else learner.actor
    return learner, Collector(env, {"team": Seats.all(actor, COPIES)}, config.rollout_length, 7)


def game_for(name: str) -> Rules:
    return games.BrightBox() if ALGORITHMS[name].actions == ("Box",) else games.Bright()


def paid(name: str, game: Rules, iterations: int) -> float:
    """Mean reward of a few rollouts after some training."""
    learner, collector = make(name, game)
    for _ in range(iterations):
        learner.update(collector.collect()["team"], 0.0)
    looks = [collector.collect()["team"].groups["team"].reward.mean() for _ in range(4)]
    return float(torch.stack(looks).mean())


@pytest.mark.parametrize(
    ("shape", "layers", "size"),
    [
        ((84, 84, 4), STACKS[0], 64 * 7 * 7),
        ((3, 84, 84), STACKS[0], 64 * 7 * 7),
        ((36, 40), STACKS[0], 64),
        ((35, 84, 3), STACKS[1], 32 * 7 * 20),
        ((8, 8, 12), STACKS[1], 32),
        ((7, 7, 3), STACKS[2], 16 * 25),
        ((3, 5, 1), STACKS[2], 16 * 3),
    ],
)
def test_shapes(shape: tuple[int, ...], layers: object, size: int) -> None:
    assert is_image(spaces.Box(0, 255, shape, np.uint8)) and stack_of(*image_size(shape)[1:]) == layers
    for stacks in (1, 3):
        encoder = Encoder(shape, stacks, torch.Generator().manual_seed(0))
        assert encoder.size == size and encoder(torch.zeros(2, 3, *shape, dtype=torch.uint8)).shape == (2, 3, size)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(0, 1, (6, 7, 2), np.uint8),  # a board
        spaces.Box(0.0, 255.0, (84, 84, 3), np.float32),
        spaces.Box(0, 255, (84,), np.uint8),
        spaces.Box(0, 255, (2, 84, 84, 3), np.uint8),
        spaces.Box(0, 255, (2, 20, 2), np.uint8),
        spaces.Discrete(255),
    ],
)
def test_what_is_no_image(space: spaces.Space[Any]) -> None:
    assert not is_image(space)


def by_hand(encoder: Encoder, images: Tensor, agent: int) -> Tensor:
    """The same by unfolding: every patch times the weights, one layer after the other; `[B, H, W, C] -> [B, D]`."""
    x = images.double() / 255
    for (made, kernel, stride), weight, bias in zip(encoder.layers, encoder.weights, encoder.biases, strict=True):
        w, b = weight[agent].double(), bias[agent].double()
        height, width = ((side - kernel) // stride + 1 for side in x.shape[1:3])
        y = torch.zeros(len(x), height, width, made, dtype=torch.float64)
        for i in range(height):
            for j in range(width):
                patch = x[:, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
                y[:, i, j] = torch.einsum("bhwc,ochw->bo", patch, w) + b
        x = y.clamp(min=0)
    return x.permute(0, 3, 1, 2).flatten(1)


@pytest.mark.parametrize("stacks", [1, 2])
@pytest.mark.parametrize("shape", [(9, 12, 3), (5, 4, 1)])
def test_convolutions(shape: tuple[int, int, int], stacks: int) -> None:
    generator = torch.Generator().manual_seed(1)
    encoder = Encoder(shape, stacks, generator)
    for bias in encoder.biases:
        torch.nn.init.uniform_(bias, -0.5, 0.5, generator=generator)
    images = torch.randint(0, 256, (4, 2, *shape), dtype=torch.uint8, generator=generator)
    seen = encoder(images)
    for agent in range(2):
        wanted = by_hand(encoder, images[:, agent], agent if stacks == 2 else 0)
        torch.testing.assert_close(seen[:, agent].double(), wanted, rtol=1e-4, atol=1e-5)
    assert torch.equal(encoder(images.float()), seen)  # numbers of 0 to 255 are seen as bytes are
    first = Encoder((shape[2], *shape[:2]), stacks, generator)
    first.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(first(images.permute(0, 1, 4, 2, 3)), seen)
    if shape[2] == 1:
        grey = Encoder(shape[:2], stacks, generator)
        grey.load_state_dict(encoder.state_dict())
        torch.testing.assert_close(grey(images[..., 0]), seen)


def test_without_gradients_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder((8, 8, 3), 1, torch.Generator().manual_seed(2))
    images = torch.randint(0, 256, (7, 2, 8, 8, 3), dtype=torch.uint8)
    whole = encoder(images)
    monkeypatch.setattr("marl.encoders.BLOCK_PIXELS", 8 * 8 * 3 * 4)
    with torch.no_grad():
        torch.testing.assert_close(encoder(images), whole)
        assert encoder(images[:0]).shape == (0, 2, 32)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_learner_learns_to_see(name: str) -> None:
    """Bytes stay bytes, and every encoder of a learner moves when it learns."""
    learner, collector = make(name, game_for(name))
    encoders = {n: x for n, x in modules(learner) if ".encoders." in f".{n}."}
    assert any(n.startswith("policy") for n in encoders)
    before = {n: x.clone() for n, x in encoders.items()}
    for _ in range(5):
        rollout = collector.collect()["team"]
        assert rollout.groups["team"].obs.dtype == torch.uint8 and rollout.state.shape[2] == 0
        learner.update(rollout, 0.0)
    if isinstance(learner, OffPolicy):
        assert learner.buffer.arrays["obs/team"].dtype == torch.uint8
    for n, x in encoders.items():
        moved = [not torch.equal(own, old) for own, old in zip(x, before[n], strict=True)]
        assert all(moved), (n, moved)


def modules(learner: Learner) -> list[tuple[str, Tensor]]:
    """Every parameter of a learner, by its name."""
    found = []
    for place in ("policy", "value", "critic", "mixer"):
        module = getattr(learner, place, None)
        if isinstance(module, torch.nn.Module):
            found += [(f"{place}.{n}", x) for n, x in module.named_parameters()]
    return found


@pytest.mark.parametrize(("name", "iterations"), [("ippo", 30), ("happo", 30), ("hasac", 35), ("qmix", 40)])
def test_what_is_seen_is_learnt(name: str, iterations: int) -> None:
    assert paid(name, game_for(name), iterations) > 0.85


def test_what_is_not_seen_is_not_learnt() -> None:
    assert paid("ippo", Still(), 30) < 0.6


@pytest.mark.parametrize("name", ["mappo", "hasac", "vdn"])
def test_goes_on_bit_for_bit(name: str) -> None:
    def updates(learner: Learner, rollouts: list[Any]) -> list[Tensor]:
        for rollout in rollouts:
            learner.update(rollout, 0.0)
        return [x for _, x in modules(learner)]

    learner, collector = make(name, game_for(name))
    rollouts = [_copied(collector.collect()["team"]) for _ in range(5)]
    updates(learner, rollouts[:3])
    state = learner.state_dict()
    again, _ = make(name, game_for(name))
    again.load_state_dict(_copied(state))
    one, two = updates(learner, rollouts[3:]), updates(again, rollouts[3:])
    assert all(torch.equal(x, y) for x, y in zip(one, two, strict=True))


def _copied(x: Any) -> Any:
    from tests.marl.rollouts import copied

    return copied(x, torch.clone)


@pytest.mark.parametrize("name", ["happo", "mappo"])
def test_a_file_holds_what_it_sees_with(name: str, tmp_path: Path) -> None:
    learner, collector = make(name, games.Bright())
    learner.policy.save(tmp_path / "p.safetensors")
    loaded = policies.load(tmp_path / "p.safetensors")
    group = loaded.spec.groups[0]
    obs = collector.collect()["team"].groups["team"].obs[0]
    view = {"team": View(obs, None, torch.ones(obs.shape[:2], dtype=torch.bool))}
    noise = {"team": torch.rand(*obs.shape[:2], 1)}
    mine, theirs = (policy.step(view, noise)["team"] for policy in (learner.policy, loaded))
    assert torch.equal(mine.action, theirs.action) and torch.equal(mine.log_prob, theirs.log_prob)
    shown, value = loaded.explain(view, torch.zeros(len(obs), 0))["team"]
    assert shown.shape == (len(obs), 2, 2) and bool(torch.isfinite(value).all())
    acts = loaded.act({agent: obs[0, i].numpy() for i, agent in enumerate(group.agents)}, greedy=True)
    likeliest = shown[0].argmax(-1).tolist()
    assert [acts[agent] for agent in group.agents] == likeliest
