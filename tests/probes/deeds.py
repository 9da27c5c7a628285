"""Questions of what is done, alone and together, and of what only one core of learners can be asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from marl.acting import PolicyStep, View
from marl.distributions import SquashedGaussian
from marl.evaluate import evaluate
from marl.policy import Policy
from tests.probes import boxes, games
from tests.probes.asking import Ask, asks, near, rewards, way
from tests.probes.environment import FunctionEnv

# --- what is done ----------------------------------------------------------------------------------------------------


@asks("P04", games.Bandit, ppo=30)
def bandit(ask: Ask) -> None:
    assert ask().reward() > 0.95


@asks(
    "P04",
    games.Bandit,
    each=[{"expectation": how} for how in ("auto", "joint", "own")],
    sac=way(200, temperature=0.5),
)
def soft_bandit(ask: Ask) -> None:
    look = ask()
    near(look.probabilities()[..., 1], 0.8808, 0.03)
    near(look.values().mean(), 1.0635, 0.05)


@asks("P04", games.Bandit, q=100)
def both_arms(ask: Ask) -> None:
    """What is not the best is known too: 0 and 1."""
    look = ask()
    assert (look.actions() == 1).all()
    acts = torch.from_numpy(look.acting())
    worth = [look.worth({"team": torch.full_like(acts, a, dtype=torch.int32)}) for a in range(2)]
    ask.near(np.concatenate(worth, 1), [[0.0, 1.0]])


@asks("P05", games.Echo, ppo=30, sac=125, q=125)
def echo(ask: Ask) -> None:
    if ask.from_rollouts:
        near(ask(effort=0).reward(), 0.5, 0.1)  # the control: at random
    assert ask().reward() > 0.97


SLOWLY = {"actor_learning_rate": 5e-3, "critic_learning_rate": 1e-2, "polyak": 0.1, "batch_size": 256}
"""Where what is done has to be exact."""


@asks("P05", boxes.Chase, ddpg=way(600, **SLOWLY))
def chase(ask: Ask) -> None:
    """The policy is the identity, its value 0 everywhere: all of the lopsided bounds are reached, and not more."""
    look = ask()
    error = np.abs(look.actions() - look.seen())
    near(error.mean(), 0.0, 0.08)
    near(error.max(), 0.0, 0.16)
    ask.near(look.values(), 0.0)
    assert look.actions().min() < -0.85 and look.actions().max() > 0.35


@asks("P04", boxes.Far, ddpg=200)
def chase_far(ask: Ask) -> None:
    """What lies outside of the bounds is met on them."""
    look = ask()
    ask.near(look.actions(), np.where(look.seen() > 0, 0.5, -1.0))


@asks("P03", boxes.Drift, ddpg=way(800, exploration_noise=0.3, **SLOWLY))
def drift(ask: Ask) -> None:
    """Credit for the first action comes through the value of the second step: a = -x, V = (.9, 1)."""
    look = ask()
    first = look.seen()[:, 0, 1] == 0
    near(look.actions()[first, 0, 0], np.minimum(-look.seen()[first, 0, 0], 0.5), 0.15)
    near(look.values()[first], 0.9, 0.06)


@asks("P16", games.Forbidden, ppo=30, sac=125, q=125)
def forbidden(ask: Ask) -> None:
    look = ask(**({"expectation": "drawn"} if ask.name == "masac" else {}))
    for rollouts in (look.rollouts, getattr(look, "best", look.rollouts)):
        group = rollouts["team"].groups["team"]
        assert not (group.action[group.acting[:-1]] == 1).any()
    ask.near(look.values(), np.where(look.seen()[..., 0] == 0, 0.9, 1.0))


@asks("", games.Choices, q=way(200, 0.1))
def several_choices(ask: Ask) -> None:
    look = ask()
    assert (look.actions() == np.arange(3)).all()
    ask.near(look.values(), 3.0)


@asks("P17", games.Forced, ppo=way(15, entropy=0.1), sac=way(75, temperature_learning_rate=1e-2, temperature=0.1))
def forced(ask: Ask) -> None:
    """Their log-probability and entropy are 0: the value is learnt, and no actor moves, weights on entropy or not."""
    before, after = ask(effort=0), ask()
    ask.near(after.values(), 1.0)
    assert np.array_equal(before.parameters(), after.parameters())
    group = after.rollouts["team"].groups["team"]
    assert (group.action == 1).all() and (group.log_prob == 0).all()


@asks(
    "P24",
    games.Scaled,
    ppo=way(5, 1e-4),
    sac=way(30, 1e-3, value_norm=True, max_grad_norm=None),
    ddpg=way(30, 1e-3, game=boxes.Scaled, value_norm=True, max_grad_norm=None, adam_eps=1e-12),
    q=way(30, 1e-3, value_norm=True, max_grad_norm=None),
)
def reward_scale(ask: Ask) -> None:
    """Rewards (and temperatures) times 1000, values normalised: the policy moves, and to the same place."""
    game = ask.way.game or ask.question.game
    found = []
    for scale, effort in ((1.0, 0), (1.0, None), (1000.0, None)):
        weighed = {"temperature": 0.1 * scale} if ask.core == "sac" else {}
        found.append(ask(game(scale), effort, **weighed).parameters())
    start, small, large = found
    assert np.abs(small - start).max() > 0.01
    ask.near(small, large)


class Exploiter:
    """Plays what another policy's greedy action would be, given what both see."""

    def __init__(self, victim: Policy, group: str) -> None:
        self.victim, self.group = victim, group

    def step(
        self, views: Mapping[str, View], noise: Mapping[str, Tensor], greedy: bool = False
    ) -> dict[str, PolicyStep]:
        seen = {name: next(iter(views.values())) for name in self.victim.actors}
        return {self.group: next(iter(self.victim.step(seen, noise, greedy=True).values()))}


@asks("P28", games.Pennies, ppo=way(0, 0.037), sac=0, q=way(0, epsilon=1.0, final_epsilon=1.0))
def pennies(ask: Ask) -> None:
    """Matching pennies against one who knows the likeliest action: half, or nothing."""
    policy = ask().learners["one"].policy
    players = {"one": policy, "two": Exploiter(policy, "two")}
    scores = {}
    for greedy in (False, True):
        measured = evaluate(FunctionEnv(games.Pennies(), 64), players, 2048, noise_key=5, greedy=greedy)
        scores[greedy] = measured.returns[:, 0].mean()
    ask.near(scores[False], 0.5)
    assert scores[True] == 0.0


# --- together --------------------------------------------------------------------------------------------------------


FIRST = {
    "ppo": lambda values: values.mean(-1),
    "sac": lambda values: values.mean(),
    "ddpg": lambda values: values,
    "q": lambda values: values[:, -1],
}
"""Core -> what of a step's values is known: what the first agent's own value is depends on what the second was seen to
do, that of the second is known; or the mean of both, and of what is drawn."""


def dies(look: Any) -> tuple[float, np.ndarray]:
    """How often the second agent dies at first, and which steps are first ones of both."""
    first = look.seen()[..., 0] == 0
    return look.share(1, first & look.acting() & np.array([False, True])), first.all(-1) & look.acting().all(-1)


@asks(
    "P11",
    games.Sacrifice,
    ppo=way(30, reward="team_mean"),
    sac=way(300, reward="team_mean"),
    ddpg=way(200, 0.08, "team_mean", game=boxes.Sacrifice, exploration_noise=0.3),
    q=300,
)
def sacrifice(ask: Ask) -> None:
    """A death is worth .9, to stay .45."""
    look = ask()
    share, first = dies(look)
    assert share > 0.9
    ask.near(FIRST.get(ask.core, FIRST["ppo"])(look.values()[first]), 0.9)


@asks(
    "P11",
    games.Sacrifice,
    control=True,
    ppo=30,
    sac=200,
    ddpg=way(200, game=boxes.Sacrifice, exploration_noise=0.3),
    q=way(200, reward="agent"),
)
def no_sacrifice(ask: Ask) -> None:
    """Paid each for itself the second agent lives: what it would die for is then not its own."""
    assert dies(ask())[0] < 0.1


@asks(
    "P29",
    games.Prisoners,
    each=rewards("agent", "team_sum"),
    ppo=30,
    sac=150,
    ddpg=way(150, game=boxes.Prisoners),
    q=150,
)
def prisoners(ask: Ask) -> None:
    """They defect alone and cooperate as a team."""
    share = ask().share(1)
    assert share > 0.95 if ask.reward == "agent" else share < 0.05


@asks("P12", games.Payoff, ppo=way(30, reward="team_mean"), q=150)
def common_payoff(ask: Ask) -> None:
    """[[2, 0], [0, 1]]: without weight on entropy both come to play 0."""
    assert ask().share(0) > 0.95


@asks(
    "P12",
    games.Payoff,
    each=[{"temperature": t, "expectation": how} for t in (1.0, 0.5) for how in ("joint", "own")],
    sac=way(250, 0.03, "team_mean", of=("hasac", "masac")),
)
def quantal(ask: Ask) -> None:
    """Both agents' probability of the first action at the unique quantal response equilibrium."""
    ask.near(ask().probabilities()[..., 0], {1.0: 0.8042, 0.5: 0.9797}[ask.given["temperature"]])


@asks("P12", boxes.Dial, ddpg=way(700, 0.2, "team_mean", exploration_noise=0.3))
def dial(ask: Ask) -> None:
    """Two agents find the one joint action together, whatever they see."""
    look = ask()
    x, y = look.seen()[:, 0, 0], look.seen()[:, 0, 1]
    ask.near(look.actions()[:, 0, 0], (x + y) / 2)
    ask.near(look.actions()[:, 1, 0], (x - y) / 2)


@asks(
    "P12b",
    games.Match,
    each=[{"temperature": t} for t in (0.6, 0.25)],
    sac=way(225, reward="team_mean", of=("hasac", "masac")),
)
def conventions(ask: Ask) -> None:
    """At a high temperature both stay even; at .25 they agree on one side, at .0212 or .9788."""
    temperature = ask.given["temperature"]
    p = ask().probabilities()[0, :, 0].astype(float)
    near(np.log(p / (1 - p)), (2 * p[::-1] - 1) / temperature, 0.15)
    if temperature > 0.5:
        near(p, 0.5, 0.03)
    else:
        near(p, p.round(), 0.04)
        assert p[0].round() == p[1].round()


# --- of one core -----------------------------------------------------------------------------------------------------


@asks("P23", boxes.Idle, sac=way(300, temperature=1.0))
def idle(ask: Ask) -> None:
    """Without pay a squashed normal becomes as wide as its kind allows: .6836 + ln c nats in each dimension."""
    look = ask()
    learner, views = look.learners["team"], look.views()
    chosen = learner.policy.distribution(learner.spec.groups[0], views.obs["team"], None)
    assert isinstance(chosen, SquashedGaussian)
    near(chosen.entropy().detach() / 2, 0.6836 + np.log(3.0), 0.01)
    near(chosen.log_std.detach().exp(), 0.8745, 0.06)


@asks("P23", boxes.Target, sac=way(400, temperature=0.3, actor_learning_rate=2e-3))
def target(ask: Ask) -> None:
    look = ask()
    actions = look.rollouts["team"].groups["team"].action.numpy()
    near((actions.mean((0, 1, 2)) - boxes.Target.goal) / [2, 5], 0.0, 0.15)  # in half widths of the box
    assert look.reward() > -1.0  # random: -34


@asks(
    "",
    games.Narrow,
    sac=way(
        350,
        temperature=0.5,
        temperature_learning_rate=2e-2,
        entropy_per_choice=0.6,
        batch_size=64,
    ),
)
def led(ask: Ask) -> None:
    """With nothing to earn, temperatures fall and entropies come to their targets, of the *legal* actions."""
    look = ask()
    p = look.probabilities()[0]
    entropy = -np.where(p > 0, p * np.log(np.maximum(p, 1e-30)), 0.0).sum(-1)
    ask.near(entropy / np.log([2, 4]), 0.6)
    assert look.learners["team"].log_temperature.max() < np.log(0.5)


@asks(
    "",
    games.Bandit,
    sac=way(
        320,
        0.06,
        of=("hasac",),
        temperature=0.5,
        critic_learning_rate=1e-2,
        polyak=0.1,
        batch_size=64,
        drift="kl",
        drift_weight=2.0,
        drift_updates=320,
    ),
)
def mirror_descent(ask: Ask) -> None:
    """With the divergence from an earlier policy as drift, each iteration ends where mirror descent is known to.

    pi_{k+1} ~ pi_k^{c / (alpha + c)} exp(Q / (alpha + c)): log-odds x_{k+1} = (c x_k + 1) / (alpha + c).
    """
    look, odds = ask(effort=0), 0.0
    for iteration in range(1, 4):
        look.train(ask.way.effort * iteration)
        odds = (2.0 * odds + 1.0) / 2.5
        p = look.probabilities()[..., 1]
        ask.near(np.log(p / (1 - p)), odds)


LONG = {"gamma": 0.99, "learning_rate": 1e-2, "epsilon": 1.0, "final_epsilon": 1.0}


def at_first(look: Any) -> np.ndarray:
    """The team's value at the start of two steps."""
    return look.values()[look.seen()[:, 0, 0] == 1]


@asks("", games.TwoSteps, q=way(500, 0.3, of=("qmix",), **LONG))
def two_steps(ask: Ask) -> None:
    ask.near(at_first(ask()), 8 * 0.99)


@asks("", games.TwoSteps, control=True, q=way(500, 0.3, of=("vdn",), **LONG))
def two_steps_summed(ask: Ask) -> None:
    """A sum cannot say 0, 1, 1, 8: it thinks that table worth less than 7 and chooses the other."""
    ask.near(at_first(ask()), 7 * 0.99)
