"""What PettingZoo's own tests do not see: strict tests of a ParallelEnv and of an AECEnv.

PettingZoo's `parallel_seed_test` compares one step, `parallel_api_test` never looks into observations or rewards, and
wrong keys are warnings. These play a thousand steps and raise AssertionError, led by the name of the check.
`test_strict.py` runs them over environments broken on purpose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv, ParallelEnv

from tests.contracts.play import same_bits

STEPS = 1000
PARTS = ("observations", "rewards", "terminations", "truncations", "infos")
Actions = dict[str, Any]


def demand(check: str, holds: bool, what: str) -> None:
    """AssertionError `check: what` unless it holds."""
    if not holds:
        raise AssertionError(f"{check}: {what}")


def leaves(value: Any) -> Iterator[np.ndarray]:
    """The arrays of an observation."""
    if isinstance(value, dict):
        for part in value.values():
            yield from leaves(part)
    elif isinstance(value, tuple):
        for part in value:
            yield from leaves(part)
    else:
        yield np.asarray(value)


def equal(a: Any, b: Any) -> bool:
    """Equal keys, types and bits, at any depth."""
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and same_bits(a, b)
    return type(a) is type(b) and (a == b or (a != a and b != b))


def keep(value: Any) -> Any:
    """A deep copy of an observation."""
    if isinstance(value, dict):
        return {key: keep(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(keep(part) for part in value)
    return np.array(value)


def spoil(value: Any) -> None:
    """Overwrite an observation in place."""
    for array in leaves(value):
        array[...] = 77


def choose(space: spaces.Space[Any], view: Any, info: dict[str, Any], rng: np.random.Generator) -> Any:
    """A legal random action, from the generator given."""
    space.seed(int(rng.integers(2**31)))
    mask = view.get("action_mask") if isinstance(view, dict) else info.get("action_mask")
    if mask is not None and not any(part.any() for part in leaves(mask)):
        mask = None  # off turn: nothing is legal, anything is ignored
    return space.sample(mask)


def choose_all(env: ParallelEnv, views: dict[str, Any], infos: dict[str, Any], rng: np.random.Generator) -> Actions:
    """Actions of all living agents."""
    return {agent: choose(env.action_space(agent), views[agent], infos[agent], rng) for agent in env.agents}


def check_view(env: Any, agent: str, view: Any) -> None:
    """The view is in its space, of its type, and the spaces are the same objects as ever."""
    space = env.observation_space(agent)
    demand("same space", env.observation_space(agent) is space, f"observation space of {agent} is a new object")
    demand("same space", env.action_space(agent) is env.action_space(agent), f"action space of {agent} is a new object")
    demand("dtype", _types_fit(space, view), f"observation of {agent} is not of the type of {space}")
    demand("contains", space.contains(view), f"observation of {agent} is outside its space: {view}")


def _types_fit(space: spaces.Space[Any], view: Any) -> bool:
    if isinstance(space, spaces.Dict):
        return isinstance(view, dict) and all(key in view and _types_fit(space[key], view[key]) for key in space)
    if isinstance(space, spaces.Tuple):
        return isinstance(view, tuple) and all(map(_types_fit, space, view))
    return isinstance(view, np.ndarray) and view.dtype == space.dtype


def check_numbers(reward: Any, terminated: Any, truncated: Any, agent: str) -> None:
    """Rewards are finite numbers, flags are Python's booleans."""
    demand("reward type", isinstance(reward, float | int | np.floating), f"reward of {agent} is {type(reward)}")
    demand("finite reward", math.isfinite(reward), f"reward of {agent} is {reward}")
    demand("flag type", type(terminated) is bool and type(truncated) is bool, f"flags of {agent} are not bool")


def strict_parallel_test(make: Callable[[], ParallelEnv], steps: int = STEPS, chance: bool = True) -> None:
    """Every check of a ParallelEnv."""
    check_parallel_play(make, steps)
    check_parallel_determinism(make, steps)
    check_parallel_seed_restarts(make, chance)
    check_parallel_memory(make, steps // 5)
    check_parallel_end(make)


def check_parallel_play(make: Callable[[], ParallelEnv], steps: int) -> None:
    """Keys, spaces, types, finite rewards and no revival, at every step of several episodes."""
    env = make()
    rng = np.random.default_rng(0)
    views, infos = env.reset(seed=3)
    episodes = 0
    _check_start(env, views, infos)
    gone: set[str] = set()
    for _ in range(steps):
        living = list(env.agents)
        views, *parts = env.step(choose_all(env, views, infos, rng))
        infos = parts[-1]
        for name, part in zip(PARTS, (views, *parts), strict=True):
            demand("keys", list(part) == living, f"{name} of {list(part)}, living were {living}")
        for agent in living:
            check_view(env, agent, views[agent])
            check_numbers(*(part[agent] for part in parts[:3]), agent)
        ended = {agent for agent in living if parts[1][agent] or parts[2][agent]}
        gone |= ended
        demand("revival", not gone & set(env.agents), f"{gone & set(env.agents)} ended and are back")
        demand("keys", set(env.agents) == set(living) - ended, f"agents are {env.agents} after {ended} ended")
        if not env.agents:
            episodes += 1
            views, infos = env.reset()
            _check_start(env, views, infos)
            gone = set()
    demand("two episodes", episodes >= 2, f"only {episodes} ended in {steps} steps")
    env.close()


def _check_start(env: ParallelEnv, views: dict[str, Any], infos: dict[str, Any]) -> None:
    demand("keys", bool(env.agents), "nobody lives after reset")
    demand("keys", list(views) == list(infos) == env.agents, f"reset shows {list(views)} of {env.agents}")
    order = [agent for agent in env.possible_agents if agent in env.agents]
    demand("keys", order == env.agents, f"{env.agents} are not of {env.possible_agents}, in that order")
    demand("keys", all(isinstance(info, dict) for info in infos.values()), "an info is not a dict")
    for agent in env.agents:
        check_view(env, agent, views[agent])
    if hasattr(env, "state_space"):
        demand("contains", env.state_space.contains(env.state()), "the state is outside its space")


def check_parallel_determinism(make: Callable[[], ParallelEnv], steps: int) -> None:
    """Two environments with one seed and equal actions stay equal, through resets without a seed."""
    one, two = make(), make()
    rng = np.random.default_rng(1)
    a, b = one.reset(seed=42), two.reset(seed=42)
    for t in range(steps):
        demand("determinism", equal(a, b), f"two environments with one seed differ at step {t}")
        demand("determinism", one.agents == two.agents, f"two environments with one seed differ in agents at step {t}")
        if hasattr(one, "state_space"):
            demand("determinism", equal(one.state(), two.state()), f"their states differ at step {t}")
        if one.agents:
            actions = choose_all(one, a[0], a[-1], rng)
            a, b = one.step(actions), two.step(actions)
        else:
            a, b = one.reset(), two.reset()
    one.close()
    two.close()


def check_parallel_seed_restarts(make: Callable[[], ParallelEnv], chance: bool = True) -> None:
    """`reset(seed)` begins the same episode at any time, and other seeds begin others, in a game of `chance`."""
    env = make()
    first = _whole_episode(env, 11)
    for seed in range(12, 20):
        _whole_episode(env, seed)
    again = _whole_episode(env, 11)
    demand("seed restarts", equal(first, again), "the same seed and actions gave another episode later on")
    others = [_whole_episode(env, seed) for seed in range(8)]
    differ = any(not equal(first, other) for other in others)
    demand("seeds differ", differ == chance, f"seeds give {'different episodes' if differ else 'the same episode'}")


def _whole_episode(env: ParallelEnv, seed: int) -> list[Any]:
    rng = np.random.default_rng(5)
    shown: list[Any] = [env.reset(seed=seed), list(env.agents)]
    while env.agents and len(shown) < STEPS:
        shown.append(env.step(choose_all(env, shown[-2][0], shown[-2][-1], rng)))
        shown.append(list(env.agents))
    return shown


def check_parallel_memory(make: Callable[[], ParallelEnv], steps: int) -> None:
    """What was handed out never changes, and overwriting it changes nothing inside."""
    env, twin = make(), make()
    rng = np.random.default_rng(2)
    views, infos = env.reset(seed=6)
    other, _ = twin.reset(seed=6)
    for t in range(steps):
        if not env.agents:
            views, infos = env.reset()
            other, _ = twin.reset()
        actions = choose_all(env, views, infos, rng)
        held, copied = views, keep(views)
        views, _, _, _, infos = env.step(actions)
        demand("shared memory", equal(held, copied), f"an observation handed out changed at step {t}")
        spoil(other)
        if hasattr(twin, "state_space"):
            spoil(twin.state())
        other, *_ = twin.step(actions)
        demand("shared memory", equal(other, views), f"overwriting an observation changed the next, step {t}")


def check_parallel_end(make: Callable[[], ParallelEnv]) -> None:
    """A step before the first reset or after the end is an error, as is one with a missing or strange action."""
    env = make()
    demand("closed", _raises(env, {}), "a step before the first reset is accepted")
    views, infos = env.reset(seed=0)
    rng = np.random.default_rng(3)
    actions = choose_all(env, views, infos, rng)
    demand("closed", _raises(env, {**actions, "nobody": 0}), "an action of an unknown agent is accepted")
    demand("closed", _raises(env, {}), "a step without actions is accepted")
    while env.agents:
        views, *_, infos = env.step(choose_all(env, views, infos, rng))
    demand("closed", _raises(env, actions), "a step after the end is accepted")


def _raises(env: ParallelEnv, actions: Actions) -> bool:
    try:
        env.step(actions)
    except (KeyError, RuntimeError, ValueError):
        return True
    return False


def strict_aec_test(make: Callable[[], AECEnv], turns: int = STEPS) -> None:
    """Every check of an AECEnv: two of them with one seed are played side by side."""
    env, twin = make(), make()
    rng = np.random.default_rng(7)
    episodes = 0
    env.reset(seed=42)
    twin.reset(seed=42)
    owed = dict.fromkeys(env.agents, 0.0)
    gone: set[str] = set()
    for t in range(turns):
        agent = env.agent_selection
        demand("determinism", agent == twin.agent_selection, f"another agent's turn at {t}")
        demand("keys", agent in env.agents and agent not in gone, f"it is the turn of {agent}, living are {env.agents}")
        last = env.last()
        view, reward, terminated, truncated, info = last
        demand(
            "determinism", equal(list(last), list(twin.last())), f"two environments with one seed differ at turn {t}"
        )
        check_view(env, agent, view)
        check_numbers(reward, terminated, truncated, agent)
        demand("cumulative reward", reward == owed[agent], f"{agent} is told {reward}, was paid {owed[agent]}")
        kept = keep(view)
        action = None if terminated or truncated else choose(env.action_space(agent), view, info, rng)
        spoil(twin.last()[0])
        demand("shared memory", equal(list(last), list(twin.last())), f"overwriting a view changed it inside, turn {t}")
        env.step(action)
        twin.step(action)
        demand("shared memory", equal(view, kept), f"an observation handed out changed at turn {t}")
        owed[agent] = 0.0
        if action is None:
            gone.add(agent)
            del owed[agent]
            demand("revival", agent not in env.agents, f"{agent} has ended and is still there")
        else:
            for name, part in env.rewards.items():
                owed[name] += part
        for part in (env.rewards, env.terminations, env.truncations, env.infos):
            demand("keys", list(part) == env.agents, f"{list(part)} instead of {env.agents}")
        if not env.agents:
            episodes += 1
            env.reset()
            twin.reset()
            owed, gone = dict.fromkeys(env.agents, 0.0), set()
    demand("two episodes", episodes >= 2, f"only {episodes} ended in {turns} turns")
