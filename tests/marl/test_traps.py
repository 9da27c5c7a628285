"""Silent mistakes of learners from a replay buffer that no other test names: each exact, each cheap."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from gymnasium import spaces

from environments.spec import AgentGroup
from environments.vector import Array
from marl.algorithms.off_policy import OffPolicy
from marl.algorithms.sac import SAC
from marl.collector import Collector
from marl.config import ALGORITHMS
from marl.distributions import choose
from marl.seats import Seats
from tests.marl.remembering import sample_of
from tests.marl.replay import config_of, ready
from tests.probes.environment import FunctionEnv, Rules
from tests.probes.games import Played, bit, end


def test_a_legal_action_of_the_lowest_value_beats_every_illegal_one() -> None:
    """Illegal actions are not merely made a large number worse."""
    sight = spaces.Box(-1, 1, (1,), np.float32)
    group = AgentGroup("team", "team", ("a",), sight, spaces.Discrete(3), ("x",), masked=True)
    mask = torch.tensor([[[False, True, False]]])
    for value in (-1e9, -1e30, float(torch.finfo(torch.float32).min)):
        values = torch.tensor([[[1e9, value, 0.0]]])
        for epsilon in (0.0, 0.5):
            assert choose(group, values, mask, epsilon).mode().item() == 1
            assert choose(group, values, mask, epsilon).sample(torch.full((1, 1, 1), 0.999)).item() == 1


class Dozen(Rules):
    """Twelve agents (the eleventh is named `team_10`), each paid its number."""

    teams: ClassVar = {"team": 12}

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return np.arange(12.0)[None], end(step)


class DozenBoxes(Dozen):
    actions: ClassVar = spaces.Box(-1.0, 1.0, (1,), np.float32)


@pytest.mark.parametrize("name", ["masac", "matd3", "iql"])
def test_the_eleventh_agent_is_not_the_second(name: str) -> None:
    """Rewards stay with their agents, not with the alphabet's order of names."""
    env = FunctionEnv(DozenBoxes() if name == "matd3" else Dozen(), 4)
    known = {"expectation": "drawn"} if name == "masac" else {}
    made: OffPolicy = ALGORITHMS[name].load()(env.spec, "team", config_of(name, **known), "agent", 0)
    rollout = Collector(env, {"team": Seats.all(made.actor, 4)}, 6, 1).collect()["team"]
    made.buffer.add(rollout, made._paid(rollout))
    assert [group.agents[i] for group, i in made.agents] == [f"team_{i}" for i in range(12)]
    torch.testing.assert_close(made._targets(sample_of(made, 5)), torch.arange(12.0).expand(5, 12))


class Narrowing(Rules):
    """Cut after two steps: what is legal depends on the step, so that the last view's mask is no start's."""

    actions: ClassVar = spaces.Discrete(3)
    masked: ClassVar = True
    max_steps: ClassVar = 2

    def start(self, u: Array) -> Array:
        return bit(u)

    def obs(self, hidden: Array, step: Array) -> Array:
        return step[:, None, None].astype(float)

    def mask(self, hidden: Array, step: Array) -> Array:
        return np.arange(3)[None, None] <= step[:, None, None]

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> Played:
        return np.zeros((len(step), 1)), ~end(step)


def test_a_cut_episode_bootstraps_from_its_own_last_mask() -> None:
    """At a start one action is legal (entropy 0); at the cut all three are."""
    env = FunctionEnv(Narrowing(), 4)
    config = config_of("hasac", temperature_learning_rate=0.0, gamma=0.5, n_step=1)
    made = SAC(env.spec, "team", config, "agent", 0)
    rollout = Collector(env, {"team": Seats.all(made.actor, 4)}, 6, 1).collect()["team"]
    made.buffer.add(rollout, made._paid(rollout))
    sample = made.buffer.sample(40, 1, 0.5, 0.5, torch.Generator().manual_seed(0))
    masks = sample.then.action_mask["team"]
    assert masks is not None
    legal = masks[sample.which[:, 0], 0].sum(1)
    step = sample.now.obs["team"][:, 0, 0]
    assert legal[step == 0].unique().tolist() == [2] and legal[step == 1].unique().tolist() == [3]


@pytest.mark.parametrize(("name", "game"), [("hasac", "toy/siege"), ("hatd3", "perilous"), ("iql", "toy/siege")])
def test_the_scale_of_values_counts_decisions_alone(name: str, game: str) -> None:
    """Garbage in targets of who does not act moves neither mean nor deviation."""
    made: OffPolicy = ready(name, game, "agent", value_norm=True)
    assert made.norm is not None
    sample = sample_of(made)
    use = sample.use.unsqueeze(1) & sample.now.acting
    assert not bool(use.all())
    found = []
    for garbage in (0.0, 1e6, float("nan")):
        made.norm.load_state_dict({name: torch.zeros_like(x) for name, x in made.norm.state_dict().items()})
        target = torch.where(use, torch.ones(()) * 2.0 + torch.arange(use.shape[1]), torch.tensor(garbage))
        made.norm.update(target, use)
        found.append(made.norm.moments)
    assert found[0] == found[1] == found[2] and found[0][1] > 0.1
