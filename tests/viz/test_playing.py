"""Playing by hand, without a screen: keys and clicks become actions, and the page says what can be done."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

import environments
from environments.registry import game
from environments.spec import AgentGroup
from tests.viz.persons import AtRandom, one_copy
from viz.controls import Controls, Hand
from viz.page import Pane
from viz.playing import HEADER, SIDE, Playing
from viz.scene import Text, fit
from viz.session import Session
from viz.shown import Shown, Stack


class Noted(Playing):
    """Notes what the person was taken to do."""

    did: np.ndarray | None = None

    def _step(self, own: np.ndarray | None) -> bool:
        self.did = own
        return super()._step(own)


def playing(name: str, human: str, wait: bool = False, **options: object) -> Noted:
    session = Session(one_copy(name, **options), AtRandom(), human)
    return Noted(session, Controls(session.env.spec, session.group, wait), lambda: "kept")


def written(panes: list[Pane]) -> list[str]:
    return [shape.text for pane in panes for shape in pane.scene.shapes if isinstance(shape, Text)]


def click(game: Playing, x: float, y: float) -> None:
    """A click at a place of the board, in the drawing's units."""
    view = game.page()[1].scene.view
    at = fit(view, game.size[0] - SIDE, game.size[1] - HEADER).pixel((x, y))
    game.mouse_down(at[0], at[1] + HEADER)
    game.mouse_up()
    game.advance(0.0)


def last_action(game: Noted) -> int:
    assert game.did is not None
    return int(game.did)


@pytest.mark.parametrize("name", environments.names(toys=True))
def test_every_action_of_every_game_can_be_chosen(name: str) -> None:
    found = game(name)
    spec = found.spec(found.options())
    for group in spec.groups:
        controls = Controls(spec, group)
        if isinstance(group.action_space, spaces.Box):
            assert_all_reached(controls, group)
            continue
        rows = controls.legend()
        assert len(rows) == len(controls.places())
        assert all(keys for keys, _ in rows[:25]), "a game with few actions has a key for each"
        hand = Hand(Controls(spec, group, wait=True))
        for slot, action in controls.places():
            for other in range(len(controls.slots)):
                hand.pick(other, 0)
            hand.pick(slot, action)
            decided = hand.decide(None)
            assert decided is not None and group.action_space.contains(
                np.asarray(decided, group.action_space.dtype)
                if isinstance(group.action_space, spaces.MultiDiscrete)
                else int(decided)
            )


def assert_all_reached(controls: Controls, group: AgentGroup) -> None:
    space = group.action_space
    assert isinstance(space, spaces.Box)
    for axis in controls.axes:
        for keys in (axis.less, axis.more):
            hand = Hand(controls)
            assert all(hand.press(key) for key in keys)
            decided = hand.decide(None)
            assert decided is not None and space.contains(decided.reshape(space.shape))


def test_words_have_natural_keys() -> None:
    def keys(name: str, **options: object) -> dict[str, str]:
        found = game(name)
        spec = found.spec(found.options(**options))
        return {action: keys for keys, action in Controls(spec, spec.groups[0]).legend()}

    assert keys("particle/spread")["left"] == "left a" and keys("particle/spread")["stay"] == "."
    assert keys("foraging/field")["north"] == "up w" and keys("foraging/field")["load"] == "space 1"
    assert keys("warehouse/robots")["forward"] == "up w"
    assert keys("skirmish/battle")["forward"] == "right d" and keys("skirmish/battle")["up"] == "up w"
    assert keys("skirmish/battle")["aim at 2"] == "2"
    assert keys("particle/reference")["say B"] == "2" and keys("particle/reference")["up"] == "up w"
    assert keys("particle/spread", continuous_actions=True)["up"] == "up w"


def test_moves_and_words_go_together() -> None:
    found = game("particle/reference")
    spec = found.spec(found.options())
    hand = Hand(Controls(spec, spec.groups[0]))
    assert hand.press("3") and hand.press("up")
    assert hand.decide(None) == 4 + 5 * 2
    hand.release("up")
    assert hand.decide(None) == 5 * 2, "a word stays said, a move ends with its key"


def test_pushes_last_as_long_as_their_keys() -> None:
    found = game("particle/spread")
    spec = found.spec(found.options(continuous_actions=True))
    hand = Hand(Controls(spec, spec.groups[0]))
    rest = hand.decide(None)
    hand.press("right")
    hand.press("w")
    pushed = hand.decide(None)
    assert rest is not None and not rest.any()
    assert pushed is not None and pushed.tolist() == [0, 0, 1, 0, 1]
    hand.release("right")
    hand.release("w")
    after = hand.decide(None)
    assert after is not None and not after.any()


def test_a_board_is_played_by_clicks() -> None:
    game = playing("board/tictactoe", "player_0")
    assert "your turn" in written(game.page())
    click(game, 2.5, 0.5)
    assert last_action(game) == 8 and game.moment().step == 1
    assert "player_1 moves" in written(game.page())
    assert not game.advance(0.01), "the other's move is not over in a wink"
    assert not game.press("4"), "it is not the person's turn"
    game.advance(1.0)
    assert game.moment().step == 2
    assert not game.advance(1.0) and game.moment().step == 2, "what was pressed too early does not count later"
    click(game, 2.5, 0.5)
    assert game.moment().step == 2 and "“8” is not allowed now" in game.status()


def test_columns_and_hexagons_are_clicked_too() -> None:
    game = playing("board/connect_four", "player_0")
    click(game, 3.5, 2.0)
    assert last_action(game) == 3
    game = playing("board/hex", "player_1")
    game.advance(1.0)
    game.page()
    free = game.session.mask
    assert free is not None
    own = int(np.flatnonzero(free)[-1])  # in its own view rows and columns are exchanged
    row, column = own % 5, own // 5
    click(game, column + row / 2, -row * np.sqrt(3) / 2)
    assert last_action(game) == own and game.moment().arrays["board"][row * 5 + column] == 1


def test_a_game_that_flows_goes_on_without_the_person() -> None:
    game = playing("particle/spread", "agent_0")
    step = game.session.spec.step_seconds
    assert not game.advance(step) and "begins" in game.status(), "nobody is hurried into it"
    game.press(".")
    game.release(".")
    for _ in range(3):
        game.advance(step)
    assert game.moment().step == 3 and last_action(game) == 0
    game.press("left")
    game.advance(step)
    assert last_action(game) == 1
    game.advance(step)
    assert last_action(game) == 1, "the key is still held"
    game.release("left")
    game.advance(step)
    assert last_action(game) == 0
    game.press("d")
    game.release("d")
    game.advance(step)
    assert last_action(game) == 2, "a tap between two steps counts once"
    game.advance(step)
    assert last_action(game) == 0


def test_pause_speed_and_waiting() -> None:
    game = playing("particle/spread", "agent_0")
    step = game.session.spec.step_seconds
    game.press("p")
    game.press("p")
    assert not game.advance(10 * step) and "paused" in game.status() and not game.moving
    game.press("p")
    game.press("]")
    assert game.speed == 2.0 and game.advance(step / 2)
    waits = playing("particle/spread", "agent_0", wait=True)
    assert not waits.advance(10.0) and waits.moment().step == 0
    waits.press("up")
    assert waits.advance(0.0) and last_action(waits) == 4
    assert not waits.advance(10.0), "a held key is one move where the game waits"


def test_the_list_is_chosen_from_by_tab_return_and_clicks() -> None:
    game = playing("board/tictactoe", "player_0")
    game.page()
    for _ in range(4):
        game.press("tab")
    game.press("shift tab")
    game.press("return")
    game.advance(0.0)
    assert last_action(game) == 3
    game.advance(1.0)
    game.page()
    top, first, _ = game._rows
    row = int(np.flatnonzero(np.asarray(game.session.mask))[0])
    game.mouse_down(game.size[0] - SIDE + 60, HEADER + top + 26 * (row - first))
    game.advance(0.0)
    assert last_action(game) == row


def test_the_end_is_told_and_kept() -> None:
    game = playing("board/tictactoe", "player_0")
    for _ in range(40):
        game.press("tab")
        game.press("return")
        game.advance(1.0)
    assert game.session.over and game.said == "kept"
    assert any(word in game.result() for word in ("you win", "you lose", "a draw"))
    assert game.result() in written(game.page()) and "kept" in written(game.page())
    game.press("escape")
    assert game.quit


def test_who_closes_the_window_before_the_end_is_told_what_became_of_it_once() -> None:
    session = Session(one_copy("board/tictactoe"), AtRandom(), "player_0")
    told: list[int] = []
    game = Playing(session, Controls(session.env.spec, session.group), lambda: str(told.append(1)))
    for _ in range(2):
        game.escape()
    assert game.quit and told == [1]


def test_nothing_is_played_in_the_moment_in_which_the_window_is_left() -> None:
    session = Session(one_copy("board/tictactoe"), AtRandom(), "player_0")
    game = Playing(session, Controls(session.env.spec, session.group), lambda: f"{session.replay().steps} step")
    for key in ("tab", "return"):
        game.press(key)
    game.advance(1.0)
    assert session.steps == 1 and not session.asked, "the other's turn"
    game.press("escape")
    assert not game.advance(10.0) and session.steps == 1 and game.said == "1 step"


def test_after_the_end_there_is_more() -> None:
    session = Session(one_copy("board/tictactoe"), AtRandom(), "player_0")
    replay, another = Shown(), Shown()
    game = Playing(session, Controls(session.env.spec, session.group), lambda: "", lambda: replay, lambda: another)
    stack = Stack(game)
    for _ in range(40):
        game.press("tab")
        game.press("return")
        game.advance(1.0)
        stack.settle()
    assert stack.top is replay
    replay.quit = True
    stack.settle()
    assert stack.top is game
    game.press("n")
    stack.settle()
    assert stack.top is another
    another.quit = True
    stack.settle()
    assert stack.over


@pytest.mark.parametrize(
    ("name", "human"),
    [
        ("toy/siege", "guard_0"),
        ("toy/dock", "cart_0"),
        ("particle/reference", "agent_0"),
        ("skirmish/battle", "ally_1"),
    ],
)
def test_other_families_are_played_and_shown(name: str, human: str) -> None:
    game = playing(name, human)
    keys = [keys.split()[0] for keys, _ in game.controls.legend() if keys]
    for t in range(30):
        game.press(keys[t % len(keys)])
        game.advance(10.0)
        game.release(keys[t % len(keys)])
        assert game.page()
    assert game.moment().step > 3 or game.session.over
