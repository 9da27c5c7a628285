"""Matrix products inside kernels: BLAS on parts of flat arrays, without allocation and without the interpreter lock.

A matrix is named by the array that holds it and the place of its first element; all are row-major and dense.
"""

# mypy: disable-error-code="untyped-decorator"
# (Numba's decorators have no types.)

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from threadpoolctl import ThreadpoolController

from environments.compile import kernel

NORMAL, TRANSPOSED, FLOAT32 = ord("n"), ord("t"), ord("s")
NEW, ADD = np.float32(0.0), np.float32(1.0)
"""What becomes of the numbers that stand where a product goes: overwritten, or added to."""


@cache
def one_thread() -> None:
    """Let BLAS compute every product on the thread that asks: the engine shares out larger blocks of work itself.

    Threads inside such small products cost more than they give, and a hundredfold when another process has the core.
    """
    import_module("scipy.linalg.cython_blas")  # where Numba finds its products: only what is loaded can be told
    ThreadpoolController().select(user_api="blas").limit(limits=1)


@kernel
def product(a, a_at, b, b_at, c, c_at, m, k, n, keep):
    """C = A B + keep C,  A `[m, k]`, B `[k, n]`, C `[m, n]`."""
    product_of_rows(a, a_at, k, b, b_at, c, c_at, m, k, n, keep)


@kernel
def product_left_transposed(a, a_at, b, b_at, c, c_at, m, k, n, keep):
    """C = A' B + keep C,  A `[m, k]`, B `[m, n]`, C `[k, n]`."""
    product_of_columns(a, a_at, k, b, b_at, c, c_at, m, k, n, keep)


@kernel
def product_of_rows(a, a_at, step, b, b_at, c, c_at, m, k, n, keep):
    """`product`, the rows of A beginning `step` numbers apart."""
    _sgemm(NORMAL, NORMAL, (n, m, k, n, step, n), b, b_at, a, a_at, keep, c, c_at)


@kernel
def product_of_columns(a, a_at, step, b, b_at, c, c_at, m, k, n, keep):
    """`product_left_transposed`, the rows of A beginning `step` numbers apart."""
    _sgemm(NORMAL, TRANSPOSED, (n, k, m, n, step, n), b, b_at, a, a_at, keep, c, c_at)


@intrinsic
def _sgemm(
    typing_context: Any,
    left_form: Any,
    right_form: Any,
    sizes: Any,
    left: Any,
    left_at: Any,
    right: Any,
    right_at: Any,
    keep: Any,
    out: Any,
    out_at: Any,
) -> Any:
    """BLAS's column-major sgemm by the name under which Numba links it; `sizes` is (m, n, k, lda, ldb, ldc)."""
    number = types.int64
    signature = types.void(
        number, number, types.UniTuple(number, 6), left, number, right, number, types.float32, out, number
    )
    byte, word, real, pointer = ir.IntType(8), ir.IntType(64), ir.FloatType(), cgutils.voidptr_t
    parameters = [byte] * 3 + [word] * 3 + [pointer, pointer, word, pointer, word, pointer, pointer, word]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left_form, right_form, sizes, left, left_at, right, right_at, keep, out, out_at = arguments
        m, n, k, lda, ldb, ldc = (builder.extract_value(sizes, i) for i in range(6))

        def place(kind: Any, array: Any, at: Any) -> Any:
            data = context.make_array(kind)(context, builder, array).data
            return builder.bitcast(builder.gep(data, [at]), pointer)

        def stored(value: Any) -> Any:
            slot = cgutils.alloca_once(builder, real)
            builder.store(value, slot)
            return builder.bitcast(slot, pointer)

        kinds = signature.args
        forms = [byte(FLOAT32), builder.trunc(left_form, byte), builder.trunc(right_form, byte)]
        operands = [place(kinds[3], left, left_at), lda, place(kinds[5], right, right_at), ldb]
        result = [stored(keep), place(kinds[8], out, out_at), ldc]
        function = ir.FunctionType(ir.IntType(32), parameters)
        gemm = cgutils.get_or_insert_function(builder.module, function, "numba_xxgemm")
        builder.call(gemm, [*forms, m, n, k, stored(real(1.0)), *operands, *result])
        return context.get_dummy_value()

    return signature, generate
