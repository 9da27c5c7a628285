"""The CPU engine: forward and backward passes of multilayer perceptrons as compiled functions over cache-sized chunks.

It changes how numbers are computed, never which: torch holds the parameters, the optimiser and the checkpoint, and the
same gradients computed by torch in float64 are the reference of every test.
"""

from pathlib import Path

SOURCES = Path(__file__).parent
"""Folder whose files may end up inside a compiled function of the engine."""
