"""Agent by agent, exactly: the factor worked by hand, one agent as PPO, and nobody moved but whose turn it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from marl.algorithms.on_policy import Turn
from marl.algorithms.ppo import PPO
from marl.buffers import Batch, Rollout
from tests.marl.rollouts import SMALL, collect, copied, kind_of, make, rollout_of, same_bits, shaken
from tests.probes.environment import FunctionEnv
from tests.probes.games import EarlyDeath

ALONE = replace(SMALL, order="agent_by_agent", parameters="per_agent")
OLD = np.array([[0.5, 0.5], [0.25, 0.75]])
"""Probabilities of both actions, of each agent; whatever they see."""
NEW = np.array([[0.8, 0.2], [0.5, 0.5]])


def tell(made: PPO, table: np.ndarray, agents: tuple[int, ...]) -> None:
    """Let agents play by the table."""
    actor = made.policy.actors["team"]
    for weight in actor.weights:
        weight.data[list(agents)] = 0.0
    for agent in agents:
        actor.biases[-1].data[agent] = torch.tensor(table[agent]).log().float()


def tabular() -> tuple[PPO, Rollout]:
    """Two agents of one team, the second dead after the first step of every game, and a rollout of theirs."""
    env = FunctionEnv(EarlyDeath(), 16)
    settings = replace(ALONE, advantage_norm="none", epochs=1, minibatches=1, rollout_length=8)
    made = PPO(env.spec, "team", settings, "agent", 0, engine="torch")
    tell(made, OLD, (0, 1))
    return made, collect(env, {"team": [made.policy]}, 8, warm=0)["team"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_factor_by_hand(order: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is second learns from its advantage times pi_new / pi_old of the first: 1.6 and .4 after agent 0's turn, 2
    and 2/3 after agent 1's, and 1 where the first was dead; who is first from its own."""
    made, rollout = tabular()
    advantage = made.prepare(copied(rollout)).advantage
    seen: dict[int, Tensor] = {}
    monkeypatch.setattr(PPO, "shuffled", lambda self, turns: [replace(turns[k], critic=k == order[0]) for k in order])

    def step(self: PPO, batch: Batch, index: Tensor, turn: Turn, factor: Tensor) -> dict[str, Tensor]:
        (agent,) = turn.agents
        seen[agent] = batch.advantage[:, agent].clone()
        tell(self, NEW, turn.agents)
        return {"kl": torch.zeros(())}

    monkeypatch.setattr(PPO, "_step", step)
    made.value.norm = None  # a second look at the rollout is not to scale values otherwise
    advantage = made.prepare(copied(rollout)).advantage
    made.update(copied(rollout), 0.0)
    first, second = order
    group = rollout.groups["team"]
    acted, action = group.acting[:-1, :, first].flatten(), group.action[..., first].flatten()
    by_hand = {0: {0: 1.6, 1: 0.4}, 1: {0: 2.0, 1: 2 / 3}}[first]
    factor = torch.tensor([by_hand[int(a)] if acts else 1.0 for a, acts in zip(action, acted, strict=True)])
    assert torch.equal(seen[first], advantage[:, first])
    assert (~acted).sum() > 20 if first == 1 else bool(acted.all())
    assert len(factor.unique()) == (3 if first == 1 else 2)
    torch.testing.assert_close(seen[second], advantage[:, second] * factor, rtol=1e-5, atol=1e-6)


def test_the_factor_grows_agent_by_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The third learns from the product of both; each ratio is of the policy as it is after its own turn."""
    env, rollout = rollout_of("particle/spread")
    made = PPO(env.spec, "team", replace(ALONE, advantage_norm="none", learning_rate=0.05), "agent", 5, engine="torch")
    shaken(made.policy)
    factors: list[Tensor] = []
    turns: list[Turn] = []
    whole = PPO._learn

    def learn(self: PPO, batch: Batch, turn: Turn, factor: Tensor, told: Any) -> dict[str, float]:
        if factors:
            now = self.evaluate(batch)[0].detach() - batch.log_prob
            wanted = torch.stack([now[:, t.agents[0]] for t in turns]).sum(0).exp()
            torch.testing.assert_close(factor, wanted, rtol=1e-4, atol=1e-5)
        factors.append(factor)
        turns.append(turn)
        return whole(self, batch, turn, factor, told)

    monkeypatch.setattr(PPO, "_learn", learn)
    metrics = made.update(rollout, 0.0)
    assert [t.critic for t in turns] == [True, False, False]
    assert sorted(t.agents[0] for t in turns) == [0, 1, 2]
    assert float((factors[0] - 1).abs().max()) == 0.0 < metrics["factor"]
    assert float((factors[2] / factors[1] - 1).abs().max()) > 0.01


def in_float64(made: PPO) -> PPO:
    made.policy.double()
    for turn in made.turns:
        turn.bind()
    return made


@pytest.mark.parametrize("game", ["toy/noughts", "toy/dock"])
def test_one_agent_alone_is_ppo(game: str) -> None:
    """To 1e-6 after three updates in float64: networks, critic and all."""
    env, rollout = rollout_of(game)
    if sum(len(group.agents) for group in env.spec.groups) != len(rollout.groups):  # one seat of one agent each
        rollout = alone_of(rollout, single(env.spec, game).critic_size(kind_of(game)))
    found = []
    for config in (replace(ALONE, max_grad_norm=0.05), replace(SMALL, parameters="per_agent", max_grad_norm=0.05)):
        spec = single(env.spec, game)
        made = in_float64(PPO(spec, kind_of(game), config, "agent", 5, engine="torch"))
        shaken(made.policy)
        exact = copied(rollout, lambda x: x.double() if x.dtype == torch.float32 else x.clone())
        for _ in range(3):
            made.update(exact, 0.0)
        found.append([x.detach().clone() for x in made.policy.parameters()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=0.0, atol=1e-6)
    assert len(found[0]) > 6


def single(spec: Any, game: str) -> Any:
    """The environment's description with one agent."""
    if game == "toy/noughts":
        return spec
    (group,) = spec.groups
    return replace(spec, groups=(replace(group, agents=group.agents[:1]),), agents=group.agents[:1])


def alone_of(rollout: Rollout, told: int) -> Rollout:
    """What the first agent of the only group saw and did, and so much of the states."""
    groups = {
        name: replace(
            group,
            **{field: None if x is None else x[:, :, :1].clone() for field, x in vars(group).items()},
        )
        for name, group in rollout.groups.items()
    }
    last = rollout.finals
    obs, states = {name: x[:, :1].clone() for name, x in last.obs.items()}, (rollout.state, last.state)
    state, final = (x[..., :told].clone() for x in states)
    return replace(rollout, groups=groups, state=state, finals=replace(last, obs=obs, state=final))


def test_nobody_moves_but_whose_turn_it_is() -> None:
    """Not even by an optimiser's memory of earlier steps."""
    env, rollout = rollout_of("toy/siege")
    for engine in ("fused", "torch"):
        made = PPO(env.spec, "guard", replace(ALONE, learning_rate=0.02), "team_sum", 5, engine=engine)
        made.update(copied(rollout), 0.0)
        batch = made.prepare(copied(rollout))
        for turn in made.turns:
            turn.bind()
            before = [x.detach().clone() for x in made.policy.acting_parameters()]
            critic = [x.detach().clone() for x in made.value.parameters()]
            made._step(batch, torch.arange(60), replace(turn, critic=False))
            _, i = made.agents[turn.agents[0]]
            moved = [
                {a for a in range(len(x)) if not torch.equal(x[a], y[a])}
                for x, y in zip(before, made.policy.acting_parameters(), strict=True)
            ]
            assert set().union(*moved) == {i}
            assert same_bits(critic, [x.detach() for x in made.value.parameters()])


def test_orders_are_fresh_and_of_the_learners_own_generator() -> None:
    env = make("particle/spread")
    made = PPO(env.spec, "team", ALONE, "agent", 5)
    orders = [tuple(turn.agents[0] for turn in made.shuffled(made.turns)) for _ in range(30)]
    assert len(set(orders)) == 6
    again = PPO(env.spec, "team", ALONE, "agent", 5)
    assert [tuple(turn.agents[0] for turn in again.shuffled(again.turns)) for _ in range(30)] == orders


def test_each_turn_begins_at_a_ratio_of_one() -> None:
    """Against the log-probabilities of the rollout, whoever has moved before."""
    env = make("toy/siege")
    made = PPO(env.spec, "guard", replace(ALONE, epochs=1, minibatches=1, clip=1e-5, learning_rate=0.05), "agent", 5)
    shaken(made.policy)
    told = made.update(collect(env, {"guard": [made.policy]})["guard"], 0.0)
    assert told["clipped"] == 0.0 and told["factor"] > 0.01
