"""Names, options and their errors; what `import environments` may cost."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pettingzoo
import pytest

import environments
from environments import registry
from environments.errors import UsageError
from environments.native import Game

TWELVE = {
    "simple", "adversary", "crypto", "push", "reference", "speaker_listener",
    "spread", "tag", "world_comm", "formation", "line", "collect_treasure",
}  # fmt: skip
TABLES = {"climbing", "penalty", "prisoners_dilemma", "stag_hunt", "matching_pennies", "game"}


def test_names() -> None:
    for family, wanted in (("particle", TWELVE), ("matrix", TABLES), ("board", {"tictactoe", "connect_four", "hex"})):
        assert {name.split("/")[1] for name in environments.names() if name.startswith(f"{family}/")} == wanted
    assert environments.names() == sorted(environments.names())
    assert set(environments.names(toys=True)) - set(environments.names()) == set(registry.TOYS)


@pytest.mark.parametrize("name", environments.names(toys=True))
def test_a_name_leads_to_its_game(name: str) -> None:
    game = environments.game(name)
    assert game.name == name == game.spec(game.options()).name
    assert game.__class__ is Game


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"^unknown environment 'particle/sprad'; did you mean 'particle/spread'\?$"):
        environments.make("particle/sprad")
    with pytest.raises(UsageError, match=r"did you mean 'toy/noughts'\?$"):
        environments.parallel_env("toy/nougths")
    with pytest.raises(
        UsageError, match=r"unknown environment 'chess'; known: board/connect_four, .* and 15 more$"
    ) as refused:
        environments.env("chess")
    assert "toy/" not in str(refused.value)


def crowd(name: str) -> tuple[str, dict[str, int]]:
    """Reads `toy/meet-5` and the like."""
    agents = name.removeprefix("toy/meet-")
    if not agents.isdigit():
        raise UsageError(f"toy/meet-AGENTS is wanted, not {name!r}")
    return "toy/meet", {"agents": int(agents), "max_cycles": 9}


def test_a_name_may_say_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.SCHEMES, "toy", f"{__name__}:crowd")
    assert registry.meaning("toy/meet") == ("toy/meet", {})
    spec = environments.make("toy/meet-5").spec
    assert spec.name == "toy/meet" and len(spec.agents) == 5 and spec.max_steps == 9
    assert environments.env("toy/meet-5", max_cycles=7).vector.spec.max_steps == 7  # what is asked for goes first
    assert environments.game("toy/meet-5") is environments.game("toy/meet")
    with pytest.raises(UsageError, match="toy/meet-AGENTS is wanted, not 'toy/meat'"):
        environments.make("toy/meat")


def test_an_unknown_option_is_told_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"^toy/meet has no option 'cell'; did you mean 'cells'\?$"):
        environments.make("toy/meet", cell=5)
    with pytest.raises(UsageError, match="particle/spread has no option 'max_cycle'; did you mean 'max_cycles'"):
        environments.parallel_env("particle/spread", max_cycle=5)


@pytest.mark.parametrize("value", ["3", 3.0, True, None, [3]])
def test_a_whole_number_is_wanted(value: object) -> None:
    with pytest.raises(UsageError, match=r"option 'cells' of toy/meet must be int, not "):
        environments.make("toy/meet", cells=value)


def test_choices_are_named() -> None:
    with pytest.raises(UsageError, match=r"'opponent' .* must be one of weak, strong, team, self, not 'mean'"):
        environments.make("skirmish/3m", opponent="mean")


@pytest.mark.parametrize("value", ["1", True, None])
def test_a_number_is_wanted(value: object) -> None:
    with pytest.raises(UsageError, match=r"option 'gust' of toy/dock must be float, not "):
        environments.make("toy/dock", gust=value)


@pytest.mark.parametrize(("name", "options"), [("toy/meet", {"cells": 1}), ("toy/dock", {"gust": float("nan")})])
def test_a_value_out_of_range_is_refused(name: str, options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"^{name}: .* must be between "):
        environments.make(name, **options)


def test_numpy_numbers_are_numbers() -> None:
    env = environments.make("toy/dock", gust=np.float32(0.5), carts=np.int64(2))
    assert env.spec.digest == environments.make("toy/dock", gust=0.5, carts=2).spec.digest
    assert type(env.spec.options["carts"]) is int
    assert environments.make("toy/dock", gust=1).spec.options["gust"] == 1


@dataclass(frozen=True)
class Choices:
    """Options of every kind."""

    mode: Literal["a", "b"] = "a"
    limit: int | None = None
    name: str = ""
    sizes: tuple[int, ...] = ()


@pytest.mark.parametrize(
    ("option", "good", "bad"),
    [
        ("mode", "b", "c"),
        ("limit", None, "x"),
        ("limit", 3, 3.5),
        ("name", "x", 1),
        ("sizes", (1, 2), "12"),
        ("sizes", [1, 2], 1),
    ],
)
def test_every_kind_of_option_is_checked(option: str, good: object, bad: object) -> None:
    meet = environments.game("toy/meet")
    game = Game("toy/x", Choices, meet.spec, meet.params, meet.state, meet.reset_one, meet.step_one, meet.observe_one)
    assert getattr(registry.check_options(game, {option: good}), option) == good
    with pytest.raises(UsageError, match=f"option '{option}' of toy/x must be "):
        registry.check_options(game, {option: bad})


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"num_envs": 0}, "num_envs must be a whole number of at least 1, not 0"),
        ({"num_envs": 2.5}, "num_envs must be a whole number"),
        ({"first_copy": -1}, "first_copy must be a whole number of at least 0, not -1"),
        ({"num_threads": 0}, "num_threads must be a whole number of at least 1, not 0"),
        ({"seed": "x"}, "seed must be a whole number, not 'x'"),
    ],
)
def test_sizes_are_checked(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        environments.make("toy/meet", **sizes)


def test_any_seed_will_do() -> None:
    seeds = {int(environments.make("toy/meet", seed=seed).episode_seed[0]) for seed in (0, 1, -1, 2**64, 2**200 + 7)}
    assert len(seeds) == 4  # 0 and 2**64 are the same modulo 2**64


def test_faces_take_a_render_mode_and_options() -> None:
    face = environments.parallel_env("toy/meet", render_mode="rgb_array", cells=9)
    assert face.render_mode == "rgb_array" and face.vector.spec.options["cells"] == 9
    with pytest.raises(UsageError, match="render_mode must be"):
        environments.env("toy/meet", render_mode="ansi")


def test_pettingzoo_knows_us() -> None:
    for name in environments.names():
        assert name in pettingzoo.parallel_registry and name in pettingzoo.aec_registry
    face = pettingzoo.make("parallel", "particle/spread", max_cycles=7)
    assert face.vector.spec.max_steps == 7


@pytest.mark.parametrize("imports", [
    "import environments; import pettingzoo",
    "import pettingzoo; import environments",
    "import environments, importlib.util as u; u.find_spec('pettingzoo'); from pettingzoo.utils import env",
])  # fmt: skip
def test_pettingzoo_knows_us_whoever_comes_first(imports: str) -> None:
    code = f"{imports}; import pettingzoo as p; assert p.__spec__.loader is p.__loader__; "
    code += "print(p.make('aec', 'board/tictactoe').unwrapped.metadata['name'], 'atari/boxing-v2' in p.aec_registry)"
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["board/tictactoe_v1", "True"]


def test_what_is_loaded_late_is_there() -> None:
    assert set(environments.__all__) <= set(dir(environments))
    assert environments.make is registry.make and callable(environments.bots)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        environments.nothing  # noqa: B018


def test_import_is_light() -> None:
    """Neither torch, nor numba, nor pygame, nor any game: a help page must not wait for them."""
    code = "import environments, sys; print([m for m in sys.modules if m.split('.')[0] in ('torch', 'numba', 'pygame')"
    code += " or m.startswith('environments.games')])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
