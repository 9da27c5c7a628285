"""Elementary functions in plain arithmetic: their stated precision, their ends, and NaN."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from environments.compile import kernel
from marl.engine import noise, scalar

U = np.uint64


@kernel(entry=True)
def apply(x, tanh, exp):
    """Both functions of every x."""
    for i in range(U(x.shape[0])):
        tanh[i] = scalar.tanh(x[i])
        exp[i] = scalar.exp(x[i])


def both(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = np.asarray(x, np.float32)
    tanh, exp = np.empty_like(x), np.empty_like(x)
    apply(x, tanh, exp)
    return tanh, exp


def test_precision() -> None:
    x = np.concatenate([np.linspace(-20, 20, 400_000), np.logspace(-30, 1, 10_000), -np.logspace(-30, 1, 10_000)])
    x = x.astype(np.float32)
    tanh, exp = both(x)
    assert np.abs(tanh / np.tanh(x.astype(np.float64)) - 1).max() < 4e-7
    assert np.abs(exp / np.exp(x.astype(np.float64)) - 1).max() < 3e-7
    wide = np.linspace(-86.9, 87.9, 100_001).astype(np.float32)
    assert np.abs(both(wide)[1] / np.exp(wide.astype(np.float64)) - 1).max() < 3e-7


def test_noise_is_normal() -> None:
    """From every probability near the ends that noise can have, and many between; never infinite."""
    p = np.concatenate([np.arange(10_000), np.arange(0, 2**23, 997), 2**23 - 1 - np.arange(10_000)]) + 0.5
    p = (p * 2.0**-23).astype(np.float32)
    found = np.empty_like(p)
    noise.normals(p, found)
    assert np.abs(found - ndtri(p.astype(np.float64))).max() < 1e-6


def test_ends() -> None:
    tanh, exp = both(np.array([0.0, 8.0, -8.0, 1e30, -1e30, np.inf, -np.inf]))
    assert tanh[0] == 0
    assert (np.abs(tanh[1:]) <= 1).all()
    np.testing.assert_allclose(tanh[1:], [1, -1, 1, -1, 1, -1], rtol=4e-7)
    assert exp[0] == 1
    assert np.isfinite(exp).all()
    assert (exp[[4, 6]] < 1e-37).all()
    assert (exp[[3, 5]] > 1e38).all()


def test_nan_stays_nan() -> None:
    """A learner stops at a loss that is not a number: nothing on the way may turn it into one."""
    for values in both(np.array([np.nan, -np.nan])):
        assert np.isnan(values).all()
