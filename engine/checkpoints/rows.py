"""The bytes of a tensor's rows, wherever they come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.checkpoints.checkpoint import TensorInfo
from engine.errors import ModelFileError


def read_rows(tensor: TensorInfo, first: int, count: int) -> NDArray[np.uint8]:
    """Rows first to first + count of a tensor, in its own type: (count, bytes of a row).

    A vector is one row, of a stack of matrices they are counted through. Mapped where the file has them as they are, so
    memory is given back with the array.
    Raises ModelFileError when the file is gone or has become shorter.
    """
    n_rows = tensor.n_rows
    if not 0 <= first <= first + count <= n_rows:
        raise ValueError(f"{tensor.name} has {n_rows} rows, not {first} to {first + count}")
    if tensor.make_rows is not None:
        return tensor.make_rows(first, count)
    row_bytes = tensor.n_bytes // n_rows
    return map_bytes(tensor.path, tensor.offset + first * row_bytes, count * row_bytes).reshape(count, row_bytes)


def map_bytes(path: Path, offset: int, n_bytes: int) -> NDArray[np.uint8]:
    """Some bytes of a file, mapped. Raises ModelFileError when it is gone or has become shorter."""
    try:
        return np.memmap(path, np.uint8, "r", offset, (n_bytes,))
    except OSError as error:
        raise ModelFileError(
            f"{path} cannot be read any more: {error.strerror or error}.", "Check that it is whole."
        ) from error
    except ValueError as error:
        raise ModelFileError(f"{path} has become shorter.", "Check that it is whole.") from error
