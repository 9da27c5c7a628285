"""The same game in mpe2, and how a state is carried there and back: the reference of the parity tests."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from environments.native import Game, NativeEnv
from environments.vector import Array

MODULES = {
    "simple": "simple_v3",
    "adversary": "simple_adversary_v3",
    "crypto": "simple_crypto_v3",
    "push": "simple_push_v3",
    "reference": "simple_reference_v3",
    "speaker_listener": "simple_speaker_listener_v4",
    "spread": "simple_spread_v3",
    "tag": "simple_tag_v3",
    "world_comm": "simple_world_comm_v3",
    "formation": "simple_formation_v1",
    "line": "simple_line_v1",
    "collect_treasure": "collect_treasure_v1",
}
NAMES = tuple(MODULES)


def game(name: str) -> Game:
    """Our game of that short name."""
    found: Game = importlib.import_module(f"environments.games.particle.{name}").GAME
    return found


def make(name: str, num_envs: int = 1, num_threads: int | None = 1, **options: Any) -> NativeEnv:
    """Our environment; `seed`, `first_copy` and `hold` are taken out of the options."""
    found = game(name)
    batch = {key: options.pop(key) for key in ("seed", "first_copy", "hold") if key in options}
    return NativeEnv(found, found.options(**options), num_envs, num_threads=num_threads, **batch)


class Reference:
    """One copy of the game in mpe2, to be driven in parallel with one of ours."""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self.name = name
        given = dict(options)
        stage = given.pop("curriculum_stage", None)
        if stage is not None:
            given["curriculum"] = True
        self.env = importlib.import_module(f"mpe2.{MODULES[name]}").parallel_env(**given)
        self.raw = self.env.unwrapped
        if stage is not None:
            # mpe2 1.1.1 cannot leave stage 0: a property of its BaseScenario swallows the assignment.
            kind = type(self.raw.scenario)
            self.raw.scenario.__class__ = type("Staged", (kind,), {"curriculum_stage": stage})
        self.env.reset(seed=0)
        self.continuous = bool(given.get("continuous_actions"))

    def put(self, arrays: Mapping[str, Array]) -> None:
        """Begin an episode in a state of ours."""
        self.env.reset(seed=0)
        world = self.raw.world
        for i, agent in enumerate(world.agents):
            agent.state.p_pos = arrays["agent_position"][i].astype(float)
            agent.state.p_vel = arrays["agent_velocity"][i].astype(float)
            if "communication" in arrays:
                agent.state.c = arrays["communication"][i].astype(float)
        for k, landmark in enumerate(world.landmarks):
            landmark.state.p_pos = arrays["landmark_position"][k].astype(float)
        getattr(self, f"_put_{self.name}", lambda *_: None)(world, arrays)

    def _put_speaker_listener(self, world: Any, arrays: Mapping[str, Array]) -> None:
        world.agents[0].goal_b = world.landmarks[int(arrays["goal"])]

    def _put_reference(self, world: Any, arrays: Mapping[str, Array]) -> None:
        for agent, goal in zip(world.agents, arrays["goal"], strict=True):
            agent.goal_b = world.landmarks[int(goal)]

    def _put_adversary(self, world: Any, arrays: Mapping[str, Array]) -> None:
        for agent in world.agents:
            agent.goal_a = world.landmarks[int(arrays["goal"])]

    def _put_push(self, world: Any, arrays: Mapping[str, Array]) -> None:
        self._put_adversary(world, arrays)
        world.agents[1].color = np.array([0.25, 0.25, 0.25])
        world.agents[1].color[1 + int(arrays["goal"])] += 0.5

    def _put_line(self, world: Any, arrays: Mapping[str, Array]) -> None:
        ends = [landmark.state.p_pos for landmark in world.landmarks]
        self.raw.scenario._expected_positions = list(np.linspace(*ends, len(world.agents)))

    def _put_collect_treasure(self, world: Any, arrays: Mapping[str, Array]) -> None:
        for agent, held in zip(world.agents, arrays["holding"], strict=False):
            agent.holding = int(held) if held >= 0 else None
        for k, landmark in enumerate(world.landmarks):
            landmark.type = int(arrays["treasure_type"][k])
            landmark.alive = bool(arrays["treasure_alive"][k])

    def _put_crypto(self, world: Any, arrays: Mapping[str, Array]) -> None:
        self._put_adversary(world, arrays)
        world.agents[2].key = world.landmarks[int(arrays["key"])].color

    def get(self) -> dict[str, Array]:
        """The state of mpe2 by the names of ours."""
        world = self.raw.world
        arrays = {
            "agent_position": np.array([agent.state.p_pos for agent in world.agents]),
            "agent_velocity": np.array([agent.state.p_vel for agent in world.agents]),
            "landmark_position": np.array([landmark.state.p_pos for landmark in world.landmarks]).reshape(-1, 2),
        }
        if any(not agent.silent for agent in world.agents):
            arrays["communication"] = np.array([agent.state.c for agent in world.agents])
        numbers = {id(landmark): k for k, landmark in enumerate(world.landmarks)}
        if self.name in ("adversary", "push", "crypto"):
            arrays["goal"] = np.array(numbers[id(world.agents[0].goal_a)])
        if self.name == "speaker_listener":
            arrays["goal"] = np.array(numbers[id(world.agents[0].goal_b)])
        if self.name == "reference":
            arrays["goal"] = np.array([numbers[id(agent.goal_b)] for agent in world.agents])
        if self.name == "crypto":
            arrays["key"] = np.array(int(np.argmax(world.agents[2].key)))
        if self.name == "collect_treasure":
            held = [agent.holding for agent in world.agents if agent.collector]
            arrays["holding"] = np.array([-1 if kind is None else kind for kind in held])
            arrays["treasure_type"] = np.array([landmark.type for landmark in world.landmarks])
            arrays["treasure_alive"] = np.array([landmark.alive for landmark in world.landmarks])
        return arrays

    def observations(self) -> dict[str, Array]:
        """What every agent sees now."""
        return {agent: self.raw.observe(agent) for agent in self.raw.possible_agents}

    def step(self, actions: Mapping[str, Any], after: Mapping[str, Array]) -> tuple[Any, Any, Any]:
        """Rewards, terminations and truncations by agent; `after` is our state after the same step."""
        if self.name == "collect_treasure":
            taken = [k for k, landmark in enumerate(self.raw.world.landmarks) if not landmark.alive]
            self.raw.world._np_random = SameTreasures(after, taken)
        if self.continuous:  # as mpe2's own wrapper does, which also writes a warning each time
            actions = {agent: np.clip(action, 0, 1) for agent, action in actions.items()}
        _, rewards, terminated, truncated, _ = self.env.step(actions)
        return rewards, terminated, truncated


class SameTreasures:
    """Stands in for mpe2's generator: treasures return where, and as what, ours did. (Ours draws other numbers.)"""

    def __init__(self, after: Mapping[str, Array], taken: list[int]) -> None:
        self.places = [after["landmark_position"][k].astype(float) for k in taken]
        self.types = [int(after["treasure_type"][k]) for k in taken]

    def uniform(self, low: float = 0.0, high: float = 1.0, size: int | None = None) -> Any:
        return low if size is None else self.places.pop(0)

    def integers(self, low: int, high: int) -> int:
        return self.types.pop(0)


def random_actions(env: NativeEnv, generator: np.random.Generator) -> dict[str, Array]:
    """Actions for all copies; continuous ones reach beyond [0, 1], where both sides clip."""
    actions = {}
    for group in env.spec.groups:
        rows = (env.num_envs, len(group.agents))
        if hasattr(group.action_space, "n"):
            actions[group.name] = generator.integers(0, group.action_space.n, rows, np.int32)
        else:
            drawn = generator.uniform(-0.2, 1.2, (*rows, *group.action_space.shape))  # type: ignore[misc]
            actions[group.name] = drawn.astype(np.float32)
    return actions


def action_of(env: NativeEnv, actions: Mapping[str, Array], copy: int) -> dict[str, Any]:
    """One copy's actions by agent, as PettingZoo wants them."""
    return {
        agent: int(values[copy, n]) if values.ndim == 2 else values[copy, n]
        for group in env.spec.groups
        for values in [actions[group.name]]
        for n, agent in enumerate(group.agents)
    }


def by_agent(env: NativeEnv, arrays: list[Array], copy: int) -> dict[str, Any]:
    """One copy's rows of the groups' arrays, by agent."""
    groups = zip(env.spec.groups, arrays, strict=True)
    return {agent: values[copy, n] for group, values in groups for n, agent in enumerate(group.agents)}
