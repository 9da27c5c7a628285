"""Matrix games: the tables as published, every joint action of every game, returns, ends, views, metrics."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import environments
from environments.registry import check_options
from environments.spec import EnvSpec
from environments.vector import Array, StepBuffers, VectorEnv
from tests.contracts import play
from tests.source import ROOT

CLIMBING = {
    (0, 0): 11, (0, 1): -30, (0, 2): 0,
    (1, 0): -30, (1, 1): 7, (1, 2): 0,
    (2, 0): 0, (2, 1): 6, (2, 2): 5,
}  # fmt: skip
DILEMMA = {(0, 0): (2, 2), (0, 1): (0, 3), (1, 0): (3, 0), (1, 1): (1, 1)}
STAG = {(0, 0): (4, 4), (0, 1): (0, 3), (1, 0): (3, 0), (1, 1): (3, 3)}
PENNIES = {(0, 0): (1, -1), (0, 1): (-1, 1), (1, 0): (-1, 1), (1, 1): (1, -1)}
THREE = [[[1.5, -2], [3, 4], [0, 7]], [[9, 10], [-11, 12], [13, 14]]]


def penalty(k: float) -> dict[tuple[int, ...], Any]:
    """The penalty game, cell by cell."""
    corners: dict[tuple[int, ...], Any] = {(0, 0): -k, (2, 2): -k, (0, 2): 10, (2, 0): 10, (1, 1): 2}
    return {joint: corners.get(joint, 0) for joint in itertools.product(range(3), repeat=2)}


GAMES: list[tuple[str, dict[str, Any], dict[tuple[int, ...], Any]]] = [
    ("matrix/climbing", {}, CLIMBING),
    ("matrix/penalty", {}, penalty(100)),
    *[("matrix/penalty", {"k": k}, penalty(k)) for k in (0, 25, 50, 75, 100, 2.5)],
    ("matrix/prisoners_dilemma", {}, DILEMMA),
    ("matrix/stag_hunt", {}, STAG),
    ("matrix/matching_pennies", {}, PENNIES),
    ("matrix/game", {}, {(0, 0): 2, (0, 1): 0, (1, 0): 0, (1, 1): 1}),
    ("matrix/game", {"payoff": [5, -1, 2]}, {(0,): 5, (1,): -1, (2,): 2}),
    (
        "matrix/game",
        {"payoff": THREE},
        {j: THREE[j[0]][j[1]][j[2]] for j in itertools.product((0, 1), range(3), (0, 1))},
    ),
]


def joint(env: VectorEnv, *actions: int) -> dict[str, Array]:
    """The same joint action in every copy, agents in the order of `spec.agents`."""
    given = dict(zip(env.spec.agents, actions, strict=True))
    return {
        group.name: np.array([[given[agent] for agent in group.agents]] * env.num_envs, np.int32)
        for group in env.spec.groups
    }


def rewards(buffers: StepBuffers) -> Array:
    """`[E, A]`, agents in the order of `spec.agents`."""
    return np.concatenate([group.reward for group in buffers.groups], axis=1)


@pytest.mark.parametrize(("name", "options", "table"), GAMES, ids=lambda value: str(value)[:40])
def test_every_joint_action_pays_what_the_table_says(name: str, options: dict[str, Any], table: dict[Any, Any]) -> None:
    env = environments.make(name, num_envs=2, max_cycles=7, **options)
    sizes = [env.spec.group(g.name).action_space.n for g in env.spec.groups for _ in g.agents]  # type: ignore[attr-defined]
    assert set(itertools.product(*map(range, sizes))) == set(table)
    for actions, paid in table.items():
        buffers = env.step(joint(env, *actions))
        assert rewards(buffers).tolist() == [list(np.broadcast_to(np.float32(paid), len(actions)))] * 2
        assert rewards(buffers).dtype == np.float32


RETURNS = [
    ("climbing", {}, (0, 0), 275), ("climbing", {}, (1, 1), 175), ("climbing", {}, (2, 2), 125),
    *[("penalty", {"k": k}, actions, paid)
      for k in (0, 25, 50, 75, 100)
      for actions, paid in (((0, 2), 250), ((2, 0), 250), ((1, 1), 50), ((0, 0), -25 * k))],
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "actions", "paid"), RETURNS)
def test_published_returns(name: str, options: dict[str, Any], actions: tuple[int, ...], paid: float) -> None:
    """25 steps, per agent; the outcome is a team's, so twice as much."""
    env = environments.make(f"matrix/{name}", **options)
    total = np.zeros(2)
    for t in range(25):
        assert not env.buffers.episode_over.any() or t == 0
        buffers = env.step(joint(env, *actions))
        total += rewards(buffers)[0]
    assert buffers.episode_over[0] and total.tolist() == [paid, paid]
    assert buffers.outcome.tolist() == [[2 * paid]]


def test_repeated_games_are_cut_and_the_one_shot_game_ends() -> None:
    """The limit of a repeated game is no rule of it: the value of the last view counts. One shot has no next view."""
    repeated, once = environments.make("matrix/climbing"), environments.make("matrix/climbing", max_cycles=1)
    for _ in range(25):
        assert not repeated.buffers.episode_over[0] or repeated.episode_step[0] == 0
        cut = repeated.step(joint(repeated, 0, 0))
    assert cut.groups[0].truncated.all() and not cut.groups[0].terminated.any() and cut.episode_truncated.all()
    ended = once.step(joint(once, 0, 0))
    assert ended.groups[0].terminated.all() and ended.episode_over.all() and not ended.episode_truncated.any()


@pytest.mark.parametrize("name", [n for n in environments.names() if n.startswith("matrix/")])
def test_there_is_nothing_to_see(name: str) -> None:
    env = environments.make(name, num_envs=3)
    rng = np.random.default_rng(0)
    for _ in range(60):
        buffers = env.step(play.random_actions(env, rng))
        assert buffers.state.shape == (3, 1) and not buffers.state.any() and not buffers.final_state.any()
        for group in buffers.groups:
            assert group.obs.shape[2:] == (1,) and not group.obs.any() and not group.final_obs.any()


def test_memory_shows_everybodys_last_action() -> None:
    env = environments.make("matrix/game", num_envs=2, payoff=THREE, memory=True, max_cycles=3)
    assert [g.name for g in env.spec.groups] == ["agent_0", "agent_1", "agent_2"]
    assert env.spec.groups[0].features[2:5] == ("agent_1 did 0", "agent_1 did 1", "agent_1 did 2")
    assert not env.buffers.state.any()
    for actions, shown in (((1, 2, 0), [0, 1, 0, 0, 1, 1, 0]), ((0, 0, 1), [1, 0, 1, 0, 0, 0, 1])):
        buffers = env.step(joint(env, *actions))
        assert buffers.state.tolist() == [shown] * 2
        assert all(group.obs.tolist() == [[shown]] * 2 for group in buffers.groups)
    last = env.step(joint(env, 1, 1, 1))
    assert last.final_state.tolist() == [[0, 1, 0, 1, 0, 0, 1]] * 2 and not last.state.any()
    assert env.capture(1).arrays["last"].tolist() == [-1, -1, -1]


def test_kinds_of_team() -> None:
    def spec(name: str, **options: Any) -> EnvSpec:
        """Without an environment, for which something would have to be compiled."""
        game = environments.game(name)
        described: EnvSpec = game.spec(check_options(game, options))
        return described

    def kinds(name: str, **options: Any) -> list[tuple[str, tuple[str, ...]]]:
        return [(kind.name, kind.groups) for kind in spec(name, **options).kinds]

    assert kinds("matrix/climbing") == kinds("matrix/prisoners_dilemma") == [("team", ("agent",))]
    assert kinds("matrix/matching_pennies") == [("even", ("even",)), ("odd", ("odd",))]
    assert kinds("matrix/game", payoff=THREE) == [("team", ("agent_0", "agent_1", "agent_2"))]
    seven = spec("matrix/game", payoff=np.zeros((2,) * 7).tolist())
    assert len(seven.agents) == 7 and seven.groups[0].action_space == spaces.Discrete(2)


METRICS = [
    ("climbing", {}, [(0, 0), (0, 0), (1, 1), (2, 1)], {"optimal": 0.5}),
    ("penalty", {}, [(0, 2), (2, 0), (1, 1), (2, 0)], {"optimal": 0.75}),
    ("prisoners_dilemma", {}, [(0, 0), (0, 1), (1, 1), (0, 0)], {"cooperation": 0.625, "mutual_cooperation": 0.5}),
    ("stag_hunt", {}, [(0, 0), (1, 0), (1, 1), (1, 1)], {"stag": 0.375, "both_stag": 0.25}),
    ("matching_pennies", {}, [(0, 1), (0, 0), (0, 1), (1, 1)], {"heads_even": 0.75, "heads_odd": 0.25, "matched": 0.5}),
    ("game", {"payoff": [[[2, 0], [3, 1]], [[2, 3], [0, 1]]], "per_agent": True}, [(0, 0), (1, 1)], {"optimal": 0.25}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "played", "wanted"), METRICS, ids=lambda value: str(value)[:20])
def test_metrics_are_shares_of_an_episode(name: str, options: dict[str, Any], played: Any, wanted: Any) -> None:
    env = environments.make(f"matrix/{name}", max_cycles=4, **options)
    for actions in played:
        buffers = env.step(joint(env, *actions))
    found = dict(zip([metric for metric, _ in env.spec.metrics], buffers.metrics[0].tolist(), strict=True))
    assert found == wanted


def test_numbers_that_are_no_action_count_as_the_nearest() -> None:
    env = environments.make("matrix/climbing")
    assert rewards(env.step(joint(env, -1, -(2**31)))).tolist() == [[11, 11]]
    assert rewards(env.step(joint(env, 3, 2**31 - 1))).tolist() == [[5, 5]]
    assert env.capture(0).arrays["last"].tolist() == [2, 2]


@pytest.mark.parametrize("name", [n for n in environments.names() if n.startswith("matrix/")])
def test_a_copy_of_a_batch_is_a_batch_of_one_is_the_face(name: str) -> None:
    batch, alone = environments.make(name, 64, seed=5), environments.make(name, 1, seed=5, first_copy=37)
    face = environments.parallel_env(name)
    face.reset(seed=int(batch.episode_seed[37]))
    rng = np.random.default_rng(5)
    for _ in range(25):
        actions = play.random_actions(batch, rng)
        a, b = batch.step(actions), alone.step(play.select(actions, [37]))
        play.assert_same(play.valid(a, [37]), play.valid(b), name)
        flat = np.concatenate([actions[g.name][37] for g in batch.spec.groups])
        paid = face.step({agent: int(k) for agent, k in zip(face.possible_agents, flat, strict=True)})[1]
        assert list(paid.values()) == rewards(a)[37].tolist()
    assert not face.agents and a.episode_over.all()


def test_random_play_on_the_page_is_exact() -> None:
    """Every row of the page's table, against the tables typed above."""
    page = (ROOT / "docs" / "environments" / "matrix.md").read_text().partition("## Random play")[2]
    rows = dict(re.findall(r"^\| ([a-z].*?) \| ([-/. \d]+) \|$", page, re.MULTILINE))

    def mean(table: dict[tuple[int, ...], Any], agents: int = 2) -> float:
        return 25 * agents * float(np.mean(list(table.values())))

    wanted = {
        "climbing": mean(CLIMBING),
        "penalty": mean(penalty(100)),
        **{f"penalty, k = {k}": mean(penalty(k)) for k in (0, 25, 50, 75)},
        "prisoners_dilemma": mean(DILEMMA),
        "stag_hunt": mean(STAG),
        "game": 37.5,
    }
    assert rows.pop("matching_pennies: even / odd") == "0.00 / 0.00"
    assert {name: f"{value:.2f}" for name, value in wanted.items()} == rows
