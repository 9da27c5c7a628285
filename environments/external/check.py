"""A doctor for environments: what will go wrong in training, told before it does, in words.

PettingZoo's own tests, and what they do not see: that observations lie in their spaces at every step, rewards are
finite numbers, seeds mean something, nothing that was handed out changes later, a life ends once, episodes end.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from environments.external import apart as processes
from environments.external import ending
from environments.external.layout import Layout, layout_of, prepared, random_row
from environments.external.play import Moment, Player
from environments.external.sources import blame
from environments.external.views import Sight

STEPS = 1000
"""Steps that are played for every check."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    """What should be so."""
    wrong: str = ""
    """What was seen instead, and what to do; empty where all is well."""
    advice: bool = False
    """True where training works all the same."""

    def __str__(self) -> str:
        if not self.wrong:
            return f"ok      {self.what}"
        return f"{'note  ' if self.advice else 'FAULT '}  {self.what}: {self.wrong}"


class Wrong(Exception):
    """Something that should not be, in words."""


class Unknown(Exception):
    """Why a check says nothing, in words."""


def examine(factory: Callable[[], Any], name: str, teams: str | None = None, steps: int = STEPS) -> Iterator[Finding]:
    """Look at an environment, one thing after the other. UsageError where it cannot be used at all."""
    env = prepared(factory(), name)
    layout = layout_of(env, name, {}, teams)
    agents = "1 agent" if len(layout.places) == 1 else f"{len(layout.places)} agents"
    yield Finding(f"{agents} with spaces that can be learnt")
    yield _looked("it passes PettingZoo's own tests", lambda: _pettingzoo(factory, min(steps, 200)))
    play = _Play(layout, env, steps)
    played = _looked("what it shows lies in its spaces, and rewards are finite numbers", play.run)
    yield played
    if not played.wrong:
        ends = f"none did in {steps} steps: end it by terminations, or by truncations at a time limit"
        yield Finding("episodes end", "" if play.episodes else ends)
    if not layout.turns:
        yield _looked("every step speaks of exactly the living agents", lambda: _keys(layout, env, min(steps, 200)))
    yield _looked("what it has handed out never changes", lambda: _memory(layout, env, min(steps, 200)))
    yield _looked("two of it with one seed live the same life", lambda: _twins(layout, factory, name, steps))
    yield _looked(
        "reset(seed) begins the same episode at any time",
        lambda: _restarts(layout, env),
        advice=True,
        then="runs cannot be resumed bit for bit, and nothing can be replayed",
    )
    yield _looked("other seeds begin other episodes", lambda: _chance(layout, env), advice=True)
    if not played.wrong:
        speed = play.made / play.seconds
        yield Finding(f"{speed:.0f} steps a second, {1e3 / speed:.2f} ms each")
    ending.close([env])


def _looked(what: str, look: Callable[[], None], advice: bool = False, then: str = "") -> Finding:
    """The finding of one check."""
    try:
        look()
    except Wrong as error:
        return Finding(what, f"{error}{f'; {then}' if then else ''}", advice)
    except Unknown as error:
        return Finding(what, str(error), advice=True)
    except (Exception, SystemExit) as error:
        return Finding(what, f"it raises {blame(error)}")
    return Finding(what)


def apart(
    factory: Callable[[], Any], name: str, teams: str | None = None, steps: int = STEPS, patience: float = 60.0
) -> Iterator[Finding]:
    """`examine` in a process of its own, where one can be made: a last finding says that the environment hangs or dies.

    It hangs where nothing is found for `patience` seconds and a tenth for each step.
    """
    if not processes.possible():
        yield from examine(factory, name, teams, steps)
        return

    def look(tell: Callable[[str], None]) -> None:
        for finding in examine(factory, name, teams, steps):
            tell(json.dumps([finding.what, finding.wrong, finding.advice]))

    try:
        for told in processes.apart(look, patience + 0.1 * steps):
            yield Finding(*json.loads(told))
    except processes.Lost as error:
        hint = f"; if it is only slow: --steps {max(10, steps // 10)}" if error.hangs else ""
        yield Finding("it answers, whatever is done", f"{error}{hint}")


def _pettingzoo(factory: Callable[[], Any], cycles: int) -> None:
    """PettingZoo's tests, silently; what they raise is told in one line. Unknown where they fail themselves: they take
    an observation for an array, or for a Dict of arrays."""
    import pettingzoo.test

    env = factory()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            (pettingzoo.test.api_test if hasattr(env, "agent_iter") else pettingzoo.test.parallel_api_test)(env, cycles)
        except AssertionError as error:
            raise Wrong(f"{' '.join(str(error).split()) or blame(error)}") from error
        except Exception as error:
            raised = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
            if raised.parent != Path(pettingzoo.test.__file__).parent:
                raise
            raise Unknown(f"they cannot look at it: {blame(error)}") from error


@dataclass
class _Watching:
    """Looks at every observation on its way in; otherwise a `Sight`."""

    agent: str
    sight: Sight
    space: spaces.Space[Any]
    step: Callable[[], int]

    def split(self, view: Any, info: Any) -> tuple[Any, Any]:
        if not self.space.contains(view):
            raise Wrong(f"agent {self.agent!r} at step {self.step()}: {_outside(self.space, view)}")
        return self.sight.split(view, info)


def _outside(space: spaces.Space[Any], view: Any) -> str:
    """Why a space does not contain what it should."""
    if isinstance(space, spaces.Dict) and isinstance(view, Mapping) and set(view) == set(space.spaces):
        bad = next((name for name, part in space.spaces.items() if not part.contains(view[name])), None)
        return (
            f"its part {bad!r} has {_outside(space[bad], view[bad])}" if bad is not None else "a Dict it does not take"
        )
    if not isinstance(space, spaces.Box) or not isinstance(view, np.ndarray):
        return f"an observation {_short(view)} of type {type(view).__name__} that is not in {space}"
    if view.shape != space.shape:
        return f"an observation of shape {view.shape}, and its space has {space.shape}"
    if not np.can_cast(view.dtype, space.dtype):
        return (
            f"an observation of type {view.dtype}, and its space has {space.dtype}: end with .astype('{space.dtype}')"
        )
    if not np.isfinite(view).all():
        return "an observation with NaN or infinity"
    place = np.unravel_index(int(np.argmax(np.maximum(space.low - view, view - space.high))), view.shape)
    index = ", ".join(map(str, map(int, place)))
    return (
        f"the number {view[place]:g} at [{index}] of an observation, and its space ends at {space.low[place]:g} and "
        f"{space.high[place]:g}: clip it, or widen the space"
    )


@dataclass
class _Play:
    """Random play, with a look at everything."""

    layout: Layout
    env: Any
    steps: int
    episodes: int = 0
    made: int = 0
    seconds: float = 0.0
    living: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Play. Wrong on the first thing that is."""
        watching: Mapping[str, Any] = {
            agent: _Watching(agent, sight, self.env.observation_space(agent), lambda: self.made)
            for agent, sight in self.layout.sights.items()
        }
        player: Player = type(self.layout.player(self.env))(self.env, watching)  # type: ignore[call-arg]
        rng = np.random.default_rng(1)
        moment = player.reset(1)
        started = time.perf_counter()
        while self.made < self.steps:
            self.made += 1
            if not moment.acting:
                raise Wrong(f"nobody has a legal action at step {self.made}: every action mask is zero")
            moment = player.step(_actions(self.layout, player, moment, rng))
            self.look(moment)
            if moment.over:
                self.episodes += 1
                moment = player.reset(1 + self.episodes)
        self.seconds = time.perf_counter() - started

    def look(self, moment: Moment) -> None:
        """Wrong on a reward that is no finite number."""
        for agent, reward in moment.rewards.items():
            if not isinstance(reward, int | float | np.number) or isinstance(reward, bool):
                raise Wrong(f"the reward of {agent!r} at step {self.made} is {_short(reward)}: make it a float")
            if not math.isfinite(float(reward)):
                raise Wrong(f"the reward of {agent!r} at step {self.made} is {reward}")


def _keys(layout: Layout, env: Any, steps: int) -> None:
    """Wrong where a ParallelEnv's dicts leave somebody out, or speak of agents that nobody listed."""
    rng = np.random.default_rng(2)
    views, infos = env.reset(seed=2)
    gone: set[str] = set()
    for t in range(1, steps + 1):
        living = list(env.agents)
        if not living:
            views, infos = env.reset(seed=2 + t)
            living, gone = list(env.agents), set()
        actions = {
            a: layout.moves[a].decode(random_row(layout.moves[a].space, _legal(layout, a, views, infos), rng))
            for a in living
        }
        views, *parts = env.step(actions)
        infos = parts[3]
        for name, part in zip(
            ("observations", "rewards", "terminations", "truncations", "infos"), (views, *parts), strict=True
        ):
            missing = [agent for agent in living if agent not in part]
            if missing:
                raise Wrong(f"{name} of step {t} leave out {missing[0]!r}, who was alive when it acted")
            strangers = [agent for agent in part if agent not in layout.places]
            if strangers:
                raise Wrong(f"{name} of step {t} speak of {strangers[0]!r}, who is not in possible_agents")
        ended = {agent for agent in living if parts[1][agent] or parts[2][agent]}
        if still := ended & set(env.agents):
            raise Wrong(f"{min(still)!r} ended at step {t} and is still in env.agents: take it out")
        gone |= ended
        if back := gone & set(env.agents):
            raise Wrong(f"{min(back)!r} ended and is back at step {t}: a life ends once in an episode")
        if left := set(living) - ended - set(env.agents):
            raise Wrong(f"{min(left)!r} left env.agents at step {t} with neither termination nor truncation")


def _legal(layout: Layout, agent: str, views: Mapping[str, Any], infos: Mapping[str, Any]) -> Any:
    legal = layout.sights[agent].split(views[agent], infos.get(agent))[1] if agent in views else None
    return legal if legal is not None and np.any(np.concatenate([np.ravel(part) for part in legal])) else None


def _memory(layout: Layout, env: Any, steps: int) -> None:
    """Wrong where an observation that was handed out is written over later."""
    player = layout.player(env)
    rng = np.random.default_rng(3)
    moment = player.reset(3)
    for t in range(steps):
        held = {agent: seen.view for agent, seen in moment.acting.items()}
        copied = {agent: _bytes(view) for agent, view in held.items()}
        moment = player.reset(3 + t) if moment.over else player.step(_actions(layout, player, moment, rng))
        for agent, view in held.items():
            if _bytes(view) != copied[agent]:
                raise Wrong(f"the observation of {agent!r} at step {t} changed in the next step: return a copy")


def _twins(layout: Layout, factory: Callable[[], Any], name: str, steps: int) -> None:
    """Wrong where two environments with one seed and the same actions differ."""
    players = [layout.player(prepared(factory(), name)) for _ in range(2)]
    rng = np.random.default_rng(4)
    one, two = (player.reset(4) for player in players)
    for t in range(steps):
        if difference := _differ(one, two):
            raise Wrong(
                f"{difference} differs at step {t}: draw every random number from a generator made by reset(seed)"
            )
        if one.over:
            one, two = (player.reset(5 + t) for player in players)
        else:
            actions = _actions(layout, players[0], one, rng)
            one, two = (player.step(dict(actions)) for player in players)


def _restarts(layout: Layout, env: Any) -> None:
    """Wrong where the same seed later gives another episode."""
    first = _episode(layout, env, 7)
    for seed in (8, 9):
        _episode(layout, env, seed)
    again = _episode(layout, env, 7)
    for t, (one, two) in enumerate(zip(first, again, strict=False)):
        if difference := _differ(one, two):
            raise Wrong(
                f"{difference} differs at step {t} when the seed comes a second time: reset all that an episode changes"
            )
    if len(first) != len(again):
        raise Wrong("the episode has another length when its seed comes a second time")


def _chance(layout: Layout, env: Any) -> None:
    """Wrong where eight seeds give the same start and the same steps."""
    first = _episode(layout, env, 0, 20)
    for seed in range(1, 8):
        other = _episode(layout, env, seed, 20)
        if len(first) != len(other) or any(_differ(one, two) for one, two in zip(first, other, strict=True)):
            return
    raise Wrong("eight seeds begin the same one, which is right where nothing is left to chance")


def _episode(layout: Layout, env: Any, seed: int, steps: int = STEPS) -> list[Moment]:
    player = layout.player(env)
    rng = np.random.default_rng(5)
    moments = [player.reset(seed)]
    while not moments[-1].over and len(moments) < steps:
        moments.append(player.step(_actions(layout, player, moments[-1], rng)))
    return moments


def _actions(layout: Layout, player: Player, moment: Moment, rng: np.random.Generator) -> dict[str, Any]:
    """Random legal actions of everybody alive."""
    actions = {}
    for agent in player.living:
        seen = moment.acting.get(agent)
        legal = None if seen is None else seen.legal
        actions[agent] = layout.moves[agent].decode(random_row(layout.moves[agent].space, legal, rng))
    return actions


def _differ(one: Moment, two: Moment) -> str:
    """What two moments do not have in common, in words; empty where they are equal."""
    if list(one.acting) != list(two.acting):
        return "who may act"
    for agent, seen in (one.acting | one.last).items():
        other = (two.acting | two.last).get(agent)
        if other is None or _bytes(seen.view) != _bytes(other.view):
            return f"the observation of {agent!r}"
    if dict(one.rewards) != dict(two.rewards):
        return "a reward"
    return "an end" if one[3:6] != two[3:6] else ""


def _bytes(view: Any) -> Any:
    """An observation as something that can be compared, and does not change."""
    if isinstance(view, Mapping):
        return {name: _bytes(part) for name, part in view.items()}
    if isinstance(view, tuple | list):
        return [_bytes(part) for part in view]
    return np.asarray(view).tobytes()


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
