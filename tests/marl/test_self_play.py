"""Self-play: who sits where, when that changes, what is kept of the past, and that a run goes on bit for bit."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

import environments
from environments.errors import UsageError
from marl.acting import View
from marl.algorithms.ppo import PPO
from marl.config import TrainConfig
from marl.config_self_play import SelfPlayConfig
from marl.erring import Erring
from marl.self_play import LEARNER, PAST, RANDOM, SelfPlay, acting_weights
from marl.trainer import Trainer
from tests.marl.rollouts import SMALL
from tests.marl.test_trainer import digest, run

GAME, KIND, COPIES = "board/tictactoe", "player", 8
OFTEN = SelfPlayConfig(self_play=True, self_play_every=1, self_play_kept=2)


def trainer_of(config: SelfPlayConfig, seed: int = 0) -> Trainer:
    env = environments.make(GAME, COPIES, seed)
    learners = {KIND: PPO(env.spec, KIND, replace(SMALL, critic="local", anneal=True), "agent", seed)}
    return Trainer(
        env, learners, {}, total_steps=5000, rollout_length=SMALL.rollout_length, seed=seed, self_play=config
    )


def rule_of(config: SelfPlayConfig) -> SelfPlay:
    return rule_in(trainer_of(config))


def rule_in(trainer: Trainer) -> SelfPlay:
    rule = trainer.seating[KIND]
    assert isinstance(rule, SelfPlay)
    return rule


def seeds(copies: int) -> np.ndarray:
    return np.arange(1, copies + 1, dtype=np.uint64) * np.uint64(7919)


@pytest.mark.parametrize(("opponents", "by_chance"), [(0.0, 0.5), (0.5, 0.25), (1.0, 1.0), (0.8, 0.0)])
def test_shares_are_as_asked_for(opponents: float, by_chance: float) -> None:
    rule = rule_of(replace(OFTEN, self_play_opponents=opponents, self_play_random=by_chance))
    fresh = rule.seats(seeds(4000))[KIND].policy_of.reshape(-1, 2)
    assert set(np.unique(fresh)) <= {LEARNER, RANDOM}  # there is no past yet
    for update in (1, 2):
        rule.remember(update, rule.seats(seeds(1)))
    seated = rule.seats(seeds(4000))[KIND].policy_of.reshape(-1, 2)
    alone = (seated != LEARNER).any(1)
    assert (seated == LEARNER).any(1).all() and abs(alone.mean() - opponents) < 0.03
    if opponents:
        assert abs((seated[alone, 0] == LEARNER).mean() - 0.5) < 0.04
        others = seated[alone].max(1)
        assert abs((others == RANDOM).mean() - by_chance) < 0.04
        if by_chance < 1:
            assert abs((others == PAST).sum() - (others == PAST + 1).sum()) < 0.1 * len(others)


def test_who_sits_where_does_not_depend_on_the_batch() -> None:
    rule = rule_of(OFTEN)
    rule.remember(1, rule.seats(seeds(1)))
    np.testing.assert_array_equal(rule.seats(seeds(64))[KIND].policy_of[:20], rule.seats(seeds(10))[KIND].policy_of)
    other = SelfPlay(rule.policy, rule.policy, trainer_of(OFTEN).env.spec, KIND, OFTEN, rule.key + 1)
    assert (other.seats(seeds(64))[KIND].policy_of != rule.seats(seeds(64))[KIND].policy_of).any()


def test_seats_change_hands_only_where_an_episode_ends() -> None:
    trainer = trainer_of(OFTEN)
    collector, changes, ends = trainer.collector, 0, 0
    seats = collector.seats[KIND]
    rule = rule_in(trainer)
    watched = rule.watch

    def watch(*arguments: object) -> None:
        nonlocal changes, ends
        before = seats.policy_of.copy()
        watched(*arguments)
        over = arguments[1].episode_over.repeat(2)
        changed = before != seats.policy_of
        assert not (changed & ~over).any()
        changes, ends = changes + int(changed.sum()), ends + int(over.sum())

    rule.watch = watch  # type: ignore[method-assign,assignment]
    rollout = trainer.collector.collect()[KIND]
    assert 0 < changes < ends
    assert rollout.mine is not None and 0.6 < rollout.mine.float().mean() < 0.9


def test_the_past_is_what_the_learner_was() -> None:
    trainer = trainer_of(OFTEN)
    rule = rule_in(trainer)
    kept = []
    for _ in range(4):
        trainer.iteration()
        kept.append(deepcopy(acting_weights(trainer.learners[KIND].policy)))
        assert digest(acting_weights(rule.past[-1])) == digest(kept[-1])
    assert len(rule.past) == 2 and digest(acting_weights(rule.past[0])) == digest(kept[-2])
    assert digest(kept[-1]) != digest(kept[-2])
    assert not any(parameter.requires_grad for policy in rule.past for parameter in policy.parameters())


def test_a_state_that_is_being_played_is_not_written_over() -> None:
    rule = rule_of(replace(OFTEN, self_play_kept=1, self_play_opponents=1.0, self_play_random=0.0))
    rule.remember(1, rule.seats(seeds(1)))
    old = rule.seats(seeds(50))  # plays against the first state
    rule.remember(2, old)
    held = [digest(acting_weights(policy)) for policy in rule._past]
    with torch.no_grad():
        next(rule.policy.acting_parameters()).add_(1.0)
    rule.remember(3, old)
    assert [digest(acting_weights(policy)) for policy in rule._past] == held
    rule.remember(4, rule.seats(seeds(50)))
    assert digest(acting_weights(rule.past[0])) == digest(acting_weights(rule.policy))


@pytest.mark.parametrize("errors", [0.0, 0.3, 1.0])
def test_errors_are_random_and_the_rest_is_the_policys(errors: float) -> None:
    policy = trainer_of(OFTEN).learners[KIND].policy
    with torch.no_grad():
        for parameter in policy.acting_parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    rows = 40_000
    obs = torch.zeros(rows, 1, 18, dtype=torch.uint8)
    obs[..., :2] = 1
    view = View(obs, (obs[..., :9] + obs[..., 9:]) == 0, torch.ones(rows, 1, dtype=torch.bool))
    noise = {KIND: torch.rand(rows, 1, 1, generator=torch.Generator().manual_seed(2))}
    step = Erring(policy, errors).step({KIND: view}, noise)[KIND]
    shares = np.bincount(step.action.flatten().numpy(), minlength=9) / rows
    own = policy.distribution(policy.spec.groups[0], obs[:1], view.action_mask[:1]).probs[0, 0].detach().numpy()
    assert own.max() > 0.25
    legal = np.array([0, 0, *[1 / 7] * 7])
    np.testing.assert_allclose(shares, (1 - errors) * own + errors * legal, atol=0.012)
    if errors == 0:
        assert torch.equal(step.action, policy.step({KIND: view}, noise)[KIND].action)


def test_scores_are_the_learners_by_opponent() -> None:
    trainer = trainer_of(replace(OFTEN, self_play_opponents=1.0))
    rule = rule_in(trainer)
    seats, out = trainer.collector.seats[KIND], trainer.env.buffers
    copies = trainer.env.num_envs
    seats.policy_of[:] = np.tile([RANDOM, LEARNER], copies)
    seats.policy_of[:2] = [LEARNER, PAST]
    out.outcome[:] = [1.0, -1.0]
    out.episode_over[:] = False
    out.episode_over[:3] = True
    rule.watch({KIND: seats}, out, trainer.env.episode_seed)
    assert rule.summary() == {"score/past": 1.0, "score/random": -1.0}
    assert rule.summary() == {}


def test_an_interruption_changes_no_bit() -> None:
    config = replace(OFTEN, self_play_opponents=0.9)
    whole = trainer_of(config)
    run(whole, 3)
    saved = deepcopy(whole.state_dict())
    metrics = run(whole, 3)
    resumed = trainer_of(config, seed=9)
    resumed.collector.noise_key = whole.collector.noise_key
    rule_in(resumed).key = rule_in(whole).key
    run(resumed, 1)
    resumed.load_state_dict(saved)
    assert run(resumed, 3) == metrics
    assert digest(resumed.state_dict()) == digest(whole.state_dict())


def test_without_others_it_is_plain_self_play() -> None:
    plain, pure = trainer_of(OFTEN), trainer_of(replace(OFTEN, self_play_opponents=0.0))
    env = environments.make(GAME, COPIES, 0)
    learners = {KIND: PPO(env.spec, KIND, replace(SMALL, critic="local", anneal=True), "agent", 0)}
    alone = Trainer(env, learners, {}, 5000, SMALL.rollout_length, 0)
    assert run(pure, 2) == run(alone, 2)
    assert run(plain, 2) != run(alone, 2)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"self_play_opponents": 1.5}, "self_play_opponents must be 0 to 1, not 1.5"),
        ({"self_play_random": -0.1}, "self_play_random must be 0 to 1, not -0.1"),
        ({"self_play_errors": 1.1}, "self_play_errors must be 0 to 1, not 1.1"),
        ({"self_play_every": 0}, "self_play_every must be at least 1, not 0"),
        ({"self_play_kept": 0}, "self_play_kept must be 1 to 1000, not 0"),
    ],
)
def test_settings_have_ranges(settings: dict[str, float], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        TrainConfig(self_play=True, **settings)


def test_settings_without_self_play_are_refused() -> None:
    with pytest.raises(UsageError, match="--self-play-every needs --self-play"):
        TrainConfig(self_play_every=7)
