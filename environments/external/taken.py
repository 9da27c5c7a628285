"""What options a factory takes, for people who ask: their names and defaults.

Many factories take anything and hand it on (`def env(**kwargs): return wrapped(raw_env(**kwargs))`). Those are looked
through, to those that they were made with or name in their own package, until something takes options by name.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from environments.external.gym import Registered

DEEPEST = 4
"""Factories behind one another that are looked through."""
OURS = ("render_mode",)
"""Options that training sets itself."""
NEEDED = inspect.Parameter.empty
"""Default of an option that must be given."""


def options_of(make: Callable[..., Any]) -> dict[str, Any]:
    """Options by name, each with its default or `NEEDED`; none where a factory does not say."""
    known: Mapping[str, Any] = {}
    if isinstance(make, Registered):
        make, known = make.behind()
    found = _named(make, DEEPEST)
    return {name: known.get(name, default) for name, default in found.items() if name not in OURS}


def taught(make: Callable[..., Any]) -> str:
    """The options that a factory takes, a line for each, as they are typed; empty where it does not say."""
    lines = []
    for name, default in options_of(make).items():
        told = "needed" if default is NEEDED else f"default: {_typed(default)}"
        lines.append(f"  --env.{name.replace('_', '-')} JSON  ({told})")
    return "\n".join(lines)


def _typed(default: Any) -> str:
    """A default as JSON; what cannot be typed as Python shows it."""
    try:
        return json.dumps(default)
    except (TypeError, ValueError):
        return str(default)


def _named(make: Any, depth: int) -> dict[str, Any]:
    """The parameters of a factory, or of the first behind it that has some."""
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):
        return {}
    named = {p.name: p.default for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    hands_on = any(p.kind == p.VAR_KEYWORD for p in parameters)
    if named or not hands_on or depth == 0:
        return named
    behind = (_named(each, depth - 1) for each in _behind(make))
    return next((found for found in behind if found), {})


def _behind(make: Any) -> Iterator[Any]:
    """Factories that a function was made with, or else functions and classes of its own package that it names."""
    function = inspect.unwrap(make.__init__ if inspect.isclass(make) else make)
    code = getattr(function, "__code__", None)
    if code is None:
        return
    held = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    held = [each for each in held if callable(each) and each is not make]  # a method holds its own class
    if held:
        yield from held
        return
    known = vars(sys.modules[function.__module__]) if function.__module__ in sys.modules else {}
    package = function.__module__.partition(".")[0]
    for each in (known[name] for name in code.co_names if name in known):
        if callable(each) and (getattr(each, "__module__", None) or "").partition(".")[0] == package:
            yield each


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 (raises where nothing is in it)
    except ValueError:
        return False
    return True
