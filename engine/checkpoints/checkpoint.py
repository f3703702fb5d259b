"""What every model file format is read into: metadata and named tensors, with no weight loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.checkpoints.metadata import Metadata
from engine.checkpoints.tensor_types import TensorType

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


MakeRows = Callable[[int, int], "NDArray[np.uint8]"]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where a tensor lies.

    shape: numpy's order, slowest first: (rows, columns) for a matrix. offset: in the file at path.
    make_rows: where the file does not have the rows as they are (another block layout, shards, an adapter added):
    rows (first, count) as bytes of `type`, uint8 (count, bytes of a row). See rows.read_rows and n_rows.
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

    @property
    def n_rows(self) -> int:
        """Rows: a vector is one, the matrices of a stack lie one below the other."""
        return self.n_elements // self.shape[-1] if len(self.shape) > 1 else 1


def without_leading_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape as ggml counts dimensions: a matrix of one row is a vector. Something is left of every shape."""
    first = next((i for i, size in enumerate(shape) if size != 1), len(shape) - 1)
    return shape[first:]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model on disk.

    format: "GGUF v3" and the like. files: every file it is made of, in order. borrowed: those of them that other models
    may need too, such as an adapter's base.
    """

    path: Path
    format: str
    metadata: Metadata
    tensors: dict[str, TensorInfo]
    files: tuple[Path, ...]
    borrowed: frozenset[Path] = frozenset()

    @property
    def own_files(self) -> tuple[Path, ...]:
        """The files that go when the model goes."""
        return tuple(file for file in self.files if file not in self.borrowed)

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
