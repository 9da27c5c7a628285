"""Names that say a field, what lbforaging means by them, and options that cannot be."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import gymnasium
import lbforaging  # noqa: F401 - registers its names
import pytest

import environments
from environments.errors import UsageError
from environments.games.foraging.options import Options, most_food
from environments.registry import meaning
from marl.cli.main import main
from scenarios import catalog

REGISTERED = sorted(name for name in gymnasium.registry if name.startswith("Foraging-"))


def options_of(kwargs: dict[str, Any]) -> Options:
    """lbforaging's arguments as our options."""
    rows, columns = kwargs["field_size"]
    return Options(
        rows=rows,
        columns=columns,
        players=kwargs["players"],
        food=kwargs["max_num_food"],
        coop=kwargs["force_coop"],
        sight=None if kwargs["sight"] == rows else kwargs["sight"],
        grid_observation=kwargs["grid_observation"],
        min_player_level=kwargs["min_player_level"],
        max_player_level=kwargs["max_player_level"],
        min_food_level=kwargs["min_food_level"],
        max_food_level=kwargs["max_food_level"],
        penalty=kwargs["penalty"],
        max_cycles=kwargs["max_episode_steps"],
    )


def test_every_name_of_lbforaging_means_the_same() -> None:
    compared = 0
    for name in REGISTERED:
        ours = name.replace("Foraging-", "foraging/").removesuffix("-v3")
        game, said = meaning(ours)
        assert game == "foraging/field"
        if said["food"] > most_food(said["rows"], said["columns"]):  # it makes these with less food than they say
            continue
        assert Options(**said) == options_of(gymnasium.registry[name].kwargs), name
        compared += 1
    assert compared > 1800


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("5x9-3p-3f", {"rows": 5, "columns": 9, "players": 3, "food": 3}),
        ("grid-2s-8x8-2p-2f", {"grid_observation": True, "sight": 2}),
        ("grid-8x8-2p-2f", {"grid_observation": True}),
        ("12s-15x15-3p-5f-coop-ind-pen", {"sight": 12, "coop": True, "max_food_level": 1, "penalty": 0.1}),
    ],
)
def test_names(name: str, said: dict[str, Any]) -> None:
    game, options = meaning(f"foraging/{name}")
    assert game == "foraging/field" and said.items() <= options.items()
    more = set(options) - set(said) - {"rows", "columns", "players", "food"}
    assert not more, f"{name} says nothing of {more}"


@pytest.mark.parametrize("name", ["8x8-2p", "8-2p-2f", "s-8x8-2p-2f", "8x8-2p-2f-coop-", "8x8-2p-2f-pen-coop", "x"])
def test_other_names_are_told_the_scheme(name: str) -> None:
    with pytest.raises(UsageError, match="foraging names are foraging/field and those like foraging/8x8-2p-2f, "):
        environments.make(f"foraging/{name}")


def test_scenarios_are_what_their_names_say() -> None:
    listed = [s for s in catalog.SCENARIOS.values() if s.name.startswith("foraging/")]
    assert len(listed) == 9
    for scenario in listed:
        assert meaning(scenario.name) == (scenario.environment, dict(scenario.options))
    unlisted = catalog.find("foraging/9x9-2p-1f-pen")
    assert unlisted.environment == "foraging/field" and unlisted.options["penalty"] == 0.1
    assert unlisted.name == "foraging/9x9-2p-1f-pen" and unlisted.teams == ("team",)


def test_commands_know_unlisted_names_and_lists_of_levels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "foraging/1s-5x5-4p-2f", "--episodes", "3", "--json", str(tmp_path / "a.json")]) == 0
    assert "foraging/1s-5x5-4p-2f: 3 episodes" in capsys.readouterr().out
    assert main(["evaluate", "foraging/5x5-4p"]) == 2
    assert "foraging names are foraging/field and those like" in capsys.readouterr().err
    for levels in ((1, 2), [1, 2]):  # as typed, and as a file keeps them
        spec = environments.make("foraging/8x8-2p-2f", max_player_level=levels).spec
        assert spec.digest == environments.make("foraging/field", max_player_level=(1, 2)).spec.digest


def brute_force(rows: int, columns: int) -> int:
    """Most cells off the border that are three steps apart, by trying."""
    cells = list(itertools.product(range(1, rows - 1), range(1, columns - 1)))

    def longest(first: int, chosen: list[tuple[int, int]]) -> int:
        best = len(chosen)
        for k in range(first, len(cells)):
            r, c = cells[k]
            if all(abs(r - a) + abs(c - b) >= 3 for a, b in chosen):
                best = max(best, longest(k + 1, [*chosen, cells[k]]))
        return best

    return longest(0, [])


@pytest.mark.parametrize(("rows", "columns"), [(3, 3), (3, 8), (4, 4), (5, 5), (5, 7), (6, 8), (7, 7)])
def test_room_for_food_is_known_exactly(rows: int, columns: int) -> None:
    assert most_food(rows, columns) == most_food(columns, rows) == brute_force(rows, columns)


def test_room_for_food_in_wide_fields() -> None:
    """Every fifth cell, a knight's move from one to the next, always fits; strips never say less."""
    for side in range(5, 25):
        counts = [0] * 5
        for r, c in itertools.product(range(side - 2), repeat=2):
            counts[(r + 2 * c) % 5] += 1
        assert min(64, max(counts)) <= most_food(side, side) <= 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 5, "columns": 5, "food": 3}, "food must be a whole number from 1 to 2 on a field of 5 x 5, not 3"),
        ({"food": 0}, "food must be a whole number from 1 to 8 on a field of 8 x 8, not 0"),
        ({"sight": 0}, "sight must be a whole number from 1 to 8 or None, not 0"),
        ({"sight": 9}, "sight must be a whole number from 1 to 8 or None, not 9"),
        ({"rows": 2}, "rows must be a whole number from 3 to 1000, not 2"),
        ({"columns": 1001}, "columns must be a whole number from 3 to 1000, not 1001"),
        ({"players": 0}, "players must be a whole number from 1 to 62 on a field of 8 x 8 with 2 food, not 0"),
        ({"players": 65, "rows": 20}, "players must be a whole number from 1 to 64 on a field of 20 x 8"),
        ({"min_player_level": 3}, "min_player_level must be from 1 to 2, its max_player_level, not 3"),
        ({"max_player_level": 101}, "max_player_level must be a whole number from 1 to 100, or a list"),
        ({"max_player_level": [1, 2, 3]}, r"max_player_level must be one number or a list of 2, not \[1, 2, 3\]"),
        ({"max_player_level": [1, "2"]}, "max_player_level must be a whole number from 1 to 100"),
        ({"min_food_level": 3}, "min_food_level must be from 1 to 2 where max_food_level is None"),
        ({"min_food_level": [1, 5], "max_food_level": 4}, "min_food_level must be from 1 to 4, its max_food_level"),
        ({"penalty": -0.1}, "penalty must be a number from 0 to 1000, not -0.1"),
        ({"penalty": float("nan")}, "penalty must be a number from 0 to 1000, not nan"),
        ({"max_cycles": 0}, "max_cycles must be a whole number from 1 to 1000000, not 0"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^foraging/field: {message}"):
        environments.make("foraging/field", num_envs=2**40, **options)  # before anything is allocated


def test_the_command_line_refuses_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "ippo", "foraging/8x8-2p-2f", "--env.sight", "0"]) == 2
    told = capsys.readouterr().err
    assert "sight must be a whole number from 1 to 8 or None, not 0" in told and len(told.splitlines()) == 1
    assert main(["train", "ippo", "foraging/5x5-2p-3f"]) == 2
    assert "food must be a whole number from 1 to 2 on a field of 5 x 5, not 3" in capsys.readouterr().err
