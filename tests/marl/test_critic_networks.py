"""Critics' other networks against plain ones written here, one network at a time; and learners that have them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from environments.errors import UsageError
from marl.critic_networks import DroQ, Simba
from marl.seeding import torch_generator
from tests.marl.remembering import sample_of
from tests.marl.replay import config_of, ready
from tests.probes import games
from tests.probes.asking import near
from tests.probes.train import Soft


def generator(name: str = "test") -> torch.Generator:
    return torch_generator(0, name)


def test_droq_is_dropout_normalisation_and_relu() -> None:
    made = DroQ(5, (8, 6), 2, 3, "per_agent", False, 0.5, generator())
    with torch.no_grad():
        for x in made.parameters():
            x.add_(0.3 * torch.randn(x.shape, generator=generator("more")))
    x = torch.randn(7, 3, 5, generator=generator("x"))
    for agent, found in enumerate(made(x).unbind(1)):
        h = x[:, agent]
        for layer in range(2):
            h = h @ made.weights[layer][agent] + made.biases[layer][agent]
            h = functional.layer_norm(h, h.shape[-1:], made.scales[layer][agent, 0], made.shifts[layer][agent, 0])
            h = torch.relu(h)
        torch.testing.assert_close(found, h @ made.weights[2][agent] + made.biases[2][agent])


def test_dropout_is_drawn_from_the_generator_it_was_given_and_changes_no_mean() -> None:
    made = DroQ(4, (64,), 1, 2, "per_agent", False, 0.25, generator())
    x = torch.ones(4000, 64)
    made.noise = generator("noise")
    dropped = made._dropped(x)
    made.noise = generator("noise")
    assert torch.equal(dropped, made._dropped(x)) and not torch.equal(dropped, made._dropped(x))
    assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.01)
    made.noise = None
    assert torch.equal(made._dropped(x), x)


def test_simba_is_the_equation_and_lives_on_the_sphere() -> None:
    made = Simba(5, (8, 8, 8), 2, 3, "per_agent", False, generator())
    with torch.no_grad():
        for each in (*made.scales, *made.mixes, made.bias):
            each.add_(0.2 * torch.randn(each.shape, generator=generator("more")))
    x = torch.randn(7, 3, 5, generator=generator("x"))

    def unit(v: Tensor) -> Tensor:
        return v / v.norm(dim=-1, keepdim=True)

    for agent, found in enumerate(made(x).unbind(1)):
        w = [weight[agent] for weight in made.weights]
        s = [scale[agent, 0] for scale in made.scales]
        h = unit(s[0] * (unit(torch.cat([x[:, agent], torch.full((7, 1), 3.0)], 1)) @ w[0]))
        for block in range(2):
            a = made.mixes[block][agent, 0] * math.sqrt(8) / 3
            answer = unit(torch.relu(s[1 + block] * (h @ w[1 + 2 * block])) @ w[2 + 2 * block])
            h = unit((1 - a) * h + a * answer)
        torch.testing.assert_close(found, (s[3] * (h @ w[5])) @ w[6] + made.bias[agent])
    assert float((made.mixes[0].detach() * made.mixed).mean()) == pytest.approx(1 / 3, abs=0.3)


@pytest.mark.parametrize("kind", [DroQ, Simba])
def test_shared_networks_know_who_asks_and_one_input_serves_all(kind: Any) -> None:
    more = (0.0, generator()) if kind is DroQ else (generator(),)
    shared = kind(4, (8, 8), 1, 3, "shared", True, *more)
    same = torch.ones(5, 3, 4)
    found = shared(same)
    assert found.shape == (5, 3, 1) and len({round(float(v), 5) for v in found[0, :, 0]}) == 3
    blind = kind(4, (8, 8), 1, 3, "shared", False, *more)(same)
    assert torch.equal(blind[:, 0], blind[:, 1])
    several = kind(4, (8, 8), 1, 3, "per_agent", False, *more)
    assert torch.equal(several(same[:, 0]), several(same))


@pytest.mark.parametrize("game", ["toy/dock", "toy/siege"])
@pytest.mark.parametrize("name", ["isac", "hasac"])
def test_steps_of_a_learner_leave_weights_on_the_sphere(game: str, name: str) -> None:
    made = ready(name, game, "team_mean", critic_network="simba", hidden=(16, 16))
    before = [x.clone() for x in made.critic.parameters()]
    for _ in range(3):
        made._learn()
    assert all(not torch.equal(x, y) for x, y in zip(before, made.critic.parameters(), strict=True))
    for head in made.critic.heads.values():
        assert isinstance(head, Simba)
        for weight in head.weights:
            torch.testing.assert_close(weight.norm(dim=1), torch.ones(weight.shape[0], weight.shape[2]))


def test_both_of_droqs_critics_and_targets_drop_and_no_others_learn_from_it() -> None:
    made = ready("hasac", "toy/dock", "team_mean", critic_network="droq", critic_dropout=0.5)
    sample = sample_of(made)
    for critic in (made.critic, made.target):
        seen, actions = critic.see(sample.now), made._remembered(sample)
        twice = [critic(seen, actions) for _ in range(2)]
        assert not torch.equal(*twice)
        critic.draw_from(None)
        assert torch.equal(critic(seen, actions), critic(seen, actions))
    assert isinstance(made.critic, nn.Module) and not any("noise" in name for name in made.critic.state_dict())


@pytest.mark.parametrize("kind", ["droq", "simba"])
def test_they_learn_what_is_known(kind: str) -> None:
    probe = Soft(games.Later(), "hasac", critic_network=kind, hidden=(32, 32), critic_learning_rate=5e-3)
    probe.train(200)
    probe.learners["team"].critic.draw_from(None)
    seen = probe.seen()[..., 0]
    near(probe.values(), torch.where(torch.from_numpy(seen) == 0, 0.9, 1.0), 0.06)


def test_settings_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="equal widths"):
        config_of("hasac", critic_network="simba", hidden=(16, 8))
    with pytest.raises(UsageError, match="critic_dropout must be 0 to"):
        config_of("hasac", critic_dropout=1.0)
    assert config_of("hasac").critic_network == "plain"
