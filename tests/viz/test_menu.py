"""Lists to choose from, without a screen."""

from __future__ import annotations

import threading
import time

import pytest

from environments.errors import UsageError
from viz.menu import Entry, Menu
from viz.ready import GETTING_READY, Ready, Task
from viz.scene import Text
from viz.shown import Shown


class Page(Shown):
    """Something that was opened."""


def texts(menu: Shown) -> list[str]:
    return [shape.text for pane in menu.page() for shape in pane.scene.shapes if isinstance(shape, Text)]


def refuse() -> Shown:
    raise UsageError("there is no such thing")


def test_arrows_pass_over_headings_and_return_opens() -> None:
    page = Page()
    menu = Menu("list", lambda: [Entry("a"), Entry("one", "1", Page), Entry("b"), Entry("two", "2", lambda: page)])
    assert menu.at == 1
    menu.press("down")
    assert menu.at == 3
    menu.press("down")
    assert menu.at == 3, "there is nothing below"
    menu.press("return")
    assert menu.opened() is page and menu.opened() is None and not menu.quit
    menu.press("home")
    assert menu.at == 1
    menu.press("escape")
    assert menu.quit


def test_what_cannot_be_opened_says_so() -> None:
    menu = Menu("list", lambda: [Entry("bad", "", refuse)], hint="a hint")
    assert "a hint" in texts(menu)
    menu.press("return")
    assert menu.opened() is None and "there is no such thing" in texts(menu) and not menu.quit


def pass_until_quit(shown: Shown) -> None:
    until = time.monotonic() + 20
    while not shown.quit:
        assert time.monotonic() < until
        shown.advance(0.02)


def test_what_takes_long_is_made_while_the_list_answers() -> None:
    page, gate = Page(), threading.Event()

    def make() -> Shown:
        gate.wait(20)
        return page

    menu = Menu("list", lambda: [Entry("one", "", make, slow=True), Entry("two", "", Page)], leave=True)
    menu.press("return")
    assert not menu.advance(0.02) and "getting ready — one" in texts(menu) and not menu.quit
    (thread,) = (thread for thread in threading.enumerate() if thread.name == GETTING_READY)
    assert not thread.daemon, "a program that ends while torch is loaded crashes"
    assert not menu.press("down") and not menu.mouse_down(100, 80) and menu.at == 0, "one thing at a time"
    gate.set()
    pass_until_quit(menu)
    assert menu.opened() is page
    menu = Menu("list", lambda: [Entry("bad", "", refuse, slow=True)], leave=True)
    menu.press("return")
    while not menu.advance(0.02):
        time.sleep(0.001)
    assert "there is no such thing" in texts(menu) and not menu.quit and menu.press("return")
    menu.press("escape")
    assert menu.quit and menu.opened() is None


@pytest.mark.parametrize("apart", [True, False])
def test_a_page_says_that_something_is_got_ready_and_makes_room_for_it(apart: bool) -> None:
    page, threads = Page(), []

    def make() -> Shown:
        threads.append(threading.current_thread() is threading.main_thread())
        return page

    ready = Ready("a long wait", make, apart)
    assert {"a long wait", "getting ready ·", "esc back"} <= set(texts(ready))
    if not apart:
        assert not ready.advance(0.02) and not threads, "it is painted before the window stands still"
    pass_until_quit(ready)
    assert threads == [not apart] and ready.opened() is page
    refused = Ready("", refuse, apart)
    while not refused.error:
        refused.advance(0.6)
    assert "there is no such thing" in texts(refused) and not refused.quit
    assert not refused.press("x") and refused.press("escape") and refused.quit


def test_what_goes_wrong_in_a_thread_is_raised_where_it_was_asked_for() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Task(fail).result()


def test_long_lists_scroll_and_clicks_choose() -> None:
    opened = []
    rows = [Entry(f"row {i}", "", lambda i=i: opened.append(i)) for i in range(100)]  # type: ignore[misc]
    menu = Menu("list", lambda: rows, leave=True)
    menu.resize(640, 420)
    for _ in range(40):
        menu.press("down")
    shown = texts(menu)
    assert "row 40" in shown and "row 0" not in shown and menu.fitting < 15
    first = next(text for text in shown if text.startswith("row"))
    assert menu.mouse_down(100, 56 + 4 + 15) and opened == [int(first.split()[1])] and menu.quit
    assert not menu.mouse_down(100, 20)
    menu.press("end")
    assert "row 99" in texts(menu) and menu.at == 99
    menu.wheel(5, 0, 0)
    assert menu.at == 94


def test_a_list_grows_while_it_is_looked_at() -> None:
    rows = [Entry("b", "", Page)]
    menu = Menu("list", lambda: rows)
    rows[:] = [Entry("a", "", Page), Entry("b", "", Page)]
    assert not menu.advance(0.5)
    assert menu.advance(0.6) and menu.entries[menu.at].title == "b"
    rows.clear()
    assert menu.advance(1.1) and menu.press("return") and menu.opened() is None
