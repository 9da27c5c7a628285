"""What compiled loops over compiled functions need: calls by address, and one row of many arrays at once.

A function that is called by its address is not compiled again into its caller, as one that is called by its name is.
"""

# mypy: disable-error-code="untyped-decorator"
# (Numba's decorators have no types.)

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

_places: dict[Any, int] = {}


def address(function: Any, arguments: tuple[Any, ...]) -> int:
    """Where the code of a kernel, an entry without a result, stands for arguments of these types."""
    key = function, _kinds(arguments)
    if key not in _places:
        kinds = tuple(numba.typeof(value) for value in arguments)
        function.compile(kinds)
        compiled = function.overloads[kinds]
        _places[key] = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    return _places[key]


def _kinds(x: Any) -> Any:
    """What Numba's type of a value follows from, found in a twentieth of the time."""
    if isinstance(x, tuple):
        return type(x), *(_kinds(part) for part in x)
    if isinstance(x, np.ndarray):
        return x.dtype, x.ndim, x.flags.num
    return type(x), getattr(x, "dtype", None)


@intrinsic
def call(typing_context: Any, place: Any, arguments: Any) -> Any:
    """Call the kernel at an address. Nothing is checked: the arguments must have the types that it was compiled for."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kinds = signature.args[1].types
        function = context.call_conv.get_function_type(types.none, kinds).as_pointer()
        parts = cgutils.unpack_tuple(builder, values[1], len(kinds))
        context.call_conv.call_function(builder, builder.inttoptr(values[0], function), types.none, kinds, parts)
        return context.get_dummy_value()

    return types.void(types.int64, arguments), generate


@intrinsic
def call_each(typing_context: Any, places: Any, tasks: Any, jobs: Any, part: Any) -> Any:
    """Call, one after the other, the kernel at `places[k]` with (task k, job k, k, part). Nothing is checked, as in
    `call`."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        data = make_array(places)(context, builder, values[0]).data
        count = len(tasks.types)
        pairs = (cgutils.unpack_tuple(builder, value, count) for value in values[1:3])
        for k, (task, job) in enumerate(zip(*pairs, strict=True)):
            number = context.get_constant(types.int64, k)
            kinds = (tasks.types[k], jobs.types[k], types.int64, part)
            function = context.call_conv.get_function_type(types.none, kinds).as_pointer()
            place = builder.inttoptr(builder.load(builder.gep(data, [number])), function)
            context.call_conv.call_function(builder, place, types.none, kinds, (task, job, number, values[3]))
        return context.get_dummy_value()

    return types.void(places, tasks, jobs, part), generate


@intrinsic
def row_of(typing_context: Any, arrays: Any, row: Any) -> Any:
    """`x[row]` of every array x of nested tuples; arrays are dense and row-major."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _row(context, builder, arrays, values[0], values[1])

    return _row_type(arrays)(arrays, types.int64), generate


def _row_type(kind: Any) -> Any:
    if isinstance(kind, types.Array):
        return kind.copy(ndim=kind.ndim - 1)
    return types.BaseTuple.from_types([_row_type(part) for part in kind.types], getattr(kind, "instance_class", None))


def _row(context: Any, builder: Any, kind: Any, value: Any, row: Any) -> Any:
    if not isinstance(kind, types.Array):
        parts = [
            _row(context, builder, *part, row)
            for part in zip(kind.types, cgutils.unpack_tuple(builder, value, len(kind.types)), strict=True)
        ]
        return context.make_tuple(builder, _row_type(kind), parts)
    whole, part = make_array(kind)(context, builder, value), make_array(_row_type(kind))(context, builder)
    shape, strides = (cgutils.unpack_tuple(builder, x, kind.ndim) for x in (whole.shape, whole.strides))
    populate_array(
        part,
        data=cgutils.pointer_add(builder, whole.data, builder.mul(row, strides[0])),
        shape=shape[1:],
        strides=strides[1:],
        itemsize=whole.itemsize,
        meminfo=None,
    )
    return part._getvalue()
