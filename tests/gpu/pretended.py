"""A second device that is none: tensors in ordinary memory that torch takes for another device's, as a GPU's are.

Every operation on them is carried out by the processor, on the same numbers, but as with a GPU all tensors of one must
be on one device, NumPy cannot see them, and the processor's random streams cannot fill them. So what a learner does
there is right if it does not fail, and gives the same numbers as on the processor.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration, dlpack
from torch.utils._pytree import tree_leaves, tree_map

NAME = "pretended"
CPU, OTHER = 1, 12
"""Kinds of devices as DLPack numbers them."""
KIND = 8
"""Bytes before the kind of device in DLPack's description of a tensor: the address of the data."""
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
_registered: list[torch.library.Library] = []


def device() -> torch.device:
    """The device, which is registered at the first call; to be made before the process takes its first gradient."""
    if not _registered:
        backend_registration._setup_privateuseone_for_python_backend(NAME)
        library = torch.library.Library("_", "IMPL")
        library.fallback(carry_out, "PrivateUse1")
        _registered.append(library)
    return torch.device(NAME, 0)


def same_memory(x: Tensor, kind: int) -> Tensor:
    """The same numbers in the same place, said to be on another kind of device."""
    capsule = dlpack.to_dlpack(x)
    place = _pointer(capsule, b"dltensor") + KIND
    ctypes.c_int32.from_address(place).value = kind
    ctypes.c_int32.from_address(place + 4).value = 0
    return torch._C._from_dlpack(capsule)


def carry_out(op: Any, *args: Any, **kwargs: Any) -> Any:
    """Any operation that has to do with the device: checked, carried out in place, and its results said to be there."""
    here, name = torch.device(NAME, 0), op._schema.name
    leaves = tree_leaves((args, kwargs))
    if name == "aten::_copy_from":  # the only one from device to device
        _plain(args[1]).copy_(_plain(args[0]))
        return args[1]
    apart = [x.device for x in leaves if isinstance(x, Tensor) and x.device != here and x.dim() > 0]
    apart += [x.device for x in leaves if isinstance(x, torch.Generator)]
    if apart:
        raise RuntimeError(f"{name}: on {here} and on {apart[0]}")
    empty: list[tuple[Tensor, Tensor]] = []

    def plain(x: Any) -> Any:
        if isinstance(x, Tensor) and x.device == here and x.numel() == 0 and "out" in op._overloadname:
            empty.append((x, torch.empty(0, dtype=x.dtype)))
            return empty[-1][1]
        return _plain(x)

    found = op(*tree_map(plain, args), **tree_map(plain, kwargs))
    for x, filled in empty:  # memory that was to be found for results
        x.data = _there(filled)
    if not op._schema.returns:
        return None
    several = len(op._schema.returns) > 1
    results = [
        _written(op._schema, answer, args, kwargs)
        if answer.alias_info is not None and answer.alias_info.is_write
        else x
        for x, answer in zip(found if several else (found,), op._schema.returns, strict=True)
    ]
    results = [tree_map(_there, x) for x in results]
    return tuple(results) if several else results[0]


def give(x: Tensor, data: Tensor) -> None:
    """In place of `marl.device.give`: torch lets no tensor take the data of one on a device of this kind."""
    torch.utils.swap_tensors(x, type(x)(data.detach()).requires_grad_(x.requires_grad))


def _written(schema: Any, answer: Any, args: Any, kwargs: Any) -> Any:
    """The argument that an operation writes to and returns."""
    for place, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.before_set == answer.alias_info.before_set:
            return args[place] if place < len(args) else kwargs[argument.name]
    raise AssertionError(f"{schema}: no argument is written to")


def _plain(x: Any) -> Any:
    if isinstance(x, Tensor) and x.device.type == NAME:
        return same_memory(x, CPU)
    return torch.device("cpu") if isinstance(x, torch.device) else x


def _there(x: Any) -> Any:
    return same_memory(x, OTHER) if isinstance(x, Tensor) and x.device.type != NAME else x
