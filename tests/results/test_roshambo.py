"""The tournament's table: what the file says is what is played, and the page says what the file says."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from environments.games.roshambo import openspiel
from results import roshambo


def measured() -> dict[str, Any]:
    """The committed file."""
    content: dict[str, Any] = json.loads(roshambo.FILE.read_text())
    return content


def test_the_file_holds_twenty_round_robins() -> None:
    content = measured()
    assert content["bots"] == openspiel.names() and len(content["bots"]) == 43
    assert [len(scores) for scores in content["rounds"]] == [946] * roshambo.ROUNDS
    table = roshambo.tables(content)
    off = ~np.eye(43, dtype=bool)
    assert (table == -table.transpose(1, 0, 2))[off].all() and np.abs(table).max() <= roshambo.THROWS
    assert np.allclose(content["mean"], table.mean(axis=2), atol=0.006)


def test_a_match_played_again_is_the_one_in_the_file() -> None:
    content = measured()
    names, table = content["bots"], roshambo.tables(content)
    for first, second, number in (
        ("antiflatbot", "flatbot3", 0),
        ("randbot", "switchbot", 7),
        ("copybot", "randbot", 19),
    ):
        i, j = names.index(first), names.index(second)
        seed = roshambo.match_seed(number, i, j)
        assert openspiel.returns(openspiel.play(first, second, roshambo.THROWS, seed)) == table[i, j, number]


def test_the_page_says_what_the_file_says() -> None:
    page = roshambo.PAGE.read_text()
    assert page.split(roshambo.BEGIN)[1].split(roshambo.END)[0] == roshambo.render(measured())


def test_the_table_is_read_off_the_matches() -> None:
    """Three bots, two rounds: pairs in their order, the second bot's return the negative."""
    small = {"bots": ["a", "randbot", "c"], "rounds": [[1, 2, 3, 4, 5, 6], [1, 0, 3, 4, 5, 6]]}
    table = roshambo.tables(small)
    assert table[0, :, 0].tolist() == [1, 2, 3] and table[:, 0, 0].tolist() == [1, -2, -3]
    assert table[1, :, 1].tolist() == [0, 4, 5]
    rows = [line.split("|")[2].strip() for line in roshambo.render(small).splitlines() if line.startswith("| ")]
    assert rows == ["bot", "randbot", "a", "c"]
