"""TensorBoard event files. Needs the extra `tensorboard`."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from environments.errors import UsageError


def check_installed() -> None:
    """UsageError with the cure where TensorBoard is not installed. Imports nothing."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UsageError("TensorBoard is not installed; pip install 'marl[tensorboard]'")


class TensorBoard:
    """One scalar per measurement."""

    def __init__(self, folder: Path) -> None:
        check_installed()
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def write(self, step: int, row: Mapping[str, float]) -> None:
        """Write every number of the row."""
        for name, value in row.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write out what is left."""
        self._writer.close()
