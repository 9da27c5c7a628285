"""HASAC's updates per second: ours on one thread and on several, with torch in the engine's place, the same written
plainly with a list of modules, and its matrix products alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import environments
from marl import config as settings
from marl import heap
from marl.algorithms.sac import SAC
from marl.cli.bench_rows import Rounds, median, row
from marl.collector import Collector
from marl.seats import Seats
from scenarios.scenario import Scenario

BATCH, WIDTH, AGENTS, OBS, ACTION = 1000, 128, 3, 18, 5
"""The measured shape: continuous particle/spread."""
COPIES, FILL = 32, 64
UNIT = "updates/s"
CONTINUOUS = {"continuous_actions": True}


def measure(scenario: Scenario, options: Rounds) -> Iterator[dict[str, Any]]:
    """Rows of one scenario; nothing but for particle/spread, whose shape the plain loop has."""
    if scenario.name != "particle/spread":
        return
    torch.set_num_threads(1)
    heap.keep_freed()  # as in training; the plain loop has the good of it too
    plain = Plain()
    calls = {"plain": plain.update, "products": products_alone(plain), "ours": learner()._learn}
    calls |= {"torch": learner(engine="torch")._learn}
    if options.threads > 1:
        calls |= {"threads": learner(options.threads)._learn}
    speeds = take_turns(calls, options)
    shape = f"{scenario.name}, continuous, hasac, batch {BATCH}, {WIDTH} wide"
    name, loop, products = f"{shape}, 1 thread", "a plain list of modules", "its matrix products"
    yield row(f"{name}, {loop}", speeds["plain"], None, UNIT)
    yield row(f"{name}, torch engine", speeds["torch"], (loop, speeds["plain"]), UNIT)
    yield row(name, speeds["ours"], (loop, speeds["plain"]), UNIT)
    yield row(f"{name}, beside its products", speeds["ours"], (products, speeds["products"]), UNIT)
    if options.threads > 1:
        yield row(f"{shape}, {options.threads} threads", speeds["threads"], ("1 thread", speeds["ours"]), UNIT)


def take_turns(calls: dict[str, Callable[[], object]], options: Rounds) -> dict[str, float]:
    """Median calls per second of each, taking turns in every round."""
    speeds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(options.rounds):
        for name, call in calls.items():
            started, done = time.perf_counter(), 0
            while done == 0 or time.perf_counter() - started < options.seconds:
                call()
                done += 1
            speeds[name].append(done / (time.perf_counter() - started))
    return {name: median(rates) for name, rates in speeds.items()}


def learner(threads: int = 1, engine: str = "fused") -> SAC:
    """HASAC of the measured shape, with something to remember."""
    env = environments.make("particle/spread", COPIES, num_threads=1, **CONTINUOUS)
    shape = {"hidden": (WIDTH, WIDTH), "batch_size": BATCH, "warmup_steps": 0, "rollout_length": FILL}
    config = settings.changed(settings.algorithm("hasac").config, shape)
    made = SAC(env.spec, "team", config, "team_mean", 0, threads, engine)
    collector = Collector(env, {"team": Seats.all(made.actor, COPIES)}, FILL, 0)
    rollout = collector.collect()["team"]
    made.buffer.add(rollout, made._paid(rollout))
    return made


def products_alone(plain: Plain) -> Callable[[], object]:
    """Makes as many matrix products, of one shape that both passes have, as an update of the plain loop."""
    with FlopCounterMode(display=False) as counter:
        plain.update()
    x, weight = torch.full((BATCH, WIDTH), 0.5), torch.full((WIDTH, WIDTH), 0.5)
    out = torch.empty(BATCH, WIDTH)
    count = round(counter.get_total_flops() / (2 * BATCH * WIDTH * WIDTH))

    def multiply() -> None:
        for _ in range(count):
            torch.mm(x, weight, out=out)

    return multiply


class Plain:
    """HASAC as one would first write it: a list of actors, two critics, an optimiser each; a fixed batch.

    Shared reward, squashed Gaussians, a temperature per agent, targets by Polyak averages.
    """

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)
        joint = AGENTS * (OBS + ACTION)
        self.actors = [_network(OBS, 2 * ACTION) for _ in range(AGENTS)]
        self.critics, self.targets = ([_network(joint, 1) for _ in range(2)] for _ in range(2))
        self.log_alpha = torch.zeros(AGENTS, requires_grad=True)
        self.optimisers = [_adam(actor.parameters()) for actor in self.actors]
        self.critic_optimiser = _adam([p for critic in self.critics for p in critic.parameters()])
        self.alpha_optimiser = _adam([self.log_alpha])
        self.obs, self.then = (self._normal(BATCH, AGENTS, OBS) for _ in range(2))
        self.action = torch.tanh(self._normal(BATCH, AGENTS, ACTION))
        self.reward = self._normal(BATCH, 1)

    def update(self) -> None:
        """Critics, then every actor in a random order, then temperatures and targets."""
        alpha = self.log_alpha.detach().exp()
        with torch.no_grad():
            acts = [self._act(i, self.then) for i in range(AGENTS)]
            soft = sum(alpha[i] * log_prob for i, (_, log_prob) in enumerate(acts))
            target = self.reward + 0.99 * (self._smaller(self.targets, self.then, [a for a, _ in acts]) - soft)
        seen = torch.cat([self.obs.flatten(1), self.action.flatten(1)], 1)
        error = sum((critic(seen) - target).square().mean() for critic in self.critics)
        self._step(self.critic_optimiser, torch.as_tensor(error))
        with torch.no_grad():
            drawn = [self._act(i, self.obs) for i in range(AGENTS)]
        actions, log_probs = [a for a, _ in drawn], [log_prob for _, log_prob in drawn]
        for i in torch.randperm(AGENTS, generator=self.generator).tolist():
            own, log_prob = self._act(i, self.obs)
            q = self._smaller(self.critics, self.obs, [*actions[:i], own, *actions[i + 1 :]])
            self._step(self.optimisers[i], (alpha[i] * log_prob - q).mean())
            with torch.no_grad():
                actions[i] = self._act(i, self.obs)[0]
        excess = torch.cat(log_probs, 1).mean(0) - ACTION
        self._step(self.alpha_optimiser, -(self.log_alpha * excess).sum())
        with torch.no_grad():
            for target_net, critic in zip(self.targets, self.critics, strict=True):
                for slow, fast in zip(target_net.parameters(), critic.parameters(), strict=True):
                    slow.lerp_(fast, 0.005)

    def _act(self, i: int, obs: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.actors[i](obs[:, i]).chunk(2, 1)
        log_std = log_std.clamp(-10, 2)
        z = self._normal(BATCH, ACTION)
        u = mean + log_std.exp() * z
        density = -0.5 * z.square() - log_std - 0.92 - 2 * (0.69 - u - nn.functional.softplus(-2 * u))
        return torch.tanh(u), density.sum(1, keepdim=True)

    def _smaller(self, critics: Sequence[nn.Module], obs: Tensor, actions: Sequence[Tensor]) -> Tensor:
        seen = torch.cat([obs.flatten(1), *actions], 1)
        return torch.minimum(*(critic(seen) for critic in critics))

    def _step(self, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)


def _network(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, outputs)
    )


def _adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=5e-4)
