"""The advantage actor-critic is PPO that looks at every rollout once: one written apart moves as it does."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from environments.errors import UsageError
from marl.algorithms.ppo import PPO
from marl.buffers import Batch, Rollout
from marl.config import ALGORITHMS, changed
from tests.marl.rollouts import collect, copied, kind_of, make, shaken

GAMES = ["particle/spread", "toy/dock", "toy/siege", "toy/noughts", "particle/speaker_listener"]


def learner(name: str, game: str, reward: str) -> PPO:
    settings = {"hidden": (16,), "rollout_length": 12, "anneal": False, "max_grad_norm": 0.1, "entropy": 0.02}
    made: PPO = ALGORITHMS[name].load()(
        make(game).spec, kind_of(game), changed(ALGORITHMS[name].config, settings), reward, 5, engine="torch"
    )
    made.policy.double()
    shaken(made.policy)
    return made


@torch.no_grad()
def in_float64(made: PPO, rollout: Rollout) -> Rollout:
    """The rollout with every digit of its log-probabilities, of which collectors keep seven."""
    exact: Rollout = copied(rollout, lambda x: x.double() if x.dtype in (torch.float32, torch.uint8) else x.clone())
    for group in made.spec.groups:
        part = exact.groups[group.name]
        mask = None if part.action_mask is None else part.action_mask[:-1].flatten(0, 1)
        chosen = made.policy.distribution(group, part.obs[:-1].flatten(0, 1), mask)
        part.log_prob[:] = chosen.log_prob(part.action.flatten(0, 1)).view(part.log_prob.shape)
    return exact


def actor_critic_step(made: PPO, optimiser: torch.optim.Adam, batch: Batch) -> None:
    """Down -mean(log pi(a) A) - c_H mean H + c_V mean error (Mnih et al. 2016, arXiv:1602.01783): no ratio, no clip."""
    config = made.config
    log_prob, entropy = made.evaluate(batch)
    use, use_value = batch.use, batch.use_value
    value = made.value(batch.obs, batch.state, batch.seat)
    policy = -(log_prob[use] * batch.advantage[use]).sum() / use.sum()
    error = torch.nn.functional.huber_loss(value[use_value], batch.target[use_value], delta=config.huber_delta)
    loss = policy - config.entropy * entropy[use].sum() / use.sum() + config.value_coefficient * error
    optimiser.zero_grad()
    loss.backward()
    for part in (list(made.policy.acting_parameters()), list(made.value.parameters())):
        torch.nn.utils.clip_grad_norm_(part, config.max_grad_norm)
    optimiser.step()


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("name", ["ia2c", "maa2c"])
def test_it_moves_as_an_actor_critic_does(name: str, game: str) -> None:
    """Equal parameters after four rollouts in float64."""
    reward = "agent" if game == "toy/noughts" else "team_mean"
    made, other = learner(name, game, reward), learner(name, game, reward)
    parameters = [*other.policy.acting_parameters(), *other.value.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=other.config.learning_rate, eps=other.config.adam_eps)
    env = make(game)
    first = [x.detach().clone() for x in made.policy.parameters()]
    for _ in range(4):
        rollout = collect(env, {kind_of(game): [made.policy]})[kind_of(game)]
        exact = in_float64(made, rollout)
        told = made.update(exact, 0.0)
        assert told["epochs"] == 1 and abs(told["kl"]) < 1e-9
        actor_critic_step(other, optimiser, other.prepare(exact))
    pairs: list[tuple[Tensor, Tensor]] = list(zip(made.policy.parameters(), other.policy.parameters(), strict=True))
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    assert max(float((a - b).abs().max()) for a, b in zip([b.detach() for _, b in pairs], first, strict=True)) > 1e-3


@pytest.mark.parametrize("name", ["ia2c", "maa2c"])
def test_more_than_one_look_is_another_algorithm(name: str) -> None:
    for more in ({"epochs": 2}, {"minibatches": 4}):
        with pytest.raises(UsageError, match="one step per rollout: with more it is ippo or mappo"):
            replace(ALGORITHMS[name].config, **more)
    with pytest.raises(UsageError, match="no trust region"):
        replace(ALGORITHMS[name].config, trust_region="mdpo")
