"""Batched multi-agent environments, each also a plain PettingZoo environment.

    env = environments.make("particle/spread", num_envs=1024, seed=0)   # thousands of copies, one compiled step
    env = environments.parallel_env("particle/tag")                     # PettingZoo ParallelEnv, one copy
    env = environments.env("particle/tag")                              # PettingZoo AECEnv
    bot = environments.bot(environments.bots()[0])                      # a player that somebody wrote

Importing this package compiles nothing and registers every environment with `pettingzoo.register`.
"""

from __future__ import annotations

from environments.bots import bot, bots
from environments.registry import env, game, make, names, parallel_env, register_with_pettingzoo

__all__ = ["bot", "bots", "env", "game", "make", "names", "parallel_env"]

register_with_pettingzoo()
