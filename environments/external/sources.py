"""Names of other people's environments, and the factories behind them.

* `pettingzoo:MODULE`: a module with `parallel_env`, `env` or `raw_env` (`pettingzoo:mpe2.simple_tag_v3`); those of
  PettingZoo itself also without its name in front (`pettingzoo:classic.tictactoe_v3`);
* `gymnasium:ID`: an environment registered with Gymnasium whose spaces are tuples, one part for each agent;
* `module:factory`: anything that can be imported, from the current folder too, and called with the options;
* `file.py:OBJECT`: the same from a file.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from environments.errors import UsageError, nearest
from environments.external.layout import Factory, last_line

PETTINGZOO, GYMNASIUM = "pettingzoo", "gymnasium"
FACTORIES = ("parallel_env", "env", "raw_env")
PETTINGZOO_FAMILIES = ("atari", "butterfly", "classic", "mpe", "sisl")
EXTRAS = {
    "mpe2": "envs",
    "pettingzoo": "envs",
    "magent2": "envs",
    "gymnasium_robotics": "mujoco",
    "lbforaging": "grid",
    "rware": "grid",
}
"""Which of our extras brings a package."""


def is_external(name: str) -> bool:
    """True for the name of somebody else's environment: ours have no colon."""
    return ":" in name


def is_known(name: str) -> bool:
    """True for an environment of a package that our extras bring: a file from anywhere may name it."""
    scheme, _, rest = name.partition(":")
    if scheme == PETTINGZOO:
        return rest.partition(".")[0] in {*EXTRAS, *PETTINGZOO_FAMILIES} and ":" not in rest
    return scheme == GYMNASIUM and ":" not in rest


def may_be_made(name: str, vouched: str) -> bool:
    """Whether a file from anywhere may have this environment made here: ours, of a known package, or `vouched` for."""
    return not is_external(name) or name == vouched or is_known(name)


def factory_of(name: str, options: Mapping[str, Any]) -> Factory:
    """Makes one environment of that name with those options. UsageError where the name leads nowhere.

    What the factory raises when it is called becomes a UsageError too: its TypeError is about options.
    """
    make = maker(name)

    def factory() -> Any:
        try:
            return make(**options)
        except TypeError as error:
            raise UsageError(f"{name} does not take these options: {error}{_known(make)}") from error
        except Exception as error:
            raise UsageError(f"{name} cannot be made: {blame(error)}") from error

    return factory


@cache
def maker(name: str) -> Callable[..., Any]:
    """The function or class behind a name. UsageError where there is none."""
    scheme, _, rest = name.partition(":")
    if not scheme or not rest:
        raise UsageError(f"{name!r} names no environment: MODULE:FACTORY or FILE.py:OBJECT is wanted")
    if scheme == PETTINGZOO:
        module = _pettingzoo_module(rest)
        for attribute in FACTORIES:
            if callable(getattr(module, attribute, None)):
                return getattr(module, attribute)  # type: ignore[no-any-return]
        raise UsageError(f"{rest} has none of {', '.join(FACTORIES)}: it is no PettingZoo environment")
    if scheme == GYMNASIUM:
        from environments.external.gym import gymnasium_maker

        return gymnasium_maker(rest)
    path, _, attribute = name.rpartition(":")
    module = _from_file(Path(path)) if path.endswith(".py") else _imported(path)
    return _attribute(module, attribute, path)


def _pettingzoo_module(name: str) -> Any:
    """A module by its full name, or by its name inside PettingZoo, or an attribute of a package."""
    tried = [name, f"pettingzoo.{name}"]
    for full in tried:
        parent, _, last = full.rpartition(".")
        for way in (full, parent) if parent else (full,):
            try:
                module = importlib.import_module(way)
            except ModuleNotFoundError as error:
                if error.name is not None and not f"{way}.".startswith(f"{error.name}."):
                    raise UsageError(f"importing {way} fails: {blame(error)}") from error
                continue
            except Exception as error:
                raise UsageError(f"importing {way} fails: {blame(error)}") from error
            if way == full:
                return module
            if hasattr(module, last):
                return getattr(module, last)
            break
    top = name.partition(".")[0]
    extra = EXTRAS.get(top, "envs")
    missing = importlib.util.find_spec(top) is None
    raise UsageError(
        f"there is no module {name}"
        + (f"; pip install 'marl[{extra}]' brings other people's environments" if missing else "")
    )


def _imported(name: str) -> Any:
    _look_in(os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise UsageError(f"there is no module {name}: neither here nor installed") from None
        raise UsageError(f"importing {name} fails: {blame(error)}") from error
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise UsageError(f"importing {name} fails: {blame(error)}") from error


def _look_in(folder: str) -> None:
    """Let imports find what is in a folder: an installed command does not look in the current one by itself."""
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _from_file(path: Path) -> Any:
    """A file as a module; what stands beside it can be imported by it."""
    full = path.resolve()
    if not full.is_file():
        raise UsageError(f"there is no file {path}")
    name = f"marl_{full.stem}_{hashlib.sha256(str(full).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    for folder in (os.getcwd(), str(full.parent)):
        _look_in(folder)
    spec = importlib.util.spec_from_file_location(name, full)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        raise UsageError(f"importing {path} fails: {blame(error)}") from error
    return module


def _attribute(module: Any, attribute: str, where: str) -> Callable[..., Any]:
    found = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        offered = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        told = "is no function or class" if found is not None else "does not exist"
        raise UsageError(f"{attribute} of {where} {told}{nearest(attribute, offered)}")
    return found  # type: ignore[no-any-return]


def blame(error: BaseException) -> str:
    """The last line of an error's traceback, and the line of code that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError):
        return f"{last_line(error)}"
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{last_line(error)}{place}"


def _known(make: Callable[..., Any]) -> str:
    """The options that a factory takes, where it says so."""
    from environments.external.taken import options_of

    names = options_of(make)
    return f"; it takes {', '.join(names)}" if names else ""
