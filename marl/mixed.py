"""Teams of several players: each plays some of the agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from marl.policy import Actor, Hidden, PolicyStep, View, remembers
from marl.seats import ask


class MixedActor:
    """An actor whose agents are played by different ones. Each of them computes for all and is heard for its own."""

    def __init__(self, actors: Sequence[Actor], member: Mapping[str, Sequence[int]]) -> None:
        """`member`: for each group, the place among `actors` of who plays each agent `[n]`."""
        self.actors = actors
        self.member = {name: torch.tensor(places) for name, places in member.items()}

    @property
    def memory(self) -> Mapping[str, int]:
        """What all of them carry, side by side."""
        widths = {
            name: sum(actor.memory.get(name, 0) for actor in self.actors if remembers(actor)) for name in self.member
        }
        return {name: width for name, width in widths.items() if width}

    def step(
        self, views: Mapping[str, View], noise: Mapping[str, Tensor], greedy: bool = False, hidden: Hidden | None = None
    ) -> dict[str, PolicyStep]:
        """Everybody's actions, agent by agent."""
        left, steps = dict(hidden or {}), []
        for actor in self.actors:
            steps.append(ask(actor, views, noise, greedy, left))
            if remembers(actor):
                left = {name: x[..., actor.memory.get(name, 0) :] for name, x in left.items()}
        mixed = {}
        for name, member in self.member.items():
            action, log_prob = steps[0][name].action.clone(), steps[0][name].log_prob.clone()
            for place, step in enumerate(steps[1:], start=1):
                own = member == place
                action[:, own], log_prob[:, own] = step[name].action[:, own], step[name].log_prob[:, own]
            kept = [step[name].hidden for step in steps]
            beside = [x for x in kept if x is not None]
            mixed[name] = PolicyStep(action, log_prob, torch.cat(beside, -1) if beside else None)
        return mixed
