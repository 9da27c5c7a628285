"""Targets and advantages of whole rollouts against a plain loop: who is paid for what, until when, in every mode."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from environments.spec import EnvSpec
from marl.algorithms.ppo import PPO
from marl.buffers import Rollout
from tests.marl.rollouts import SMALL, learner, rollout_of
from tests.marl.test_returns import loop_over_lives

NAMES = ["toy/meet", "toy/dock", "toy/noughts", "toy/siege", "particle/speaker_listener"]
MODES = list(itertools.product(("local", "central"), ("agent", "team_sum", "team_mean")))


@torch.no_grad()
def value_of(made: PPO, rollout: Rollout, t: int, seat: int) -> np.ndarray:
    """Values of one seat's view at step t, `[R or 1]`, in reward units."""
    obs = {name: group.obs[t, seat : seat + 1] for name, group in rollout.groups.items()}
    return (
        made.value.to_raw(made.value(obs, rollout.state[t, seat : seat + 1], torch.tensor([seat])))[0].double().numpy()
    )


@torch.no_grad()
def final_value_of(made: PPO, rollout: Rollout, t: int, seat: int, cut: np.ndarray) -> np.ndarray:
    """Values of the last views of those members whose life was cut; the others' views count as zeros."""
    (row,) = [
        k for k in range(len(rollout.finals.step)) if (rollout.finals.step[k], rollout.finals.seat[k]) == (t, seat)
    ]
    obs, first = {}, 0
    for name, x in rollout.finals.obs.items():
        own = torch.from_numpy(cut[first : first + x.shape[1]])
        obs[name] = torch.where(own.view(1, -1, 1), x[row : row + 1], torch.zeros((), dtype=x.dtype))
        first += x.shape[1]
    values = made.value(obs, rollout.finals.state[row : row + 1], torch.tensor([seat]))
    return made.value.to_raw(values)[0].double().numpy()


def events(rollout: Rollout, name: str) -> np.ndarray:
    return torch.cat([getattr(group, name) for group in rollout.groups.values()], 2).numpy()


def plain(
    made: PPO, spec: EnvSpec, rollout: Rollout, seat: int, reward: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Advantages `[T, R]`, targets `[T, R]` and which decisions are trained `[T, R]` of one seat, by its lives."""
    steps = rollout.steps
    paid, acting = events(rollout, "reward")[:, seat].astype(float), events(rollout, "acting")[:, seat]
    terminated = events(rollout, "terminated")[:, seat]
    cut = events(rollout, "truncated")[:, seat] & ~terminated
    members = acting.shape[1]
    values = np.stack([np.broadcast_to(value_of(made, rollout, t, seat), members) for t in range(steps + 1)])
    last = np.zeros((steps, members))
    for t in np.flatnonzero(cut.any(1)):
        last[t] = final_value_of(made, rollout, int(t), seat, cut[t])
    wait = 1.0 if spec.turn_based else made.config.gamma
    times = made.config.gamma, made.config.gae_lambda, wait, spec.max_wait
    if reward == "agent":
        advantage, use = np.zeros((steps, members)), np.zeros((steps, members), bool)
        for i in range(members):
            row = {"reward": paid[:, i], "value": values[:, i], "acts": acting[:, i]}
            row |= {"ended": terminated[:, i] | cut[:, i], "bootstrap": np.where(cut[:, i], last[:, i], 0.0)}
            advantage[:, i], use[:, i] = loop_over_lives(row, *times)
        return advantage, advantage + values[:-1], use & acting[:-1]
    team_value = np.array([v[a].mean() if a.any() else np.nan for v, a in zip(values, acting, strict=True)])
    team_last = np.array([v[c].mean() if c.any() else 0.0 for v, c in zip(last, cut, strict=True)])
    row = {"reward": paid.sum(1) if reward == "team_sum" else paid.mean(1), "value": team_value, "acts": acting.any(1)}
    row |= {"ended": rollout.episode_over[:, seat].numpy(), "bootstrap": team_last}
    advantage, closed = loop_over_lives(row, *times)
    returns = (advantage + team_value[:-1])[:, None]
    return returns - values[:-1], returns.repeat(members, 1), closed[:, None] & acting[:-1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("critic", "reward"), MODES)
def test_a_rollout_against_a_loop_over_its_lives(name: str, critic: str, reward: str) -> None:
    env, rollout = rollout_of(name, length=24)
    config = replace(SMALL, critic=critic, advantage_norm="none", gamma=0.8, gae_lambda=0.7, rollout_length=24)
    made = learner(env, name, config, reward)
    made.value.adapt(torch.tensor([-3.0, 4.0]), torch.tensor([True, True]))
    wanted = [plain(made, env.spec, rollout, seat, reward) for seat in range(rollout.seats)]
    advantage, target, use = (np.stack(x, 1) for x in zip(*wanted, strict=True))
    batch = made.prepare(rollout)
    shape = rollout.steps, rollout.seats, -1
    np.testing.assert_array_equal(batch.use.view(shape), use)
    np.testing.assert_allclose(batch.advantage.view(shape)[use], advantage[use], rtol=1e-4, atol=1e-4)
    found, use_value = made.value.to_raw(batch.target).view(shape), batch.use_value.view(shape)
    wide, whole = (x.expand(use.shape).numpy() for x in (found, use_value))
    np.testing.assert_array_equal(whole & use, use)  # every trained decision's value is trained too
    np.testing.assert_array_equal(use_value.numpy().any(2), use.any(2))
    np.testing.assert_allclose(wide[use], target[use], rtol=1e-4, atol=1e-4)
    assert use.mean() > 0.2
