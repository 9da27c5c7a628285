"""The board games against PettingZoo's and OpenSpiel's, move for move; and seen from the other side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyspiel
import pytest
from pettingzoo.classic import connect_four_v3, tictactoe_v3

import environments
from environments.errors import UsageError
from environments.vector import VectorEnv
from tests.contracts import play

PEERS: dict[str, Callable[[], Any]] = {
    "board/tictactoe": tictactoe_v3.env,
    "board/connect_four": connect_four_v3.env,
}
GAMES = ["board/tictactoe", "board/connect_four", "board/hex"]


def act(env: VectorEnv, action: int) -> Any:
    """Both seats of the only copy are handed the action: the one that is off turn ignores it."""
    return env.step({"player": np.full((1, 2), action, np.int32)})


def mover_of(env: VectorEnv) -> int:
    """Whose turn it is."""
    return int(env.buffers.groups[0].acting[0].argmax())


@pytest.mark.parametrize("name", PEERS)
def test_whole_games_are_the_peers(name: str) -> None:
    env, peer = environments.make(name), PEERS[name]()
    rng = np.random.default_rng(1)
    results = []
    for _ in range(120):
        env.reset()
        peer.reset()
        while True:
            seat = mover_of(env)
            assert peer.agents[seat] == peer.agent_selection
            seen, group = peer.last()[0], env.buffers.groups[0]
            own, other = np.split(group.obs[0, seat], 2)
            np.testing.assert_array_equal(np.stack([own, other], -1), seen["observation"].reshape(-1, 2))
            np.testing.assert_array_equal(group.action_mask[0, seat], seen["action_mask"].astype(bool))
            action = int(rng.choice(np.flatnonzero(group.action_mask[0, seat])))
            peer.step(action)
            after = act(env, action)
            over = bool(after.episode_over[0])
            assert over == all(peer.terminations.values()) == bool(after.groups[0].terminated.all())
            if over:
                break
            assert not after.groups[0].reward.any()
        paid = after.groups[0].reward[0].tolist()
        assert paid == [peer.rewards[agent] for agent in peer.possible_agents] == after.outcome[0].tolist()
        results.append(paid[0])
    assert set(results) >= {1.0, -1.0} and (name != "board/tictactoe" or 0.0 in results)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_hex_is_openspiels(size: int) -> None:
    env = environments.make("board/hex", size=size)
    rng = np.random.default_rng(2)
    game = pyspiel.load_game("hex", {"board_size": size})
    winners = set()
    for _ in range(150):
        env.reset()
        theirs = game.new_initial_state()
        while not theirs.is_terminal():
            seat = mover_of(env)
            assert seat == theirs.current_player()
            mask = env.buffers.groups[0].action_mask[0, seat].reshape(size, size)
            legal = np.zeros(size * size, bool)
            legal[theirs.legal_actions()] = True
            np.testing.assert_array_equal(mask if seat == 0 else mask.T, legal.reshape(size, size))
            cell = int(rng.choice(theirs.legal_actions()))
            theirs.apply_action(cell)
            after = act(env, cell if seat == 0 else cell % size * size + cell // size)
            assert bool(after.episode_over[0]) == theirs.is_terminal()
        assert after.groups[0].reward[0].tolist() == theirs.returns() == after.outcome[0].tolist()
        winners.add(int(after.outcome[0, 0]))
    assert winners == {1, -1}


@pytest.mark.parametrize("name", GAMES)
def test_a_full_game_from_the_other_side_is_the_same_game(name: str) -> None:
    """Seats are symmetric: where `player_1` begins, everything is as it was with the two exchanged."""
    env, mirror = environments.make(name), environments.make(name)
    rng = np.random.default_rng(3)
    for _ in range(40):
        env.reset()
        mirror.reset()
        mirror.restore(0, {"mover": np.int64(1)})
        over = False
        while not over:
            ours, theirs = env.buffers.groups[0], mirror.buffers.groups[0]
            for field in ("obs", "action_mask", "acting"):
                np.testing.assert_array_equal(getattr(ours, field)[:, ::-1], getattr(theirs, field))
            action = int(rng.choice(np.flatnonzero(ours.action_mask[0, mover_of(env)])))
            one, two = act(env, action), act(mirror, action)
            for field in ("reward", "terminated", "final_obs"):
                a, b = getattr(one.groups[0], field), getattr(two.groups[0], field)
                if field != "final_obs" or one.episode_over[0]:
                    np.testing.assert_array_equal(a[:, ::-1], b)
            np.testing.assert_array_equal(one.metrics, two.metrics)
            assert one.episode_over[0] == two.episode_over[0]
            over = bool(one.episode_over[0])


@pytest.mark.parametrize("name", GAMES)
def test_an_illegal_move_loses_at_once(name: str) -> None:
    env = environments.make(name)
    actions = int(env.spec.groups[0].action_space.n)
    full = np.zeros(env.capture(0).arrays["board"].size, np.uint8)
    for action in (-1, actions, 2**31 - 1, -(2**31), 0):
        env.reset()
        act(env, 1)
        if action == 0:  # every cell is taken
            env.restore(0, {"board": full})
        after = act(env, action)
        assert after.groups[0].reward.tolist() == [[1, -1]] and after.groups[0].terminated.all()
        assert dict(zip(("first_wins", "second_wins", "illegal"), after.metrics[0].tolist(), strict=True)) == {
            "first_wins": 1,
            "second_wins": 0,
            "illegal": 1,
        }


def test_who_begins_is_drawn_where_asked_for() -> None:
    assert not environments.make("board/hex", 64).capture(range(64)).arrays["mover"].any()
    drawn = environments.make("board/hex", 64, random_start=True).capture(range(64)).arrays["mover"]
    assert 16 < drawn.sum() < 48


def test_wins_are_counted_for_who_began() -> None:
    env = environments.make("board/tictactoe", 400, random_start=True)
    rng = np.random.default_rng(4)
    shares = []
    for _ in range(90):
        buffers = env.step(play.random_actions(env, rng))
        shares += buffers.metrics[buffers.episode_over].tolist()
    # uniform play: the first player wins .5850, the second .2880 (the game tree, counted exactly)
    np.testing.assert_allclose(np.mean(shares, 0), [0.585, 0.288, 0], atol=0.025)


def test_a_name_says_the_size() -> None:
    assert environments.make("board/hex-5").spec.options["size"] == 5
    with pytest.raises(UsageError, match=r"^unknown environment 'board/hex5'; did you mean 'board/hex-5'\?$"):
        environments.make("board/hex5")
    with pytest.raises(UsageError, match=r"size must be 2 to 19 cells, not 99$"):
        environments.make("board/hex-99")


@pytest.mark.parametrize("size", [1, 20, -3])
def test_a_board_that_cannot_be_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match=rf"^board/hex: size must be 2 to 19 cells, not {size}$"):
        environments.make("board/hex", size=size)


@pytest.mark.parametrize(("name", "most"), [("board/tictactoe", 4), ("board/connect_four", 12), ("board/hex-3", 4)])
def test_openings_are_drawn_by_lot(name: str, most: int) -> None:
    env = environments.make(name, 3000, random_opening=most)
    arrays = env.capture(range(3000)).arrays
    stones = (arrays["board"] < 2).sum(1)
    assert (stones == arrays["turn"]).all() and (arrays["mover"] == stones % 2).all()
    assert ((arrays["board"] == 0).sum(1) - (arrays["board"] == 1).sum(1) == stones % 2).all()
    shares = np.bincount(stones, minlength=most + 1) / len(stones)
    assert len(shares) == most + 1 and (np.abs(shares[:3] - 1 / (most + 1)) < 0.03).all()
    assert not env.buffers.groups[0].terminated.any()
    ones = arrays["board"][stones == 1].argmin(1)  # every first move of tic-tac-toe and hex is as likely
    if name != "board/connect_four":
        assert np.bincount(ones, minlength=9).min() > 0.6 * len(ones) / 9


def test_an_opening_never_wins_and_must_leave_a_game() -> None:
    env = environments.make("board/tictactoe", 2000, random_opening=4)
    step = env.step({"player": np.where(env.buffers.groups[0].action_mask, 1, 0).argmax(-1).astype(np.int32)})
    assert step.groups[0].terminated.any() and not step.metrics[:, 2].any()  # legal moves, some of which win
    with pytest.raises(UsageError, match="random_opening must be 0 to 4 moves, not 5"):
        environments.make("board/tictactoe", 1, random_opening=5)
