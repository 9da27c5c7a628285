"""`FunctionEnv`: any number of copies of a tiny game given as a few numpy functions, behind the environment contract.

A game is a subclass of `Rules` that says what is special about it. All arrays are batched: `hidden [E, H]` float64 is
what a copy remembers, `u [E, 4]` the uniform numbers that its episode starts from, `step [E]` the steps taken in it;
`A` agents in order, kinds of team one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from environments import rng
from environments.spec import AgentGroup, EnvSpec, TeamKind
from environments.vector import Actions, Array, SimState, StepBuffers, allocate
from marl.seeding import acting_noise

Reward = NDArray[np.float64]
Flags = NDArray[np.bool_]

START_KEY = 0x5EED
"""Of the numbers that episodes start from: no learner acts on the same."""


class Rules:
    """A game of one step in which agents see a constant, and nobody is paid."""

    teams: ClassVar[dict[str, int]] = {"team": 1}
    """Kind of team -> its agents; one team of each kind."""
    actions: ClassVar[spaces.Space] = spaces.Discrete(2)
    features: ClassVar[int] = 1
    sight: ClassVar[spaces.Box | None] = None
    """Space of observations; none: so many `features`, of any size."""
    state_size: ClassVar[int] = 0
    masked: ClassVar[bool] = False
    max_steps: ClassVar[int | None] = None
    max_wait: ClassVar[int] = 0
    turn_based: ClassVar[bool] = False
    memory: ClassVar[int] = 1

    def start(self, u: Array) -> Array:
        """What a copy remembers at an episode's start, `[E, H]`."""
        return np.zeros((len(u), self.memory))

    def obs(self, hidden: Array, step: Array) -> Array:
        """`[E, A, features]`, or what broadcasts to it; of other observations, their shape."""
        return np.ones((len(step), 1, 1))

    def state(self, hidden: Array, step: Array) -> Array:
        """`[E, state_size]`."""
        return np.zeros((len(step), self.state_size))

    def mask(self, hidden: Array, step: Array) -> Array:
        """Legal actions `[E, A, K]`, or what broadcasts to it."""
        return np.ones((len(step), 1, 1), bool)

    def acting(self, hidden: Array, step: Array) -> Array:
        """Who of the living acts, `[E, A]`, or what broadcasts to it."""
        return np.ones((len(step), 1), bool)

    def absent(self, u: Array) -> Array:
        """Who takes no part in the episode that starts, `[E, A]`, or what broadcasts to it."""
        return np.zeros((len(u), 1), bool)

    def play(self, hidden: Array, step: Array, actions: Array, alive: Array) -> tuple[Array, Array]:
        """Reward `[E, A]` and who is terminated `[E, A]` (or what broadcasts to them); may write into `hidden`.

        `actions` is `[E, A, ..]`.
        """
        return np.zeros((len(step), 1)), np.ones((len(step), 1), bool)


class FunctionEnv:
    """Copies of a game of `Rules`; see `environments.vector.VectorEnv`."""

    def __init__(self, rules: Rules, num_envs: int = 32, seed: int = 0, first_copy: int = 0) -> None:
        self.rules, self.num_envs = rules, num_envs
        self.spec = _spec(rules)
        self.buffers = allocate(self.spec, num_envs)
        agents = len(self.spec.agents)
        self.hidden = np.zeros((num_envs, rules.memory))
        self.clock: dict[str, Array] = {
            "key": rng.copy_keys(seed, first_copy, num_envs),
            "episode": np.zeros(num_envs, np.uint64),
            "seed": np.zeros(num_envs, np.uint64),
            "step": np.zeros(num_envs, np.int64),
            "alive": np.ones((num_envs, agents), bool),
            "score": np.zeros((num_envs, self.spec.num_teams)),
        }
        self._ends = np.cumsum([len(group.agents) for group in self.spec.groups])
        self._teams = np.concatenate([self.spec.team_of(group) for group in self.spec.groups])
        self._begin(np.arange(num_envs))
        self._show(self.buffers)

    @property
    def episode_seed(self) -> NDArray[np.uint64]:
        return self.clock["seed"]

    @property
    def episode_step(self) -> NDArray[np.int64]:
        return self.clock["step"]

    def reset(self, keys: Sequence[int] | None = None, copies: Sequence[int] | None = None) -> StepBuffers:
        chosen = np.arange(self.num_envs) if copies is None else np.asarray(copies)
        if keys is None:
            self.clock["episode"][chosen] += np.uint64(1)
        else:
            self.clock["key"][chosen] = np.array(list(keys), np.uint64)
            self.clock["episode"][chosen] = 0
        self._begin(chosen)
        _clear(self.buffers, chosen)
        self._show(self.buffers)
        return self.buffers

    def step(self, actions: Actions, out: StepBuffers | None = None) -> StepBuffers:
        out, clock = out or self.buffers, self.clock
        chosen = np.concatenate([actions[group.name] for group in self.spec.groups], 1)
        rewards, died = self.rules.play(self.hidden, clock["step"], chosen, clock["alive"])
        alive = clock["alive"].copy()
        reward = np.broadcast_to(rewards, alive.shape).astype(np.float32)
        terminated = np.broadcast_to(died, alive.shape) & alive
        clock["step"] += 1
        late = clock["step"] >= (self.spec.max_steps or np.inf)
        truncated = alive & late[:, None]
        np.add.at(clock["score"].T, self._teams, reward.T)
        over = late | ~(alive & ~terminated).any(1)
        clock["alive"] = alive & ~terminated
        _clear(out, np.arange(self.num_envs))
        out.episode_over[:] = over
        out.episode_truncated[:] = (truncated & ~terminated).any(1)
        out.outcome[over] = clock["score"][over]
        self._keep_final_views(out, terminated | truncated, alive)
        for group, rows in self._split(out):
            group.reward[:], group.terminated[:], group.truncated[:] = (
                reward[:, rows],
                terminated[:, rows],
                truncated[:, rows],
            )
        clock["episode"][over] += np.uint64(1)
        self._begin(np.flatnonzero(over))
        self._show(out)
        return out

    def capture(self, copies: int | Sequence[int]) -> SimState:
        chosen = copies if isinstance(copies, int) else np.asarray(copies)
        clock = {name: np.array(array[chosen]) for name, array in self.clock.items()}
        return SimState({"hidden": np.array(self.hidden[chosen])}, clock, self.spec.digest)

    def restore(
        self,
        copies: int | Sequence[int],
        state: SimState | Mapping[str, Array],
        rekey: int | Sequence[int] | None = None,
    ) -> None:
        chosen = copies if isinstance(copies, int) else np.asarray(copies)
        assert isinstance(state, SimState) and rekey is None
        self.hidden[chosen] = state.arrays["hidden"]
        for name, value in state.clock.items():
            self.clock[name][chosen] = value
        _clear(self.buffers, np.atleast_1d(chosen))
        self._show(self.buffers)

    def close(self) -> None:
        """Nothing to release."""

    def _begin(self, copies: Array) -> None:
        if not len(copies):
            return
        clock = self.clock
        seeds = [
            rng.episode_seed(key, j) for key, j in zip(clock["key"][copies], clock["episode"][copies], strict=True)
        ]
        clock["seed"][copies] = np.array(seeds, np.uint64)
        u = acting_noise(START_KEY, clock["seed"][copies], np.zeros(len(copies), np.int64), np.arange(1), 4)[:, 0]
        self.hidden[copies] = self.rules.start(u.astype(np.float64))
        clock["step"][copies], clock["score"][copies] = 0, 0
        clock["alive"][copies] = ~self.rules.absent(u)

    def _views(self) -> tuple[Array, Array, Array]:
        shape, step = self.clock["alive"].shape, self.clock["step"]
        size = self.spec.groups[0].mask_size
        sight = self.spec.groups[0].observation_space
        obs = np.broadcast_to(self.rules.obs(self.hidden, step), (*shape, *sight.shape)).astype(sight.dtype)
        mask = (
            np.broadcast_to(self.rules.mask(self.hidden, step), (*shape, size)).copy()
            if size
            else np.ones((*shape, 0), bool)
        )
        return obs, mask, np.broadcast_to(self.rules.acting(self.hidden, step), shape)

    def _show(self, out: StepBuffers) -> None:
        obs, mask, acts = self._views()
        acts = acts & self.clock["alive"]
        out.state[:] = self.rules.state(self.hidden, self.clock["step"])
        for group, rows in self._split(out):
            group.acting[:] = acts[:, rows]
            group.obs[:] = 0
            group.obs[acts[:, rows]] = obs[:, rows][acts[:, rows]]
            group.action_mask[:] = mask[:, rows] | ~acts[:, rows, None]

    def _keep_final_views(self, out: StepBuffers, ended: Flags, alive: Flags) -> None:
        obs, mask, _ = self._views()
        some = ended.any(1)
        out.final_state[some] = self.rules.state(self.hidden, self.clock["step"])[some]
        for group, rows in self._split(out):
            own = ended[:, rows]
            group.final_obs[own], group.final_mask[own] = obs[:, rows][own], mask[:, rows][own]

    def _split(self, out: StepBuffers) -> list[tuple]:
        starts = [0, *self._ends[:-1]]
        return [(group, slice(a, b)) for group, a, b in zip(out.groups, starts, self._ends, strict=True)]


def _clear(out: StepBuffers, copies: Array) -> None:
    for array in (out.episode_over, out.episode_truncated, out.outcome, out.metrics):
        array[copies] = 0
    for group in out.groups:
        for array in (group.reward, group.terminated, group.truncated):
            array[copies] = 0


def _spec(rules: Rules) -> EnvSpec:
    sight = rules.sight or spaces.Box(-np.inf, np.inf, (rules.features,), np.float32)
    groups = tuple(
        AgentGroup(name, name, tuple(f"{name}_{i}" for i in range(count)), sight, rules.actions, masked=rules.masked)
        for name, count in rules.teams.items()
    )
    return EnvSpec(
        name=f"probe/{type(rules).__name__.lower()}",
        version=1,
        agents=tuple(agent for group in groups for agent in group.agents),
        groups=groups,
        kinds=tuple(TeamKind(name, (name,)) for name in rules.teams),
        state_size=rules.state_size,
        max_steps=rules.max_steps,
        max_wait=rules.max_wait,
        turn_based=rules.turn_based,
    )
