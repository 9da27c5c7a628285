"""Laws of learners from a replay buffer: copies and agents may change places, and a batch may be cut anywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from marl.algorithms.actor_critic import ActorCritic
from marl.algorithms.off_policy import OffPolicy
from marl.algorithms.sac import SAC
from marl.buffers import Rollout
from marl.policy_spec import PolicySpec
from marl.replay_buffer import ReplayBuffer, Sample, Views
from tests.marl.remembering import sample_of
from tests.marl.replay import ready
from tests.marl.rollouts import copied, kind_of, make
from tests.marl.test_replay_buffer import GAMMA, LENGTH, WAIT, paid, places, rollouts

SEATS = 8
few = settings(max_examples=6, deadline=None)

# --- copies ---------------------------------------------------------------------------------------------------------


@cache
def history(name: str) -> tuple[PolicySpec, int, list[Rollout]]:
    env = make(name, SEATS)
    return PolicySpec.of(env.spec, kind_of(name)), env.spec.max_wait, rollouts(env, kind_of(name), 5)


def seated(rollout: Rollout, order: list[int]) -> Rollout:
    """The rollout with what happened in seat `order[s]` in seat s."""
    finals = replace(rollout.finals, seat=torch.tensor(order).argsort()[rollout.finals.seat])
    rows = (finals.step * len(order) + finals.seat).argsort()  # as a collector has them
    moved = {name: getattr(rollout, name)[:, order] for name in ("state", "episode_over", "episode_truncated", "start")}
    groups = copied(rollout.groups, lambda x: x[:, order])
    return replace(rollout, groups=groups, finals=copied(finals, lambda x: x[rows]), **moved)


@few
@given(name=st.sampled_from(["toy/siege", "toy/meet", "toy/dock"]), per_agent=st.booleans(), data=st.data())
def test_samples_do_not_depend_on_where_copies_stand(name: str, per_agent: bool, data: st.DataObject) -> None:
    spec, wait, told = history(name)
    order = data.draw(st.permutations(range(SEATS)))
    found = []
    for moved in (False, True):
        buffer = ReplayBuffer(spec, per_agent, SEATS * 15, wait)
        for rollout in told:
            given = seated(rollout, order) if moved else rollout
            buffer.add(given, paid(spec, given, per_agent))
        at, _ = places(buffer, len(told) * LENGTH)
        at = at.view(-1, SEATS) if moved else at.view(-1, SEATS)[:, order]
        reward, discount, then = buffer._look_ahead(at.flatten(), 3, GAMMA, WAIT)
        views = buffer._views(then[:, 0])
        first = spec.groups[0].name
        found.append([reward, discount, views.acting, views.state, views.obs[first], buffer._views(at.flatten()).state])
    for x, y in zip(*found, strict=True):
        assert torch.equal(x, y)


# --- batches --------------------------------------------------------------------------------------------------------

STILL = {"max_grad_norm": None, "actor_learning_rate": 0.0, "critic_learning_rate": 0.0}
LEARNERS: dict[str, Callable[[], Any]] = {
    "hasac": lambda: ready("hasac", "toy/meet", "agent", expectation="joint", **STILL),
    "masac": lambda: ready("masac", "toy/meet", "team_sum", expectation="joint", **STILL),
    "isac": lambda: ready("isac", "toy/siege", "agent", parameters="per_agent", **STILL),
    "hatd3": lambda: ready("hatd3", "perilous", "agent", **STILL),
    "maddpg": lambda: ready("maddpg", "perilous", "team_sum", **STILL),
}
"""Whose losses draw nothing, and who stand where they are."""
made_once = cache(lambda name: LEARNERS[name]())


def rows_of(sample: Sample, start: int, end: int) -> Sample:
    """Joint samples from `start` to `end`."""

    def cut(x: Tensor) -> Tensor:
        return x[start:end]

    action = {name: cut(x) for name, x in sample.action.items()}
    rest = (cut(x) for x in (sample.reward, sample.discount))
    return Sample(cut(sample.use), copied(sample.now, cut), action, *rest, sample.then, cut(sample.which))


def slopes(made: ActorCritic, sample: Sample, targets: Tensor) -> dict[str, tuple[list[Tensor], Tensor]]:
    """Gradients of critics, of each agent's actor and of the temperatures, and how many decisions each is a mean of."""
    patch = pytest.MonkeyPatch()
    patch.setattr(made, "_targets", lambda sample: targets)
    acting = sample.now.acting & sample.use.unsqueeze(1)
    try:
        made._critic_step(sample)
        found = {"critic": [x.grad.clone() for x in made.judging if x.grad is not None]}
        if isinstance(made, SAC):
            log_prob = made._actor_steps(sample, acting)[0]
            made._temperature_step(sample, log_prob, acting)
            assert made.log_temperature.grad is not None
            found["temperature"] = [made.log_temperature.grad.clone()]
            made.log_temperature.data.zero_()  # or the next actors' costs would be others
        else:
            (made._all_at_once if made.config.order == "at_once" else made._one_by_one)(sample, acting)  # type: ignore[attr-defined]
    finally:
        patch.undo()
    seats = (acting if made.reward == "agent" or not made.critic.central else sample.use).sum()
    counts = acting.sum(0)
    told = {"critic": (found["critic"], seats)}
    whole = made.config.order == "at_once"
    for r in range(len(made.agents)):
        grads = [x.grad[r] if whole else x.grad for x in (made.parts[0] if whole else made.parts[r])]
        told[f"actor {r}"] = ([x.clone() for x in grads if x is not None], counts[r])
    if "temperature" in found:
        told["temperature"] = (found["temperature"], counts)
    return told


@pytest.mark.parametrize("name", LEARNERS)
@few
@given(cut=st.integers(1, 63), seed=st.integers(0, 99))
def test_a_batch_is_the_mean_of_its_parts(name: str, cut: int, seed: int) -> None:
    """Each loss is a mean over decisions: parts weighed by theirs, wherever the batch is cut."""
    made = made_once(name)
    generator = torch.Generator().manual_seed(seed)
    sample = made.buffer.sample(64, 2, 0.9, 0.9, generator)
    targets = torch.randn(64, made.critic.rows, generator=generator)
    whole = slopes(made, sample, targets)
    parts = [slopes(made, rows_of(sample, *ends), targets[slice(*ends)]) for ends in ((0, cut), (cut, 64))]
    for part, (grads, count) in whole.items():
        for i, grad in enumerate(grads):
            summed = sum(each[part][0][i] * each[part][1] for each in parts) / count.clamp(min=1)
            torch.testing.assert_close(summed, grad, rtol=1e-4, atol=1e-6)
    assert all(max(float(x.abs().max()) for x in grads) > 1e-6 for grads, count in whole.values() if int(count.min()))


# --- agents ---------------------------------------------------------------------------------------------------------

PLACED: dict[str, tuple[str, dict[str, Any]]] = {
    "maddpg": ("perilous", {}),
    "isac": ("toy/meet", {}),
    "masac": ("toy/meet", {"expectation": "joint"}),
    "iql": ("toy/siege", {"double": False}),
}


def moved_about(views: Views, order: list[int]) -> Views:
    return replace(
        views,
        obs={name: x[:, order] for name, x in views.obs.items()},
        action_mask={name: None if x is None else x[:, order] for name, x in views.action_mask.items()},
        acting=views.acting[:, order],
    )


def places_changed(made: OffPolicy, order: list[int]) -> None:
    """Give place i the networks of agent `order[i]`, also where critics look for what it does."""

    def swapped(x: Tensor, to: Tensor) -> None:
        x.data.copy_(to.clone())

    def stacks(module: nn.Module) -> None:
        for x in module.parameters():
            swapped(x, x.data[order])

    group = made.spec.groups[0].name
    for name in ("policy", "target_policy"):
        if hasattr(made, name):
            stacks(getattr(made, name).actors[group])
    if isinstance(made, SAC):
        swapped(made.log_temperature, made.log_temperature.data[order])
    for name in ("critic", "target"):
        critic = getattr(made, name, None)
        if critic is None:
            continue
        if not critic.central:
            stacks(critic.heads)
            continue
        head, agents = critic.heads["central"], len(order)
        first = head.weights[0].data
        wide = (first.shape[1] - critic.state_size) // agents
        columns = [critic.state_size + wide * i + j for i in order for j in range(wide)]
        swapped(head.weights[0], first[:, [*range(critic.state_size), *columns]])
        swapped(head.weights[-1], head.weights[-1].data[:, :, order])
        swapped(head.biases[-1], head.biases[-1].data[:, order])


@pytest.mark.parametrize("name", PLACED)
@few
@given(data=st.data())
def test_agents_that_change_places_learn_the_same(name: str, data: st.DataObject) -> None:
    """With their networks, what they saw, did and earned: each ends up as it would have elsewhere."""
    game, changed = PLACED[name]
    order = data.draw(st.permutations(range(4 if game == "toy/siege" else 3)))
    ends = []
    for moved in (False, True):
        made = ready(name, game, "agent", parameters="per_agent", max_grad_norm=None, adam_eps=1e-3, **changed)
        if isinstance(made, SAC):
            made.log_temperature.data += 0.1 * torch.arange(len(order))
        sample = sample_of(made)
        if moved:
            places_changed(made, order)
            rows = {k: getattr(sample, k)[:, order] for k in ("reward", "discount", "which")}
            action = {k: x[:, order] for k, x in sample.action.items()}
            seen = {k: moved_about(getattr(sample, k), order) for k in ("now", "then")}
            sample = replace(sample, action=action, **seen, **rows)
        else:
            before = [x.clone() for x in made.policy.actors[made.spec.groups[0].name].parameters()]
        patch = pytest.MonkeyPatch()
        patch.setattr(made, "_draw", lambda sample=sample: sample)
        if name != "iql":
            made.updates = 1  # targets are what was made of them
        made._learn()
        patch.undo()
        grown = [x.data for x in made.policy.actors[made.spec.groups[0].name].parameters()]
        ends.append(grown if moved else [x[order] for x in grown])
        if not moved:
            assert all(not torch.equal(x, y) for x, y in zip(before, grown, strict=True))
    for x, y in zip(*ends, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-6)
