"""Batched multi-agent environments, each also a plain PettingZoo environment.

    env = environments.make("particle/spread", num_envs=1024, seed=0)   # thousands of copies, one compiled step
    env = environments.parallel_env("particle/tag")                     # PettingZoo ParallelEnv, one copy
    env = environments.env("particle/tag")                              # PettingZoo AECEnv
    bot = environments.bot(environments.bots()[0])                      # a player that somebody wrote

Importing this package loads no library and compiles nothing: what is made is imported when it is made. Every
environment is also registered with PettingZoo as soon as both packages are imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from environments.announcement import announce
from environments.bots import bot, bots

if TYPE_CHECKING:
    from environments.registry import env, game, make, names, parallel_env
else:

    def __getattr__(name: str) -> object:
        """What of `__all__` stands in the registry, which loads numpy."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from environments import registry

        return getattr(registry, name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = ["bot", "bots", "env", "game", "make", "names", "parallel_env"]

announce()
