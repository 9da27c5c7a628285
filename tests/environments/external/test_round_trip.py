"""Native, its PettingZoo face, and the face behind the contract again: bit for bit the same lives."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

import environments
from environments import keys, rng
from environments.external.vector import PettingZooVectorEnv
from environments.vector import Array, VectorEnv
from tests.contracts import checks, play

TEAMS = {"toy/noughts": "each", "particle/tag": "prefix"}
GAMES: list[tuple[str, dict[str, Any]]] = [
    ("toy/meet", {}),
    ("toy/dock", {}),
    ("toy/noughts", {}),
    ("toy/siege", {}),
    ("particle/spread", {}),
    ("particle/spread", {"continuous_actions": True}),
    ("particle/tag", {}),
]


def external(face: Any, name: str, num_envs: int = 1, seed: int = 0, first_copy: int = 0, **more: Any) -> VectorEnv:
    """Copies of a face of one of our own games, behind the contract."""
    more.pop("num_threads", None)
    options = more.pop("options", {})
    make = partial(face, name, **options)
    env = PettingZooVectorEnv(make, num_envs, seed, first_copy, teams=TEAMS.get(name, "one"), max_faults=10**6, **more)
    env.spec = replace(env.spec, max_steps=make().vector.spec.max_steps)  # a face does not say it; checks ask
    return env


def rows(env: VectorEnv) -> dict[str, tuple[int, int]]:
    """Group and row of every agent."""
    return {agent: (g, n) for g, group in enumerate(env.spec.groups) for n, agent in enumerate(group.agents)}


def moved(actions: dict[str, Array], there: VectorEnv, here: VectorEnv) -> dict[str, Array]:
    """The same agents' actions in another environment's groups."""
    places = rows(here)
    result = {}
    for group in there.spec.groups:
        columns = [actions[here.spec.groups[places[agent][0]].name][:, places[agent][1]] for agent in group.agents]
        result[group.name] = np.ascontiguousarray(np.stack(columns, 1))
    return result


@pytest.mark.parametrize("face", [environments.parallel_env, environments.env])
@pytest.mark.parametrize(("name", "options"), GAMES)
def test_equals_native(name: str, options: dict[str, Any], face: Any) -> None:
    native = environments.make(name, 3, seed=21, first_copy=4, **options)
    foreign = external(face, name, 3, seed=21, first_copy=4, options=options)
    assert foreign.spec.state_size == native.spec.state_size
    draws = np.random.default_rng(21)
    ours, theirs = rows(native), rows(foreign)
    paid_alive = np.ones(3, bool)  # nobody was paid after death: PettingZoo has no place for that
    alive = {agent: np.ones(3, bool) for agent in ours}
    ends = 0
    for t in range(400):
        actions = play.random_actions(native, draws)
        a, b = native.step(actions), foreign.step(moved(actions, foreign, native))
        assert play.same_bits(a.episode_over, b.episode_over), t
        assert play.same_bits(a.episode_truncated, b.episode_truncated), t
        assert play.same_bits(a.state, b.state), t
        ended = play.life_ended(a)
        assert play.same_bits(a.final_state[ended], b.final_state[ended]), t
        for agent, (g, n) in ours.items():
            h, m = theirs[agent]
            mine, other = a.groups[g], b.groups[h]
            for field in ("obs", "acting", "terminated", "truncated", "action_mask"):
                x, y = getattr(mine, field)[:, n], getattr(other, field)[:, m]
                assert play.same_bits(x, y), f"{field} of {agent} at step {t}"
            lived = alive[agent]
            paid, told = (
                mine.reward[lived, n] + 0.0,
                other.reward[lived, m] + 0.0,
            )  # PettingZoo's converter adds up from 0
            assert play.same_bits(paid, told), f"reward of {agent} at step {t}"
            paid_alive &= lived | (mine.reward[:, n] == 0)
            over = mine.terminated[:, n] | mine.truncated[:, n]
            ends += int(over.sum())
            assert play.same_bits(mine.final_obs[over, n], other.final_obs[over, m]), f"{agent} at step {t}"
            alive[agent] = (lived & ~over) | a.episode_over
        if native.spec.outcome == "return" and native.spec.num_teams == foreign.spec.num_teams:
            scored = a.episode_over & paid_alive
            np.testing.assert_allclose(a.outcome[scored], b.outcome[scored], rtol=1e-6)
        paid_alive |= a.episode_over
        assert (native.episode_seed == foreign.episode_seed).all()
        assert (native.episode_step == foreign.episode_step).all()
    assert ends > 20
    assert not foreign.faults


CONTRACT = [
    checks.check_every_element_is_written,
    checks.check_view_is_a_function_of_the_state,
    checks.check_capture_and_restore,
    checks.check_rekey,
    checks.check_an_episode_leaves_nothing_behind,
    checks.check_refusals,
    checks.check_autoreset,
    checks.check_lives,
    checks.check_rows,
    checks.check_return,
    checks.check_garbage_actions,
]


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("face", [environments.parallel_env, environments.env])
@pytest.mark.parametrize("name", ["toy/meet", "toy/dock", "toy/noughts", "toy/siege"])
def test_contract(name: str, face: Any, check: Any) -> None:
    check(partial(external, face, name))


def test_copies_are_independent() -> None:
    checks.check_copies_are_independent(partial(external, environments.parallel_env, "toy/siege"), steps=60)


def test_keys_are_those_of_compiled_environments() -> None:
    for seed, copy, episode in ((0, 0, 0), (7, 3, 11), (2**63 - 1, 2**63 + 5, 10**9)):
        key = int(rng.copy_keys(seed, copy, 1)[0])
        assert keys.copy_key(seed, copy) == key
        assert keys.episode_seed(key, episode) == int(rng.episode_seed(np.uint64(key), np.uint64(episode)))
    assert len({keys.after_fault(key) for key in range(1000)} | set(range(1000))) == 2000
