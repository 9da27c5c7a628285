"""Other people's environments with the same rules as ours: what `marl bench env` sets beside them.

One literal table, by family. A peer is stepped as its own users step it, and reset where an episode ends.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import environments
from environments import registry
from scenarios.scenario import Scenario

Stepper = Callable[[int], object]
"""Takes step number k."""
DRAWS = 16
"""Joint actions drawn beforehand and used in turn: drawing is not what is measured."""
MPE2 = {
    "particle/simple": "simple_v3",
    "particle/adversary": "simple_adversary_v3",
    "particle/crypto": "simple_crypto_v3",
    "particle/push": "simple_push_v3",
    "particle/reference": "simple_reference_v3",
    "particle/speaker_listener": "simple_speaker_listener_v4",
    "particle/spread": "simple_spread_v3",
    "particle/tag": "simple_tag_v3",
    "particle/world_comm": "simple_world_comm_v3",
    "particle/formation": "simple_formation_v1",
    "particle/line": "simple_line_v1",
    "particle/collect_treasure": "collect_treasure_v1",
}
"""Its module for each of our particle environments."""
SMAX_COPIES = 1024
CLASSIC = {"board/tictactoe": "tictactoe_v3", "board/connect_four": "connect_four_v3"}
"""PettingZoo's classic ones."""


@dataclass(frozen=True)
class Peer:
    """A package that has a family's environments."""

    package: str
    face: str
    """Which of its faces is stepped."""
    extra: str
    """Our extra that installs it."""
    stepper: Callable[[Scenario], Stepper | None]
    """Makes the scenario's environment; None where the package has others of the family, but not this one."""
    copies: int = 1
    """Copies that are stepped at once."""


def find(scenario: Scenario) -> tuple[str, Stepper, int] | None:
    """Name, stepper and copies of the scenario's peer, if it has one; None, said aloud, where that is not installed."""
    peer = PEERS.get(scenario.environment) or PEERS.get(scenario.name.split("/")[0])
    if peer is None:
        return None
    try:
        version = importlib.metadata.version(peer.package)
        stepper = peer.stepper(scenario)
    except (importlib.metadata.PackageNotFoundError, ImportError):
        missing = f"skipped: {peer.package} is not installed, so there are no ratios"
        print(f"{missing}; pip install 'marl[{peer.extra}]'", file=sys.stderr)
        return None
    return None if stepper is None else (f"{peer.package} {version} {peer.face}", stepper, peer.copies)


def parallel(env: Any) -> Stepper:
    """Steps a PettingZoo parallel environment, and resets it where nobody is left."""
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    spaces = {agent: env.action_space(agent) for agent in env.possible_agents}
    actions = [{agent: int(rng.integers(space.n)) for agent, space in spaces.items()} for _ in range(DRAWS)]

    def step(k: int) -> None:
        joint = actions[k % DRAWS]
        env.step({agent: joint[agent] for agent in env.agents})
        if not env.agents:
            env.reset()

    return step


def turns(env: Any) -> Stepper:
    """Steps a PettingZoo environment of turns by legal moves, and resets it where it is over."""
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    orders = [rng.permutation(env.action_space(env.possible_agents[0]).n).tolist() for _ in range(DRAWS)]

    def step(k: int) -> None:
        seen, _, terminated, truncated, _ = env.last()
        if terminated or truncated:
            env.reset()
            seen = env.last()[0]
        env.step(next(move for move in orders[k % DRAWS] if seen["action_mask"][move]))

    return step


def joint(env: Any) -> Stepper:
    """Steps an environment of Gymnasium's that takes a list of all agents' actions, and resets it where it ends."""
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    actions = [[int(rng.integers(space.n)) for space in env.action_space] for _ in range(DRAWS)]

    def step(k: int) -> None:
        _, _, terminated, truncated, _ = env.step(actions[k % DRAWS])
        if terminated or truncated:
            env.reset()

    return step


def _mpe2(scenario: Scenario) -> Stepper:
    module = importlib.import_module(f"mpe2.{MPE2[scenario.environment]}")
    return parallel(module.parallel_env(**scenario.options))


def _lbforaging(scenario: Scenario) -> Stepper:
    module = importlib.import_module("lbforaging.foraging")
    options = registry.check_options(environments.game(scenario.environment), dict(scenario.options))
    env = module.ForagingEnv(
        players=options.players,
        min_player_level=options.min_player_level,
        max_player_level=options.max_player_level,
        min_food_level=options.min_food_level,
        max_food_level=options.max_food_level,
        field_size=(options.rows, options.columns),
        max_num_food=options.food,
        sight=options.sight or max(options.rows, options.columns),
        max_episode_steps=options.max_cycles,
        force_coop=options.coop,
    )
    return joint(env)


def _rware(scenario: Scenario) -> Stepper:
    module = importlib.import_module("rware.warehouse")
    game = environments.game(scenario.environment)
    options = vars(registry.check_options(game, dict(scenario.options)))
    ours = ("max_cycles", "timeout_terminates", "reward_type")
    same = {name: value for name, value in options.items() if name not in ours}
    reward = module.RewardType[options["reward_type"].upper()]
    return joint(module.Warehouse(**same, msg_bits=0, max_steps=options["max_cycles"], reward_type=reward))


def _openspiel(scenario: Scenario) -> Stepper:
    """Throws, and both seats' views after each; against bots, one of the simplest of OpenSpiel's in the second seat."""
    pyspiel: Any = importlib.import_module("pyspiel")
    options = registry.check_options(environments.game(scenario.environment), dict(scenario.options))
    rules = f"stage_game=matrix_rps(),num_repetitions={options.throws},recall={options.recall}"
    game = pyspiel.load_game(f"repeated_game({rules})")
    bot = None if options.opponent == "team" else pyspiel.make_roshambo_bot(1, "randbot", options.throws)
    actions = np.random.default_rng(0).integers(0, 3, (DRAWS, 2)).tolist()
    state = game.new_initial_state()

    def step(k: int) -> None:
        nonlocal state
        first, second = actions[k % DRAWS]
        state.apply_actions([first, second if bot is None else bot.step(state)])
        for seat in range(2 if bot is None else 1):
            state.observation_tensor(seat)
        if state.is_terminal():
            state = game.new_initial_state()
            if bot is not None:
                bot.restart()

    return step


def _classic(scenario: Scenario) -> Stepper:
    return turns(importlib.import_module(f"pettingzoo.classic.{CLASSIC[scenario.environment]}").env())


def _hex(scenario: Scenario) -> Stepper:
    """Moves, and the view after each of the one to move."""
    pyspiel: Any = importlib.import_module("pyspiel")
    size = registry.check_options(environments.game(scenario.environment), dict(scenario.options)).size
    game = pyspiel.load_game("hex", {"board_size": size})
    state = game.new_initial_state()
    draws = np.random.default_rng(0).random(DRAWS).tolist()

    def step(k: int) -> None:
        nonlocal state
        legal = state.legal_actions()
        state.apply_action(legal[int(draws[k % DRAWS] * len(legal))])
        if state.is_terminal():
            state = game.new_initial_state()
        state.observation_tensor(state.current_player())

    return step


def _smax(scenario: Scenario) -> Stepper | None:
    """Legal moves drawn by lot against its heuristic enemy; drawn with the step, as its own rollouts do."""
    name = scenario.name.split("/")[1].lower()
    jax: Any = importlib.import_module("jax")
    made: Any = importlib.import_module("jaxmarl.environments.smax")
    if name not in made.smax_env.MAP_NAME_TO_SCENARIO:
        return None
    env = made.HeuristicEnemySMAX(scenario=made.map_name_to_scenario(name))
    key, first = jax.random.split(jax.random.PRNGKey(0))
    _, state = jax.vmap(env.reset)(jax.random.split(first, SMAX_COPIES))

    def move(key: Any, state: Any) -> dict[str, Any]:
        keys = jax.random.split(key, len(env.agents))
        legal = env.get_avail_actions(state)
        return {
            agent: jax.random.categorical(own, jax.numpy.where(legal[agent] > 0, 0.0, -jax.numpy.inf))
            for agent, own in zip(env.agents, keys, strict=True)
        }

    def advance(key: Any, state: Any) -> Any:
        key, drawn, stepped = jax.random.split(key, 3)
        actions = jax.vmap(move)(jax.random.split(drawn, SMAX_COPIES), state)
        seen = jax.vmap(env.step)(jax.random.split(stepped, SMAX_COPIES), state, actions)
        return key, seen[1], seen

    compiled = jax.jit(advance)

    def step(k: int) -> None:
        nonlocal key, state
        key, state, seen = compiled(key, state)
        jax.block_until_ready(seen)

    return step


PEERS = {
    "board": Peer("pettingzoo", "classic", "envs", _classic),
    "board/hex": Peer("open_spiel", "hex", "openspiel", _hex),
    "particle": Peer("mpe2", "parallel_env", "envs", _mpe2),
    "roshambo": Peer("open_spiel", "repeated_game", "openspiel", _openspiel),
    "foraging": Peer("lbforaging", "gymnasium", "grid", _lbforaging),
    "skirmish": Peer("jaxmarl", f"SMAX, {SMAX_COPIES} copies", "smax", _smax, SMAX_COPIES),
    "warehouse": Peer("rware", "gymnasium", "grid", _rware),
}
"""Family, or an environment that others have than its family -> who else has it."""
