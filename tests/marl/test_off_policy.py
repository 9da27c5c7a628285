"""What every learner from a replay buffer keeps to: exploring, counting, refusing, kinds of agents together, files."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from environments.errors import UsageError
from marl import policy
from marl.algorithms.sac import SAC
from marl.collector import Collector
from marl.config import ALGORITHMS
from marl.distributions import Categorical
from marl.replay_buffer import Views
from marl.seats import Seats
from tests.marl.mixed import NUMBER, Masked, MixedEnv
from tests.marl.remembering import parameters, sample_of
from tests.marl.replay import FAMILIES, collect, config_of, learner, make, ready
from tests.marl.rollouts import GAMES, same_bits, shaken, spoil
from tests.probes.environment import FunctionEnv, Rules

# --- exploring, counting, refusing ----------------------------------------------------------------------------------


def test_it_first_plays_at_random_and_then_by_itself() -> None:
    env = make("hasac", "toy/meet")
    made = learner(env, "hasac", warmup_steps=96)
    uniform, chosen = [], []
    for number in range(4):
        rollout = collect(env, made, 1)[0]
        group = rollout.groups[made.spec.groups[0].name]
        legal = torch.ones(1) if group.action_mask is None else group.action_mask[:-1].sum(-1)
        acts = group.acting[:-1]
        same = torch.allclose(group.log_prob[acts], -legal.float().log()[acts], atol=1e-5)
        (uniform if made.actor.exploring else chosen).append(same)
        metrics = made.update(rollout, 0.0)
        assert metrics["updates"] == (0 if number == 0 else 4)
        shaken(made.policy, number)
    assert uniform == [True, True] and not any(chosen)


def test_updates_are_as_many_as_steps_make_due() -> None:
    """48 steps a rollout and one update in 20: 2, 2, 3, 2, 3 ... the remainder is not lost."""
    env = make("hasac", "particle/spread")
    made = learner(env, "hasac", updates_per_step=0.05, warmup_steps=0)
    counts = [int(made.update(rollout, 0.0)["updates"]) for rollout in collect(env, made, 10)]
    assert counts == [2, 2, 3, 2, 3, 2, 2, 3, 2, 3]
    two = make("hasac", "toy/noughts")  # two teams a copy: a step of the environment is two of seats
    twins = SAC(two.spec, "player", config_of("hasac", updates_per_step=0.05, warmup_steps=0), "agent", 5)
    assert [int(twins.update(rollout, 0.0)["updates"]) for rollout in collect(two, twins, 3)] == [2, 2, 3]


class Endless(Rules):
    """Actions without bounds."""

    actions = spaces.Box(-np.inf, np.inf, (2,), np.float32)


@pytest.mark.parametrize("name", ["hasac", "hatd3"])
def test_what_it_cannot_do_is_said_in_one_line(name: str) -> None:
    made = ALGORITHMS[name].load()
    with pytest.raises(UsageError, match=r"the actions Box\(.*\) of 'team_0' have no bounds"):
        made(FunctionEnv(Endless(), 2).spec, "team", config_of(name), "agent", 0)
    with pytest.raises(UsageError, match="agent by agent needs --parameters per_agent"):
        config_of(name, parameters="shared")
    with pytest.raises(UsageError, match="buffer_size 20 is less than a rollout"):
        ready(name, "particle/spread", buffer_size=20)
    if name == "hasac":
        with pytest.raises(UsageError, match="group 'cart' has continuous actions"):
            ready(name, "toy/dock", expectation="joint")


def test_metrics_are_means_over_the_updates_that_tell_them() -> None:
    env = make("hatd3", "perilous")
    made = learner(env, "hatd3", "perilous", warmup_steps=0, updates_per_step=3 / 48)
    gradients: list[float] = []
    whole = made._one_by_one
    made._one_by_one = lambda *given: gradients.append(whole(*given)) or gradients[-1]  # type: ignore[assignment, func-returns-value]
    for rollout in collect(env, made, 4):
        gradients.clear()
        metrics = made.update(rollout, 0.0)
        assert metrics["updates"] == 3 and len(gradients) in (1, 2)
        assert metrics["actor_gradient"] == pytest.approx(sum(gradients) / len(gradients))


# --- kinds of agents together ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["masac", "hasac"])
def test_a_discrete_speaker_and_a_continuous_listener_learn_to_talk(name: str, tmp_path: Path) -> None:
    """-1.5 a game is the best without a word; a speaker whose critic does not see the listener often says none."""
    env = MixedEnv(64)
    settings = {
        "hidden": (32,),
        "warmup_steps": 1000,
        "updates_per_step": 0.05,
        "batch_size": 256,
        "buffer_size": 50_000,
        "actor_learning_rate": 3e-3,
        "critic_learning_rate": 1e-2,
        "temperature": 0.1,
        "temperature_learning_rate": 0.0,
        "rollout_length": 8,
    }
    made = SAC(env.spec, "team", config_of(name, **settings), "team_sum", seed=1)
    collector = Collector(env, {"team": Seats.all(made.actor, 64)}, 8, 3)
    while made.updates < 600:
        made.update(collector.collect()["team"], 0.0)
    made.policy.save(tmp_path / "team.safetensors")
    loaded = policy.load(tmp_path / "team.safetensors")
    assert loaded.spec.box == "squashed"
    listened = Collector(env, {"team": Seats.all(loaded, 64)}, 8, 4).collect()["team"].groups["listener"]
    per_game = float(listened.reward.sum() / (64 * 4))
    assert per_game > -0.75, per_game
    assert set(loaded.act({"speaker_0": np.array([1.0], np.float32)}, greedy=True)) == {"speaker_0"}


@pytest.mark.parametrize("listening", [NUMBER, spaces.MultiDiscrete([4, 3])], ids=["box", "several"])
@pytest.mark.parametrize("name", FAMILIES["sac"])
def test_masks_and_deaths_in_a_team_of_several_kinds_of_action(name: str, listening: Any) -> None:
    """What is illegal is never done, whoever is gone is not looked at, and everybody learns."""
    ends = []
    for garbage in (0.0, math.nan):
        env = Masked(MixedEnv(8, listening, leaves=True))
        made = learner(env, name, reward="team_sum", n_step=2)
        before = [x.detach().clone() for x in made.policy.parameters()]
        for rollout in collect(env, made, 3):
            for group in rollout.groups.values():
                spoil(group.obs, ~group.acting, garbage)
                spoil(group.action, ~group.acting[:-1], garbage)
            metrics = made.update(rollout, 0.0)
        assert env.refused > 20 and metrics["updates"] > 0 and all(map(math.isfinite, metrics.values()))
        assert not any(torch.equal(x, y) for x, y in zip(before, made.policy.parameters(), strict=True))
        ends.append(parameters(made))
    assert same_bits(*ends)


TRAINED: list[tuple[str, str, dict[str, Any]]] = [
    *((name, game, {}) for name in FAMILIES["sac"] for game in GAMES),
    *(
        (name, game, {})
        for name in FAMILIES["ddpg"]
        for game in ("toy/dock", "particle/tag", "particle/speaker_listener", "perilous")
    ),
    *(
        (name, game, {"parameters": parameters})
        for name in FAMILIES["q"]
        for game in ("toy/meet", "toy/siege", "toy/noughts", "particle/speaker_listener")
        for parameters in ("shared", "per_agent")
    ),
]


@pytest.mark.parametrize(("name", "game", "changed"), TRAINED)
def test_every_kind_of_agent_can_be_trained(name: str, game: str, changed: dict[str, Any]) -> None:
    """Masks, deaths, turns, several choices, lopsided boxes, kinds of team, agents of different shapes in one team."""
    env = make(name, game)
    made = learner(
        env, name, game, None if name in FAMILIES["q"] else "team_mean" if game != "toy/noughts" else "agent", **changed
    )
    learnt = list(made.learnt) if name in FAMILIES["q"] else list(made.policy.parameters())
    before = [x.detach().clone() for x in learnt]
    for rollout in collect(env, made, 3):
        metrics = made.update(rollout, 0.0)
    assert all(math.isfinite(value) for value in metrics.values()) and metrics["updates"] > 0
    assert all(not torch.equal(x, y) for x, y in zip(before, learnt, strict=True))
    if name in FAMILIES["sac"]:
        for group in made.spec.groups:
            seen = torch.zeros(1, made.spec.members(group), *group.observation_space.shape)
            chosen = made.policy.distribution(group, seen, None)
            assert not isinstance(chosen, Categorical) or not bool(chosen.probs.isnan().any())


# --- what must not matter -------------------------------------------------------------------------------------------


SPOILED: list[tuple[str, str, str, dict[str, Any]]] = [
    *((name, game, "team_sum", {}) for name in FAMILIES["sac"] for game in ("toy/siege", "toy/noughts")),
    *((name, "perilous", "agent", {}) for name in FAMILIES["sac"]),
    ("hasac", "perilous", "team_sum", {"drift": "kl", "kl_radius": 1e-3, "drift_updates": 2}),
    ("hasac", "toy/siege", "agent", {"expectation": "own", "critic_temperature": "team"}),
    ("masac", "toy/siege", "agent", {"expectation": "drawn"}),
    *(
        (name, "perilous", reward, {"critic": critic})
        for name in FAMILIES["ddpg"]
        for critic, reward in (("central", "agent"), ("central", "team_sum"), ("local", "team_sum"))
    ),
    *((name, game, "team_sum", {}) for name in FAMILIES["q"] for game in ("toy/siege", "toy/noughts")),
    ("qmix", "toy/siege", "team_sum", {"recurrent": "gru", "chunk_length": 3, "burn_in": 1}),
]


@pytest.mark.parametrize("garbage", [math.nan, 1e6])
@pytest.mark.parametrize(("name", "game", "reward", "changed"), SPOILED)
def test_garbage_where_nobody_acts_changes_no_bit(
    name: str, game: str, reward: str, changed: dict[str, Any], garbage: float
) -> None:
    ends = []
    for spoiled in (False, True):
        env = make(name, game)
        made = learner(env, name, game, reward, n_step=2, value_norm=True, **changed)
        for rollout in collect(env, made, 4):
            for group in rollout.groups.values() if spoiled else ():
                spoil(group.obs, ~group.acting, garbage)
                spoil(group.action, ~group.acting[:-1], garbage)
                assert not bool(group.acting.all())
            made.update(rollout, 0.0)
        assert made.updates > 4
        ends.append(parameters(made))
    assert same_bits(*ends)


@pytest.mark.parametrize(
    ("name", "game", "reward", "changed"),
    [
        *((name, "perilous", "agent", {}) for name in (*FAMILIES["sac"], *FAMILIES["ddpg"])),
        ("masac", "perilous", "team_sum", {}),
        ("hasac", "perilous", "team_sum", {"drift": "kl", "kl_radius": 1e-3}),
        ("hasac", "toy/siege", "agent", {"expectation": "drawn"}),
        ("hasac", "toy/siege", "agent", {"expectation": "own", "critic_temperature": "team"}),
        ("iql", "toy/siege", "agent", {}),
    ],
)
def test_who_does_not_act_moves_nobody(
    name: str, game: str, reward: str, changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Critics, actors and temperatures, whatever a *sample* shows of it: buffers have made that zeros, which a loss
    that counted them would not tell from garbage."""
    ends = []
    for seen in (0.0, 7.0):
        made = ready(name, game, reward, n_step=2, **changed)
        sample = sample_of(made)
        for views in (sample.now, sample.then):
            parts = torch.split(views.acting, [made.spec.members(group) for group in made.spec.groups], 1)
            for group, acting in zip(made.spec.groups, parts, strict=True):
                assert bool(acting.any()) and not bool(acting.all())
                views.obs[group.name][~acting] = seen
        monkeypatch.setattr(made, "_draw", lambda sample=sample: sample)
        for _ in range(2):
            made._learn()
        ends.append(parameters(made))
    for x, y in zip(*ends, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "game"), [("hasac", "particle/spread"), ("hatd3", "perilous"), ("qmix", "particle/spread")]
)
def test_another_players_seats_are_not_learnt_from(name: str, game: str) -> None:
    ends = []
    for reward in (0.0, 1e3):
        env = make(name, game)
        made = learner(env, name, game)
        mine = torch.zeros(6, 8, dtype=torch.bool)
        mine[:, :3] = True
        for rollout in collect(env, made, 4):
            (group,) = rollout.groups.values()
            group.reward[:, 3:] = reward
            made.update(replace(rollout, mine=mine), 0.0)
        ends.append(parameters(made))
    assert same_bits(*ends)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("game", ["toy/meet", "toy/siege"])
def test_saved_values_act_alone(game: str, tmp_path: Path) -> None:
    """Greedy: the best legal action; else any with the last epsilon."""
    env = make("qmix", game)
    made = learner(env, "qmix", game, final_epsilon=0.5)
    shaken(made.policy)
    made.policy.save(tmp_path / "team.safetensors")
    loaded = policy.load(tmp_path / "team.safetensors")
    assert loaded.spec == made.spec and loaded.spec.epsilon == 0.5
    (group,) = loaded.spec.groups
    members = loaded.spec.members(group)
    generator = np.random.default_rng(2)
    obs = generator.normal(size=(members, *group.observation_space.shape)).astype(np.float32)
    sights = {agent: obs[i] for i, agent in enumerate(group.agents[:members])}
    legal = torch.rand(1, members, group.mask_size, generator=torch.Generator().manual_seed(1)) < 0.6
    legal[..., ::2] = True
    masks = {agent: legal[0, i].numpy() for i, agent in enumerate(sights)}
    shown = torch.from_numpy(obs)[None]
    seen = Views(
        {group.name: shown}, {group.name: legal}, torch.ones(shown.shape[:2]).bool(), shown[:, 0], torch.zeros(1)
    )
    best = made._best(made.policy, group, seen)[0].numpy()
    acts = loaded.act(sights, masks, greedy=True)
    drawn: dict[str, list[Any]] = {agent: [] for agent in sights}
    for _ in range(300):
        for agent, action in loaded.act(sights, masks, rng=generator).items():
            assert group.action_space.contains(action)
            drawn[agent].append(np.atleast_1d(action))
    shares = []
    for i, agent in enumerate(sights):
        np.testing.assert_array_equal(acts[agent], best[i])
        shares.append(np.mean(np.stack(drawn[agent]) == np.atleast_1d(best[i]), 0))
    assert np.min(shares) > 0.5 and np.min(shares) < 0.95  # a choice with one legal action is always that


def test_a_saved_policy_without_noise_acts_the_same_each_time(tmp_path: Path) -> None:
    env = make("hatd3", "toy/dock")
    made = learner(env, "hatd3", "toy/dock")
    shaken(made.policy)
    made.policy.save(tmp_path / "team.safetensors")
    loaded = policy.load(tmp_path / "team.safetensors")
    assert loaded.spec == made.spec and loaded.spec.box == "deterministic"
    (group,) = loaded.spec.groups
    sights = {
        agent: np.full(group.observation_space.shape, 0.3 * i, np.float32) for i, agent in enumerate(group.agents)
    }
    acts = [loaded.act(sights, greedy=greedy, rng=np.random.default_rng(i)) for i, greedy in enumerate((True, False))]
    for i, agent in enumerate(group.agents):
        assert group.action_space.contains(acts[0][agent])
        np.testing.assert_array_equal(acts[0][agent], acts[1][agent])
        obs = torch.full((1, len(group.agents), *group.observation_space.shape), 0.3 * i)
        with torch.no_grad():
            y = torch.tanh(made.policy.actors[group.name](obs))[0, i].numpy()
        low, high = group.action_space.low, group.action_space.high  # type: ignore[attr-defined]
        np.testing.assert_allclose(acts[0][agent], (low + high) / 2 + (high - low) / 2 * y, rtol=1e-5, atol=1e-6)
