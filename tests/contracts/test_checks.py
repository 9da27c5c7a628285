"""The checks themselves: each refuses an environment that was broken on purpose, and only for its own reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

import environments
from environments.native import NativeEnv
from environments.vector import Actions, SimState, StepBuffers
from tests.contracts import checks


class ForgetsOneReward(NativeEnv):
    """Leaves the last agent's reward unwritten."""

    def step(self, actions: Actions, out: StepBuffers | None = None) -> StepBuffers:
        group = (out or self.buffers).groups[-1]
        before = group.reward[:, -1].copy()
        buffers = super().step(actions, out)
        group.reward[:, -1] = before
        return buffers


class WritesAllFinalViews(NativeEnv):
    """Writes final observations of agents that live on."""

    def step(self, actions: Actions, out: StepBuffers | None = None) -> StepBuffers:
        buffers = super().step(actions, out)
        group = buffers.groups[0]
        going_on = ~(group.terminated | group.truncated)
        group.final_obs[going_on] = group.obs[going_on]
        return buffers


class Remembers(NativeEnv):
    """Its view depends on something that is not in the state."""

    calls = 0

    def step(self, actions: Actions, out: StepBuffers | None = None) -> StepBuffers:
        buffers = super().step(actions, out)
        self.calls += 1
        buffers.groups[0].obs[buffers.groups[0].acting] += np.float32(self.calls / 1000)
        return buffers


class CapturesTooLittle(NativeEnv):
    """Forgets how many random numbers the episode has drawn."""

    def capture(self, copies: Any) -> SimState:
        state = super().capture(copies)
        return replace(state, clock={k: v for k, v in state.clock.items() if k != "draws"})


class LeavesSomethingBehind(NativeEnv):
    """An array of the state survives the start of an episode."""

    def reset(self, *args: Any, **kwargs: Any) -> StepBuffers:
        before = self.states["velocity"].copy()
        buffers = super().reset(*args, **kwargs)
        self.states["velocity"] = before
        return buffers


class SpoilsAnotherArray(NativeEnv):
    """A partial restore spoils another array."""

    def restore(self, copies: Any, state: Any, rekey: Any = None) -> None:
        super().restore(copies, state, rekey)
        if not isinstance(state, SimState):
            self.states["position"][copies] = 0
            super().restore(copies, self.capture(copies))


class RekeysTheOpenEpisode(NativeEnv):
    """`rekey` draws the open episode anew."""

    def restore(self, copies: Any, state: Any, rekey: Any = None) -> None:
        super().restore(copies, state, rekey)
        if rekey is not None:
            self.reset(copies=[copies])


class AcceptsForeignStates(NativeEnv):
    """Does not look at where a state comes from."""

    def restore(self, copies: Any, state: Any, rekey: Any = None) -> None:
        super().restore(
            copies, replace(state, digest=self.spec.digest) if isinstance(state, SimState) else state, rekey
        )


class OneKeyForAll(NativeEnv):
    """Every copy lives the same life."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reset(keys=[5] * self.num_envs)


class LooksAtNeighbours(NativeEnv):
    """A copy is paid by how many others there are."""

    def step(self, actions: Actions, out: StepBuffers | None = None) -> StepBuffers:
        buffers = super().step(actions, out)
        buffers.groups[0].reward[...] += np.float32(self.num_envs)
        return buffers


class ThreadsDiffer(NativeEnv):
    """Two threads give another last bit."""

    def step(self, actions: Actions, out: StepBuffers | None = None) -> StepBuffers:
        buffers = super().step(actions, out)
        if self._workers.count == 2:
            buffers.groups[0].reward[-1, 0] = np.nextafter(buffers.groups[0].reward[-1, 0], np.float32(1))
        return buffers


class ShowsTheOldEpisode(NativeEnv):
    """After the last step of an episode the view is still the final one."""

    def step(self, actions: Actions, out: StepBuffers | None = None) -> StepBuffers:
        buffers = super().step(actions, out)
        group = buffers.groups[0]
        group.obs[buffers.episode_over] = group.final_obs[buffers.episode_over]
        return buffers


class DiesTwice(NativeEnv):
    """Reports the dead as terminated again."""

    def step(self, actions: Actions, out: StepBuffers | None = None) -> StepBuffers:
        dead = [~group.acting for group in self.buffers.groups]
        buffers = super().step(actions, out)
        for group, rows in zip(buffers.groups, dead, strict=True):
            group.terminated[rows] = True
        return buffers


class ShowsTheDead(NativeEnv):
    """Leaves something in the rows of the dead."""

    def step(self, actions: Actions, out: StepBuffers | None = None) -> StepBuffers:
        buffers = super().step(actions, out)
        buffers.groups[0].obs[~buffers.groups[0].acting] = 1
        return buffers


class PaysOnlyTheLiving(NativeEnv):
    """Drops what the dead are paid, but not from the outcome."""

    def step(self, actions: Actions, out: StepBuffers | None = None) -> StepBuffers:
        alive = self.clocks["alive"].astype(bool)
        buffers = super().step(actions, out)
        guards = buffers.groups[0]
        guards.reward[~alive[:, : guards.reward.shape[1]]] = 0
        return buffers


class SharesActions(NativeEnv):
    """Adds a whisper of the other copies' actions to every copy's."""

    def step(self, actions: Actions, out: StepBuffers | None = None) -> StepBuffers:
        blended = {name: (a + 1e-6 * a.mean(0)).astype(np.float32) for name, a in actions.items()}
        return super().step(blended, out)


BROKEN: list[tuple[type[NativeEnv], str, Callable[..., None], str]] = [
    (ForgetsOneReward, "toy/siege", checks.check_every_element_is_written, "1.reward has an element"),
    (WritesAllFinalViews, "toy/siege", checks.check_every_element_is_written, "0.final_obs written without need"),
    (Remembers, "toy/dock", checks.check_view_is_a_function_of_the_state, "0.obs is not a function of the state"),
    (CapturesTooLittle, "toy/dock", checks.check_capture_and_restore, "differs at step"),
    (LeavesSomethingBehind, "toy/dock", checks.check_an_episode_leaves_nothing_behind, "velocity is left over"),
    (SpoilsAnotherArray, "toy/dock", checks.check_partial_restore, "position after restoring position"),
    (RekeysTheOpenEpisode, "toy/dock", checks.check_rekey, "rekey began another"),
    (AcceptsForeignStates, "toy/dock", checks.check_refusals, "DID NOT RAISE"),
    (OneKeyForAll, "toy/dock", checks.check_keys, "only 1 different starts"),
    (LooksAtNeighbours, "toy/dock", checks.check_copies_are_independent, "0.reward differs at copy 0"),
    (ThreadsDiffer, "toy/dock", checks.check_threads, "0.reward differs at step 0"),
    (ShowsTheOldEpisode, "toy/dock", checks.check_autoreset, "0.obs after the end"),
    (DiesTwice, "toy/siege", checks.check_lives, "a life ended twice"),
    (ShowsTheDead, "toy/siege", checks.check_rows, "who does not act sees something"),
    (PaysOnlyTheLiving, "toy/siege", checks.check_return, "step"),
    (SharesActions, "toy/dock", checks.check_garbage_actions, "differs at step"),
]


@pytest.mark.parametrize(("broken", "name", "check", "message"), BROKEN, ids=lambda part: getattr(part, "__name__", ""))
def test_a_broken_environment_is_refused(
    broken: type[NativeEnv], name: str, check: Callable[..., None], message: str
) -> None:
    game = environments.game(name)
    with pytest.raises((AssertionError, pytest.fail.Exception), match=message):
        check(partial(broken, game, game.options()))
