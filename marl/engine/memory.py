"""Arrays by their address, so that one call of a kernel can work through the parameters of many networks."""

# mypy: disable-error-code="untyped-decorator"
# (Numba's decorators have no types.)

from __future__ import annotations

from typing import Any

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
