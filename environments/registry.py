"""Names of the environments that ship with the platform, and the four ways to make one.

The table is literal: a name and where its `Game` stands. Nothing is imported until something is made, so that
`import environments` stays cheap and `marl list` needs no compiler.
"""

from __future__ import annotations

import importlib
import types
import typing
from dataclasses import fields
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from environments.errors import UsageError, nearest

if TYPE_CHECKING:
    from environments.facade import AECFacade, ParallelFacade
    from environments.native import Game, NativeEnv
    from environments.vector import VectorEnv

GAMES = {
    "colorgrid/leader_follower": "environments.games.colorgrid.leader_follower:GAME",
    "foraging/field": "environments.games.foraging.field:GAME",
    "memory/recall": "environments.games.memory.recall:GAME",
    "matrix/climbing": "environments.games.matrix.climbing:GAME",
    "matrix/penalty": "environments.games.matrix.penalty:GAME",
    "matrix/prisoners_dilemma": "environments.games.matrix.prisoners_dilemma:GAME",
    "matrix/stag_hunt": "environments.games.matrix.stag_hunt:GAME",
    "matrix/matching_pennies": "environments.games.matrix.matching_pennies:GAME",
    "matrix/game": "environments.games.matrix.game:GAME",
    "roshambo/repeated": "environments.games.roshambo.repeated:GAME",
    "particle/simple": "environments.games.particle.simple:GAME",
    "particle/adversary": "environments.games.particle.adversary:GAME",
    "particle/crypto": "environments.games.particle.crypto:GAME",
    "particle/push": "environments.games.particle.push:GAME",
    "particle/reference": "environments.games.particle.reference:GAME",
    "particle/speaker_listener": "environments.games.particle.speaker_listener:GAME",
    "particle/spread": "environments.games.particle.spread:GAME",
    "particle/tag": "environments.games.particle.tag:GAME",
    "particle/world_comm": "environments.games.particle.world_comm:GAME",
    "particle/formation": "environments.games.particle.formation:GAME",
    "particle/line": "environments.games.particle.line:GAME",
    "particle/collect_treasure": "environments.games.particle.collect_treasure:GAME",
    "warehouse/robots": "environments.games.warehouse.robots:GAME",
    "board/tictactoe": "environments.games.board.tictactoe:GAME",
    "board/connect_four": "environments.games.board.connect_four:GAME",
    "board/hex": "environments.games.board.hex:GAME",
    "skirmish/battle": "environments.games.skirmish.battle:GAME",
}

TOYS = {
    "toy/meet": "environments.games.toy.meet:GAME",
    "toy/dock": "environments.games.toy.dock:GAME",
    "toy/noughts": "environments.games.toy.noughts:GAME",
    "toy/siege": "environments.games.toy.siege:GAME",
}
"""Small games with every feature of the contract between them: for tests, hidden from `names`."""

SCHEMES: dict[str, str] = {
    "foraging": "environments.games.foraging.names:meaning",
    "board": "environments.games.board.names:read",
    "warehouse": "environments.games.warehouse.names:read",
    "skirmish": "environments.games.skirmish.maps:meaning",
}
"""Families with names that say a game's options: where the function stands that reads such a name.

It takes a name of the family that is not in `GAMES` and returns the game's name and those options; UsageError where the
name means nothing.
"""


def names(toys: bool = False) -> list[str]:
    """Names of the games, sorted; with `toys`, also the small games used by tests."""
    return sorted(GAMES) + (sorted(TOYS) if toys else [])


def game(name: str) -> Game:
    """The game of that name. UsageError on an unknown one."""
    return _load(meaning(name)[0])


def meaning(name: str) -> tuple[str, dict[str, Any]]:
    """The game that a name stands for, and the options that the name sets. UsageError on an unknown one."""
    known = GAMES | TOYS
    if name in known:
        return name, {}
    family = str(name).split("/")[0]
    if says_options(name):
        said: tuple[str, dict[str, Any]] = _find(SCHEMES[family])(name)
        return said
    raise UsageError(f"unknown environment {name!r}{nearest(str(name), known if family == 'toy' else GAMES)}")


def says_options(name: str) -> bool:
    """True for a name of a family with names that say options, whether this one means anything or not."""
    return str(name).split("/")[0] in SCHEMES and name not in GAMES


def make(
    name: str,
    num_envs: int = 1,
    seed: int = 0,
    first_copy: int = 0,
    num_threads: int | None = None,
    **options: Any,
) -> VectorEnv:
    """`num_envs` copies of an environment, with same-step autoreset; `options` go before what its name says.

    Copy `e` lives the life of key (seed, first_copy + e), whatever the size of the batch. `num_threads` defaults to
    all cores for large batches. UsageError on an unknown name or option, or on a value out of range.
    """
    if is_external(name):
        from environments.external import named

        return named.make(name, num_envs, seed, first_copy, options)
    return _native(name, options, num_envs, seed, first_copy, num_threads)


def is_external(name: str) -> bool:
    """True for the name of somebody else's environment (`environments.external`): ours have no colon."""
    return ":" in name


def parallel_env(name: str, render_mode: str | None = None, **options: Any) -> ParallelFacade:
    """One copy of an environment as a PettingZoo ParallelEnv. UsageError as in `make`."""
    from environments.facade import ParallelFacade

    return ParallelFacade(_native(name, options, hold=True), render_mode)


def env(name: str, render_mode: str | None = None, **options: Any) -> AECFacade:
    """One copy of an environment as a PettingZoo AECEnv. UsageError as in `make`."""
    from environments.facade import AECFacade

    return AECFacade(_native(name, options, hold=True), render_mode)


def register_with_pettingzoo() -> None:
    """Let `pettingzoo.make("parallel", "particle/spread")` and `pettingzoo.make("aec", ...)` find our environments."""
    import pettingzoo

    for name in GAMES:
        pettingzoo.register("parallel", name, entry_point=partial(parallel_env, name))
        pettingzoo.register("aec", name, entry_point=partial(env, name))


def check_options(game: Game, options: dict[str, Any]) -> Any:
    """The game's options as its frozen dataclass. UsageError names a bad option and the nearest good one."""
    hints = typing.get_type_hints(game.options)
    known = [field.name for field in fields(game.options)]
    for option, value in options.items():
        if option not in known:
            raise UsageError(f"{game.name} has no option {option!r}{nearest(option, known)}")
        if not _fits(value, hints[option]):
            raise UsageError(f"option {option!r} of {game.name} must be {_wanted(hints[option])}, not {value!r}")
    plain = {option: value.item() if isinstance(value, np.generic) else value for option, value in options.items()}
    try:
        return game.options(**plain)
    except (TypeError, ValueError, UsageError) as error:
        raise UsageError(f"{game.name}: {error}") from None


def _native(
    name: str,
    options: dict[str, Any],
    num_envs: int = 1,
    seed: int = 0,
    first_copy: int = 0,
    num_threads: int | None = None,
    hold: bool = False,
) -> NativeEnv:
    from environments.native import NativeEnv

    title, said = meaning(name)
    found = _load(title)
    chosen = check_options(found, said | options)
    for what, value, least in (
        ("num_envs", num_envs, 1),
        ("first_copy", first_copy, 0),
        ("num_threads", num_threads, 1),
    ):
        if value is not None and (not _fits(value, int) or value < least):
            raise UsageError(f"{what} must be a whole number of at least {least}, not {value!r}")
    if not _fits(seed, int):
        raise UsageError(f"seed must be a whole number, not {seed!r}")
    return NativeEnv(found, chosen, num_envs, seed, first_copy, num_threads, hold)


@cache
def _load(name: str) -> Game:
    loaded: Game = _find((GAMES | TOYS)[name])
    return loaded


def _find(place: str) -> Any:
    """What stands at `module:attribute`."""
    module, attribute = place.split(":")
    return getattr(importlib.import_module(module), attribute)


def _wanted(hint: Any) -> str:
    """What a value of that type is, in words."""
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(map(str, typing.get_args(hint)))
    return getattr(hint, "__name__", str(hint))


def _fits(value: Any, hint: Any) -> bool:
    """True where a value may stand for an option of that type: exact, except that an integer may stand for a float."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in typing.get_args(hint))
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if hint is type(None):
        return value is None
    if hint is bool:
        return isinstance(value, bool | np.bool_)
    if hint is int:
        return isinstance(value, int | np.integer) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    kind = origin or hint
    if kind is tuple:  # files know lists alone
        return isinstance(value, tuple | list)
    return not isinstance(kind, type) or isinstance(value, kind)
