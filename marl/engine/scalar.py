"""Elementary functions in plain arithmetic, so that loops over them vectorise; the library's are calls."""

from __future__ import annotations

import numpy as np

from environments.compile import kernel

F = np.float32
I32 = np.int32
LOG2_E = F(1.4426950408889634)
LN_2_HIGH, LN_2_LOW = F(0.693359375), F(-2.12194440e-4)
LOWEST, HIGHEST = F(-87.0), F(88.0)
ROUND = F(12582912.0)
"""1.5 * 2^23: adding and subtracting it rounds to the nearest whole number."""

T0, T1, T2 = F(0.999999981), F(0.129792528), F(0.00298589321)
T3, T4, T5 = F(9.87893845e-6), F(-1.47050267e-8), F(2.35105933e-11)
B1, B2, B3 = F(0.463125689), F(0.0240280536), F(0.000237207511)
FLAT = F(8.0)
"""Beyond this tanh is taken for its value there, 2e-7 below 1."""


@kernel
def tanh(x: np.float32) -> np.float32:
    """Hyperbolic tangent within 4e-7 (relative): x P(x^2) / Q(x^2), minimax on [0, 8] by iterated least squares."""
    x = FLAT if x > FLAT else x  # in this form NaN stays NaN
    x = -FLAT if x < -FLAT else x
    s = x * x
    top = ((((T5 * s + T4) * s + T3) * s + T2) * s + T1) * s + T0
    bottom = ((B3 * s + B2) * s + B1) * s + F(1.0)
    return x * top / bottom


@kernel
def rectified(x: np.float32) -> np.float32:
    """The larger of x and 0; NaN stays NaN."""
    return F(0.0) if x < F(0.0) else x


@kernel
def exp(x: np.float32) -> np.float32:
    """Exponential within 3e-7 (relative) on [-87, 88], beyond which x is taken for the nearer end.

    2^n e^r with |r| <= ln 2 / 2, and the Taylor polynomial of degree 7 for e^r.
    """
    x = HIGHEST if x > HIGHEST else x
    x = LOWEST if x < LOWEST else x
    n = (x * LOG2_E + ROUND) - ROUND
    r = (x - n * LN_2_HIGH) - n * LN_2_LOW
    tail = (((r * F(1 / 5040) + F(1 / 720)) * r + F(1 / 120)) * r + F(1 / 24)) * r + F(1 / 6)
    e = ((tail * r + F(0.5)) * r + F(1.0)) * r + F(1.0)
    return e * I32((I32(n) + I32(127)) << I32(23)).view(F)
