"""The environment contract as checks over any `VectorEnv`, native or not.

Each takes a factory, `make(num_envs=, seed=, first_copy=, num_threads=)`, plays at random and raises AssertionError.
`test_contract.py` runs them over every environment; `test_checks.py` runs them over environments broken on purpose.
"""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from environments.rng import key_of
from environments.vector import VectorEnv, action_shape, allocate
from tests.contracts import play
from tests.contracts.cases import Factory


def check_every_element_is_written(make: Factory, steps: int = 120) -> None:
    """Two equal batches write into differently poisoned buffers: afterwards no poison is left but in final views."""
    one, two = make(num_envs=5, seed=1), make(num_envs=5, seed=1)
    spare = allocate(two.spec, 5)
    rng = np.random.default_rng(1)
    deaths = 0
    for t in range(steps):
        actions = play.random_actions(one, rng)
        play.poison(one.buffers, 0)
        play.poison(spare, 1)
        a, b = one.step(actions), two.step(actions, out=spare)
        assert b is spare
        unwritten = _poison_that_must_stay(b)
        deaths += int(play.life_ended(a).sum())
        for (name, x), (_, y) in zip(play.arrays(a), play.arrays(b), strict=True):
            if name in unwritten:
                rows = unwritten[name]
                assert (y[rows] == play.POISONS[y.dtype.kind][1]).all(), f"{name} written without need, step {t}"
                x, y = x[~rows], y[~rows]
            assert play.same_bits(x, y), f"{name} has an element that was not written, step {t}"
        for mine, theirs in zip(two.buffers.groups, spare.groups, strict=True):
            mine.action_mask[...] = theirs.action_mask  # `random_actions` looks at it
    assert deaths > 0, "nothing ended: the check saw no final views"


def _poison_that_must_stay(buffers: play.StepBuffers) -> dict[str, play.Array]:
    rows = {"final_state": ~play.life_ended(buffers)}
    for g, over in enumerate(play.ended(buffers)):
        rows |= {f"{g}.{name}": ~over for name in play.FINAL[:3]}
    return rows


VIEW = ("obs", "action_mask", "acting", "agent_state")


def check_view_is_a_function_of_the_state(make: Factory, steps: int = 60) -> None:
    """Capture and restore in place: the view is the same, and every event is cleared."""
    env = make(num_envs=4, seed=2)
    rng = np.random.default_rng(2)
    for t in range(steps):
        env.step(play.random_actions(env, rng))
        before = play.snapshot(env.buffers)
        env.restore(range(4), env.capture(range(4)))
        after = play.snapshot(env.buffers)
        for name in before:
            if name == "state" or name.split(".")[-1] in VIEW:
                assert play.same_bits(before[name], after[name]), f"{name} is not a function of the state, step {t}"
        for name in ("episode_over", "episode_truncated", *_names(env, "reward", "terminated", "truncated")):
            assert not after[name].any(), f"{name} is not cleared by restore"


def _names(env: VectorEnv, *names: str) -> list[str]:
    return [f"{g}.{name}" for g in range(len(env.spec.groups)) for name in names]


def check_capture_and_restore(make: Factory, steps: int = 200) -> None:
    """A captured copy goes on exactly alike in another batch and another place, through episode ends."""
    home, abroad = make(num_envs=6, seed=3), make(num_envs=4, seed=99)
    rng = np.random.default_rng(3)
    for t in range(17):
        home.step(play.random_actions(home, rng))
        if t < 10:  # another step, other counters: what is not restored shows
            abroad.step(play.random_actions(abroad, rng))
    abroad.restore(2, home.capture(5))
    abroad.restore([3, 0], home.capture([1, 4]))
    here, there = [5, 1, 4], [2, 3, 0]
    seeds = home.episode_seed[here].copy()
    for t in range(steps):
        actions = play.random_actions(home, rng)
        moved = play.random_actions(abroad, rng)
        for name in moved:
            moved[name][there] = actions[name][here]
        a, b = home.step(actions), abroad.step(moved)
        play.assert_same(play.valid(a, here), play.valid(b, there), f"step {t}")
        assert (home.episode_seed[here] == abroad.episode_seed[there]).all()
        assert (home.episode_step[here] == abroad.episode_step[there]).all()
    assert (home.episode_seed[here] != seeds).all(), "no episode ended: play longer"


def check_rekey(make: Factory) -> None:
    """`rekey` leaves the open episode alone and gives another next one."""
    env = make(num_envs=2, seed=4)
    env.restore(1, env.capture(0), rekey=123)
    assert env.episode_seed[0] == env.episode_seed[1], "rekey began another episode"
    play.assert_same(*(play.valid(env.buffers, [e]) for e in (0, 1)), "after rekey")
    env.reset()
    assert env.episode_seed[0] != env.episode_seed[1], "rekey did not change the next episode"


def check_an_episode_leaves_nothing_behind(make: Factory) -> None:
    """The state at an episode's start is a function of its seed: nothing of the last episode is left in it."""
    used, fresh = make(num_envs=4, seed=15), make(num_envs=4, seed=16)
    rng = np.random.default_rng(15)
    for _ in range(9):
        used.step(play.random_actions(used, rng))
    for env in (used, fresh):
        env.reset(keys=range(4))
    one, two = used.capture(range(4)), fresh.capture(range(4))
    for name in one.arrays:
        assert play.same_bits(one.arrays[name], two.arrays[name]), f"{name} is left over from the last episode"
    for name in one.clock:
        assert play.same_bits(one.clock[name], two.clock[name]), f"clock {name} is left over from the last episode"


def check_partial_restore(make: Factory) -> None:
    """A mapping with one named array changes that array and nothing else, and rewrites the view."""
    env = make(num_envs=3, seed=5)
    rng = np.random.default_rng(5)
    for _ in range(3):
        env.step(play.random_actions(env, rng))
    for name in env.capture(0).arrays:
        start, other = env.capture(0), env.capture(1)
        env.restore(0, {name: other.arrays[name]})
        now = env.capture(0)
        for key in now.arrays:
            wanted = other if key == name else start
            assert play.same_bits(now.arrays[key], wanted.arrays[key]), f"{key} after restoring {name}"
        for key in now.clock:
            assert play.same_bits(now.clock[key], start.clock[key]), f"clock {key} after restoring {name}"
        shown = play.snapshot(env.buffers, [0])
        env.restore(0, now)
        play.assert_same(shown, play.snapshot(env.buffers, [0]), f"the view after restoring {name}")
        env.restore(0, start)


def check_refusals(make: Factory) -> None:
    """Foreign states, unknown names, wrong shapes and wrong actions are refused, and change nothing."""
    env = make(num_envs=3, seed=6)
    good = env.capture(0)
    name = next(iter(good.arrays))
    before = env.capture(range(3))
    foreign = type(good)(good.arrays, good.clock, "0" * 16)
    misshapen = np.zeros((*good.arrays[name].shape, 7))
    for bad in (foreign, {"no such array": np.zeros(1)}, {**good.arrays, name: misshapen}):
        with pytest.raises(ValueError):
            env.restore(1, bad)
    actions = play.random_actions(env, np.random.default_rng(6))
    group = env.spec.groups[-1]
    shape, dtype = action_shape(group, 3)
    other = np.float64 if dtype is np.float32 else np.int64
    for bad_actions in (np.zeros(shape, other), np.zeros((4, *shape[1:]), dtype), np.zeros((*shape, 2), dtype)):
        with pytest.raises(ValueError):
            env.step({**actions, group.name: bad_actions})
    with pytest.raises(ValueError, match=f"actions of group {group.name!r} are missing; step takes "):
        env.step({key: value for key, value in actions.items() if key != group.name})
    with pytest.raises(ValueError):
        env.step(actions, out=allocate(env.spec, 2))
    for copies in ([3], [-1]):
        with pytest.raises(IndexError):
            env.reset(copies=copies)
    after = env.capture(range(3))
    for key in before.arrays:
        assert play.same_bits(before.arrays[key], after.arrays[key]), f"{key} changed by a refused call"


def check_keys(make: Factory, starts: int = 64) -> None:
    """64 copies begin in `starts` ways at least; in 1000 episodes they never share a seed, nor with another run's."""
    env = make(num_envs=64, seed=7)
    views = {b"".join(array[e].tobytes() for _, array in play.arrays(env.buffers)) for e in range(64)}
    assert len(views) >= starts, f"only {len(views)} different starts in 64 copies"
    seeds = [env.episode_seed.copy()]
    for _ in range(999):
        env.reset()
        seeds.append(env.episode_seed.copy())
    for seed, first in ((7, 64), (8, 0)):
        seeds.append(make(num_envs=64, seed=seed, first_copy=first).episode_seed.copy())
    every = np.concatenate(seeds)
    assert len(np.unique(every)) == len(every) == 64 * 1002


def check_copies_are_independent(make: Factory, steps: int = 1000) -> None:
    """Copies 0, 5 and 63 of a batch of 64 live, bit for bit, as batches of one; a restart of others changes nothing."""
    batch = make(num_envs=64, seed=8)
    alone = {e: make(num_envs=1, seed=8, first_copy=e) for e in (0, 5, 63)}
    rng = np.random.default_rng(8)
    episodes = 0
    for t in range(steps):
        if t % 97 == 50:
            batch.reset(copies=[1, 62])
        actions = play.random_actions(batch, rng)
        buffers = batch.step(actions)
        episodes += int(buffers.episode_over[[0, 5, 63]].sum())
        shot = play.valid(buffers)
        for e, env in alone.items():
            mine = play.valid(env.step(play.select(actions, [e])))
            play.assert_same({n: a[[e]] for n, a in shot.items()}, mine, f"copy {e}, step {t}")
            assert env.episode_seed[0] == batch.episode_seed[e] and env.episode_step[0] == batch.episode_step[e]
    assert episodes >= 3, "no episode ended: play longer"


def check_threads(make: Factory, steps: int = 60, copies: int = 2048) -> None:
    """One thread and two give the same bits."""
    one, two = make(num_envs=copies, seed=9, num_threads=1), make(num_envs=copies, seed=9, num_threads=2)
    rng = np.random.default_rng(9)
    for t in range(steps):
        actions = play.random_actions(one, rng)
        a, b = one.step(actions), two.step(actions)
        play.assert_same(play.valid(a), play.valid(b), f"step {t}")


def check_autoreset(make: Factory, steps: int = 300) -> None:
    """What follows an episode's last step is the first view of the next one; episodes end as `spec` says."""
    env, fresh = make(num_envs=4, seed=10), make(num_envs=1, seed=0)
    rng = np.random.default_rng(10)
    step = np.zeros(4, int)
    over = 0
    for t in range(steps):
        seeds = env.episode_seed.copy()
        buffers = env.step(play.random_actions(env, rng))
        step = np.where(buffers.episode_over, 0, step + 1)
        assert (env.episode_step == step).all(), f"episode_step at {t}"
        assert ((env.episode_seed != seeds) == buffers.episode_over).all(), f"episode_seed at {t}"
        if env.spec.max_steps:
            assert (step < env.spec.max_steps).all(), f"an episode passed its limit at {t}"
        for e in np.flatnonzero(buffers.episode_over):
            over += 1
            fresh.reset(keys=[key_of(int(env.episode_seed[e]))])
            assert fresh.episode_seed[0] == env.episode_seed[e]
            for (name, a), (_, b) in zip(play.arrays(buffers), play.arrays(fresh.buffers), strict=True):
                if name == "state" or name.split(".")[-1] in VIEW:
                    assert play.same_bits(a[[e]], b), f"{name} after the end at step {t} is not the next start"
    assert over > 0


def check_lives(make: Factory, steps: int = 300) -> None:
    """A life ends once; the dead do not act; an episode is over exactly when no life is left; flags say why."""
    env = make(num_envs=8, seed=11)
    rng = np.random.default_rng(11)
    gone = [np.zeros(group.acting.shape, bool) for group in env.buffers.groups]
    for t in range(steps):
        acted = [group.acting.copy() for group in env.buffers.groups]
        late = env.episode_step + 1 == (env.spec.max_steps or -1)
        buffers = env.step(play.random_actions(env, rng))
        over = buffers.episode_over[:, None]
        cut = np.zeros(8, bool)
        for g, (group, died) in enumerate(zip(buffers.groups, play.ended(buffers), strict=True)):
            assert not (died & gone[g]).any(), f"a life ended twice, step {t}"
            assert not (acted[g] & gone[g]).any(), f"a dead agent acts, step {t}"
            assert not (acted[g] & over & ~died).any(), f"an episode ended without ending an acting life, step {t}"
            assert not (group.truncated & ~late[:, None]).any(), f"truncated before the time limit, step {t}"
            assert not (acted[g] & late[:, None] & ~died).any(), f"the time limit spared a life, step {t}"
            cut |= (group.truncated & ~group.terminated).any(1)
            gone[g] = (gone[g] | died) & ~over
            assert not (group.acting & gone[g]).any(), f"a dead agent acts, step {t}"
        assert (buffers.episode_truncated == cut).all(), f"episode_truncated at step {t}"


def check_rows(make: Factory, steps: int = 300) -> None:
    """Types, shapes, spaces and finite numbers at every step; rows that do not act are blank; somebody acts."""
    env = make(num_envs=8, seed=12)
    spec = env.spec
    shapes = {name: (a.shape, a.dtype) for name, a in play.arrays(allocate(spec, 8))}
    rng = np.random.default_rng(12)
    for t in range(steps):
        buffers = env.buffers if t == 0 else env.step(play.random_actions(env, rng))
        assert {name: (a.shape, a.dtype) for name, a in play.arrays(buffers)} == shapes, f"shape or type at {t}"
        acting = np.zeros(8, bool)
        for group, arrays in zip(spec.groups, buffers.groups, strict=True):
            rows, ended = arrays.acting, arrays.terminated | arrays.truncated
            acting |= rows.any(1)
            assert not arrays.obs[~rows].any(), f"{group.name}: who does not act sees something, step {t}"
            assert not arrays.agent_state[~rows].any(), f"{group.name}: agent_state of who does not act, step {t}"
            assert arrays.action_mask[~rows].all(), f"{group.name}: mask of who does not act, step {t}"
            _check_masks(group, arrays.action_mask[rows], f"{group.name}, step {t}")
            views = np.concatenate([arrays.obs.reshape(-1, *arrays.obs.shape[2:]), arrays.final_obs[ended]])
            space = group.observation_space
            assert ((views >= space.low) & (views <= space.high)).all(), f"{group.name}: outside its space, step {t}"
            for array in (views, arrays.reward, arrays.agent_state, arrays.final_agent_state[ended]):
                assert np.isfinite(array).all(), f"{group.name}: not finite, step {t}"
        assert acting.all(), f"nobody acts, step {t}"
        for array in (buffers.state, buffers.outcome, buffers.metrics, buffers.final_state[play.life_ended(buffers)]):
            assert np.isfinite(array).all(), f"not finite, step {t}"


def _check_masks(group: play.AgentGroup, masks: play.Array, where: str) -> None:
    if not group.masked:
        return
    sizes = [int(n) for n in getattr(group.action_space, "nvec", [group.mask_size])]
    for end, size in zip(np.cumsum(sizes), sizes, strict=True):
        assert masks[:, end - size : end].any(1).all(), f"no legal action: {where}"


def check_return(make: Factory, steps: int = 300) -> None:
    """Where the outcome is the return, it is what each team was paid over the episode, the dead and the waiting too."""
    env = make(num_envs=4, seed=13)
    spec = env.spec
    rng = np.random.default_rng(13)
    paid = np.zeros((4, spec.num_teams))
    for t in range(steps):
        buffers = env.step(play.random_actions(env, rng))
        for group, arrays in zip(spec.groups, buffers.groups, strict=True):
            for n, team in enumerate(spec.team_of(group)):
                paid[:, team] += arrays.reward[:, n]
        over = buffers.episode_over.copy()
        if spec.outcome == "return":
            np.testing.assert_allclose(buffers.outcome[over], paid[over], rtol=1e-4, atol=1e-4, err_msg=f"step {t}")
        paid[over] = 0
        if t % 7 == 0:  # the sum so far travels with the state
            env.restore(range(4), env.capture(range(4)))


def check_garbage_actions(make: Factory, steps: int = 60) -> None:
    """NaN or impossible actions in one copy change no bit of the others; where nobody acts they change none at all."""
    clean, dirty, idle = (make(num_envs=3, seed=14) for _ in range(3))
    rng = np.random.default_rng(14)
    for t in range(steps):
        actions = play.random_actions(clean, rng)
        spoiled = {name: array.copy() for name, array in actions.items()}
        ignored = {name: array.copy() for name, array in actions.items()}
        for group, arrays in zip(clean.spec.groups, clean.buffers.groups, strict=True):
            box = isinstance(group.action_space, spaces.Box)
            garbage = [np.nan, np.inf, -np.inf, 1e30] if box else [-1, 50, -(2**31), 2**31 - 1]
            spoiled[group.name][1] = garbage[t % 4]
            ignored[group.name][~arrays.acting] = garbage[t % 4]
        a, b, c = (play.valid(e.step(x)) for e, x in ((clean, actions), (dirty, spoiled), (idle, ignored)))
        play.assert_same({n: x[[0, 2]] for n, x in a.items()}, {n: x[[0, 2]] for n, x in b.items()}, f"step {t}")
        play.assert_same(a, c, f"step {t}, garbage where nobody acts")
