"""Set before anything heavy is imported: no screen, no sound, and OpenMP threads that sleep instead of spinning."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
os.environ.setdefault("WANDB_MODE", "offline")

import hypothesis
import pytest

# A machine that judges a change draws the same examples every time; people's machines go on looking for new ones.
hypothesis.settings.register_profile("judging", derandomize=True, database=None)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("judging")

for shared in ("checks", "play", "strict"):
    pytest.register_assert_rewrite(f"tests.contracts.{shared}")

THIRD_PARTY_NOISE = (
    "ignore::DeprecationWarning:pygame.*",
    "ignore::DeprecationWarning:supersuit.*",
    "ignore::DeprecationWarning:wandb.*",
    "ignore:pkg_resources is deprecated.*",
)


def pytest_configure(config: pytest.Config) -> None:
    """Our own warnings of these kinds are errors: they announce code that will stop working, or a silent NaN."""
    config.addinivalue_line("filterwarnings", "error::RuntimeWarning")
    config.addinivalue_line("filterwarnings", "error::numba.NumbaWarning")
    for line in THIRD_PARTY_NOISE:
        config.addinivalue_line("filterwarnings", line)
