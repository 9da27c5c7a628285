"""Small PettingZoo environments of every awkward kind, and some that fail on purpose."""

from __future__ import annotations

import os
import signal
import time
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv, ParallelEnv

from environments import keys

END = 6


class Arena(ParallelEnv):
    """Three agents; `b` dies at step 3, `c` appears at step 2, `a` is cut off at step `end`; `a` is paid a seeded sum.

    Agents see the step, their number and a seeded number that changes with every step.
    """

    metadata: ClassVar = {"name": "arena", "render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(self, end: int = END, render_mode: str | None = None) -> None:
        self.end = end
        self.render_mode = render_mode
        self.possible_agents = ["a", "b", "c"]
        self.agents: list[str] = []
        self.seen = {agent: spaces.Box(-np.inf, np.inf, (3,), np.float32) for agent in self.possible_agents}
        self.done = {agent: spaces.Discrete(3, start=5) for agent in self.possible_agents}

    def observation_space(self, agent: str) -> Any:
        return self.seen[agent]

    def action_space(self, agent: str) -> Any:
        return self.done[agent]

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.rng = np.random.default_rng(seed)
        self.now, self.agents, self.dead = 0, ["a", "b"], set()
        return self._views(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, Any]) -> Any:
        assert set(actions) == set(self.agents) and all(5 <= action < 8 for action in actions.values())
        self.now += 1
        present = [*self.agents, *(["c"] if self.now == 2 else [])]
        ended = {"b"} if self.now == 3 else set()
        cut = set(present) if self.now == self.end else set()
        shown = self._views(present)
        rewards = {agent: float(actions.get(agent, 0)) for agent in present}
        self.agents = [agent for agent in present if agent not in ended | cut]
        flags = [{agent: agent in which for agent in present} for which in (ended, cut)]
        return shown, rewards, *flags, {agent: {} for agent in present}

    def _views(self, agents: list[str] | None = None) -> Any:
        chance = self.rng.random()
        return {a: np.array([self.now, "abc".index(a), chance], np.float32) for a in agents or self.agents}

    def render(self) -> Any:
        picture = np.zeros((32, 48, 3), np.uint8)
        picture[:, : 8 * self.now] = 200
        return picture


class Faulty(Arena):
    """An arena in which something goes wrong at step 4 of every `every`-th episode; `only` in that copy."""

    def __init__(self, fault: str = "raises", every: int = 2, only: int | None = None) -> None:
        super().__init__()
        self.fault, self.every, self.episodes = fault, every, -1
        self.chosen = None if only is None else {keys.copy_key(seed, only) for seed in (0, 6)}
        self.copy_seeds = {keys.episode_seed(key, k) for key in self.chosen or () for k in range(100)}

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.episodes += 1
        self.mine = self.chosen is None or seed in self.copy_seeds
        return super().reset(seed, options)

    def step(self, actions: dict[str, Any]) -> Any:
        views, rewards, *flags, infos = super().step(actions)
        if self.now != 4 or not self.mine or self.episodes % self.every != self.every - 1:
            return views, rewards, *flags, infos
        match self.fault:
            case "raises":
                raise RuntimeError("the roof fell in")
            case "nan":
                views["a"][2] = np.nan
            case "reward":
                rewards["a"] = float("inf")
            case "shape":
                views["a"] = np.zeros(4, np.float32)
            case "type":
                views["a"] = np.array(["x", "y", "z"])
            case "stranger":
                views["nobody"] = views["a"]
            case "sleeps":
                time.sleep(1000)
            case "spins":
                while True:
                    pass
            case "leaves":
                raise SystemExit(3)
            case "forks" if not os.fork():
                time.sleep(1000)
            case "dies" | "forks":
                os.kill(os.getpid(), signal.SIGKILL)
        return views, rewards, *flags, infos


class Shut(Faulty):
    """One of which a process can begin `every` episodes; after that nothing helps."""

    begun: ClassVar = 0

    def __init__(self, every: int = 2) -> None:
        super().__init__("none", every)

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        Shut.begun += 1
        if Shut.begun > self.every:
            raise RuntimeError("the door is shut")
        return super().reset(seed, options)


class Short(Faulty):
    """One that takes no seeds of 64 bits."""

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        assert seed is None or seed < 2**31
        return super().reset(seed, options)


class Rooms(ParallelEnv):
    """One agent for each kind of space; an episode of four steps."""

    metadata: ClassVar = {"name": "rooms"}
    SEEN: ClassVar = {
        "nested_0": spaces.Dict(
            {"near": spaces.Tuple((spaces.Box(0, 1, (2,)), spaces.Discrete(3, start=1))), "bits": spaces.MultiBinary(2)}
        ),
        "image_0": spaces.Box(0, 255, (40, 40, 3), np.uint8),
        "wide_0": spaces.Box(-1e300, 1e300, (2, 2), np.float64),
        "byte_0": spaces.Box(0, 1, (3,), np.int8),
        "masked_0": spaces.Dict({"observation": spaces.Box(0, 1, (1,)), "action_mask": spaces.MultiBinary(4)}),
    }
    DONE: ClassVar = {
        "nested_0": spaces.MultiDiscrete([2, 3], start=[1, 0]),
        "image_0": spaces.Box(-2, 3, (2, 1), np.float64),
        "wide_0": spaces.MultiBinary(3),
        "byte_0": spaces.Box(0, 4, (1,), np.int64),
        "masked_0": spaces.Discrete(4),
    }

    def __init__(self) -> None:
        self.possible_agents = list(self.SEEN)
        self.agents: list[str] = []

    def observation_space(self, agent: str) -> Any:
        return self.SEEN[agent]

    def action_space(self, agent: str) -> Any:
        return self.DONE[agent]

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.now, self.agents = 0, list(self.possible_agents)
        self.space_seed = (seed or 0) % 2**31
        return self._views(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, Any]) -> Any:
        self.now += 1
        for agent, action in actions.items():
            assert self.DONE[agent].contains(np.asarray(action) if agent != "masked_0" else action), (agent, action)
        over = dict.fromkeys(self.agents, self.now == 4)
        done = self._views(), dict.fromkeys(self.agents, 1.0), over, dict.fromkeys(self.agents, False)
        infos: dict[str, Any] = {agent: {} for agent in self.agents}
        self.agents = [] if self.now == 4 else self.agents
        return *done, infos

    def _views(self) -> Any:
        for k, space in enumerate(self.SEEN.values()):
            space.seed(self.space_seed + 10 * self.now + k)
        views = {agent: space.sample() for agent, space in self.SEEN.items()}
        views["masked_0"]["action_mask"] = np.arange(4, dtype=np.int8) % 2
        views["wide_0"] = views["wide_0"] / 1e290
        return views


class Duel(AECEnv):
    """Two take turns; whoever moves at turn 5 wins; the legal actions of who waits are none."""

    metadata: ClassVar = {"name": "duel", "is_parallelizable": False}

    def __init__(self) -> None:
        self.possible_agents = ["left", "right"]
        parts = {"observation": spaces.Box(0, 9, (2,), np.int8), "action_mask": spaces.Box(0, 1, (2,), np.int8)}
        self.seen = {agent: spaces.Dict(parts) for agent in self.possible_agents}
        self.done = {agent: spaces.Discrete(2) for agent in self.possible_agents}

    def observation_space(self, agent: str) -> Any:
        return self.seen[agent]

    def action_space(self, agent: str) -> Any:
        return self.done[agent]

    def reset(self, seed: int | None = None, options: Any = None) -> None:
        self.agents, self.now = list(self.possible_agents), 0
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos = {agent: {} for agent in self.agents}
        self.agent_selection = self.agents[(seed or 0) % 2]

    def observe(self, agent: str) -> Any:
        turn = agent == self.agent_selection and not any(self.terminations.values())
        seen = np.array([self.now, self.possible_agents.index(agent)], np.int8)
        return {"observation": seen, "action_mask": np.array([turn, turn and self.now % 2], np.int8)}

    def step(self, action: Any) -> None:
        agent = self.agent_selection
        if self.terminations[agent]:
            self._was_dead_step(action)
            return
        assert self.observe(agent)["action_mask"][action]
        self.now += 1
        self._cumulative_rewards[agent] = 0
        self.rewards = dict.fromkeys(self.agents, 0.0)
        other = self.possible_agents[1 - self.possible_agents.index(agent)]
        if self.now == 5:
            self.rewards = {agent: 1.0, other: -1.0}
            self.terminations = dict.fromkeys(self.agents, True)
        self._accumulate_rewards()
        self.agent_selection = other


class Unrepeatable(Arena):
    """An arena that does not listen to its seed."""

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(time.perf_counter_ns())


class Refused(Arena):
    """An arena with actions that nobody can learn."""

    def __init__(self, space: str = "tuple") -> None:
        super().__init__()
        self.space = space

    def action_space(self, agent: str) -> Any:
        parts = [spaces.Discrete(2), spaces.Discrete(3)]
        return spaces.Tuple(parts) if self.space == "tuple" else spaces.Dict({"left": parts[0], "right": parts[1]})


class Nameless(Arena):
    """An arena that does not say who may appear."""

    def __init__(self) -> None:
        super().__init__()
        del self.possible_agents


class Unseeded(Arena):
    """An arena whose chance comes from everything that has happened in it, whatever the seed."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(0)

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.now, self.agents = 0, ["a", "b"]
        return self._views(), {agent: {} for agent in self.agents}


class Ill(Arena):
    """An arena that is ill in one way."""

    def __init__(self, illness: str = "none") -> None:
        super().__init__(end=10**9 if illness == "endless" else END)
        self.illness = illness
        if illness == "narrow":
            self.seen = {agent: spaces.Box(-1, 2, (3,), np.float32) for agent in self.possible_agents}
        self.kept = {agent: np.zeros(3, np.float32) for agent in self.possible_agents}

    def step(self, actions: dict[str, Any]) -> Any:
        before = list(self.agents)
        views, rewards, ended, cut, infos = super().step(actions)
        match self.illness:
            case "wide type":
                views = {agent: view.astype(np.float64) for agent, view in views.items()}
            case "no reward":
                rewards["a"] = None
            case "shared memory":
                for agent, view in views.items():
                    self.kept[agent][:] = view
                    views[agent] = self.kept[agent]
            case "left out" if self.now == 3:
                del rewards["b"]
            case "revived" if self.now == 4:
                self.agents = [*self.agents, "b"]
                views["b"] = views["a"]
            case "vanished" if self.now == 4:
                self.agents = [agent for agent in self.agents if agent != "a"]
            case "haunted":
                infos["ghost"] = {}
            case "careless":
                views = {agent: view + np.float32(id(self) % 97) for agent, view in views.items()}
        assert before
        return views, rewards, ended, cut, infos


class Ruled(Arena):
    """An arena whose infos say that only the first action is legal, and which takes no other."""

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        views, infos = super().reset(seed, options)
        return views, self._rules(infos)

    def step(self, actions: dict[str, Any]) -> Any:
        if any(action != 5 for action in actions.values()):
            raise RuntimeError(f"{actions} are not all legal")
        *parts, infos = super().step(actions)
        return *parts, self._rules(infos)

    @staticmethod
    def _rules(infos: dict[str, Any]) -> dict[str, Any]:
        return {agent: {"action_mask": np.array([1, 0, 0], np.int8)} for agent in infos}


class Plain(Arena):
    """An arena for wrappers: names with numbers, bounded views, actions from 0, nobody dies or comes late."""

    def __init__(self) -> None:
        super().__init__()
        self.possible_agents = ["walker_0", "walker_1"]
        self.seen = {agent: spaces.Box(0, 99, (3,), np.float32) for agent in self.possible_agents}
        self.done = {agent: spaces.Discrete(3) for agent in self.possible_agents}

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.rng = np.random.default_rng(seed)
        self.now, self.agents = 0, list(self.possible_agents)
        return self._views(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, Any]) -> Any:
        self.now += 1
        agents, over = self.agents, self.now == self.end
        shown, rewards = self._views(), {agent: float(actions[agent] - 3) for agent in agents}
        self.agents = [] if over else agents
        ended, cut = dict.fromkeys(agents, False), dict.fromkeys(agents, over)
        return (
            shown,
            {agent: reward + 5 for agent, reward in rewards.items()},
            ended,
            cut,
            {agent: {} for agent in agents},
        )

    def _views(self, agents: list[str] | None = None) -> Any:
        chance = self.rng.random()
        return {a: np.array([self.now, n, chance], np.float32) for n, a in enumerate(self.possible_agents)}


class Gone(Plain):
    """An arena whose state cannot be had any more when its episode is over."""

    def state(self) -> Any:
        if not self.agents:
            raise AttributeError("nothing is left")
        return np.array([self.now], np.float32)


class Endless(Arena):
    """Does not come to an end when it is told to close."""

    def close(self) -> None:
        while True:
            time.sleep(1.0)
