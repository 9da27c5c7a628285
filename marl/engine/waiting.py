"""How threads wait for each other inside compiled code, without the interpreter and without its lock."""

# mypy: disable-error-code="untyped-decorator"
# (Numba's decorators have no types.)

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from environments.compile import kernel

LOOKS = 500
"""Looks at a counter, of about half a microsecond each, before a thread sleeps between them."""
NAP = 20
"""Microseconds of that sleep: whoever is waited for was put to sleep itself, and may want this thread's core."""
INT64_BYTES = 8


@kernel
def meet(progress, rows):
    """Wait until so many rows are done, as `environments.workers.report` counts them."""
    looks = 0
    while look(progress, 0) < rows:
        looks += 1
        if looks < LOOKS:
            give_way()
        else:
            nap(NAP)


@intrinsic
def look(typing_context: Any, array: Any, index: Any) -> Any:
    """`array[index]` (int64, one-dimensional) as other threads have left it by now."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.load_atomic(builder.gep(view.data, [arguments[1]]), "acquire", INT64_BYTES)

    return types.int64(array, types.intp), generate


@intrinsic
def give_way(typing_context: Any) -> Any:
    """Let another thread have the core, where one waits for it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def nap(typing_context: Any, microseconds: Any) -> Any:
    """Sleep."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = ir.IntType(32)
        kind = ir.FunctionType(number, [number])
        function = cgutils.get_or_insert_function(builder.module, kind, "usleep")
        builder.call(function, [builder.trunc(arguments[0], number)])
        return context.get_dummy_value()

    return types.void(types.int64), generate
