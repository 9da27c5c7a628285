"""Questions of what is worth how much, and of who sees what."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.probes import boxes, games
from tests.probes.asking import Ask, asks, rewards, way

EIGHT_STEPS = np.array([5.695, 5.217, 4.686, 4.095, 3.439, 2.71, 1.9, 1.0])
"""What is left to earn, step by step, at discount .9."""


# --- what is worth how much ------------------------------------------------------------------------------------------


@asks("P01", games.ConstantPay, ppo=25, sac=75, ddpg=75, q=way(75, reward="agent"))
def constant_pay(ask: Ask) -> None:
    ask.near(ask().values(), [[1.0, 0.0]])


@asks("P02", games.SeenPay, ppo=25, sac=100, ddpg=100, q=100)
def seen_pay(ask: Ask) -> None:
    look = ask()
    ask.near(look.values(), look.seen()[..., 0])


@asks("P03", games.Later, ppo=30, sac=125, ddpg=125, q=150)
def later(ask: Ask) -> None:
    look = ask()
    ask.near(look.values(), np.where(look.seen()[..., 0] == 0, 0.9, 1.0))


@asks("P06", games.Endless, ppo=way(30, 0.5), sac=way(200, 0.5), ddpg=way(600, 0.5), q=way(250, 0.5))
def endless(ask: Ask) -> None:
    ask.near(ask().values(), 10.0)


@asks(
    "P07",
    games.EightSteps,
    ppo=way(30, rollout_length=8, hidden=(64,)),
    sac=way(450, 0.1),
    ddpg=way(600, 0.1),
    q=way(600, 0.1),
)
def eight_steps(ask: Ask) -> None:
    look = ask()
    ask.near(look.values(), EIGHT_STEPS[look.seen().argmax(-1)])


@asks("P22", games.EightSteps, each=[{"n_step": 5}], sac=way(200, 0.1), ddpg=way(300, 0.1), q=way(300, 0.1))
def n_steps(ask: Ask) -> None:
    eight_steps(ask)


@asks(
    "P08",
    games.RichAndPoor,
    ppo=way(30, 1.0),
    sac=way(200, 1.5, critic_learning_rate=3e-2, value_norm=True),
    ddpg=way(200, 1.5, critic_learning_rate=3e-2, value_norm=True),
    q=way(200, 1.5, learning_rate=2e-2, value_norm=True),
)
def rich_and_poor(ask: Ask) -> None:
    look = ask()
    ask.near(look.values(), np.where(look.seen()[..., 0] > 0, 100.0, 0.0))


@asks("P09", games.BothFlags, ppo=25, sac=75, ddpg=75, q=75)
def both_flags(ask: Ask) -> None:
    ask.near(ask().values(), 1.0)


@asks(
    "P10",
    games.EarlyDeath,
    ppo=30,
    sac=way(200, 0.1),
    ddpg=way(200, 0.1),
    q=way(250, 0.1, "agent"),
)
def early_death(ask: Ask) -> None:
    look = ask()
    ask.near(look.values()[look.acting().all(-1)], [[3.439, 1.0]])


@asks("P11", games.TeamLife, q=way(250, 0.1))
def team_life(ask: Ask) -> None:
    """Both are paid 1 a step by a team that goes on when its second member is gone: worth 3.439 while both live."""
    look = ask()
    both = look.acting().all(-1)
    assert both.any() and not both.all()
    ask.near(look.values()[both], 3.439)


@asks("P20", games.Crowd, ppo=30, sac=way(200, 0.12), ddpg=way(200, 0.12), q=way(250, 0.15))
def crowd(ask: Ask) -> None:
    """Who is absent is worth nothing; a team's mean reward is a quarter of N * N with N present."""
    look = ask()
    acting, values = look.acting(), look.values()
    present = acting.sum(-1, keepdims=True)
    assert set(present.reshape(-1)) == {1, 2, 3, 4}
    wanted = np.broadcast_to(present**2 / 4 if ask.core == "q" else present, values.shape)
    counted = acting if values.shape[1] > 1 else np.ones_like(values, bool)
    ask.near(values[counted], wanted[counted])


@asks("P21", games.Wages, each=rewards("agent", "team_sum", "team_mean"), ppo=30, sac=100, ddpg=100, q=100)
def wages(ask: Ask) -> None:
    ask.near(ask().values()[0], {"agent": [[1.0, 3.0]], "team_sum": 4.0, "team_mean": 2.0}[ask.reward])


@asks("P30", games.ZeroSum, ppo=25, sac=100, ddpg=100, q=way(100, reward="agent"))
def zero_sum(ask: Ask) -> None:
    look = ask()
    one, two, paid = look.values("one"), look.values("two"), look.seen("one")[:, 0]
    ask.near(one, paid)
    ask.near(two, -look.seen("two")[:, 0])
    if ask.from_rollouts:
        ask.near(one + two, 0.0)


@asks("P27", games.LastWord, ppo=way(21, 0.06), sac=way(105, 0.06), ddpg=way(105, 0.06), q=way(105, 0.06))
def last_word(ask: Ask) -> None:
    """What is lost on another's turn is one's own."""
    look = ask()
    for kind, wanted in (("one", -1.0), ("two", 1.0)):
        acts = look.acting(kind)[:, 0]
        assert acts.any()
        ask.near(look.values(kind)[acts], wanted)


# --- who sees what ---------------------------------------------------------------------------------------------------


SHARED = ("ippo", "mappo", "ia2c", "maa2c", "dpo", "mdpo", "fixpo", "vtrace", "nstep")
"""Learners from rollouts whose agents share their parameters."""
APART = ("happo", "hatrpo")


@asks(
    "P13",
    games.OwnNumber,
    ppo=way(30, of=SHARED),
    sac=way(120, reward="team_mean", of=("masac", "isac"), parameters="shared"),
    q=150,
)
def own_number(ask: Ask) -> None:
    """With the one-hot of the agent both play their own number."""
    sure = ("ippo", "mappo", "masac")
    least = 1.0 if ask.core == "q" else 0.95 if ask.name in sure else 0.9
    assert ask(agent_id=True).reward() >= least


@asks(
    "P13",
    games.OwnNumber,
    control=True,
    ppo=way(30, of=SHARED),
    sac=way(120, reward="team_mean", of=("masac", "isac"), parameters="shared"),
    q=150,
)
def nobodys_number(ask: Ask) -> None:
    """Twins that do not know who they are do no better than a quarter; the best that one action does is nothing."""
    assert ask(agent_id=False).reward() <= (0.0 if ask.core == "q" else 0.3)


@asks("P13", games.OwnNumber, ppo=way(30, of=APART))
def number_of_its_own(ask: Ask) -> None:
    """Agents with parameters of their own know who they are without being told."""
    assert ask(agent_id=False).reward() > 0.95


def missed(look: Any) -> np.ndarray:
    """Squared errors of what is paid and stands in the state."""
    return (look.values() - look.state()[:, :1]) ** 2


@asks("P14", games.HiddenPay, ppo=way(30, 0.003), sac=way(105, 0.03), ddpg=way(105, 0.03), q=way(150, 0.05**2))
def hidden_pay(ask: Ask) -> None:
    """Who sees the state knows the pay, a bit of the state alone; a mix whatever the bit."""
    errors = missed(ask())
    ask.near(errors.max() if ask.core == "q" else errors.mean(), 0.0)


@asks(
    "P14",
    games.HiddenPay,
    control=True,
    ppo=way(30, 0.02, of=("mappo",), critic="local"),
    sac=way(105, 0.03, critic="local", of=("hasac", "masac")),
    ddpg=way(105, 0.03, critic="local"),
    q=way(150, 0.03, of=("qmix",), mixer="sum"),
)
def unseen_pay(ask: Ask) -> None:
    """Who does not see the state misses by a quarter."""
    ask.near(missed(ask()).mean(), 0.25)


@asks(
    "P15",
    games.HiddenEcho,
    ppo=way(20, 0.037, rollout_length=16),
    sac=way(50, 0.037, rollout_length=32),
    q=way(150, 0.037, rollout_length=32),
)
def hidden_echo(ask: Ask) -> None:
    """Actors do not see the state: whatever they play is right half of the time, over 2,048 games."""
    ask.near(ask().reward(), 0.5)


@asks("P15", boxes.HiddenChase, ddpg=way(200, 0.12))
def hidden_chase(ask: Ask) -> None:
    """The mean of both is the best that an actor that does not see the state can do, and not one of them."""
    ask.near(ask().actions(), -0.25)
