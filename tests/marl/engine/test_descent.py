"""Gradient steps in one compiled call: those of torch's Adam down the same gradients, one minibatch after the other."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from environments.errors import NumericalFailure
from marl.adam import Adam
from marl.algorithms.ppo import PPO
from marl.buffers import Batch
from marl.config import PPOConfig
from tests.marl.rollouts import SMALL, copied, learner, make, rollout_of, same_bits, shaken

LEARNS = replace(SMALL, learning_rate=0.02, max_grad_norm=1e-3)
ALONE = replace(LEARNS, parameters="per_agent", order="agent_by_agent")


def made_with(config: PPOConfig, game: str = "toy/siege") -> tuple[PPO, Batch, list[Tensor]]:
    """A learner, what it would learn from, and three minibatches."""
    env, rollout = rollout_of(game)
    made = learner(env, game, config)
    shaken(made.policy, 3)
    batch = made.prepare(copied(rollout))
    return made, batch, list(torch.arange(90).split(30))


def kept(made: PPO) -> list[Tensor]:
    """All parameters and what the optimiser remembers of their gradients."""
    states = [made.optimiser.state_of(i)[name] for i in range(len(made.parameters)) for name in ("exp_avg", "step")]
    return [x.detach().clone() for x in (*made.parameters, *states)]


@pytest.mark.parametrize("config", [LEARNS, ALONE], ids=["at once", "one by one"])
def test_steps_are_those_of_adam_down_gradients_cut_to_a_norm(config: PPOConfig) -> None:
    made, batch, minibatches = made_with(config)
    copies = [x.detach().clone() for x in made.parameters]
    reference = Adam(copies, made.optimiser.rate, made.optimiser.eps)
    for index in minibatches:
        for turn in made.turns:
            turn.bind()
            told = made._step(batch, index, turn)
            assert told["policy_gradient"] > config.max_grad_norm  # it was cut
            reference.forget_gradients()
            for copy, own in zip(copies, made.parameters, strict=True):
                copy.grad = None if own.grad is None else own.grad.clone()
            acted = torch.cat([x.grad.flatten() for x in turn.parameters if x.grad is not None])
            assert float(acted.norm()) == pytest.approx(config.max_grad_norm, rel=1e-3)
            reference.step()
    for i, (copy, own) in enumerate(zip(copies, made.parameters, strict=True)):
        torch.testing.assert_close(own.detach(), copy, rtol=1e-5, atol=1e-6)
        for name, x in made.optimiser.state_of(i).items():
            torch.testing.assert_close(x, reference.state_of(i)[name], rtol=1e-5, atol=1e-9)


def test_one_call_does_what_a_call_each_does() -> None:
    """To the bit: also where the optimiser's state was loaded in between, as a resumed run does it."""
    together, batch, minibatches = made_with(LEARNS)
    apart, _, _ = made_with(LEARNS)
    told = together._steps(batch, minibatches, together.turns[0], torch.ones(()))
    each = []
    for index in minibatches:
        each.append(apart._step(batch, index))
        apart.load_state_dict(apart.state_dict())
    assert same_bits(kept(together), kept(apart))
    assert {name: list(values) for name, values in told.items()} == {n: [one[n] for one in each] for n in each[0]}


def test_agents_that_step_one_by_one_have_one_room_for_gradients() -> None:
    """With one each, memory would grow with the square of their number."""
    made, batch, minibatches = made_with(ALONE)
    for turn in made.turns:
        turn.bind()
        made._step(batch, minibatches[0], turn)
    assert made.fused is not None
    rooms = {group.name: set() for group, _, _ in made.fused.alone}
    for group, _, passes in made.fused.alone:
        rooms[group.name].add(passes._room.of(1, len(passes.network.bind()))[0].ctypes.data)
    assert len(made.fused.alone) > len(rooms)
    assert all(len(found) == 1 for found in rooms.values())


def test_what_is_not_finite_ends_the_steps_before_it_is_used() -> None:
    made, batch, minibatches = made_with(replace(LEARNS, advantage_norm="none"))
    batch.advantage[minibatches[1][batch.use[minibatches[1]].any(1)]] = math.nan
    other, _, _ = made_with(LEARNS)
    other._steps(batch, minibatches[:1], other.turns[0], torch.ones(()))
    with pytest.raises(NumericalFailure) as caught:
        made._steps(batch, minibatches, made.turns[0], torch.ones(()))
    assert same_bits(kept(made), kept(other))
    torch.testing.assert_close(caught.value.batch.advantage, batch.advantage[minibatches[1]], equal_nan=True)


def test_who_steps_by_torch_goes_on_by_the_engine_and_back() -> None:
    """Moments and steps are the optimiser's, whoever makes the steps."""
    found = []
    for engines in (("torch", "torch", "torch"), ("torch", "fused", "torch"), ("fused", "torch", "fused")):
        state = None
        for engine, index in zip(engines, torch.arange(90).split(30), strict=True):
            env, rollout = rollout_of("toy/siege")
            made = learner(env, "toy/siege", replace(LEARNS, max_grad_norm=1e9), engine=engine)
            shaken(made.policy, 3)
            batch = made.prepare(copied(rollout))
            if state is not None:
                made.load_state_dict(state)
            made._step(batch, index)
            state = made.state_dict()
        found.append(kept(made))
    for other in found[1:]:
        for x, y in zip(other, found[0], strict=True):
            torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-4)


def test_a_pass_sees_every_sample_once() -> None:
    made = learner(make("toy/siege"), "toy/siege", replace(SMALL, minibatches=7))
    trained = torch.arange(100) * 3
    first, second = (made.minibatches(trained) for _ in range(2))
    assert sorted(torch.cat(first).tolist()) == trained.tolist()
    assert sorted(len(part) for part in first) == [14] * 5 + [15] * 2
    assert all(bool((part.diff() > 0).all()) for part in first)
    assert [x.tolist() for x in first] != [x.tolist() for x in second]
    assert len(made.minibatches(trained[:3])) == 3
    assert made.minibatches(trained[:0]) == []
