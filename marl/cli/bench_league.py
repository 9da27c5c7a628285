"""Games per second between players: whole blocks of games, as tournaments play them, beside OpenSpiel's one by one.

And training against a population (`bench_pool`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

import environments
from environments.errors import UsageError
from environments.spec import EnvSpec
from league.contest import BLOCK, Block, Contest, Entrant, blocks
from league.runner import working
from marl.cli import bench_pool
from marl.cli.bench_rows import Rounds, median, row
from scenarios.scenario import Scenario

if TYPE_CHECKING:
    from marl.acting import Actor

GAMES = "games/s"
AHEAD = 64
"""Blocks that are scheduled; more than any round plays."""


def measure(scenario: Scenario, options: Rounds) -> Iterator[dict[str, Any]]:
    """Rows of one scenario with two teams of one kind. The contenders take turns in every round."""
    import torch

    torch.set_num_threads(1)

    spec = environments.make(scenario.environment, 1, **scenario.options).spec
    if spec.num_teams != 2 or len(spec.kinds) != 1:
        raise UsageError(f"{scenario.name} does not have two teams of one kind, as board/connect_four has")
    kind = spec.kinds[0].name
    peer = one_by_one(scenario.name)
    network, chance = (
        [Entrant(number, f"{what} {number}", {kind: f"{what} {number}"}) for number in (1, 2)]
        for what in ("network", "random")
    )
    contenders: dict[str, Callable[[float], float]] = {}
    with (
        working(contest := _contest(scenario), 1) as alone,
        working(contest, max(2, options.threads)) as shared,
    ):
        if peer is not None:
            contenders[f"{scenario.name}, OpenSpiel, random play"] = peer
        for label, (first, second) in (("random play", chance), ("two 64x64 networks", network)):
            work = blocks(contest, spec, first, second)
            contenders[f"{scenario.name}, {label}, 1 process"] = lambda s, w=work: _games(alone, w, s)  # type: ignore[misc]
        work = blocks(contest, spec, network[0], network[1])
        count = max(2, options.threads)
        contenders[f"{scenario.name}, two 64x64 networks, {count} processes"] = lambda s: _games(shared, work, s)
        speeds: dict[str, list[float]] = {name: [] for name in contenders}
        for number in range(options.rounds + 1):
            for name, speed in contenders.items():
                games = speed(options.seconds)
                if number:  # the first round starts processes and compiles
                    speeds[name].append(games)
    reference = next(iter(speeds))
    against = (reference, median(speeds[reference])) if peer is not None else None
    for name, measured in speeds.items():
        yield row(name, median(measured), None if name == reference else against, GAMES)
    yield from bench_pool.measure(scenario, options)


def _contest(scenario: Scenario) -> Contest:
    return Contest(scenario.environment, dict(scenario.options), load, AHEAD * BLOCK, greedy=False)


def _games(play: Callable[..., Any], work: list[Block], seconds: float) -> float:
    """Games per second of blocks played one after the other, for about so many seconds."""
    started, games = time.perf_counter(), 0
    results = play(work, lambda block: None)
    for found in results:
        games += len(found)
        if time.perf_counter() - started >= seconds:
            break
    passed = time.perf_counter() - started
    results.close()
    return games / passed


def load(source: str, spec: EnvSpec, kind: str) -> Actor:
    """Random play, or a fresh network of the usual size."""
    import torch

    from marl.policy import Policy
    from marl.policy_spec import PolicySpec
    from marl.random_policy import RandomPolicy

    if source.startswith("random"):
        return RandomPolicy(PolicySpec.of(spec, kind))
    return Policy(PolicySpec.of(spec, kind), torch.Generator().manual_seed(int(source.split()[1])))


def one_by_one(name: str) -> Callable[[float], float] | None:
    """OpenSpiel's game of the same rules, played at random; None where there is none or it is not installed."""
    known = {"board/connect_four": "connect_four", "board/tictactoe": "tic_tac_toe"}
    if name not in known:
        return None
    try:
        import pyspiel
    except ImportError:
        return None
    game, rng = pyspiel.load_game(known[name]), np.random.default_rng(0)

    def speed(seconds: float) -> float:
        started, games = time.perf_counter(), 0
        while (passed := time.perf_counter() - started) < seconds:
            state = game.new_initial_state()
            while not state.is_terminal():
                legal = state.legal_actions()
                state.apply_action(legal[int(rng.random() * len(legal))])
            games += 1
        return games / passed

    return speed
