"""Arrays by their address, so that one call of a kernel can work through the parameters of many networks; and memory
asked for before it is needed."""

# mypy: disable-error-code="untyped-decorator"
# (Numba's decorators have no types.)

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

FLOAT32_BYTES = 4


@intrinsic
def array_at(typing_context: Any, address: Any, count: Any) -> Any:
    """`count` float32 numbers that stand at `address`; whoever calls the kernel keeps them alive meanwhile."""
    result = types.Array(types.float32, 1, "C")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = context.get_constant(types.intp, FLOAT32_BYTES)
        view = make_array(result)(context, builder)
        data = builder.inttoptr(arguments[0], cgutils.voidptr_t)
        populate_array(
            view,
            data=builder.bitcast(data, view.data.type),
            shape=[arguments[1]],
            strides=[number],
            itemsize=number,
            meminfo=None,
        )
        return view._getvalue()

    return result(types.int64, types.intp), generate


@intrinsic
def fetch_ahead(typing_context: Any, array: Any, index: Any) -> Any:
    """Have `array[index]` (one-dimensional) brought into cache while other work goes on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.bitcast(builder.gep(view.data, [arguments[1]]), cgutils.voidptr_t)
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(prefetch, [place, number(0), number(3), number(1)])  # to read, to keep, data
        return context.get_dummy_value()

    return types.void(array, types.intp), generate
