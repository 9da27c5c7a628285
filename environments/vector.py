"""The environment contract: the only thing that learners, league and viewer see of an environment.

1. **Buffers** are allocated once; `step` overwrites them, or those handed in as `out`. Who wants to keep, copies.
   Observation, mask, acting and state are functions of the simulation state alone; the rest are events of the last
   step, and every element is written at every step. An array that an environment does not have is 0 columns wide.
2. **Same-step autoreset, the only mode.** After `step`, `obs` is what to act on next. Where an agent's own life ended
   in this step, `final_obs`, `final_mask` and `final_state` hold its last view; other rows of them are not written.
   `truncated` bootstraps from the final view, `terminated` does not; both set means terminated.
3. A life ends at most once per episode: `terminated` and `truncated` are events, `acting` is a state. Where `acting`
   is False (absent, dead, waiting, off turn) the observation is 0, the mask all True, and the action is ignored; the
   reward still counts. At least one agent acts in every copy.
4. **Randomness by key.** Copy `e` lives a life that depends only on (key, options, its actions): not on `num_envs`,
   threads or neighbours. Episode `j` of key `k` starts from `episode_seed(k, j)`.
5. `capture` and `restore` are exact and cheap, into any copy of any batch with equal options.

Axes: `E` copies, `N` agents of a group, `K` actions, `S` state columns, `M` metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from environments.spec import AgentGroup, EnvSpec

Array = NDArray[Any]
Actions = Mapping[str, Array]
"""Group name -> int32 `[E, N]` (Discrete), int32 `[E, N, dims]` (MultiDiscrete) or float32 `[E, N, dims]` (Box)."""


class GroupBuffers(NamedTuple):
    """Arrays of one group."""

    obs: Array  # [E, N, *shape] float32 or uint8
    action_mask: Array  # [E, N, K] bool, True = legal; K = 0 where nothing is masked
    acting: Array  # [E, N] bool: this agent's action counts at the coming step
    reward: Array  # [E, N] float32, reported on the step it arises
    terminated: Array  # [E, N] bool: the rules ended this agent's life in this step
    truncated: Array  # [E, N] bool: a limit cut it
    final_obs: Array  # [E, N, *shape] valid where terminated or truncated
    final_mask: Array  # [E, N, K]
    agent_state: Array  # [E, N, S'] or 0 wide
    final_agent_state: Array  # [E, N, S']


class StepBuffers(NamedTuple):
    """Arrays of the whole environment; `groups` runs parallel to `spec.groups`."""

    groups: tuple[GroupBuffers, ...]
    state: Array  # [E, S] float32
    final_state: Array  # [E, S] valid where a life ended
    episode_over: Array  # [E] bool: the copy has restarted
    episode_truncated: Array  # [E] bool: some agent alive before the step was truncated and not terminated
    outcome: Array  # [E, teams] float32, valid where episode_over
    metrics: Array  # [E, M] float32, sums over the episode so far, the ended one where episode_over


def allocate(spec: EnvSpec, num_envs: int) -> StepBuffers:
    """Zeroed buffers for `num_envs` copies."""
    return StepBuffers(
        groups=tuple(_allocate_group(group, num_envs) for group in spec.groups),
        state=np.zeros((num_envs, spec.state_size), np.float32),
        final_state=np.zeros((num_envs, spec.state_size), np.float32),
        episode_over=np.zeros(num_envs, np.bool_),
        episode_truncated=np.zeros(num_envs, np.bool_),
        outcome=np.zeros((num_envs, spec.num_teams), np.float32),
        metrics=np.zeros((num_envs, len(spec.metrics)), np.float32),
    )


def _allocate_group(group: AgentGroup, num_envs: int) -> GroupBuffers:
    rows = (num_envs, len(group.agents))
    obs = (*rows, *group.observation_space.shape)
    dtype = group.observation_space.dtype
    return GroupBuffers(
        obs=np.zeros(obs, dtype),
        action_mask=np.ones((*rows, group.mask_size), np.bool_),
        acting=np.zeros(rows, np.bool_),
        reward=np.zeros(rows, np.float32),
        terminated=np.zeros(rows, np.bool_),
        truncated=np.zeros(rows, np.bool_),
        final_obs=np.zeros(obs, dtype),
        final_mask=np.ones((*rows, group.mask_size), np.bool_),
        agent_state=np.zeros((*rows, group.agent_state_size), np.float32),
        final_agent_state=np.zeros((*rows, group.agent_state_size), np.float32),
    )


def action_shape(group: AgentGroup, num_envs: int) -> tuple[tuple[int, ...], type]:
    """Shape and dtype of a group's action array for `num_envs` copies."""
    rows = (num_envs, len(group.agents))
    space = group.action_space
    if isinstance(space, spaces.Discrete):
        return rows, np.int32
    if isinstance(space, spaces.MultiDiscrete):
        return (*rows, len(space.nvec)), np.int32
    if isinstance(space, spaces.Box):
        return (*rows, int(np.prod(space.shape))), np.float32
    raise TypeError(f"group {group.name!r}: action space {space} is not Discrete, MultiDiscrete or Box")


def missing_actions(spec: EnvSpec, actions: Actions) -> ValueError:
    """What to raise where `actions` lacks a group: which, and what `step` takes."""
    known = [group.name for group in spec.groups]
    lacking = next(name for name in known if name not in actions)
    return ValueError(f"{spec.name}: actions of group {lacking!r} are missing; step takes an array for each of {known}")


@dataclass(frozen=True)
class SimState:
    """The complete simulation state of one copy (or, with a leading axis `[C]`, of several)."""

    arrays: Mapping[str, Array]
    """The game's own named arrays, for instance `agent_position [N, 2]`."""
    clock: Mapping[str, Array]
    """Key, episode index, episode seed, draws, step, who is alive, scores and metrics so far."""
    digest: str
    """`EnvSpec.digest` of the environment that it came from."""


class VectorEnv(Protocol):
    """`num_envs` copies of one environment, stepped together."""

    spec: EnvSpec
    num_envs: int
    buffers: StepBuffers
    """The arrays written by the last `reset` or by the last `step` without `out`."""

    @property
    def episode_seed(self) -> NDArray[np.uint64]:
        """`[E]` seed of each copy's open episode: its name, unique over keys and episodes."""
        ...

    @property
    def episode_step(self) -> NDArray[np.int64]:
        """`[E]` steps taken in each copy's open episode."""
        ...

    def reset(self, keys: Sequence[int] | None = None, copies: Sequence[int] | None = None) -> StepBuffers:
        """Start new episodes in the chosen copies (all by default), from new keys where given. Clears events."""
        ...

    def step(self, actions: Actions, out: StepBuffers | None = None) -> StepBuffers:
        """Advance every copy by one step; returns the buffers written.

        ValueError where a group's actions are missing, or a shape or type does not fit.
        """
        ...

    def capture(self, copies: int | Sequence[int]) -> SimState:
        """Copy out the simulation state of one copy or of several."""
        ...

    def restore(
        self,
        copies: int | Sequence[int],
        state: SimState | Mapping[str, Array],
        rekey: int | Sequence[int] | None = None,
    ) -> None:
        """Put a captured state (or some named arrays of one) into copies, rewrite their view, clear their events.

        `rekey` gives them another key, for futures that differ. ValueError on a foreign digest, name or shape.
        """
        ...

    def close(self) -> None:
        """Release what the environment holds."""
        ...
