"""What settings check of themselves: each a UsageError in one line. Imports no torch."""

from __future__ import annotations

import math
import os
import re
import typing
from typing import Any, Literal

from environments.errors import UsageError


def require(ok: bool, message: str) -> None:
    """UsageError with that message unless `ok`."""
    if not ok:
        raise UsageError(message)


def check_choices(config: Any) -> None:
    """Fields declared as Literal hold one of its values; also where they do not come from the command line."""
    for name, hint in typing.get_type_hints(type(config)).items():
        for part in (hint, *typing.get_args(hint)):
            if typing.get_origin(part) is Literal:
                value, known = getattr(config, name), typing.get_args(part)
                optional = type(None) in typing.get_args(hint) and value is None
                require(optional or value in known, f"{name} must be one of {', '.join(known)}, not {value!r}")


def check_widths(config: Any, name: str = "hidden") -> None:
    """Widths of hidden layers are 1 to 65536, and there are some."""
    widths = getattr(config, name)
    told = " ".join(map(str, widths)) or "none"
    require(
        len(widths) > 0 and all(1 <= width <= 65536 for width in widths),
        f"{name} must be widths of 1 to 65536, not {told}",
    )


def check_counts(config: Any, *names: str) -> None:
    """Those fields are at least 1, or none."""
    for name in names:
        value = getattr(config, name)
        require(value is None or value >= 1, f"{name} must be at least 1, not {value}")


def check_recurrent(config: Any) -> None:
    """There are 1 to 64 layers that remember, and a rollout is of whole chunks."""
    check_counts(config, "recurrent_layers", "chunk_length")
    if config.recurrent == "none":
        return
    steps, chunk = config.rollout_length, config.chunk_length
    require(config.recurrent_layers <= 64, f"recurrent_layers must be 1 to 64, not {config.recurrent_layers}")
    divisors = [k for k in range(1, steps + 1) if steps % k == 0]
    near = min(divisors, key=lambda k: abs(k - chunk))
    require(
        steps % chunk == 0,
        f"a rollout of {steps} steps cannot be cut into chunks of {chunk}: set --chunk-length {near}",
    )


def check_range(config: Any, low: float, high: float, *names: str) -> None:
    """Those fields are finite and between `low` and `high`."""
    for name in names:
        value = getattr(config, name)
        reach = f"{low:g} to {high:g}" if math.isfinite(high) else f"at least {low:g} and finite"
        require(low <= value <= high and math.isfinite(value), f"{name} must be {reach}, not {value}")


def check_within(name: str, value: float, low: float, high: float) -> None:
    """What is told by that name is between `low` and `high`."""
    require(low <= value <= high, f"{name} must be {low} to {high}, not {value}")


def check_above(config: Any, low: float, *names: str) -> None:
    """Those fields are finite and above `low`, or none."""
    for name in names:
        value = getattr(config, name)
        told = f"{name} must be above {low:g} and finite, not {value}"
        require(value is None or low < value < math.inf, told)


def check_device(config: Any) -> None:
    """The field `device` is the name of one, whether it is there or not."""
    named = re.fullmatch(r"cpu|cuda(:\d{1,3})?", config.device) is not None
    require(named, f"device must be cpu, cuda or cuda:N, not {config.device!r}")


def check_fits(needed: float, what: str) -> None:
    """`needed` bytes are at most half of the machine's memory."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    fits = f"{what} needs {needed / 2**30:.0f} GiB; this machine has {there / 2**30:.0f} GiB"
    require(needed <= there / 2, fits)
