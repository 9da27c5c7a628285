"""The same game in rware, and how a state is carried there and back: the reference of the parity tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rware.warehouse import Direction, RewardType, Warehouse

from environments.games.warehouse import robots
from environments.native import NativeEnv
from environments.rng import GAMMA, U, mix
from environments.vector import Array

REWARDS = {
    "individual": RewardType.INDIVIDUAL,
    "global": RewardType.GLOBAL,
    "two_stage": RewardType.TWO_STAGE,
}


def make(num_envs: int = 1, seed: int = 0, **options: Any) -> NativeEnv:
    """Our environment, on one thread."""
    return NativeEnv(robots.GAME, robots.Options(**options), num_envs, seed, num_threads=1)


class Reference:
    """One copy of the game in rware, to be driven in parallel with one of ours."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        given = dict(options)
        given["reward_type"] = REWARDS[given["reward_type"]]
        given["max_steps"] = given.pop("max_cycles")
        del given["timeout_terminates"]
        self.env = Warehouse(**given, msg_bits=0)
        self.env.reset(seed=0)

    @property
    def shelves(self) -> list[Any]:
        """Everything that can be carried."""
        listed: list[Any] = self.env.shelfs  # codespell:ignore shelfs
        return listed

    def put(self, arrays: Mapping[str, Array]) -> None:
        """Begin an episode in a state of ours."""
        env = self.env
        env.reset(seed=0)
        floor = arrays["floor"]
        assert floor.shape == env.grid_size
        standing = np.argwhere(floor)
        at = {}
        for shelf, (y, x) in zip(self.shelves, standing, strict=True):
            shelf.x, shelf.y = int(x), int(y)
            at[x, y] = shelf
        env.request_queue = [at[x, y] for y, x in np.argwhere(floor == 2)]
        for i, agent in enumerate(env.agents):
            agent.x, agent.y = (int(c) for c in arrays["position"][i])
            agent.dir = Direction(int(arrays["direction"][i]))
            agent.carrying_shelf = at[agent.x, agent.y] if arrays["carrying"][i] else None
            agent.has_delivered = bool(arrays["delivered"][i])
        env._cur_inactive_steps = int(arrays["idle"])
        env._recalc_grid()

    def get(self) -> dict[str, Array]:
        """The state of rware by the names of ours."""
        env = self.env
        floor = (env.grid[1] > 0).astype(np.uint8)
        for shelf in env.request_queue:
            floor[shelf.y, shelf.x] = 2
        return {
            "floor": floor,
            "position": np.array([(agent.x, agent.y) for agent in env.agents]),
            "direction": np.array([agent.dir.value for agent in env.agents]),
            "carrying": np.array([agent.carrying_shelf is not None for agent in env.agents]),
            "delivered": np.array([agent.has_delivered for agent in env.agents]),
            "idle": np.array(env._cur_inactive_steps),
        }

    def observations(self) -> Array:
        """What every robot sees now, `[N, D]`."""
        return np.stack([self.env._make_obs(agent) for agent in self.env.agents])

    def step(self, actions: Sequence[int], seed: int, draws: int) -> tuple[Array, bool, int]:
        """Rewards, whether rware calls it done, and requests drawn: with our numbers from `draws` on."""
        self.env._np_random = OurDraws(seed, draws)
        _, rewards, done, truncated, _ = self.env.step(actions)
        assert not truncated  # rware never says so
        return np.asarray(rewards), done, self.env._np_random.draws - draws


class OurDraws:
    """Stands in for rware's generator: chooses the shelf that `robots.request` does."""

    def __init__(self, seed: int, draws: int) -> None:
        self.seed, self.draws = U(seed), draws

    def choice(self, candidates: Sequence[Any]) -> Any:
        self.draws += 1
        with np.errstate(over="ignore"):
            bits = int(mix(self.seed + U(self.draws) * GAMMA))
        number = (bits >> 32) * len(candidates) >> 32
        return sorted(candidates, key=lambda shelf: (shelf.y, shelf.x))[number]
