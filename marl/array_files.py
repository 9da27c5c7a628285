"""Files of named arrays in the safetensors format, written array by array, so that memory does not double."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
Part = bytes | NDArray[np.uint8]

DTYPES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "float16": "F16",
    "uint32": "U32",
    "int32": "I32",
    "float32": "F32",
    "uint64": "U64",
    "int64": "I64",
    "float64": "F64",
}
"""numpy's names of the element types that can be stored, and safetensors' names of them."""


def parts(arrays: Arrays) -> list[Part]:
    """What a file of contiguous arrays consists of, piece by piece; equal arrays under equal names give equal bytes.

    Wide elements first, so that all stand aligned without gaps, which the format does not allow.
    """
    header: dict[str, Any] = {}
    offset = 0
    arrays = dict(sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize))
    for name, array in arrays.items():
        header[name] = {
            "dtype": DTYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return [struct.pack("<Q", len(text)) + text, *(array.reshape(-1).view(np.uint8) for array in arrays.values())]


def sha256(pieces: Sequence[Part]) -> str:
    """Hex digest of the file that the pieces make."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)  # type: ignore[arg-type]
    return digest.hexdigest()


def size(pieces: Sequence[Part]) -> int:
    """Bytes of the file that the pieces make."""
    return sum(len(piece) for piece in pieces)


def write(path: Path, pieces: Sequence[Part]) -> None:
    """Write a new file and wait until the disk has it; OSError where it cannot be done."""
    with open(path, "xb") as file:
        for piece in pieces:
            file.write(piece)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays of a file, owned and writable; the library checks sizes against the file before it reads.

    ValueError where the file is not one.
    """
    import safetensors
    from safetensors.numpy import load_file

    try:
        return {name: np.require(array, requirements=["C", "W", "O", "A"]) for name, array in load_file(path).items()}
    except safetensors.SafetensorError as error:
        raise ValueError(" ".join(str(error).split())[:160]) from None
