"""Acting with what is remembered: seats, mixed teams, mistakes, single agents, files, evaluation, replays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import environments
import marl.policy
from environments.errors import RefusedFile
from environments.vector import VectorEnv
from marl.acting import Actor, PolicyStep, View, remembers
from marl.config_rollout import PPOConfig
from marl.distributions import noise_size
from marl.evaluate import evaluate
from marl.policy import Policy
from marl.policy_spec import PolicySpec
from marl.random_policy import RandomPolicy
from marl.seats import NoiseSource, Seats, carried, forgotten, play, seat_view
from marl.self_play import Erring
from tests.marl.rollouts import GAMES, SMALL, kind_of, make, shaken

GRU = PPOConfig(**{**vars(SMALL), "recurrent": "gru", "chunk_length": 4, "critic": "local"})


def policy_of(env: VectorEnv, kind: str, seed: int = 0, **network: Any) -> Policy:
    settings = {"recurrent": "gru", "hidden": (8,), **network}
    made = Policy(PolicySpec.of(env.spec, kind, **settings), torch.Generator().manual_seed(seed))
    return shaken(made, seed + 1)


def views_of(env: VectorEnv, kind_name: str) -> tuple[dict[str, View], dict[str, Tensor]]:
    """The environment's present view by seat, and noise."""
    kind = env.spec.kind(kind_name)
    groups = dict(zip((group.name for group in env.spec.groups), env.buffers.groups, strict=True))
    views, noise = {}, {}
    for name in kind.groups:
        group, shown = env.spec.group(name), groups[name]
        views[name] = seat_view(group, kind, shown.obs.copy(), shown.action_mask.copy(), shown.acting.copy())
        noise[name] = NoiseSource.of(env.spec, group).draw(env, kind, 3)
    return views, noise


def random_step(env: VectorEnv, rng: np.random.Generator) -> None:
    players = {kind.name: RandomPolicy(PolicySpec.of(env.spec, kind.name)) for kind in env.spec.kinds}
    actions = {}
    for kind, player in players.items():
        views, _ = views_of(env, kind)
        draws = {}
        for name, view in views.items():
            size = (*view.acting.shape, noise_size(env.spec.group(name).action_space))
            draws[name] = torch.from_numpy(rng.uniform(1e-6, 1 - 1e-6, size).astype(np.float32))
        for name, step in player.step(views, draws).items():
            actions[name] = step.action.reshape(env.num_envs, -1, *step.action.shape[2:]).numpy()
    env.step(actions)


def equal(a: dict[str, PolicyStep], b: dict[str, PolicyStep], rows: Tensor) -> None:
    for name in a:
        assert torch.equal(a[name].action[rows], b[name].action[rows])
        torch.testing.assert_close(a[name].log_prob[rows], b[name].log_prob[rows], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["toy/noughts", "toy/siege", "particle/speaker_listener"])
def test_players_of_any_memory_share_the_seats(name: str) -> None:
    """Each plays in its rows what it would play alone, over many steps; where an episode ends, seats change hands."""
    env, rng = make(name, 6), np.random.default_rng(5)
    kind = env.spec.kind(kind_of(name))
    players: list[Actor] = [
        policy_of(env, kind.name, 1),
        policy_of(env, kind.name, 2, recurrent="none"),
        policy_of(env, kind.name, 3, recurrent_layers=2, hidden=(8, 5), parameters="per_agent"),
        RandomPolicy(PolicySpec.of(env.spec, kind.name)),
        Erring(policy_of(env, kind.name, 4), 0.3),
    ]
    assert [remembers(player) for player in players] == [True, False, True, False, True]
    seats = Seats(players, rng.integers(0, 5, 6 * kind.teams).astype(np.int16))
    together: dict[str, Tensor] = {}
    alone: list[dict[str, Tensor]] = [{} for _ in players]
    for _ in range(25):
        views, noise = views_of(env, kind.name)
        steps = play(seats, views, noise, hidden=together)
        together = carried(steps)
        for k, player in enumerate(players):
            own = play(Seats.all(player, len(seats.policy_of)), views, noise, hidden=alone[k])
            rows = torch.from_numpy(seats.policy_of == k)
            equal(steps, own, rows)
            alone[k] = carried(own)
            for group, x in alone[k].items() if rows.any() else ():
                torch.testing.assert_close(together[group][rows, :, : x.shape[2]], x[rows], rtol=0, atol=1e-6)
        random_step(env, rng)
        over = env.buffers.episode_over
        together = forgotten(together, kind, over)
        alone = [forgotten(hidden, kind, over) for hidden in alone]
        begun = np.repeat(over, kind.teams)
        assert all(not x[begun].any() for x in together.values())
        seats.policy_of[begun] = rng.integers(0, 5, int(begun.sum()))


def test_one_agent_at_a_time_acts_as_the_batch_does(tmp_path: Path) -> None:
    """By hand and from a file: `hidden` is carried for each agent, and stays where it is not its turn."""
    env, rng = make("toy/noughts", 1), np.random.default_rng(4)
    made = policy_of(env, "player", 1)
    made.save(tmp_path / "p.safetensors")
    policy = marl.policy.load(tmp_path / "p.safetensors")
    assert policy.memory == made.memory == {"player": 8}
    group = env.spec.group("player")
    hidden: dict[str, Tensor] = {}
    mine: dict[str, Any] = {}
    turns = 0
    for _ in range(15):
        views, noise = views_of(env, "player")
        step = play(Seats.all(made, 2), views, noise, True, hidden)["player"]
        seen, masks = {}, {}
        for k, agent in enumerate(group.agents):
            acts = bool(views["player"].acting[k, 0])
            seen[agent] = views["player"].obs[k, 0].numpy()
            assert views["player"].action_mask is not None
            masks[agent] = views["player"].action_mask[k, 0].numpy() & acts
        kept = {agent: np.array(x) for agent, x in mine.items()}
        actions = policy.act(seen, masks, greedy=True, hidden=mine)
        for k, agent in enumerate(group.agents):
            if masks[agent].any():
                turns += 1
                assert actions[agent] == int(step.action[k, 0])
            elif agent in kept:
                assert np.array_equal(kept[agent], mine[agent])
            assert step.hidden is not None
            np.testing.assert_allclose(mine[agent], step.hidden[k, 0], rtol=0, atol=1e-6)
        random_step(env, rng)
        hidden = forgotten(carried({"player": step}), env.spec.kind("player"), env.buffers.episode_over)
        if env.buffers.episode_over[0]:
            mine = {}
    assert turns == 15
    with pytest.raises(ValueError, match=r"this policy remembers: act\(.., hidden=h\)"):
        policy.act(seen, masks)
    plain = policy_of(env, "player", 1, recurrent="none")
    assert plain.act(seen, masks, greedy=True, hidden=(left := {})) and not left


@pytest.mark.parametrize(
    "wrong", [{"recurrent": "lstm"}, {"recurrent_layers": 0}, {"recurrent_layers": 10**6}, {"hidden": []}]
)
def test_a_file_with_impossible_memory_is_refused(wrong: dict[str, Any]) -> None:
    spec = policy_of(make("toy/noughts", 1), "player").spec
    assert PolicySpec.from_json(spec.to_json()) == spec
    with pytest.raises(ValueError, match="recurrent"):
        PolicySpec.from_json(spec.to_json() | wrong)
    old = spec.to_json()
    del old["recurrent"], old["recurrent_layers"]
    assert PolicySpec.from_json(old).recurrent == "none"  # files of before there was any


def test_weights_that_are_not_those_promised_are_refused(tmp_path: Path) -> None:
    made = policy_of(make("toy/noughts", 1), "player")
    made.spec = replace(made.spec, recurrent_layers=2)
    made.save(tmp_path / "p.safetensors")
    with pytest.raises(RefusedFile, match="its weights are not those of its spec"):
        marl.policy.load(tmp_path / "p.safetensors")


@pytest.mark.parametrize("name", ["toy/siege", "toy/noughts", "particle/speaker_listener"])
def test_an_episode_is_the_same_in_any_batch(name: str) -> None:
    """So nothing is carried from one episode or copy into another."""

    def players(env: VectorEnv) -> dict[str, Policy]:
        return {kind.name: policy_of(env, kind.name, 2) for kind in env.spec.kinds}

    env = make(name, 6, seed=3)
    whole = evaluate(env, players(env), 12, noise_key=4)
    for copies in ((0, 1, 2), (5,)):
        env = environments.make(name, num_envs=len(copies), seed=3, first_copy=copies[0], num_threads=1, **GAMES[name])
        part = evaluate(env, players(env), 2 * len(copies), noise_key=4)
        rows = [6 * i + copy for i in range(2) for copy in copies]
        np.testing.assert_array_equal(part.returns, whole.returns[rows])
        np.testing.assert_array_equal(part.lengths, whole.lengths[rows])


@pytest.mark.parametrize(("name", "critic"), [("toy/siege", "central"), ("toy/noughts", "local")])
def test_a_replay_shows_what_was_thought(name: str, critic: str) -> None:
    """Probabilities and values of a recorded episode are those of its history, played again view by view."""
    env = make(name, 3, seed=3)
    config = replace(GRU, critic=critic, value_norm=False)
    made = {kind.name: shaken(learner_of(env, kind.name, config), 4) for kind in env.spec.kinds}
    found = evaluate(env, made, 3, noise_key=4, record=3)
    replay = found.replays[1]
    again = make(name, 3, seed=3)
    shown = evaluate(again, made, 3, noise_key=4, record=2)  # the recording changes nothing
    np.testing.assert_array_equal(found.returns, shown.returns)
    policy, kind = made[kind_of(name)], env.spec.kind(kind_of(name))
    probabilities, values = thoughts(policy, make(name, 3, seed=3), kind.name, replay)
    for group in kind.groups:
        track = replay.groups[group]
        acts = track.acting
        np.testing.assert_allclose(
            track.probabilities[acts], probabilities[group][acts], rtol=0, atol=4e-3
        )  # stored as bytes
        np.testing.assert_allclose(track.value[acts], values[group][acts], rtol=1e-3, atol=1e-4)
        assert np.unique(track.value[acts].round(5)).size > 2


def learner_of(env: VectorEnv, kind: str, config: PPOConfig) -> Policy:
    from marl.algorithms.ppo import PPO

    return PPO(env.spec, kind, config, "agent", 1).policy


def thoughts(
    policy: Policy, env: VectorEnv, kind_name: str, replay: Any
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What the policy thinks in copy 1 where the replay's actions are played, from networks of one step each."""
    kind, critic = env.spec.kind(kind_name), policy.critic
    assert critic is not None
    seats = env.num_envs * kind.teams
    hidden = {
        name: torch.zeros(seats, policy.spec.members(env.spec.group(name)), w) for name, w in policy.memory.items()
    }
    minds, no = critic.begin(seats), torch.zeros(seats, 1, dtype=torch.bool)
    probabilities: dict[str, list[np.ndarray]] = {name: [] for name in kind.groups}
    values: dict[str, list[np.ndarray]] = {name: [] for name in kind.groups}
    own = slice(kind.teams, 2 * kind.teams)
    for t in range(replay.steps):
        views, _ = views_of(env, kind_name)
        acting = torch.cat([view.acting for view in views.values()], 1)
        with torch.no_grad():
            state = torch.from_numpy(env.buffers.state).repeat_interleave(kind.teams, 0)
            past = critic.past(minds, no, acting.unsqueeze(1))
            value, minds = critic.remembering(
                {name: view.obs for name, view in views.items()}, state, torch.arange(seats), past
            )
            for name, view in views.items():
                group = env.spec.group(name)
                outputs, kept = policy.look(group, view, hidden)
                assert kept is not None
                hidden[name] = kept
                probs = policy.head(group, outputs, view.action_mask).probs  # type: ignore[union-attr]
                probabilities[name].append(probs[own].flatten(0, 1).numpy())
                values[name].append(value[own].flatten(0, 1).numpy())
        env.step({name: np.repeat(track.action[t][None], env.num_envs, 0) for name, track in replay.groups.items()})
    return ({k: np.stack(x) for k, x in probabilities.items()}, {k: np.stack(x) for k, x in values.items()})
