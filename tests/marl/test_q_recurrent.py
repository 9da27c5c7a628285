"""Value-based learners with networks that remember, against plain loops over lives, one view after the other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from environments.errors import NumericalFailure, UsageError
from environments.spec import AgentGroup
from marl.algorithms.q_learning import QLearning
from marl.buffers import Rollout, own_or_all
from marl.policy import Policy
from marl.policy_spec import bytes_per_sample, choices
from marl.recurrent import Past
from marl.replay_buffer import ReplayBuffer, Views
from marl.seeding import torch_generator
from marl.trainer import Trainer
from tests.marl.mixed import MixedEnv
from tests.marl.remembering import fill, sample_of
from tests.marl.replay import FAMILIES, collect, config_of, learner
from tests.marl.rollouts import copied, make, same_bits, shaken, spoil
from tests.marl.test_q_learning import hoped
from tests.marl.test_replay_buffer import GAMMA, WAIT, slow, tensors, whole
from tests.marl.test_trainer import digest, run

GRU: dict[str, Any] = {"recurrent": "gru", "chunk_length": 3, "burn_in": 2}
CASES = [  # episodes of 5 to 9 steps, in a ring that has gone round
    ("toy/meet", "iql", "agent", {"double": False, "recurrent_layers": 2}),  # masks, ends of both kinds
    ("toy/siege", "iql", "agent", {"parameters": "per_agent"}),  # deaths, absences, several choices
    ("toy/siege", "qmix", "team_sum", {"burn_in": 0}),
    ("particle/speaker_listener", "vdn", "team_sum", {"burn_in": 4}),  # two groups in one team, ends by time alone
    ("toy/noughts", "iql", "agent", {"n_step": 1, "recurrent_layers": 2}),  # turns, two teams of a kind
    ("toy/meet", "iql", "agent", {"others": True}),  # who play whole teams, and members of the learner's
    ("toy/meet", "vdn", "team_sum", {"others": True, "gone": True, "n_step": 1}),  # and play on when its own have gone
]
cases = pytest.mark.parametrize(("game", "name", "reward", "changed"), CASES)


@dataclass(frozen=True)
class Lived:
    """All rollouts as one, without a ring."""

    rollouts: list[Rollout]
    obs: dict[str, Tensor]  # group -> [T+1, S, n, *shape]
    mask: dict[str, Tensor | None]
    acting: Tensor  # [T+1, S, R]
    state: Tensor
    start: Tensor  # [T+1, S]
    hidden: dict[str, Tensor]  # group -> [T / span, S, n, M]
    action: dict[str, Tensor]  # [T, S, n, ..]
    cut: set[tuple[int, int]]
    """Steps and seats after which there is a final view."""

    @classmethod
    def of(cls, made: QLearning, rollouts: list[Rollout]) -> Lived:
        last = rollouts[-1]

        def joined(of: Any) -> Tensor:
            return torch.cat([*(of(rollout)[: rollout.steps] for rollout in rollouts), of(last)[last.steps :]])

        names = [group.name for group in made.spec.groups]
        masked = {group.name for group in made.spec.groups if group.masked}
        return cls(
            rollouts,
            {name: joined(lambda x, name=name: x.groups[name].obs) for name in names},
            {
                name: joined(lambda x, name=name: x.groups[name].action_mask) if name in masked else None
                for name in names
            },
            joined(lambda x: x.ours(torch.cat([x.groups[name].acting for name in names], 2))),
            joined(lambda x: x.state),
            joined(lambda x: x.start),
            {name: torch.cat([x.hidden[name] for x in rollouts]) for name in names},
            {name: joined(lambda x, name=name: x.groups[name].action) for name in names},
            {
                (number * last.steps + t, s)
                for number, x in enumerate(rollouts)
                for t, s in zip(x.finals.step.tolist(), x.finals.seat.tolist(), strict=True)
            },
        )

    def view(self, step: int, seat: int) -> Views:
        """What one seat saw."""

        def row(x: Tensor) -> Tensor:
            return x[step, seat].unsqueeze(0)

        masks = {name: None if x is None else row(x) for name, x in self.mask.items()}
        obs = {name: row(x) for name, x in self.obs.items()}
        return Views(obs, masks, row(self.acting), row(self.state), torch.tensor([seat]))

    def final(self, step: int, seat: int) -> Views:
        """What it saw last, where some of its lives were truncated after that step: who acts is who was."""
        length = self.rollouts[0].steps
        rollout = self.rollouts[step // length]
        last = rollout.finals
        f = int(((last.step == step % length) & (last.seat == seat)).nonzero())
        groups = [rollout.groups[name] for name in self.obs]
        cut = torch.cat([(group.truncated & ~group.terminated)[step % length, seat] for group in groups])
        members = rollout.members(len(cut))
        cut = own_or_all(cut, None if members is None else members[step % length, seat])
        masks = {name: None if x is None else x[f : f + 1] for name, x in last.action_mask.items()}
        obs = {name: x[f : f + 1] for name, x in last.obs.items()}
        return Views(obs, masks, cut.unsqueeze(0), last.state[f : f + 1], torch.tensor([seat]))


def lived(
    game: str, name: str, reward: str, count: int = 8, others: bool = False, gone: bool = False, **changed: Any
) -> tuple[QLearning, Lived]:
    """A learner that remembers rollouts of its own and has not learnt yet; its targets are not what they follow."""
    env = make(game)
    made = learner(env, name, game, reward, **{**GRU, "n_step": 2, "gamma": GAMMA, **changed})
    shaken(made.policy)
    shaken(made.target_policy, 4)
    made.actor.exploring = False  # at least not at random alone
    rollouts = collect(env, made, count)
    if game == "particle/speaker_listener":  # as if one group were elsewhere now and then
        away = torch.rand(6 * count + 1, env.num_envs, 1, generator=torch_generator(5, "away")) < 0.3
        for number, rollout in enumerate(rollouts):
            rollout.groups["listener"].acting[:] &= ~away[6 * number : 6 * number + 7]
    if others:
        mine = torch.ones(6, env.num_envs, len(made.agents), dtype=torch.bool)
        mine[:, 1] = mine[:, ::2, 1:] = False
        rollouts = [replace(rollout, mine=mine) for rollout in rollouts]
        for rollout in rollouts:  # what others carry is no part of it
            rollout.hidden["agent"][:] *= mine[::3].unsqueeze(3)
    since = torch.zeros(env.num_envs, dtype=torch.int64)
    for rollout, step in itertools.product(rollouts if gone else [], range(7)):  # from an episode's second step on
        since = torch.where(rollout.start[step], 0, since + (step > 0))
        rollout.groups["agent"].acting[step, ::2, 0] &= since[::2] == 0
    fill(made, rollouts)
    return made, Lived.of(made, rollouts)


class Walk:
    """A policy's way through what one seat saw, one view after the other."""

    def __init__(self, policy: Policy, told: Lived, begin: int, seat: int, span: int) -> None:
        self.policy, self.told, self.seat, self.step = policy, told, seat, begin
        self.hidden = {name: x[begin // span, seat].unsqueeze(0) for name, x in told.hidden.items()}
        self.found: dict[int, dict[str, Tensor]] = {}
        """Step -> what is said of it."""
        self.ended: dict[int, dict[str, Tensor]] = {}
        """Step -> what is said of the final view after it."""

    def look(self, view: Views) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What is said of each group, `[n, sum K]`, and what would be carried on."""
        said, kept, first = {}, {}, 0
        for group in self.policy.spec.groups:
            acting = view.acting[:, first : first + self.policy.spec.members(group)]
            obs = torch.where(
                acting.view(*acting.shape, *[1] * (view.obs[group.name].dim() - 2)), view.obs[group.name], 0
            )
            past = Past.of_step(self.hidden[group.name], acting)
            outputs, after = self.policy.remembering(group, obs, past=past)
            assert after is not None
            said[group.name], kept[group.name] = outputs[0], after[:, -1]
            first += acting.shape[1]
        return said, kept

    def on(self) -> dict[str, Tensor]:
        """One step further; what is said of it."""
        if self.told.start[self.step, self.seat]:
            self.hidden = {name: torch.zeros_like(x) for name, x in self.hidden.items()}
        self.found[self.step], self.hidden = self.look(self.told.view(self.step, self.seat))
        if (self.step, self.seat) in self.told.cut:
            self.ended[self.step] = self.look(self.told.final(self.step, self.seat))[0]
        self.step += 1
        return self.found[self.step - 1]

    def at(self, place: int | tuple[str, int]) -> dict[str, Tensor]:
        """What is said of the view of a step, or of the final one after it."""
        last = place if isinstance(place, int) else place[1]
        while self.step <= last:
            self.on()
        return self.found[last] if isinstance(place, int) else self.ended[last]


def drawn(made: QLearning, told: Lived, count: int = 24) -> Iterator[tuple[int, int, int]]:
    """Number, step in the whole history and seat of each sample that `sample_of` draws."""
    buffer, total = made.buffer, len(told.start) - 1
    at, _ = buffer._draw(count, torch_generator(0, "test"))
    for b, place in enumerate(at.tolist()):
        yield b, total - (buffer.head - place // buffer.seats) % buffer.length, place % buffer.seats


@cases
@torch.no_grad()
def test_targets_are_those_of_a_loop(game: str, name: str, reward: str, changed: dict[str, Any]) -> None:
    """Whatever ends in a sequence: hidden states begin anew there, and a final view is seen by the life that ended."""
    made, told = lived(game, name, reward, **changed)
    assert made.buffer.size < len(told.start) - 1, "the ring went round"
    decisions, span, lead = made.config.n_step, made.span, made.config.burn_in
    sample = made.buffer.sample(90, decisions, GAMMA, WAIT, torch_generator(0, "test"))
    found = made._targets(sample)
    clock = whole(made.spec, told.rollouts, reward == "agent")
    clock.acts = clock.acts & told.acting.numpy() if reward == "agent" else told.acting.any(2, keepdim=True).numpy()
    kinds: set[type] = set()
    walks: dict[Any, Walk] = {}
    for b, step, seat in drawn(made, told, 90):
        begin = step - b % span - lead
        for k in range(found.shape[1]):
            row = min(k, clock.acts.shape[2] - 1)
            if not clock.acts[step, seat, row]:
                continue
            paid, discount, place = slow(clock, step, seat, row, decisions)
            wanted = paid
            if place is not None:
                view = told.view(place, seat) if isinstance(place, int) else told.final(place[1], seat)

                def said(policy: Policy, group: AgentGroup, where: Any = (begin, seat), place: Any = place) -> Tensor:
                    if (policy, where) not in walks:
                        walks[policy, where] = Walk(policy, told, *where, span)
                    return walks[policy, where].at(place)[group.name]

                wanted += discount * hoped(made, said, view)[k]
            kinds.add(type(place))
            assert float(found[b, k]) == pytest.approx(wanted, abs=2e-4)
    ends = {"toy/noughts": {int, type(None)}, "particle/speaker_listener": {int, tuple}, "toy/meet": {int, tuple}}
    assert kinds >= ends.get(game, {int, tuple, type(None)})


@cases
def test_values_and_their_gradients_are_those_of_a_loop(
    game: str, name: str, reward: str, changed: dict[str, Any]
) -> None:
    """Back through a chunk and no further: not into the steps that warm up, nor through an episode's start."""
    made, told = lived(game, name, reward, **changed)
    sample = sample_of(made, 24)
    made.policy.double()
    if made.mixer is not None:
        made.mixer.double()
    found = made._mixed(made.mixer, made._values(made.policy, sample.now, sample.action), sample.now)
    weights = torch.randn(found.shape, generator=torch_generator(1, "weights"), dtype=torch.float64)
    loss = torch.zeros((), dtype=torch.float64)
    for b, step, seat in drawn(made, told):
        if b % made.span == 0:
            walk = Walk(made.policy, told, step - made.config.burn_in, seat, made.span)
        while walk.step <= step:
            with torch.no_grad() if walk.step < step - b % made.span else nullcontext():
                said = walk.on()
        view = told.view(step, seat)
        worth = []
        for group in made.spec.groups:
            action = told.action[group.name][step, seat].view(made.spec.members(group), -1).long()
            parts = torch.split(said[group.name], list(choices(group.action_space)), 1)
            worth.append(
                torch.stack([part.gather(1, action[:, d : d + 1])[:, 0] for d, part in enumerate(parts)]).sum(0)
            )
        own = torch.where(view.acting, torch.cat(worth).unsqueeze(0), 0.0)
        wanted = own if made.mixer is None else made.mixer(own, view)
        torch.testing.assert_close(found[b : b + 1], wanted, rtol=1e-6, atol=1e-6)
        loss = loss + (weights[b] * wanted[0]).sum()
    parameters = list(made.policy.acting_parameters())
    slopes = torch.autograd.grad((weights * found).sum(), parameters)
    for x, y in zip(slopes, torch.autograd.grad(loss, parameters), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-7)
        assert bool(x.any())


@pytest.mark.parametrize("lead", [0, 2, 5])
@pytest.mark.parametrize("game", ["toy/noughts", "toy/meet"])
def test_no_sequence_reaches_across_the_newest_view(game: str, lead: int) -> None:
    """At every fill of the ring: chunks of one seat, of consecutive steps that are all there, on the grid on which what
    was carried is kept; each that can be is drawn."""
    made, told = lived(game, "iql", "agent", 2, burn_in=lead, n_step=1)
    buffer, span, total = made.buffer, 3, 2 * 6
    for rollout in told.rollouts * 6:
        buffer.add(rollout, made._paid(rollout))
        total += rollout.steps
        oldest = total - buffer.size
        grid = range(-(-oldest // span) * span, total, span)
        able = [s + lead for s in grid if s + lead + span <= total - buffer.max_wait]
        assert buffer.ready == bool(able)
        if not able:
            continue
        at, _ = buffer._draw(900, torch_generator(total, "draw"))
        steps, seats = total - (buffer.head - at // buffer.seats) % buffer.length, at % buffer.seats
        assert bool((steps.view(-1, span).diff(dim=1) == 1).all())
        assert bool((seats.view(-1, span) == seats[::span].unsqueeze(1)).all())
        assert set(steps[::span].tolist()) == set(able)
        assert set(seats.tolist()) == set(range(buffer.seats))
    assert total > buffer.length


def test_what_networks_carried_is_kept_where_a_chunk_begins() -> None:
    """It is what they come to from the start of the episode on, also while actions are random; nothing of others."""
    env = make("toy/siege")
    made = learner(env, "iql", "toy/siege", "agent", **GRU)
    shaken(made.policy)
    assert made.actor.exploring
    rollouts = collect(env, made, 4)
    told = Lived.of(made, rollouts)
    found = told.hidden["guard"]
    inside = 0
    for chunk in range(1, len(found)):
        for seat in range(found.shape[1]):
            begun = int(told.start[: 3 * chunk + 1, seat].nonzero().max())
            walk = Walk(made.policy, told, 0, seat, 3)
            walk.step, walk.hidden = begun, {"guard": torch.zeros_like(found[:1, seat])}
            while walk.step < 3 * chunk:
                walk.on()
            torch.testing.assert_close(found[chunk, seat], walk.hidden["guard"][0].detach(), rtol=0, atol=1e-5)
            inside += begun < 3 * chunk
    assert inside > 8 and bool(found.any())
    mine = torch.ones(6, 8, dtype=torch.bool)
    mine[:, ::2] = False
    members = torch.ones(6, 8, found.shape[2], dtype=torch.bool)
    members[:, ::2, 1:] = False
    for rollout in rollouts:
        spoilt = copied(rollout)
        spoil(spoilt.hidden["guard"], ~(mine if rollout is rollouts[0] else members)[::3], math.nan)
        made.buffer.add(replace(spoilt, mine=mine if rollout is rollouts[0] else members), made._paid(rollout))
    kept = made.buffer.hidden["guard"][: len(found)]
    assert torch.equal(kept[:, 1::2], found[:, 1::2]) and torch.equal(kept[2:, ::2, :1], found[2:, ::2, :1])
    assert not kept[:2, ::2].any() and not kept[:, ::2, 1:].any()
    spoil(spoilt.hidden["guard"], mine[::3], math.nan)
    with pytest.raises(NumericalFailure, match="not finite"):
        made.buffer.add(replace(spoilt, mine=mine), made._paid(rollout))


@pytest.mark.parametrize("count", [1, 9])
def test_saved_and_loaded_the_buffer_samples_the_same(count: int) -> None:
    """Before and after it is full; and it takes the memory that is stated."""
    made, told = lived("toy/siege", "qmix", "team_sum", count)
    buffer = made.buffer
    assert (buffer.size == buffer.length - 1) == (count > 1) and buffer.length % 3 == 0
    other = ReplayBuffer(buffer.spec, False, 8 * 40, buffer.max_wait, 3, 2)
    other.load_state_dict(copied(buffer.state_dict()))
    for _ in range(2):
        first, second = (each.sample(30, 2, GAMMA, WAIT, torch_generator(1, "test")) for each in (buffer, other))
        assert same_bits(tensors(first), tensors(second)) and len(first.use) == 30
        for each in (buffer, other):
            each.add(told.rollouts[0], made._paid(told.rollouts[0]))
    stated = bytes_per_sample(buffer.spec, make("toy/siege").spec.state_size, 1, 3) * buffer.length * buffer.seats
    held = sum(x.nbytes for part in (buffer.arrays, buffer.hidden) for x in part.values())
    assert held - 4 * buffer.length == stated


def test_a_buffer_holds_a_sequence_at_least() -> None:
    with pytest.raises(UsageError, match="buffer_size 96 is less than a sequence; it must be at least 120"):
        lived("toy/siege", "iql", "agent", 1, burn_in=10, buffer_size=96)
    made, _ = lived("toy/siege", "iql", "agent", 3, burn_in=10, buffer_size=120)
    assert made.buffer.ready and len(sample_of(made, 30).use) == 30
    seats, wait = made.buffer.seats, made.buffer.max_wait
    made.config.check_buffer(seats, wait)
    with pytest.raises(UsageError, match="a sequence of 15 steps has 120 samples: set --buffer-size"):
        replace(made.config, buffer_size=119).check_buffer(seats, wait)


@pytest.mark.parametrize("parameters", ["shared", "per_agent"])
@pytest.mark.parametrize("game", ["toy/meet", "toy/siege", "toy/noughts", "particle/speaker_listener"])
def test_every_kind_of_agent_can_be_trained(game: str, parameters: str) -> None:
    name = "iql" if game == "toy/noughts" else "qmix"
    env = make(game)
    made = learner(env, name, game, parameters=parameters, **GRU)
    before = [x.detach().clone() for x in made.learnt]
    for rollout in collect(env, made, 3):
        metrics = made.update(rollout, 0.0)
    assert all(math.isfinite(value) for value in metrics.values()) and metrics["updates"] > 0
    assert sum(torch.equal(x, y) for x, y in zip(before, made.learnt, strict=True)) == 0


@pytest.mark.parametrize("network", [{}, GRU], ids=["forward", "gru"])
@pytest.mark.parametrize("name", FAMILIES["q"])
def test_agents_of_one_choice_and_of_several_are_trained_in_one_team(name: str, network: dict[str, Any]) -> None:
    env = MixedEnv(8, spaces.MultiDiscrete([4, 3]))
    made = learner(env, name, **network)
    before = [x.detach().clone() for x in made.learnt]
    for rollout in collect(env, made, 3):
        metrics = made.update(rollout, 0.0)
    assert rollout.groups["listener"].action.flatten(0, -2).amax(0).tolist() == [3, 2]
    assert all(math.isfinite(value) for value in metrics.values()) and metrics["updates"] > 0
    assert sum(torch.equal(x, y) for x, y in zip(before, made.learnt, strict=True)) == 0


def trainer_of(name: str, seed: int = 0) -> Trainer:
    env = make(name, seed=seed)
    config = config_of("iql", recurrent_layers=2, **GRU)
    learners = {kind.name: QLearning(env.spec, kind.name, config, "agent", seed) for kind in env.spec.kinds}
    return Trainer(env, learners, {}, total_steps=5000, rollout_length=6, seed=seed)


def test_an_interruption_changes_no_bit() -> None:
    """In the middle of episodes: what players carry and what the buffer kept of it are both needed for that."""
    whole = trainer_of("toy/noughts")
    run(whole, 2)
    saved = deepcopy(whole.state_dict())
    metrics = run(whole, 2)
    ends = []
    for part in ("nothing", "carried", "kept"):
        resumed = trainer_of("toy/noughts", seed=9)
        resumed.collector.noise_key = whole.collector.noise_key
        run(resumed, 1)
        state = deepcopy(saved)
        for kind in state["learners"]:
            if part == "carried":
                state["collector"]["hidden"][kind] = {}
            elif part == "kept":
                for segment in state["learners"][kind]["buffer"]["hidden"]:
                    segment.update({group: torch.zeros_like(x) for group, x in segment.items()})
        resumed.load_state_dict(state)
        told = run(resumed, 2)
        ends.append((digest(resumed.state_dict()["learners"]), told))
    assert ends[0] == (digest(whole.state_dict()["learners"]), metrics)
    assert ends[1][0] != ends[0][0] != ends[2][0]


def test_values_in_replays_are_those_of_what_was_seen_so_far() -> None:
    """Of the best actions, as the learner itself would expect them there."""
    made, told = lived("toy/siege", "qmix", "team_sum")
    view, generator = told.view(7, 3), torch_generator(2, "hidden")
    hidden = {"guard": torch.randn(*told.hidden["guard"][:1, 3].shape, generator=generator)}
    group = made.spec.groups[0]
    shown = {"guard": _shown(view)}
    probabilities, value = made.policy.explain(shown, view.state, hidden)["guard"]
    with torch.no_grad():
        said = made.policy.look(group, shown["guard"], hidden)[0]
        best = made.policy.head(group, said, view.action_mask["guard"])
        assert torch.equal(probabilities, best.probs)  # type: ignore[union-attr]
        parts = torch.split(said, list(choices(group.action_space)), 2)
        picked = zip(parts, best.mode().long().unbind(2), strict=True)
        worth = torch.stack([part.gather(2, action.unsqueeze(2)).squeeze(2) for part, action in picked]).sum(0)
        assert made.mixer is not None
        wanted = made.mixer(torch.where(view.acting, worth, 0.0), view)
    torch.testing.assert_close(value, wanted.expand_as(value))
    assert not torch.equal(made.policy.explain(shown, view.state)["guard"][1], value)


def _shown(view: Views) -> Any:
    from marl.acting import View

    return View(view.obs["guard"], view.action_mask["guard"], view.acting)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"chunk_length": 4}, "a rollout of 6 steps cannot be cut into chunks of 4: set --chunk-length 3"),
        ({"burn_in": -1}, "burn_in must be at least 0"),
        ({"recurrent_layers": 65}, "recurrent_layers must be 1 to 64, not 65"),
        ({"batch_size": 2}, "a chunk of 3 steps needs --batch-size 3 or more, not 2"),
    ],
)
def test_settings_that_cannot_be_are_refused(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        config_of("iql", **{**GRU, **changed})
    assert config_of("iql", **{**GRU, **changed, "recurrent": "none", "batch_size": 2, "burn_in": 0}).span == 1
