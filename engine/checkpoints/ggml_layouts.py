"""How weights lay in ggml files before GGUF, by the era of the file."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.checkpoints.checkpoint import TensorInfo
from engine.checkpoints.derived import aligned, derived
from engine.checkpoints.tensor_types import TYPE_BY_ID, TYPE_BY_NAME, TensorType
from engine.errors import ModelFileError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from engine.checkpoints.ggml_blocks import Convert

NIBBLE_PAIRS, NIBBLE_HALVES, TODAY = 1, 2, 3
"""Eras: up to ggjt v1, ggjt v2, ggjt v3."""

_BLOCK_BYTES = {"Q4_0": 20, "Q4_1": 24, "Q5_0": 22, "Q5_1": 24, "Q8_0": 36}
"""Bytes of a block before today's; it is not, or not yet in this order, GGUF's."""

SAMPLE_ROWS = 8
SAMPLE_BLOCKS = 256
"""What is looked at to tell row-wise files from block-wise ones: some rows of a matrix, and so many blocks of each."""

PLAUSIBLE = 0.9
"""Of the scales of a trained matrix, so many at least are of a sensible size."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as it lies in a ggml file.

    tensor: its type is today's with the same numbers. block_bytes: of the file's own block.
    """

    tensor: TensorInfo
    era: int
    block_bytes: int

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in the file."""
        return self.tensor.shape[-1] // self.tensor.type.block_size * self.block_bytes

    @property
    def n_bytes(self) -> int:
        """Bytes of the whole tensor in the file."""
        rows = self.tensor.shape[0] if len(self.tensor.shape) > 1 else 1
        return rows * self.row_bytes


def type_of(era: int, type_id: int) -> tuple[TensorType, int] | None:
    """Today's type of a number in a tensor's header and the bytes of the file's block, None if there was none then."""
    kind = TYPE_BY_ID.get(type_id)
    if kind is None or not kind.is_known or type_id > TYPE_BY_NAME["Q6_K"].id or kind.name == "Q8_1":
        return None
    if kind.is_float or era == TODAY:
        return kind, kind.block_bytes
    block_bytes = _BLOCK_BYTES.get(kind.name)
    return None if block_bytes is None else (kind, block_bytes)


def as_today(stored: StoredTensor, *, row_wise: bool) -> TensorInfo:
    """The tensor with rows in GGUF's blocks: mapped where the file has them so, else converted when they are read."""
    tensor = stored.tensor
    if not _is_converted(stored):
        return aligned(tensor)

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        from engine.checkpoints.rows import map_bytes

        offset = tensor.offset + first * stored.row_bytes
        raw = map_bytes(tensor.path, offset, count * stored.row_bytes).reshape(count, stored.row_bytes)
        return _converter(tensor.type.name, stored.era, row_wise)(np.asarray(raw))

    return derived(tensor, make_rows, shape=tensor.shape, kind=tensor.type)


def _is_converted(stored: StoredTensor) -> bool:
    name = stored.tensor.type.name
    if stored.era == TODAY or stored.tensor.type.is_float:
        return False
    return not (stored.era == NIBBLE_HALVES and name in ("Q5_0", "Q5_1"))


def _converter(type_name: str, era: int, row_wise: bool) -> Convert:
    from engine.checkpoints import ggml_blocks

    if type_name == "Q8_0":
        return ggml_blocks.eight_bits
    if type_name in ("Q5_0", "Q5_1"):
        return ggml_blocks.five_bits(6 if type_name == "Q5_0" else 8)
    n_scales = 1 if type_name == "Q4_0" else 2
    if row_wise:
        return ggml_blocks.whole_rows(n_scales)
    return ggml_blocks.float_blocks(n_scales, pairs=era == NIBBLE_PAIRS)


def is_row_wise(tensors: Sequence[StoredTensor]) -> bool:
    """Whether 4-bit rows begin with all their scales, as on 10 March 2023 and in alpaca.cpp, or have them in blocks.

    The files say nothing about it and have the same size; but where there are none, nibbles make absurd scales. A file
    has one 4-bit type only; llama.cpp changed Q4_1 some days after Q4_0.
    """
    matrices = [t for t in tensors if t.era == NIBBLE_PAIRS and t.tensor.type.name in ("Q4_0", "Q4_1")]
    if not matrices:
        return False
    largest = max(matrices, key=lambda stored: stored.tensor.n_elements)
    in_rows, in_blocks = _plausibility(largest, row_wise=True), _plausibility(largest, row_wise=False)
    if max(in_rows, in_blocks) < PLAUSIBLE:
        raise ModelFileError(
            f"{largest.tensor.path}: the scales of {largest.tensor.name} make no sense, neither row by row nor in "
            "blocks.",
            "The file is damaged, or its weights are of a kind that is not known: fetch another one.",
        )
    return in_rows > in_blocks


def _plausibility(stored: StoredTensor, *, row_wise: bool) -> float:
    """The share of sensible numbers where the scales should be."""
    n_rows = stored.tensor.shape[0]
    n_scales = (stored.block_bytes - 16) // 4
    n_blocks = min(SAMPLE_BLOCKS, stored.row_bytes // stored.block_bytes)
    good = seen = 0
    with stored.tensor.path.open("rb") as file:
        for row in sorted({n_rows * i // SAMPLE_ROWS for i in range(SAMPLE_ROWS)}):
            file.seek(stored.tensor.offset + row * stored.row_bytes)
            raw = file.read(stored.row_bytes)
            step = 4 * n_scales if row_wise else stored.block_bytes
            for block in range(n_blocks):
                numbers = struct.unpack_from(f"<{n_scales}f", raw, block * step)
                good += sum(map(_is_sensible, numbers))
                seen += n_scales
    return good / seen if seen else 1.0


def _is_sensible(number: float) -> bool:
    return number == 0 or (math.isfinite(number) and 1e-8 < abs(number) < 1e3)
