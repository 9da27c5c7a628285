"""Learners from rollouts with networks that remember: what acted is what is trained, chunk by chunk."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from environments.vector import VectorEnv
from marl.algorithms import chunks
from marl.algorithms.on_policy import OnPolicy
from marl.algorithms.ppo import PPO
from marl.algorithms.trpo import TRPO
from marl.buffers import Batch, Rollout
from marl.collector import Collector
from marl.config import A2CConfig, DPOConfig, TRPOConfig
from marl.config_rollout import RolloutConfig
from marl.policy_spec import PolicySpec
from marl.random_policy import RandomPolicy
from marl.recurrent import Past
from marl.seats import Seats
from marl.trainer import Trainer
from tests.marl.rollouts import SMALL, collect, copied, kind_of, make, shaken, spoil
from tests.marl.test_trainer import digest, run

GRU = replace(SMALL, recurrent="gru", chunk_length=4)
CASES: list[tuple[str, dict[str, Any], str, int]] = [  # episodes of 5 to 9 steps: some begin inside a chunk of 4
    ("toy/meet", {"critic": "local"}, "agent", 1),  # masks
    ("toy/siege", {"critic": "central", "recurrent_layers": 2}, "agent", 1),  # deaths
    ("toy/siege", {"critic": "local", "parameters": "per_agent"}, "team_sum", 2),
    ("toy/noughts", {"critic": "central", "agent_id": False}, "agent", 2),  # turns, another player
    ("toy/dock", {"parameters": "per_agent", "order": "agent_by_agent"}, "team_mean", 1),  # boxes, a value per team
    ("particle/speaker_listener", {"critic": "local", "hidden": (16, 8), "recurrent_layers": 3}, "agent", 1),
]
cases = pytest.mark.parametrize(("name", "settings", "reward", "players"), CASES)


def learner(env: VectorEnv, name: str, config: RolloutConfig, reward: str = "agent", seed: int = 5) -> OnPolicy:
    kind = TRPO if isinstance(config, TRPOConfig) else PPO
    made = kind(env.spec, kind_of(name), config, reward, seed)  # type: ignore[arg-type]
    shaken(made.policy, seed - 2)
    return made


def situation(
    name: str, config: RolloutConfig, reward: str = "agent", players: int = 1, warm: int = 1
) -> tuple[OnPolicy, Rollout]:
    """A learner and a rollout of it, with others of other weights in every second seat."""
    env = make(name)
    made = learner(env, name, config, reward)
    others = [learner(env, name, config, reward, 7 + k).policy for k in range(players - 1)]
    kind, span = kind_of(name), config.span
    rollout = collect(env, {kind: [made.policy, *others]}, config.rollout_length, warm, {kind: span})[kind]
    return made, copied(rollout)


def value_of(made: OnPolicy, batch: Batch) -> Tensor:
    memory = batch.memory
    assert memory is not None
    past = made.value.past(memory.value_hidden, memory.start, batch.acting.view(*memory.start.shape, -1))
    return made.value(batch.obs, batch.state, batch.seat, past)


@cases
def test_nothing_has_changed_before_the_first_step(
    name: str, settings: dict[str, Any], reward: str, players: int
) -> None:
    """Ratios are 1 and values those that targets were made from, in all chunks of a rollout that is not the first."""
    made, rollout = situation(name, replace(GRU, **settings), reward, players)
    assert rollout.start[1:-1].any()
    made.update(rollout, 0.0)  # the critic carries something now
    assert all(x.any() for x in made.carried.values())
    env = make(name, seed=2)
    policies = [made.policy, *(learner(env, name, made.config, reward, 9).policy for _ in range(players - 1))]
    rollout = copied(collect(env, {kind_of(name): policies}, spans={kind_of(name): 4})[kind_of(name)])
    assert all(x[:, :, :].any() for x in rollout.hidden.values())
    batch = made.prepare(rollout)
    log_prob, _ = made.evaluate(batch)
    assert batch.use.any()
    torch.testing.assert_close(
        torch.where(batch.use, log_prob - batch.log_prob, 0.0).exp(), torch.ones_like(log_prob), rtol=0, atol=1e-5
    )
    wanted = torch.where(batch.use_value, batch.old_value, 0.0)
    torch.testing.assert_close(torch.where(batch.use_value, value_of(made, batch), 0.0), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["toy/siege", "toy/noughts", "toy/meet"])
def test_what_is_carried_begins_at_nothing_and_moves_only_where_an_agent_acts(name: str) -> None:
    _, rollout = situation(name, replace(GRU, chunk_length=1))
    for group, hidden in rollout.hidden.items():
        begun, acts = rollout.start[:-1], rollout.groups[group].acting[:-1]
        assert begun[1:].any() and not hidden[begun].any()
        moved = (hidden[1:] != hidden[:-1]).any(-1)
        goes_on = ~begun[1:].unsqueeze(-1)
        assert moved[acts[:-1] & goes_on].all() and not moved[~acts[:-1] & goes_on].any()
    assert not all(group.acting.all() for group in rollout.groups.values()) or name == "toy/meet"


@cases
def test_chunks_say_what_the_whole_says(name: str, settings: dict[str, Any], reward: str, players: int) -> None:
    """Whatever the chunks' length, while parameters stay; and each sample is where it belongs."""
    found = []
    for chunk in (1, 3, 12):
        made, rollout = situation(name, replace(GRU, chunk_length=chunk, **settings), reward, players)
        batch = made.prepare(rollout)
        assert torch.equal(batch.seat, chunks.flat(torch.arange(rollout.seats).expand(12, rollout.seats), chunk))
        steps = chunks.steps_of(made.evaluate(batch)[0], 12, chunk)
        values = chunks.steps_of(value_of(made, batch), 12, chunk)
        use, known = (chunks.steps_of(x, 12, chunk) for x in (batch.use, batch.use_value))
        found.append((torch.where(use, steps, 0.0), torch.where(known, values, 0.0)))
    for steps, values in found[1:]:
        torch.testing.assert_close(steps, found[0][0], rtol=0, atol=1e-5)
        torch.testing.assert_close(values, found[0][1], rtol=0, atol=1e-5)


def slow_loss(made: PPO, batch: Batch) -> Tensor:
    """The loss of a minibatch that is the whole batch, one seat's chunk after the other and step by step."""
    config, memory = made.config, batch.memory
    assert memory is not None
    decisions, values = batch.use.sum(), batch.use_value.sum()
    loss = torch.zeros((), dtype=torch.float64)
    for chunk in range(len(memory.start)):
        hidden = {name: x[chunk : chunk + 1].double() for name, x in memory.hidden.items()}
        minds = {name: x[chunk : chunk + 1].double() for name, x in memory.value_hidden.items()}
        for t in range(config.span):
            b = chunk * config.span + t
            part = {name: x[b : b + 1] for name, x in batch.obs.items()}
            if memory.start[chunk, t]:
                hidden = {name: torch.zeros_like(x) for name, x in hidden.items()}
                minds = {name: torch.zeros_like(x) for name, x in minds.items()}
            acting = batch.acting[b : b + 1]
            first = 0
            for group in made.spec.groups:
                n = made.spec.members(group)
                own = slice(first, first + n)
                mask = batch.action_mask[group.name]
                past = Past.of_step(hidden[group.name], acting[:, own])
                outputs, after = made.policy.remembering(group, part[group.name], past=past)
                assert after is not None
                hidden[group.name] = after[:, -1]
                chosen = made.policy.head(group, outputs, None if mask is None else mask[b : b + 1])
                use = batch.use[b : b + 1, own]
                log_prob = chosen.log_prob(batch.action[group.name][b : b + 1])
                ratio = torch.where(use, log_prob - batch.log_prob[b : b + 1, own], 0.0).exp()
                gain = torch.where(use, batch.advantage[b : b + 1, own], 0.0)
                clipped = ratio.clamp(1 - config.clip, 1 + config.clip) * gain
                entropy = torch.where(use, chosen.entropy(), 0.0).sum()
                loss = loss - (torch.minimum(ratio * gain, clipped).sum() + config.entropy * entropy) / decisions
                first += n
            past = made.value.past(minds, torch.zeros(1, 1, dtype=torch.bool), acting.unsqueeze(1))
            value, minds = made.value.remembering(part, batch.state[b : b + 1].double(), batch.seat[b : b + 1], past)
            error = (value - batch.target[b : b + 1]).square() * config.value_coefficient / 2
            loss = loss + torch.where(batch.use_value[b : b + 1], error, 0.0).sum() / values
    return loss


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("toy/meet", {"critic": "local", "recurrent_layers": 2}),
        ("toy/siege", {"critic": "central"}),
        ("toy/noughts", {"critic": "local", "parameters": "per_agent"}),
    ],
)
def test_gradients_are_those_of_a_slow_loop(name: str, settings: dict[str, Any]) -> None:
    """Back through a chunk and no further, through no episode's start and no step at which an agent waits."""
    made, rollout = situation(name, replace(GRU, value_loss="mse", **settings), "agent", 2)
    assert isinstance(made, PPO)
    batch = made.prepare(rollout)
    made.policy.double()
    double: dict[str, Any] = {
        key: x.double() for key, x in vars(batch).items() if isinstance(x, Tensor) and x.dtype == torch.float32
    }
    batch = replace(batch, **double)
    shaken(made.policy, 11)  # so that ratios are not 1
    counts = batch.use.sum(), batch.use_value.sum()
    found, metrics = made.block_gradients(batch, *counts)
    loss = slow_loss(made, batch)
    wanted = torch.autograd.grad(loss, made.parameters)
    assert metrics["loss"].item() == pytest.approx(loss.item(), abs=1e-9)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)
    assert all(x.any() for x in found)


@pytest.mark.parametrize("garbage", [1e6, float("nan")])
@pytest.mark.parametrize("case", [1, 2, 3])
def test_garbage_where_nobody_acts_changes_no_bit(case: int, garbage: float) -> None:
    name, settings, reward, players = CASES[case]
    made, rollout = situation(name, replace(GRU, **settings), reward, players)
    states = []
    for spoils in (False, True):
        fresh, seen = deepcopy(made), copied(rollout)
        for group in seen.groups.values() if spoils else ():
            nobody = ~group.acting
            assert nobody.any()
            spoil(group.obs, nobody, garbage)
            spoil(group.action, nobody[:-1], garbage)
            spoil(group.log_prob, nobody[:-1], garbage)
        if spoils and seen.mine is not None:
            for x in seen.hidden.values():
                spoil(x, ~seen.mine[::4], garbage)
        for x in seen.hidden.values() if spoils else ():
            spoil(x, seen.start[:-1][::4], garbage)
        fresh.update(seen, 0.0)
        states.append(digest(fresh.policy.state_dict()))
    assert states[0] == states[1]


@pytest.mark.parametrize(("critic", "reward"), [("local", "agent"), ("central", "team_sum"), ("central", "agent")])
@pytest.mark.parametrize("name", ["toy/dock", "toy/meet"])
def test_the_value_of_a_final_view_remembers_the_life_that_ended(name: str, critic: str, reward: str) -> None:
    made, rollout = situation(name, replace(GRU, critic=critic, value_norm=False), reward, warm=0)
    groups = [rollout.groups[group.name] for group in made.spec.groups]
    acting = torch.cat([group.acting for group in groups], 2)
    cut = torch.cat([group.truncated & ~group.terminated for group in groups], 2)
    obs = {group.name: rollout.groups[group.name].obs for group in made.spec.groups}
    unrolled = made._unrolled(rollout, obs, acting)
    found = made._final_values(rollout, cut, unrolled.ended)
    finals = rollout.finals
    assert len(finals.step) > 4
    for f, (t, s) in enumerate(zip(finals.step.tolist(), finals.seat.tolist(), strict=True)):
        begun = int(rollout.start[: t + 1, s].nonzero().max())
        minds = made.value.begin(1)
        no, seat = torch.zeros(1, 1, dtype=torch.bool), torch.tensor([s])
        for k in range(begun, t + 1):
            past = made.value.past(minds, no, acting[k, s].view(1, 1, -1))
            seen = {name: x[k, s].unsqueeze(0) for name, x in obs.items()}
            _, minds = made.value.remembering(seen, rollout.state[k, s].unsqueeze(0), seat, past)
        past = made.value.past(minds, no, cut[t, s].view(1, 1, -1))
        last = {name: x[f].unsqueeze(0) for name, x in finals.obs.items()}
        value = made.value.to_raw(made.value(last, finals.state[f].unsqueeze(0), seat, past))[0]
        own = cut[t, s] if len(value) > 1 else cut[t, s].any(0, keepdim=True)
        torch.testing.assert_close(found[t, s], torch.where(own, value, 0.0), rtol=0, atol=1e-5)
    assert found.any()


def test_a_critic_goes_on_where_the_last_rollout_ended() -> None:
    """Two rollouts are one twice as long, while parameters stay."""
    env = make("toy/siege")
    made = learner(env, "toy/siege", replace(GRU, value_norm=False))
    players = {kind.name: RandomPolicy(PolicySpec.of(env.spec, kind.name)) for kind in env.spec.kinds}
    seats = {name: Seats.all(player, 8) for name, player in (players | {"guard": made.policy}).items()}
    collector = Collector(env, seats, 12, 9, {"guard": 4})
    first, second = (copied(collector.collect()["guard"]) for _ in range(2))
    made.carry_on(made.prepare(first))
    found = chunks.steps_of(made.prepare(second).old_value, 12, 4)
    own, then = first.groups["guard"], second.groups["guard"]
    obs, acting = torch.cat([own.obs[:-1], then.obs]), torch.cat([own.acting[:-1], then.acting])
    state, start = torch.cat([first.state[:-1], second.state]), torch.cat([first.start[:-1], second.start])
    whole, alone = (
        chunks.unroll(
            made.value, {"guard": obs[t:]}, state[t:], acting[t:], start[t:], made.value.begin(8), 4, second.finals
        ).outputs[12 - t :]
        for t in (0, 12)
    )
    torch.testing.assert_close(found, whole[:-1], rtol=0, atol=1e-5)
    assert not torch.allclose(whole[0], alone[0])


LEARNERS: Mapping[str, RolloutConfig] = {
    "mappo": replace(GRU, recurrent_layers=2),
    "happo": replace(GRU, parameters="per_agent", order="agent_by_agent"),
    "hatrpo": TRPOConfig(hidden=(16,), rollout_length=12, minibatches=3, recurrent="gru", chunk_length=4),
    "ia2c": A2CConfig(hidden=(16,), rollout_length=12, critic="local", recurrent="gru", chunk_length=4),
    "dpo": DPOConfig(hidden=(16,), rollout_length=12, critic="local", recurrent="gru", chunk_length=4),
    "mdpo": replace(GRU, trust_region="mdpo"),
    "fixpo": replace(GRU, trust_region="fixpo", kl_bound=0.01, kl_weight=0.1, learning_rate=0.02),
    "vtrace": replace(GRU, returns="vtrace", critic="local"),
}


@pytest.mark.parametrize("which", LEARNERS)
def test_every_learner_learns_in_chunks(which: str) -> None:
    """Each keeps its promise: agents one by one, bounded divergences, ratios that are 1 where nothing has moved."""
    made, rollout = situation("toy/siege", LEARNERS[which])
    before = {name: x.clone() for name, x in made.policy.state_dict().items()}
    metrics = made.update(rollout, 0.0)
    after = made.policy.state_dict()
    still = [name for name, x in after.items() if x.is_floating_point() and torch.equal(x, before[name])]
    assert not still, still
    assert made.carried
    if which == "hatrpo":
        assert metrics["accepted"] > 0 and metrics["divergence_largest"] <= LEARNERS[which].kl_radius + 1e-6  # type: ignore[union-attr]
    if which == "fixpo":
        assert metrics["mending"] + metrics["pulls"] > 0 and metrics["divergence_largest"] <= 0.01 + 1e-6
    if which == "happo":
        assert metrics["factor"] > 0


def test_one_step_of_fisher_is_that_of_the_exact_divergence() -> None:
    """HATRPO's promised divergence comes true: the curvature goes through the recurrence too."""
    made, rollout = situation("toy/siege", replace(LEARNERS["hatrpo"], kl_radius=1e-5))
    metrics = made.update(rollout, 0.0)
    assert metrics["accepted"] == 1
    assert 0.3e-5 < metrics["divergence"] <= 1e-5


def trainer_of(name: str, seed: int = 0) -> Trainer:
    env = make(name, seed=seed)
    config = replace(GRU, anneal=True, critic="central" if name == "toy/siege" else "local", recurrent_layers=2)
    learners = {kind.name: PPO(env.spec, kind.name, config, "agent", seed) for kind in env.spec.kinds}
    return Trainer(env, learners, {}, total_steps=5000, rollout_length=12, seed=seed)


@pytest.mark.parametrize("name", ["toy/noughts", "toy/siege"])
def test_an_interruption_changes_no_bit(name: str) -> None:
    whole = trainer_of(name)
    run(whole, 2)
    saved = deepcopy(whole.state_dict())
    metrics = run(whole, 2)
    resumed = trainer_of(name, seed=9)
    resumed.collector.noise_key = whole.collector.noise_key
    run(resumed, 1)
    resumed.load_state_dict(saved)
    assert run(resumed, 2) == metrics
    assert digest(resumed.state_dict()) == digest(whole.state_dict())
    for part in ("actors", "critics"):  # both are needed for that
        other = trainer_of(name, seed=9)
        other.collector.noise_key = whole.collector.noise_key
        poorer = deepcopy(saved)
        for kind in poorer["learners"]:
            if part == "actors":
                poorer["collector"]["hidden"][kind] = {}
            else:
                poorer["learners"][kind]["carried"] = {}
        other.load_state_dict(poorer)
        run(other, 2)
        assert digest(other.state_dict()["learners"]) != digest(whole.state_dict()["learners"]), part
