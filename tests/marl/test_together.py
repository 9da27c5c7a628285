"""Policies that act together do, bit for bit, what each of them does alone."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from environments.spec import AgentGroup
from marl.acting import Actor, PolicyStep, View
from marl.distributions import noise_size
from marl.engine.fused import Passes
from marl.erring import Erring
from marl.policy import Policy
from marl.policy_spec import PolicySpec
from marl.random_policy import RandomPolicy
from marl.seats import Seats, play
from marl.together import rows_of

SEATS, TEAMS = 300, 2  # several chunks of the engine, and several policies in each
SPACES: dict[str, spaces.Space] = {
    "discrete": spaces.Discrete(5),
    "several": spaces.MultiDiscrete([3, 2]),
    "box": spaces.Box(-2.0, 1.0, (2,)),
}


def spec_of(action: str, **network: object) -> PolicySpec:
    """Teams of two scouts, who have those actions, and a guard."""
    sight, masked = spaces.Box(-1.0, 1.0, (6,)), action != "box"
    names = ("scout_0", "scout_1", "scout_2", "scout_3")
    groups = (
        AgentGroup("scout", "side", names, sight, SPACES[action], masked=masked),
        AgentGroup("guard", "side", ("guard_0", "guard_1"), sight, spaces.Discrete(3)),
    )
    return PolicySpec("hill", "side", TEAMS, groups, hidden=(16, 16), **network)  # type: ignore[arg-type]


def policy(spec: PolicySpec, seed: int) -> Policy:
    made = Policy(spec, torch.Generator().manual_seed(seed))
    for parameter in made.actors.parameters():  # far from uniform, so that it matters who acts
        parameter.data *= 3
    return made


def scene(spec: PolicySpec, seed: int = 0) -> tuple[dict[str, View], dict[str, Tensor]]:
    random, views, noise = torch.Generator().manual_seed(seed), {}, {}
    for group in spec.groups:
        n = spec.members(group)
        mask = None
        if group.masked:
            mask = torch.rand(SEATS, n, group.mask_size, generator=random) < 0.6
            mask[..., 0] = True
            mask[..., -1] = True
        obs = torch.randn(SEATS, n, 6, generator=random)
        views[group.name] = View(obs, mask, torch.rand(SEATS, n, generator=random) < 0.8)
        noise[group.name] = torch.rand(SEATS, n, noise_size(group.action_space), generator=random).clamp(1e-6, 1 - 1e-6)
    return views, noise


def one_by_one(seats: Seats, views: dict[str, View], noise: dict[str, Tensor], greedy: bool) -> dict[str, PolicyStep]:
    """What every player does with its own rows."""
    found: dict[str, PolicyStep] = {}
    for number, player in enumerate(seats.players):
        rows = torch.from_numpy(np.flatnonzero(seats.policy_of == number))
        if not len(rows):
            continue
        own = {name: rows_of(view, rows) for name, view in views.items()}
        for name, part in player.step(own, {name: x[rows] for name, x in noise.items()}, greedy).items():
            if name not in found:
                found[name] = PolicyStep(*(torch.zeros(SEATS, *x.shape[1:], dtype=x.dtype) for x in part[:2]))
            found[name].action[rows], found[name].log_prob[rows] = part.action.to(found[name].action.dtype), part[1]
    return found


def same(a: dict[str, PolicyStep], b: dict[str, PolicyStep]) -> bool:
    return all(torch.equal(a[name].action, b[name].action) and torch.equal(a[name][1], b[name][1]) for name in b)


def seated(players: list[Actor], seed: int = 1) -> Seats:
    """Everybody sits somewhere, but for player 2."""
    drawn = np.random.default_rng(seed).integers(0, len(players), SEATS)
    drawn[drawn == 2] = 0
    return Seats(players, drawn.astype(np.int16))


@pytest.mark.parametrize("greedy", [False, True])
@pytest.mark.parametrize(
    ("action", "network"), [("discrete", {}), ("several", {"parameters": "per_agent"}), ("box", {})]
)
def test_whoever_sits_beside_it_a_policy_acts_as_it_does_alone(action: str, network: dict, greedy: bool) -> None:
    spec = spec_of(action, **network)
    other = spec_of(action, **network, activation="relu")
    by_torch = policy(spec, 6)
    by_torch.compiled = False
    players: list[Actor] = [
        *(policy(spec, seed) for seed in range(4)),
        RandomPolicy(spec),
        *(Erring(policy(spec, 10 + k), errors) for k, errors in enumerate((0.0, 0.3, 1.0))),
        policy(other, 5),
        by_torch,
    ]
    seats = seated(players)
    views, noise = scene(spec)
    assert same(play(seats, views, noise, greedy), one_by_one(seats, views, noise, greedy))


def test_a_crowd_costs_one_pass_of_each_group(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of("discrete")
    players: list[Actor] = [policy(spec, seed) for seed in range(20)]
    asked = []
    whole = Passes.evaluate_each

    def watched(self: Passes, members: list[Passes], *arguments: object) -> None:
        asked.append(len(members))
        whole(self, members, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Passes, "evaluate_each", watched)
    play(seated(players), *scene(spec))
    assert asked == [19, 19]  # nobody asks the one who sits nowhere


def test_weights_that_change_are_played_at_once() -> None:
    spec = spec_of("discrete")
    players = [policy(spec, seed) for seed in range(3)]
    seats, (views, noise) = seated([*players, policy(spec, 9)]), scene(spec)
    before = play(seats, views, noise)
    players[1].load_state_dict(policy(spec, 20).state_dict())
    players[0].actors["guard"].weights[0].data = torch.ones_like(players[0].actors["guard"].weights[0])
    after = play(seats, views, noise)
    assert not same(after, before) and same(after, one_by_one(seats, views, noise, False))
    assert same(play(deepcopy(seats), views, noise), after)


def test_policies_of_other_shapes_are_no_crew() -> None:
    built = {policy(spec_of(*about[:1], **dict(about[1:])), 0).spec.build for about in (
        ("discrete",), ("several",), ("box",), ("box", ("box", "squashed")), ("discrete", ("parameters", "per_agent")),
        ("discrete", ("agent_id", False)), ("discrete", ("activation", "relu")),
    )}  # fmt: skip
    assert len(built) == 7
    assert policy(spec_of("box", about={"steps": 3}), 0).spec.build == policy(spec_of("box"), 1).spec.build
