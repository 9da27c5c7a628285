"""Other people's environments by name: described without a batch, and made in one process or in several.

Beside the factory's own options, `options` holds what we add, under names that no factory can have: `--teams` (as
typed for `--teams`) and `--wrap` (a list of what was).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from environments.errors import EnvironmentFailure, UsageError
from environments.external import apart, ending
from environments.external.film import RENDER_MODE, Film, seeing
from environments.external.layout import Factory, layout_of, prepared, repeats
from environments.external.sources import factory_of
from environments.external.vector import MAX_FAULTS, PettingZooVectorEnv
from environments.process import ProcessVectorEnv
from environments.spec import EnvSpec
from environments.vector import VectorEnv

TEAMS, WRAP = "--teams", "--wrap"
DRAWS = "render_mode"
"""The factory's option."""
LOOK_SECONDS = 60.0
"""How long an environment may take to be made, and to be played for some steps."""
SAME = "same"


def describe(name: str, options: Mapping[str, Any]) -> EnvSpec:
    """The description of an environment: it is made once and played for some steps. UsageError where it cannot be."""
    return _described(name, _text(name, options))


def make(
    name: str,
    num_envs: int = 1,
    seed: int = 0,
    first_copy: int = 0,
    options: Mapping[str, Any] | None = None,
    max_faults: int = MAX_FAULTS,
    can_capture: bool | None = None,
    filmed: int = 0,
) -> VectorEnv:
    """Copies of an environment in this process; whoever has its description need not have it described again.

    The first `filmed` copies draw themselves, if they can. UsageError as for `describe`.
    """
    options = options or {}
    known = describe(name, options).can_capture if can_capture is None else can_capture
    return PettingZooVectorEnv(
        made_by(name, options),
        num_envs,
        seed,
        first_copy,
        name=name,
        options=options,
        teams=options.get(TEAMS),
        max_faults=max_faults,
        can_capture=known,
        film=Film(filmed, made_by(name, {**options, DRAWS: RENDER_MODE})) if filmed else None,
    )


def batch(
    name: str,
    num_envs: int,
    seed: int,
    first_copy: int,
    options: Mapping[str, Any],
    workers: int,
    max_faults: int = MAX_FAULTS,
    filmed: int = 0,
) -> VectorEnv:
    """Copies of an environment in that many worker processes, or in this one where there are none. See `make`."""
    if workers == 0:
        return make(name, num_envs, seed, first_copy, options, max_faults, filmed=filmed)
    spec = describe(name, options)
    return ProcessVectorEnv(name, spec, num_envs, workers, seed, first_copy, max_faults=max_faults, filmed=filmed)


def made_by(name: str, options: Mapping[str, Any]) -> Factory:
    """The factory of an environment with its options and wrappers. UsageError on a wrapper that does not exist."""
    own = {key: value for key, value in options.items() if key not in (TEAMS, WRAP)}
    plain = factory_of(name, own)
    if DRAWS not in own:
        plain = seeing(plain, factory_of(name, {**own, DRAWS: RENDER_MODE}))
    texts = options.get(WRAP)
    if not texts:
        return plain
    from environments.external import wraps

    wraps.understood(texts)
    return lambda: wraps.wrapped(prepared(plain(), name), texts, name)


def _text(name: str, options: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(options), sort_keys=True)
    except (TypeError, ValueError) as error:
        raise UsageError(f"options of {name} must be plain data (JSON): {error}") from None


@cache
def _described(name: str, text: str) -> EnvSpec:
    options = json.loads(text)
    factory = made_by(name, options)
    again = _played_apart(factory, name, options) if apart.possible() else None
    env = prepared(factory(), name)
    layout = layout_of(env, name, options, options.get(TEAMS))
    spec = replace(layout.spec, can_capture=repeats(layout, env) if again is None else again)
    ending.close([env])
    return spec


def _played_apart(factory: Factory, name: str, options: Mapping[str, Any]) -> bool:
    """Whether an environment repeats itself, as a copy of this process finds out.

    One that hangs or dies while it is played does not: it does so in earnest too, in workers, where it is counted.
    EnvironmentFailure where it cannot even be made and reset.
    """

    def look(tell: Callable[[str], None]) -> None:
        env = prepared(factory(), name)
        layout = layout_of(env, name, options, options.get(TEAMS))
        tell("made")
        tell(SAME if repeats(layout, env) else "other")

    told: list[str] = []
    try:
        for word in apart.apart(look, LOOK_SECONDS):
            told.append(word)
    except apart.Lost as error:
        if not told:
            raise EnvironmentFailure(f"{name} cannot be made and reset: {error}") from None
    return SAME in told
