"""What may be done to observations, actions and rewards on their way: `--wrap NAME[:ARGUMENT]`, by SuperSuit.

Legal actions stay whole: they are laid aside before observations are touched, where SuperSuit would refuse the Dict in
which they come. Imports SuperSuit; nothing else here does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import supersuit
from gymnasium import spaces
from pettingzoo.utils.wrappers import BaseParallelWrapper, BaseWrapper

from environments.errors import UsageError, nearest
from environments.external.layout import is_turn_based, last_line
from environments.external.views import MASK

OBSERVATION = "observation"


def _none(text: str) -> tuple[Any, ...]:
    if text:
        raise ValueError
    return ()


def _count(text: str) -> tuple[Any, ...]:
    return (_least(int(text), 1),)


def _least(number: int, least: int) -> int:
    if number < least:
        raise ValueError
    return number


def _sizes(text: str) -> tuple[Any, ...]:
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if found is None:
        raise ValueError
    return tuple(_least(int(size), 1) for size in found.groups())


def _shape(text: str) -> tuple[Any, ...]:
    return (tuple(_least(int(size), 1) for size in text.split("x")),)


def _two_numbers(text: str) -> tuple[Any, ...]:
    low, high = (float(number) for number in text.split(","))
    if not low < high:
        raise ValueError
    return low, high


def _chance(text: str) -> tuple[Any, ...]:
    if not 0 <= float(text) < 1:
        raise ValueError
    return (float(text),)


def _colour(text: str) -> tuple[Any, ...]:
    if text not in ("", "full", "R", "G", "B"):
        raise ValueError
    return (text or "full",)


def _whose(text: str) -> tuple[Any, ...]:
    if text not in ("", "type"):
        raise ValueError
    return (text == "type",)


def _dtype(text: str) -> tuple[Any, ...]:
    if text not in ("float32", "float64", "uint8"):
        raise ValueError
    return (np.dtype(text).type,)


@dataclass(frozen=True)
class Wrap:
    """One way to wrap an environment."""

    name: str
    function: str
    """Of SuperSuit."""
    argument: str
    """How it is typed, for people; empty where there is none."""
    read: Callable[[str], tuple[Any, ...]]
    """Text -> arguments; ValueError where it makes no sense."""
    needs: str = ""
    """What it fits, for people; empty where SuperSuit says that itself."""


FLOATS = "floating-point observations (--wrap dtype:float32 before it)"

WRAPS = {
    wrap.name: wrap
    for wrap in (
        Wrap("agent_indicator", "agent_indicator_v0", "[:type]", _whose),
        Wrap("clip_actions", "clip_actions_v0", "", _none, "continuous actions (Box)"),
        Wrap("clip_reward", "clip_reward_v0", ":LOW,HIGH", _two_numbers),
        Wrap("color_reduction", "color_reduction_v0", "[:full|R|G|B]", _colour),
        Wrap("delay_observations", "delay_observations_v0", ":STEPS", _count),
        Wrap("dtype", "dtype_v0", ":float32|float64|uint8", _dtype),
        Wrap("flatten", "flatten_v0", "", _none),
        Wrap("frame_stack", "frame_stack_v1", ":FRAMES", _count),
        Wrap("max_observation", "max_observation_v0", ":STEPS", _count),
        Wrap("normalize_obs", "normalize_obs_v0", ":LOW,HIGH", _two_numbers, f"{FLOATS} with finite bounds"),
        Wrap("pad_action_space", "pad_action_space_v0", "", _none),
        Wrap("pad_observations", "pad_observations_v0", "", _none),
        Wrap("reshape", "reshape_v0", ":AxBx...", _shape),
        Wrap("resize", "resize_v1", ":WIDTHxHEIGHT", _sizes, "images of 1, 3 or 4 channels, [H, W, C] or [H, W]"),
        Wrap("sticky_actions", "sticky_actions_v0", ":CHANCE", _chance, "actions that are always legal"),
    )
}
"""Every way to wrap, by name."""


def understood(texts: Sequence[str]) -> list[tuple[Wrap, tuple[Any, ...]]]:
    """What was typed, with its arguments. UsageError on an unknown name or a bad argument."""
    found = []
    for text in texts:
        name, colon, argument = text.partition(":")
        if name == "black_death":
            raise UsageError("--wrap black_death is not needed: agents that die are seen as what they are")
        if name not in WRAPS:
            raise UsageError(f"--wrap: unknown wrapper {name!r}{nearest(name, WRAPS)}")
        wrap = WRAPS[name]
        try:
            if colon and not argument:
                raise ValueError
            found.append((wrap, wrap.read(argument)))
        except ValueError:
            raise UsageError(f"--wrap {text}: it is typed as {name}{wrap.argument}") from None
    return found


def wrapped(env: Any, texts: Sequence[str], name: str) -> Any:
    """The environment with these wrappers, the first innermost. UsageError where one does not fit it."""
    asked = understood(texts)
    masked = _has_masks(env)
    if asked and masked:
        env = _TurnMasks(env) if is_turn_based(env) else _ParallelMasks(env)
    for text, (wrap, arguments) in zip(texts, asked, strict=True):
        try:
            if (wrap.name == "sticky_actions" and masked) or (wrap.name == "clip_actions" and not _all_real(env)):
                raise TypeError  # SuperSuit notices while it is played, or never
            make = getattr(supersuit, wrap.function)
            env = make(env, type_only=arguments[0]) if wrap.name == "agent_indicator" else make(env, *arguments)
        except Exception as error:
            why = f"it is for {wrap.needs}" if wrap.needs else last_line(error)
            raise UsageError(f"--wrap {text} does not fit {name}: {why}") from error
    return env


def batch(factory: Callable[[], Any], copies: int, workers: int) -> Any:
    """SuperSuit's own batch of an environment, to measure beside ours; None where it cannot make one."""
    try:
        made = supersuit.pettingzoo_env_to_vec_env_v1(factory())
        made = supersuit.concat_vec_envs_v1(made, copies, num_cpus=workers, base_class="gymnasium")
        made.reset(seed=0)
    except Exception:  # it knows fewer environments than we do: no unequal agents, no masks, no AECEnvs
        return None
    return made


def _has_masks(env: Any) -> bool:
    return any(_is_masked(env.observation_space(agent)) for agent in env.possible_agents)


def _all_real(env: Any) -> bool:
    return all(isinstance(env.action_space(agent), spaces.Box) for agent in env.possible_agents)


def _is_masked(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.Dict) and set(space.spaces) == {OBSERVATION, MASK}


class _ParallelMasks(BaseParallelWrapper[str, Any, Any]):  # type: ignore[misc]  # PettingZoo is untyped
    """Legal actions in infos instead of observations."""

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """Without the legal actions."""
        return _without(self.env.observation_space(agent))

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Begin an episode."""
        return _aside(*self.env.reset(seed=seed, options=options))

    def step(self, actions: Mapping[str, Any]) -> tuple[Any, ...]:
        """Go on."""
        views, *parts, infos = self.env.step(actions)
        views, infos = _aside(views, infos)
        return views, *parts, infos


class _TurnMasks(BaseWrapper[str, Any, Any]):  # type: ignore[misc]  # PettingZoo is untyped
    """Legal actions in infos instead of observations."""

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """Without the legal actions."""
        return _without(self.env.observation_space(agent))

    def observe(self, agent: str) -> Any:
        """What the agent sees, without the legal actions."""
        view = self.env.observe(agent)
        return view[OBSERVATION] if isinstance(view, dict) and MASK in view else view

    @property
    def infos(self) -> dict[str, Any]:
        """Every agent's info with its legal actions."""
        views = {agent: self.env.observe(agent) for agent in self.env.agents}
        return _aside(views, {agent: self.env.infos.get(agent, {}) for agent in views})[1]


def _without(space: spaces.Space[Any]) -> spaces.Space[Any]:
    return space[OBSERVATION] if _is_masked(space) else space  # type: ignore[index]


def _aside(views: Mapping[str, Any], infos: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(observations, infos) with legal actions moved from the former to the latter."""
    told = {agent: dict(infos.get(agent) or {}) for agent in views}
    seen = {}
    for agent, view in views.items():
        seen[agent] = view
        if isinstance(view, dict) and set(view) == {OBSERVATION, MASK}:
            seen[agent], told[agent][MASK] = view[OBSERVATION], view[MASK]
    return seen, told
