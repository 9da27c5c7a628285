"""lbforaging beside our copies: the same options, states put in and read out, whole steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from lbforaging.foraging import ForagingEnv
from lbforaging.foraging.environment import Action

from environments.games.foraging.options import Options
from environments.vector import Array


class Reference:
    """One of lbforaging's environments, made from our options."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        chosen = Options(**options)
        self.options = chosen
        self.env = ForagingEnv(
            players=chosen.players,
            min_player_level=chosen.min_player_level,
            max_player_level=chosen.max_player_level,
            min_food_level=chosen.min_food_level,
            max_food_level=chosen.max_food_level,
            field_size=(chosen.rows, chosen.columns),
            max_num_food=chosen.food,
            sight=max(chosen.rows, chosen.columns) if chosen.sight is None else chosen.sight,
            max_episode_steps=chosen.max_cycles,
            force_coop=chosen.coop,
            normalize_reward=chosen.normalize_reward,
            observe_agent_levels=chosen.observe_agent_levels,
            penalty=chosen.penalty,
        )
        if chosen.grid_observation:  # its own space of grid observations cannot be made with today's Gymnasium
            self.env._grid_observation = True
        shape = (3, 2 * self.env.sight + 1, 2 * self.env.sight + 1)
        listed = self.env.observation_space[0].shape
        # Its bounds confuse rows and columns, so that a field that is not square fails its own check.
        space = spaces.Box(-np.inf, np.inf, shape if chosen.grid_observation else listed, np.float32)
        self.env.observation_space = spaces.Tuple([space] * chosen.players)

    def start(self, seed: int) -> dict[str, Array]:
        """Its own first episode from that seed, as our named arrays."""
        for player in self.env.players:
            player.position = None  # else nobody starts where somebody stood at the last episode's end
        self.env.reset(seed=seed)
        return self.get()

    def put(self, arrays: Mapping[str, Array]) -> None:
        """Make this the start of an episode."""
        env = self.env
        env.field[:] = 0
        for (row, column), level in zip(arrays["food_position"], arrays["food_level"], strict=True):
            if level:
                env.field[row, column] = level
        for i, player in enumerate(env.players):
            row, column = arrays["player_position"][i]
            player.setup((int(row), int(column)), int(arrays["player_level"][i]), env.field_size)
        env._food_spawned = env.field.sum()
        env.current_step = 0
        env._game_over = False
        env._gen_valid_moves()

    def get(self) -> dict[str, Array]:
        """What is where, as our named arrays."""
        env, options = self.env, self.options
        positions = np.zeros((options.food, 2), np.int32)
        levels = np.zeros(options.food, np.int32)
        for f, (row, column) in enumerate(zip(*env.field.nonzero(), strict=True)):
            positions[f] = row, column
            levels[f] = env.field[row, column]
        return {
            "player_position": np.array([player.position for player in env.players], np.int32),
            "player_level": np.array([player.level for player in env.players], np.int32),
            "food_position": positions,
            "food_level": levels,
            "food_spawned": np.int32(env._food_spawned),
        }

    def views(self) -> Array:
        """`[P, D]` observations."""
        return np.stack(self.env._make_gym_obs()).reshape(self.options.players, -1)

    def masks(self) -> Array:
        """`[P, 6]` legal actions."""
        valid = self.env._valid_actions
        return np.array([[action in valid[player] for action in Action] for player in self.env.players])

    def step(self, actions: Array) -> tuple[Array, bool]:
        """`[P]` rewards, and whether the episode is over."""
        _, rewards, done, truncated, _ = self.env.step([int(action) for action in actions])
        assert truncated is False  # it never says so
        return np.array(rewards, np.float32), bool(done)
