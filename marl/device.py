"""Where learners compute: on the processor, or for the time of an update on a GPU.

Environments step and policies act on the processor. Between updates all that a learner has is there too: checkpoints,
evaluation, leagues and replays know of no device, and a run goes on wherever it is resumed. For an update, networks,
optimisers' moments and what is learnt from move to the device, and back after it. Learners are written without devices:
what they make appears where they compute. Random numbers come from the processor's streams, the same for every device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from environments.errors import NumericalFailure, UsageError
from marl.adam import Adam

if TYPE_CHECKING:
    from marl.buffers import Rollout
    from marl.trainer import Learner

CPU = torch.device("cpu")
MAKERS = frozenset(
    (torch.zeros, torch.ones, torch.full, torch.empty, torch.eye, torch.arange, torch.linspace, torch.tensor)
) | {torch.rand, torch.randn, torch.randint, torch.randperm}
"""Functions that make a tensor out of no other."""


def find(name: str) -> torch.device:
    """The device of that name, as `--device` takes it. UsageError where this machine has none."""
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"torch finds no {name} on this machine: leave --device out, or resume with --device cpu")
    return device


class OnDevice:
    """A learner whose updates are computed on a device; in everything else the learner itself."""

    def __init__(self, learner: Learner, device: torch.device) -> None:
        self.learner, self.device = learner, device
        self.policy = learner.policy
        self.buffered = hasattr(learner, "buffer")
        if self.buffered:
            learner.buffer = Kept(learner.buffer, device)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.learner, name)

    def update(self, rollout: Rollout, progress: float) -> dict[str, float]:
        """As the learner's; a rollout that is only remembered stays where it is."""
        homes = depart(self.learner, self.device)
        try:
            with Making(self.device):
                given = rollout if self.buffered else moved(rollout, self.device)
                return self.learner.update(given, progress)
        except NumericalFailure as error:
            error.batch = moved(error.batch, CPU)
            raise
        finally:
            come_back(self.learner, homes)

    def state_dict(self) -> dict[str, Any]:
        """The learner's, on the processor."""
        return self.learner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state_dict` was taken."""
        self.learner.load_state_dict(state)


class Kept:
    """A replay buffer that stays in the machine's memory, and whose samples go to a device."""

    def __init__(self, buffer: Any, device: torch.device) -> None:
        self.buffer, self.device = buffer, device

    def __getattr__(self, name: str) -> Any:
        return getattr(self.buffer, name)

    def add(self, *arguments: Any) -> None:
        """As the buffer's."""
        with CPU:
            self.buffer.add(*arguments)

    def sample(self, *arguments: Any) -> Any:
        """As the buffer's, on the device."""
        with CPU:
            found = self.buffer.sample(*arguments)
        return moved(found, self.device)


class Making(TorchFunctionMode):
    """While open, tensors that are made without a word about devices are on a device."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Make it there; or, of random numbers from one of the processor's generators, here, and move it."""
        told = kwargs or {}
        if function not in MAKERS or told.get("device") is not None:
            return function(*args, **told)
        if told.get("generator") is not None:
            return function(*args, **told).to(self.device)
        return function(*args, **told, device=self.device)


def depart(learner: Learner, device: torch.device) -> dict[int, Tensor]:
    """Move all tensors that a learner has, but for what it remembers, to a device; returns what they leave behind.

    They remain the same objects, which optimisers know, and those that share memory share it there too.
    """
    homes: dict[int, Tensor] = {}
    places: dict[tuple[int, torch.dtype], Tensor] = {}
    for x in every_tensor(learner):
        home = homes[id(x)] = x.data
        storage = home.untyped_storage()
        place = storage.data_ptr(), home.dtype
        if place not in places:
            places[place] = home.as_strided((storage.nbytes() // home.element_size(),), (1,), 0).to(device)
        give(x, places[place].as_strided(home.size(), home.stride(), home.storage_offset()))
    return homes


def come_back(learner: Learner, homes: Mapping[int, Tensor]) -> None:
    """Move all tensors back to where they were; new ones, to the processor."""
    for x in every_tensor(learner):
        home = homes.get(id(x))
        give(x, x.detach().to(CPU) if home is None else home.copy_(x.detach()))
        x.grad = None


def give(x: Tensor, data: Tensor) -> None:
    """Let a tensor have other data."""
    x.data = data


def every_tensor(learner: Learner) -> list[Tensor]:
    """The tensors that a learner has, each once."""
    return list({id(x): x for x in tensors_in(vars(learner), set())}.values())


def tensors_in(x: Any, seen: set[int]) -> Iterator[Tensor]:
    """All tensors in containers, modules, optimisers and records, some of them more than once."""
    if isinstance(x, Tensor):
        yield x
    elif id(x) not in seen:
        seen.add(id(x))
        parts: Iterable[Any] = ()
        if isinstance(x, nn.Module) or is_dataclass(x):
            parts = vars(x).values()
        elif isinstance(x, Adam):
            parts = (x.state, x.parameters)
        elif isinstance(x, Mapping):
            parts = x.values()
        elif isinstance(x, list | tuple):
            parts = x
        for part in parts:
            yield from tensors_in(part, seen)


def moved(x: Any, device: torch.device) -> Any:
    """A tensor, or a record, tuple, list or mapping with tensors in it, on the device."""
    if isinstance(x, Tensor):
        return x.to(device)
    if is_dataclass(x) and not isinstance(x, type):
        return replace(x, **{each.name: moved(getattr(x, each.name), device) for each in fields(x) if each.init})
    if isinstance(x, dict):
        return {key: moved(value, device) for key, value in x.items()}
    if isinstance(x, tuple | list):
        parts = [moved(value, device) for value in x]
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    return x
