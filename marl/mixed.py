"""Teams of several players: each plays some of the agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from marl.policy import Actor, PolicyStep, View


class MixedActor:
    """An actor whose agents are played by different ones. Each of them computes for all and is heard for its own."""

    def __init__(self, actors: Sequence[Actor], member: Mapping[str, Sequence[int]]) -> None:
        """`member`: for each group, the place among `actors` of who plays each agent `[n]`."""
        self.actors = actors
        self.member = {name: torch.tensor(places) for name, places in member.items()}

    def step(
        self, views: Mapping[str, View], noise: Mapping[str, Tensor], greedy: bool = False
    ) -> dict[str, PolicyStep]:
        """Everybody's actions, agent by agent."""
        steps = [actor.step(views, noise, greedy) for actor in self.actors]
        mixed = {}
        for name, member in self.member.items():
            action, log_prob = (part.clone() for part in steps[0][name])
            for place, step in enumerate(steps[1:], start=1):
                own = member == place
                action[:, own], log_prob[:, own] = step[name].action[:, own], step[name].log_prob[:, own]
            mixed[name] = PolicyStep(action, log_prob)
        return mixed
