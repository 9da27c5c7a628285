"""What kernels need and Numba does not offer: shared counters, scratch memory without allocation, block moves.

Each function writes LLVM instructions where it is called. Arrays must be C-contiguous: nothing is checked.
"""

# mypy: disable-error-code="untyped-decorator"
# (Numba's decorators have no types.)

from __future__ import annotations

import functools
import math
from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array


@intrinsic
def fetch_add(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Add `value` to `array[index]` (int64, one-dimensional) as one indivisible act; returns what stood there."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_type = signature.args[0]
        view = context.make_array(array_type)(context, builder, arguments[0])
        place = cgutils.get_item_pointer(context, builder, array_type, view, [arguments[1]], wraparound=False)
        return builder.atomic_rmw("add", place, arguments[2], "seq_cst")

    return types.int64(array, types.intp, types.int64), generate


@intrinsic
def scratch_row(typing_context: Any, like: Any, dtype: Any) -> Any:
    """Uninitialised array of `len(like) + 1` elements on the stack, for the time of a call.

    `like` is an array of a record, so that its length is known to the compiler.
    """
    return _scratch((like.shape[0] + 1,), like, dtype)


@intrinsic
def scratch_table(typing_context: Any, like: Any, dtype: Any) -> Any:
    """The same with as many rows as columns."""
    return _scratch((like.shape[0] + 1, like.shape[0] + 1), like, dtype)


def _scratch(shape: tuple[int, ...], like: Any, dtype: Any) -> Any:
    result = types.Array(dtype.dtype, len(shape), "C")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        element = context.get_data_type(result.dtype)
        size = context.get_abi_sizeof(element)
        strides = [size * math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        number = functools.partial(context.get_constant, types.intp)
        memory = cgutils.alloca_once(builder, element, size=number(math.prod(shape)))
        view = make_array(result)(context, builder)
        populate_array(
            view,
            data=builder.bitcast(memory, view.data.type),
            shape=[number(n) for n in shape],
            strides=[number(n) for n in strides],
            itemsize=number(size),
            meminfo=None,
        )
        return view._getvalue()

    return result(like, dtype), generate


@intrinsic
def clear_rows(typing_context: Any, array: Any, first: Any, stop: Any) -> Any:
    """Set all bytes of `array[first:stop]` (C-contiguous) to zero at once."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        stride = builder.extract_value(view.strides, 0)
        start = cgutils.pointer_add(builder, view.data, builder.mul(arguments[1], stride))
        size = builder.mul(builder.sub(arguments[2], arguments[1]), stride)
        cgutils.memset(builder, start, size, 0)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp), generate


@intrinsic
def copy_row(typing_context: Any, target: Any, row: Any, column: Any, source: Any, source_row: Any) -> Any:
    """Copy the whole `source[source_row]` to `target[row, column:]`, both C-contiguous; returns the column after it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to = context.make_array(signature.args[0])(context, builder, arguments[0])
        of = context.make_array(signature.args[3])(context, builder, arguments[3])
        to_stride = builder.extract_value(to.strides, 0)
        size = builder.extract_value(of.strides, 0)
        offset = builder.add(builder.mul(arguments[1], to_stride), builder.mul(arguments[2], to.itemsize))
        start = cgutils.pointer_add(builder, to.data, offset)
        origin = cgutils.pointer_add(builder, of.data, builder.mul(arguments[4], size))
        cgutils.raw_memcpy(builder, start, origin, size, context.get_constant(types.intp, 1))
        return builder.add(arguments[2], builder.sdiv(size, of.itemsize))

    return types.intp(target, types.intp, types.intp, source, types.intp), generate
