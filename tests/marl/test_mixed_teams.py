"""Teams some of whose agents others play: who acts for whom, and that a learner learns from its own agents alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from environments.vector import VectorEnv
from marl.acting import Actor
from marl.algorithms.on_policy import OnPolicy
from marl.algorithms.sac import SAC
from marl.buffers import Rollout
from marl.collector import Collector
from marl.config import ALGORITHMS, changed
from marl.erring import Erring
from marl.policy import Policy
from marl.policy_spec import PolicySpec
from marl.random_policy import RandomPolicy
from marl.replay_buffer import ReplayBuffer
from marl.seats import Seats, carried, forgotten, play
from tests.marl.remembering import fill
from tests.marl.replay import config_of
from tests.marl.rollouts import copied, kind_of, make, rollout_of, same_bits, shaken, spoil
from tests.marl.test_on_policy import SETTINGS, learner, state
from tests.marl.test_recurrent_acting import policy_of, random_step, views_of
from tests.marl.test_replay_buffer import paid, rollouts

GRU = {"recurrent": "gru", "chunk_length": 4, "recurrent_layers": 1}


@pytest.mark.parametrize("name", ["toy/siege", "particle/speaker_listener", "particle/spread"])
def test_each_agent_does_what_its_player_does_alone(name: str) -> None:
    """Players of one build, that remember or not, that err; several groups; who plays whom changes with episodes."""
    env, rng = make(name, 5), np.random.default_rng(2)
    kind = env.spec.kind(kind_of(name))
    players: list[Actor] = [
        policy_of(env, kind.name, 1, recurrent="none"),
        policy_of(env, kind.name, 2, recurrent="none"),
        policy_of(env, kind.name, 3, recurrent_layers=2),
        Erring(policy_of(env, kind.name, 4), 0.3),
        RandomPolicy(PolicySpec.of(env.spec, kind.name)),
    ]
    agents = [len(env.spec.group(group).agents) for group in kind.groups]
    seats = Seats(players, rng.integers(0, 5, (5, sum(agents))).astype(np.int16))
    together: dict[str, Tensor] = {}
    alone: list[dict[str, Tensor]] = [{} for _ in players]
    several = 0
    for _ in range(15):
        views, noise = views_of(env, kind.name)
        steps = play(seats, views, noise, hidden=together)
        together = carried(steps)
        several += int((seats.policy_of != seats.policy_of[:, :1]).any(1).sum())
        for k, player in enumerate(players):
            own = play(Seats.all(player, 5), views, noise, hidden=alone[k])
            alone[k] = carried(own)
            for group, held in seats.held_by(k, views).items():
                assert torch.equal(steps[group].action[held], own[group].action[held])
                torch.testing.assert_close(steps[group].log_prob[held], own[group].log_prob[held], rtol=0, atol=1e-6)
                if group in alone[k]:
                    width = alone[k][group].shape[2]
                    mine = together[group][held][:, :width]
                    torch.testing.assert_close(mine, alone[k][group][held], rtol=0, atol=1e-6)
        random_step(env, rng)
        over = env.buffers.episode_over
        together, *alone = (forgotten(hidden, kind, over) for hidden in (together, *alone))
        seats.policy_of[over] = rng.integers(0, 5, (int(over.sum()), sum(agents)))
    assert several > 20


def collected(made: Any, env: VectorEnv, kind: str, length: int = 12) -> Rollout:
    """A rollout in which two of three seats have members that another policy plays."""
    players: list[Actor] = [made.policy, shaken(Policy(made.policy.spec), 9)]
    agents = len(env.spec.agents) if len(env.spec.kinds) == 1 else len(env.spec.group(kind).agents)
    table = np.random.default_rng(4).integers(0, 2, (env.num_envs, agents)).astype(np.int16)
    table[::3] = 0
    seats = {each.name: Seats.all(RandomPolicy(PolicySpec.of(env.spec, each.name)), env.num_envs)
             for each in env.spec.kinds}  # fmt: skip
    seats[kind] = Seats(players, table)
    spans = {kind: made.span} if made.policy.memory else {}
    collector = Collector(env, seats, length, 9, spans)
    collector.collect()
    return copied(collector.collect()[kind])


CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("happo", "agent", {}),
    ("happo-minibatch", "team_sum", {}),
    ("dpo", "team_sum", {}),
    ("dpo", "agent", {"parameters": "per_agent"}),
    ("mappo-mdpo", "team_sum", {}),
    ("dpo", "team_sum", GRU),
    ("mappo-mdpo", "agent", GRU),
    ("hatrpo", "team_sum", {}),
    ("maa2c", "agent", {}),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_nothing_of_what_others_do_is_learnt_from(case: int) -> None:
    """Garbage in their actions, probabilities and hidden states changes no bit, nor do views that only they have."""
    which, reward, more = CASES[case]
    env = make("toy/siege")
    rollout = collected(learner(which, "toy/siege", reward, **more), env, "guard")
    assert rollout.mine is not None and rollout.mine.shape == rollout.groups["guard"].action.shape[:3]
    theirs = ~rollout.mine
    assert 0.2 < theirs.float().mean() < 0.6

    def updated(seen: Rollout) -> list[Tensor]:
        made = learner(which, "toy/siege", reward, **more)
        made.update(copied(seen), 0.0)
        return state(made)

    clean, spoilt = updated(rollout), copied(rollout)
    group = spoilt.groups["guard"]
    spoil(group.action, theirs, math.nan)
    spoil(group.log_prob, theirs, math.nan)
    if reward == "agent":
        spoil(group.reward, theirs, 1e6)
    spoil(group.obs[:-1], theirs, 3.0)
    for x in spoilt.hidden.values():
        spoil(x, theirs[:: SETTINGS["rollout_length"] // len(x)], math.nan)
    assert same_bits(updated(spoilt), clean)
    spoil(group.log_prob, rollout.mine & group.acting[:-1], -3.0)
    assert not same_bits(updated(spoilt), clean)


@pytest.mark.parametrize(
    ("engine", "reward", "more"), [("fused", "agent", {}), ("torch", "team_sum", {}), ("torch", "team_sum", GRU)]
)
def test_ratios_are_one_before_anything_is_learnt(reward: str, more: dict[str, Any], engine: str) -> None:
    for which in ("dpo", "happo"):
        made = learner(which, "toy/siege", reward, engine=engine, learning_rate=0.0, clip=1e-5, **more)
        told = made.update(collected(made, make("toy/siege"), "guard"), 0.0)
        assert told["trained"] > 0.1 and told["clipped"] == 0.0
        assert abs(told["kl"]) < 1e-6 and told.get("factor", 0.0) < 1e-5


def reference(made: OnPolicy, rollout: Rollout, values: np.ndarray, final: np.ndarray) -> dict[tuple[int, int], float]:
    """Advantages of a team's decisions, seat by seat: only the learner's agents decide, all of them earn.

    `values [T+1, S, R or 1]` of the views, `final [T, S, R or 1]` of the last ones of episodes that were cut off.
    """
    group = rollout.groups["guard"]
    assert rollout.mine is not None
    acting, mine, paid = group.acting.numpy(), rollout.mine.numpy(), group.reward.sum(2).numpy()
    cut = (group.truncated & ~group.terminated).numpy()
    steps, seats = paid.shape

    def mean(x: np.ndarray, chosen: np.ndarray) -> float:
        return float(x[0] if len(x) == 1 else x[chosen].mean())

    gamma, lambda_ = made.config.gamma, made.config.gae_lambda
    found: dict[tuple[int, int], float] = {}
    for s in range(seats):
        ahead: tuple[float, float, float] | None = None  # value and advantage at the next decision; its discount
        waited: list[float] = []
        for t in reversed(range(steps)):
            own = acting[t, s] & mine[t, s]
            later = acting[t + 1, s] & mine[t, s]
            if rollout.episode_over[t, s]:
                who = cut[t, s] & mine[t, s]
                who = who if who.any() else cut[t, s]
                timed_out = bool(rollout.episode_truncated[t, s]) and who.any()
                ahead = (mean(final[t, s], who) if timed_out else 0.0), 0.0, gamma
                waited = []
            elif later.any() or (t + 1 == steps and mine[t, s].any()):
                who = later if later.any() else acting[t + 1, s]  # at the edge somebody lends a value
                ahead = mean(values[t + 1, s], who), found.get((t + 1, s), 0.0), gamma
                waited = []
            waited.insert(0, float(paid[t, s]))
            if ahead is None or not own.any():
                continue
            value, advantage, _ = ahead
            after = gamma ** (len(waited) - 1)
            whole = sum(gamma**j * r for j, r in enumerate(waited)) + gamma * after * value - mean(values[t, s], own)
            found[t, s] = whole + gamma * lambda_ * after * advantage
    return found


@pytest.mark.parametrize("which", ["ippo-fixpo", "mappo-mdpo"])
def test_advantages_of_a_team_are_those_of_a_plain_loop(which: str) -> None:
    """Agents die in this game, so that teams play on without any of the learner's."""
    more = {"advantage_norm": "none", "returns": "gae", "value_norm": False, "rollout_length": 11}
    made = learner(which, "toy/siege", "team_sum", **more)
    rollout = collected(made, make("toy/siege", 24), "guard", 11)
    group = rollout.groups["guard"]
    assert rollout.mine is not None
    lonely = group.acting[:-1].any(2) & rollout.mine.any(2) & ~(group.acting[:-1] & rollout.mine).any(2)
    assert lonely.sum() > 5
    batch = made.prepare(rollout)
    with torch.no_grad():
        obs = torch.where(group.acting.unsqueeze(-1), group.obs, 0.0).flatten(0, 1)
        seat = torch.arange(rollout.seats).repeat(rollout.steps + 1)
        values = made.value({"guard": obs}, rollout.state.flatten(0, 1), seat).view(rollout.steps + 1, 24, -1)
        last, final = rollout.finals, torch.zeros(rollout.steps, 24, values.shape[2])
        cut = (group.truncated & ~group.terminated)[last.step, last.seat]
        seen = torch.where(cut.unsqueeze(-1), last.obs["guard"], 0.0)
        final[last.step, last.seat] = made.value({"guard": seen}, last.state, last.seat)
    expected = reference(made, rollout, values.numpy(), final.numpy())
    use = batch.use.view(rollout.steps, 24, -1)
    assert {(t, s) for t, s, _ in use.nonzero().tolist()} == set(expected)
    assert torch.equal(use, group.acting[:-1] & rollout.mine)  # nothing is dropped at the edge
    advantage = batch.advantage.view(rollout.steps, 24, -1)
    own = (group.acting[:-1] & rollout.mine).numpy()
    for (t, s), gain in expected.items():
        for member in np.flatnonzero(own[t, s]):
            value, of_team = values[t, s], values[t, s].numpy()
            team = float(of_team[0]) if len(of_team) == 1 else float(of_team[own[t, s]].mean())
            minus = float(value[0]) if len(value) == 1 else float(value[member])
            assert float(advantage[t, s, member]) == pytest.approx(gain + team - minus, abs=1e-4)


def mixed_history(name: str, count: int, env: VectorEnv) -> list[Rollout]:
    """Consecutive rollouts, in whose every episode a lot decides who was the learner's."""
    history = rollouts(env, kind_of(name), count)
    rng = np.random.default_rng(3)
    over = torch.cat([rollout.episode_over for rollout in history])
    agents = sum(group.action.shape[2] for group in history[0].groups.values())
    mine = torch.zeros(*over.shape, agents, dtype=torch.bool)
    for s in range(over.shape[1]):
        lot = rng.random(agents) < 0.6
        for t in range(len(over)):
            mine[t, s] = torch.from_numpy(lot)
            if over[t, s]:
                lot = rng.random(agents) < 0.6
    parts = torch.split(mine, [rollout.steps for rollout in history])
    return [replace(rollout, mine=part) for rollout, part in zip(history, parts, strict=True)]


def test_a_replay_buffer_pays_a_team_until_its_learner_decides_again() -> None:
    """One-step targets of a team's reward, at every place, against a plain loop over the whole history."""
    env = make("toy/siege", 24)
    spec = PolicySpec.of(env.spec, "guard")
    history = mixed_history("toy/siege", 4, env)
    buffer = ReplayBuffer(spec, False, 24 * 30, env.spec.max_wait)
    for rollout in history:
        buffer.add(rollout, paid(spec, rollout, False))
    mine, over = (torch.cat([getattr(rollout, name) for rollout in history]) for name in ("mine", "episode_over"))
    acting, reward, action = (
        torch.cat([getattr(rollout.groups["guard"], name)[: rollout.steps] for rollout in history])
        for name in ("acting", "reward", "action")
    )
    steps, waits = len(mine), 0
    own = acting & mine
    for t, s in own.any(2).nonzero().tolist():
        at = torch.tensor([t * 24 + s])
        views = buffer._views(at)
        assert torch.equal(views.acting[0], own[t, s])
        assert not buffer._at("action/guard", at)[0][~own[t, s]].any()
        assert torch.equal(buffer._at("action/guard", at)[0][own[t, s]], action[t, s][own[t, s]])
        earned, factor, j = 0.0, 1.0, t
        while True:
            earned += factor * float(reward[j, s].sum())
            if over[j, s] or j + 1 == steps or own[j + 1, s].any():
                break
            factor, j = 0.8 * factor, j + 1
        if j + 1 == steps and not over[j, s]:
            continue  # its outcome is not known yet
        waits += j > t
        got, discount, _ = buffer._look_ahead(at, 1, 0.9, 0.8)
        assert float(got) == pytest.approx(earned, abs=1e-5)
        assert bool(over[j, s]) or float(discount) == pytest.approx(0.9 * factor)
    assert waits > 10


@pytest.mark.parametrize("reward", ["agent", "team_sum"])
@pytest.mark.parametrize("name", ["isac", "hasac"])
def test_a_replay_learner_learns_nothing_of_what_others_do(name: str, reward: str) -> None:
    env = make("toy/siege")
    history = mixed_history("toy/siege", 5, env)
    config = config_of(name)

    def updated(seen: Sequence[Rollout]) -> dict[str, Any]:
        made = SAC(env.spec, "guard", config, reward, seed=5)
        fill(made, [copied(rollout) for rollout in seen])
        made.update(copied(seen[-1]), 0.0)
        assert made.updates > 0
        return {k: x.clone() for part in (made.policy, made.critic) for k, x in part.state_dict().items()}

    clean, spoilt = updated(history), [copied(rollout) for rollout in history]
    for rollout in spoilt:
        group = rollout.groups["guard"]
        assert rollout.mine is not None
        spoil(group.action, ~rollout.mine, math.nan)
        spoil(group.log_prob, ~rollout.mine, math.nan)
        if reward == "agent":
            spoil(group.reward, ~rollout.mine, 50.0)
    again = updated(spoilt)
    assert all(torch.equal(x, again[k]) for k, x in clean.items())


def test_a_whole_team_is_the_same_written_either_way() -> None:
    """`[T, S]` and `[T, S, R]` of the same seats change no bit."""
    _, rollout = rollout_of("toy/siege", players=2)
    assert rollout.mine is not None and rollout.mine.dim() == 2
    agents = rollout.groups["guard"].action.shape[2]
    wide = replace(rollout, mine=rollout.mine.unsqueeze(2).expand(-1, -1, agents).clone())
    config = changed(ALGORITHMS["mappo"].config, SETTINGS)
    found = []
    for seen in (rollout, wide):
        made = ALGORITHMS["mappo"].load()(make("toy/siege").spec, "guard", config, "team_sum", 5, 1)
        made.update(copied(seen), 0.0)
        found.append(state(made))
    assert same_bits(*found)
