"""What every model file format is read into: metadata and named tensors, with no weight loaded."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.checkpoints.metadata import Metadata
from engine.checkpoints.tensor_types import TensorType
from engine.errors import ModelFileError, UnsupportedModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


MakeRows = Callable[[int, int], "NDArray[np.uint8]"]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where a tensor lies.

    shape: numpy's order, slowest first: (rows, columns) for a matrix. offset: in the file at path.
    make_rows: where the file does not have the rows as they are (another block layout, shards, an adapter added):
    rows (first, count) as bytes of `type`, uint8 (count, bytes of a row). See rows.read_rows.
    """

    name: str
    shape: tuple[int, ...]
    type: TensorType
    path: Path
    offset: int
    n_bytes: int
    make_rows: MakeRows | None = None

    @property
    def n_elements(self) -> int:
        """How many weights it has."""
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model on disk. format: "GGUF v3" and the like. files: every file it is made of, in order."""

    path: Path
    format: str
    metadata: Metadata
    tensors: dict[str, TensorInfo]
    files: tuple[Path, ...]

    @property
    def size_bytes(self) -> int:
        """What the files take on disk."""
        return sum(file.stat().st_size for file in self.files)

    @property
    def weights_bytes(self) -> int:
        """What the tensors take."""
        return sum(tensor.n_bytes for tensor in self.tensors.values())

    @property
    def n_parameters(self) -> int:
        """How many weights there are."""
        return sum(tensor.n_elements for tensor in self.tensors.values())


def _open_gguf(path: Path) -> Checkpoint:
    from engine.checkpoints.gguf import open_gguf

    return open_gguf(path)


_OPENERS: tuple[tuple[bytes, Callable[[Path], Checkpoint]], ...] = ((b"GGUF", _open_gguf),)
"""How a file begins, and who reads such files."""

_KNOWN_OTHERS = (
    (b"lmgg", "a ggml model file of March 2023"),
    (b"fmgg", "a ggmf model file of March 2023"),
    (b"tjgg", "a ggjt model file of spring 2023"),
    (b"algg", "a ggla adapter file"),
    (b"PK\x03\x04", "a zip archive, perhaps a PyTorch checkpoint"),
    (b"FUGG", "a GGUF file with its magic reversed"),
    (b"<!DOCTYPE", "a web page that was saved instead of the model"),
    (b"<html", "a web page that was saved instead of the model"),
    (b"version https://git-lfs", "a Git LFS pointer: the model itself was not downloaded"),
)


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Read the header of a model file, whatever its format; no weight is loaded.

    Raises ModelFileError for what is damaged or no model, UnsupportedModelError for formats that do not open yet.
    """
    path = Path(path)
    head = _first_bytes(path)
    for magic, opener in _OPENERS:
        if head.startswith(magic):
            return opener(path)
    for magic, what in _KNOWN_OTHERS:
        if head.startswith(magic):
            raise UnsupportedModelError(f"{path} is {what}.", "Choose a GGUF file.")
    raise ModelFileError(f"{path} is no model file that is known here.", "Choose a GGUF file.")


def _first_bytes(path: Path) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UnsupportedModelError(f"{path} is a folder.", "Choose a GGUF file.")
        if not stat.S_ISREG(status.st_mode):
            raise ModelFileError(f"{path} is not a regular file.", "Choose a GGUF file.")
        with path.open("rb") as file:
            head = file.read(64)
    except FileNotFoundError:
        raise ModelFileError(f"{path} does not exist.", "Check the path.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelFileError(f"{path} cannot be read: {reason}.", "Check its permissions and the path.") from error
    if not head:
        raise ModelFileError(f"{path} is empty.", "Fetch the file again.")
    return head
