"""Lists to choose from, without a screen."""

from __future__ import annotations

from environments.errors import UsageError
from viz.menu import Entry, Menu
from viz.scene import Text
from viz.shown import Shown


class Page(Shown):
    """Something that was opened."""


def texts(menu: Menu) -> list[str]:
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
