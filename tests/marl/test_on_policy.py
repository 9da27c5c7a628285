"""What every learner from rollouts keeps to: ratios of one, garbage that changes no bit, threads, exact resume."""

from __future__ import annotations

import copy
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from environments.errors import NumericalFailure, UsageError
from marl import checkpoint
from marl.algorithms import on_policy
from marl.algorithms.on_policy import OnPolicy
from marl.buffers import Rollout
from marl.config import ALGORITHMS, changed
from marl.engine import fused
from marl.trainer import Trainer
from tests.marl import rollouts
from tests.marl.mixed import MixedEnv
from tests.marl.rollouts import GAMES, collect, copied, kind_of, make, rollout_of, same_bits, shaken
from tests.marl.test_ppo import spoil_who_does_not_act
from tests.marl.test_trainer import digest, run

SETTINGS: dict[str, Any] = {"hidden": (16,), "rollout_length": 12, "anneal": False}
LEARNERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ia2c": ("ia2c", {"learning_rate": 0.01}),
    "maa2c": ("maa2c", {"parameters": "per_agent", "returns": "nstep", "n_step": 3}),
    "happo": ("happo", {"epochs": 2, "minibatches": 3}),
    "happo-minibatch": ("happo", {"epochs": 2, "minibatches": 2, "advantage_norm": "minibatch", "returns": "vtrace"}),
    "happo-mdpo": ("happo", {"epochs": 2, "minibatches": 2, "trust_region": "mdpo"}),
    "dpo": ("dpo", {"epochs": 2, "minibatches": 3}),
    "mappo-mdpo": ("mappo", {"epochs": 2, "minibatches": 2, "trust_region": "mdpo", "returns": "vtrace"}),
    "ippo-fixpo": ("ippo", {"epochs": 2, "minibatches": 2, "trust_region": "fixpo", "kl_bound": 0.01}),
    "hatrpo": ("hatrpo", {"epochs": 2, "minibatches": 3}),
}
"""Every name, and settings that lead elsewhere in the code."""
GATED = [name for name in LEARNERS if not name.endswith("a2c") and name != "hatrpo"]
"""Those that stand still at learning rate 0 and say how far ratios are from 1; the others are tested apart."""
every = pytest.mark.parametrize("which", LEARNERS)
games = pytest.mark.parametrize("game", GAMES)


def learner(which: str, game: str, reward: str, threads: int = 1, engine: str = "fused", **more: Any) -> OnPolicy:
    name, settings = LEARNERS[which]
    known = ALGORITHMS[name]
    config = changed(known.config, SETTINGS | settings | more)
    made: OnPolicy = known.load()(make(game).spec, kind_of(game), config, reward, 5, threads, engine=engine)
    shaken(made.policy)
    return made


def rewards(game: str) -> list[str]:
    return ["agent"] if game == "toy/noughts" else ["agent", "team_sum"]


def state(made: OnPolicy) -> list[Tensor]:
    """All that a learner holds, in order."""
    found: list[Tensor] = []

    def add(x: Any) -> None:
        if isinstance(x, dict):
            for key in sorted(x, key=str):
                add(x[key])
        elif isinstance(x, list):
            for item in x:
                add(item)
        elif isinstance(x, Tensor):
            found.append(x.clone())

    add(made.state_dict())
    return found


def updated(which: str, game: str, rollout: Rollout, reward: str, **more: Any) -> list[Tensor]:
    made = learner(which, game, reward, **more)
    made.update(rollout, 0.0)
    return state(made)


@games
@pytest.mark.parametrize("which", GATED)
def test_the_ratio_is_one_as_long_as_nothing_is_learnt(which: str, game: str) -> None:
    """Masked, dead, waiting, of several groups and kinds: no ratio moves at learning rate 0."""
    for reward in rewards(game):
        for engine in ("fused", "torch"):
            made = learner(which, game, reward, engine=engine, learning_rate=0.0, clip=1e-5)
            env = make(game)
            told = made.update(collect(env, {kind_of(game): [made.policy]}, warm=0)[kind_of(game)], 0.0)
            assert told["trained"] > 0.1
            assert told.get("clipped", 0.0) == 0.0, reward
            assert abs(told.get("kl", 0.0)) < 1e-6 and told.get("divergence_largest", 0.0) < 1e-6
            assert told.get("factor", 0.0) < 1e-5


@pytest.mark.parametrize("garbage", [math.nan, 1e6])
@pytest.mark.parametrize("game", ["toy/siege", "toy/noughts"])
@every
def test_who_does_not_act_changes_no_bit(which: str, game: str, garbage: float) -> None:
    for reward in rewards(game):
        _, rollout = rollout_of(game)
        clean = updated(which, game, rollout, reward)
        assert spoil_who_does_not_act(rollout, garbage) > 20
        assert same_bits(updated(which, game, rollout, reward), clean), reward


@pytest.mark.parametrize("game", ["toy/siege", "particle/speaker_listener"])
@every
def test_other_policies_change_no_bit(which: str, game: str) -> None:
    for reward in rewards(game):
        _, rollout = rollout_of(game, players=2)
        clean = updated(which, game, rollout, reward)
        assert rollout.mine is not None
        foreign = ~rollout.mine[0]
        for group in rollout.groups.values():
            for x in (group.obs, group.action, group.log_prob, group.reward):
                rollouts.spoil(x, (slice(None), foreign), math.nan)  # type: ignore[arg-type]
        rollouts.spoil(rollout.state, (slice(None), foreign), math.nan)  # type: ignore[arg-type]
        for x in rollout.finals.obs.values():
            rollouts.spoil(x, foreign[rollout.finals.seat], math.nan)
        assert same_bits(updated(which, game, rollout, reward), clean), reward


@games
@every
def test_every_kind_of_agent_is_trained(which: str, game: str) -> None:
    """Discrete, MultiDiscrete and Box, masked, dead, waiting, of several groups: every network moves, all is finite."""
    made = learner(which, game, rewards(game)[-1])
    before = [x.detach().clone() for x in made.policy.parameters()]
    for _ in range(2):  # where nobody was paid, the first update has nothing to say to actors
        told = made.update(collect(make(game), {kind_of(game): [made.policy]})[kind_of(game)], 0.0)
    assert all(math.isfinite(value) for value in told.values()), told
    assert all(not torch.equal(x, y) for x, y in zip(before, made.policy.parameters(), strict=True))


@pytest.mark.parametrize("network", [{}, {"recurrent": "gru", "chunk_length": 4}], ids=["forward", "gru"])
@every
def test_discrete_and_continuous_agents_are_trained_in_one_team(which: str, network: dict[str, Any]) -> None:
    """Ratios are 1 before the first update, for both; then both move, and the critic too."""
    env, (name, settings) = MixedEnv(8), LEARNERS[which]
    config = changed(ALGORITHMS[name].config, SETTINGS | settings | network)
    made = ALGORITHMS[name].load()(env.spec, "team", config, "team_sum", 5)
    shaken(made.policy)
    rollout = collect(env, {"team": [made.policy]}, warm=0, spans={"team": config.span})["team"]
    batch = made.prepare(rollout)
    with torch.no_grad():
        moved = made.evaluate(batch)[0] - batch.log_prob
    assert batch.use.all() and float(moved.abs().max()) < 1e-5
    before = {part: x.detach().clone() for part, x in made.policy.named_parameters()}
    told = made.update(rollout, 0.0)
    assert all(math.isfinite(value) for value in told.values()), told
    assert not [part for part, x in made.policy.named_parameters() if torch.equal(x, before[part])]


@every
def test_threads_and_blocks(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_policy, "BLOCK_SAMPLES", 11)
    monkeypatch.setattr(fused, "PART", 11)
    _, rollout = rollout_of("toy/siege")
    results = [updated(which, "toy/siege", copied(rollout), "team_sum", threads=threads) for threads in (1, 2, 3)]
    assert same_bits(results[0], results[1]) and same_bits(results[0], results[2])


@pytest.mark.parametrize("game", ["particle/spread", "toy/dock", "toy/siege"])
@every
def test_engines_agree(which: str, game: str) -> None:
    """One update by compiled functions where there are any, and by torch: the same up to rounding."""
    _, rollout = rollout_of(game)
    pair = [updated(which, game, copied(rollout), "team_sum", engine=engine) for engine in ("fused", "torch")]
    for a, b in zip(*pair, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-5)


@every
def test_what_is_not_finite_stops_training_and_changes_nothing(which: str) -> None:
    """Agent by agent, those whose turn came before stay as they are: their rows were finite."""
    for where in ("reward",) if which.startswith("ha") else ("reward", "obs"):
        _, rollout = rollout_of("particle/spread")
        made = learner(which, "particle/spread", "team_sum")
        before = [x.detach().clone() for x in made.policy.parameters()]
        getattr(rollout.groups["agent"], where)[3, 2, 1] = math.nan
        with pytest.raises(NumericalFailure, match="not finite"):
            made.update(rollout, 0.0)
        assert same_bits(before, [x.detach() for x in made.policy.parameters()])


@pytest.mark.parametrize("name", [name for name, known in ALGORITHMS.items() if known.family in ("a2c", "ppo", "trpo")])
def test_every_name_is_tested_here(name: str) -> None:
    assert name in {own for own, _ in LEARNERS.values()} | {"ippo", "mappo"}  # the last two stand in test_ppo
    known = ALGORITHMS[name]
    if known.order == "agent_by_agent":
        with pytest.raises(UsageError, match="agent by agent needs --parameters per_agent"):
            replace(known.config, parameters="shared")


# --- going on ---------------------------------------------------------------------------------------------------------


def trainer_of(which: str, seed: int = 0) -> Trainer:
    name, settings = LEARNERS[which]
    known = ALGORITHMS[name]
    env = make("toy/siege", seed=seed)
    config = changed(known.config, SETTINGS | settings | {"anneal": True})
    learners = {kind.name: known.load()(env.spec, kind.name, config, "team_sum", seed) for kind in env.spec.kinds}
    return Trainer(env, learners, {}, total_steps=5000, rollout_length=12, seed=seed)


@every
def test_an_interruption_changes_no_bit(which: str) -> None:
    whole = trainer_of(which)
    run(whole, 2)
    saved = copy.deepcopy(whole.state_dict())
    metrics = run(whole, 2)
    resumed = trainer_of(which, seed=9)  # other weights, other episodes, other shuffling
    resumed.collector.noise_key = whole.collector.noise_key
    run(resumed, 1)
    before = digest(saved)
    resumed.load_state_dict(saved)
    assert run(resumed, 2) == metrics
    assert digest(resumed.state_dict()) == digest(whole.state_dict())
    assert digest(saved) == before, "what was loaded was written into"


ELSEWHERE = """
import sys
from pathlib import Path
from marl import checkpoint
from tests.marl.test_on_policy import LEARNERS, digest, run, trainer_of
for which in LEARNERS:
    trainer = trainer_of(which)
    step, state = checkpoint.load(Path(sys.argv[1]) / which)
    trainer.load_state_dict(state)
    run(trainer, 2)
    print(digest(trainer.state_dict()["learners"]))
"""


def test_another_process_goes_on_bit_for_bit(tmp_path: Path) -> None:
    wanted = []
    for which in LEARNERS:
        trainer = trainer_of(which)
        run(trainer, 2)
        checkpoint.save(tmp_path / which, trainer.steps, trainer.state_dict())
        run(trainer, 2)
        wanted.append(digest(trainer.state_dict()["learners"]))
    command = [sys.executable, "-c", ELSEWHERE, str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": "."})
    assert told.stdout.split() == wanted, told.stderr[-2000:]
