"""Weights of -1, 0 or 1, four to a byte, with a scale for each matrix, as Hugging Face's folders of BitNet have them.

A byte has the weights, plus one, of four rows that lie a quarter of the matrix apart, from its lowest bits on. Weights
that are to become so only while the model runs are of a folder that is trained on ("online"). Both become TQ2_0, or F16
where rows are no whole blocks of that. Source: integrations/bitnet.py in the transformers repository.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from engine.checkpoints.checkpoint import TensorInfo
from engine.checkpoints.derived import derived, float_bytes, read_floats
from engine.checkpoints.metadata import Metadata
from engine.checkpoints.names import layer_of
from engine.checkpoints.tensor_types import TYPE_BY_NAME, TensorType
from engine.errors import ModelFileError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PER_BYTE = 4
_SCALE = "_scale"

LEAST_MEAN = 1e-5
"""What the mean of weights' sizes counts at least."""

ROWS_AT_ONCE = 1024
"""How many rows are read at once to find it."""


@dataclass(frozen=True, slots=True)
class Ternary:
    """divided: products are divided by a matrix's scale, rather than multiplied. is_packed: four share a byte."""

    divided: bool
    is_packed: bool


def ternary_of(how: Mapping[str, object], values: Metadata) -> Ternary | None:
    """What a `quantization_config` says of such weights; None where it is of others. Raises ModelFileError."""
    if how.get("quant_method") != "bitnet":
        return None
    settings = Metadata(how, values.path)
    mode = settings.text("quantization_mode", "offline")
    return Ternary(divided=settings.text("linear_class", "bitlinear") != "autobitlinear", is_packed=mode != "online")


def ternary_weights(tensors: Mapping[str, TensorInfo], ternary: Ternary) -> dict[str, TensorInfo]:
    """The tensors without scales, and the matrices that have one as TQ2_0 or F16; or those of layers, where none has.

    Raises ModelFileError.
    """
    if not ternary.is_packed:
        return {name: _rounded(each) if _is_matrix_of_layer(each) else each for name, each in tensors.items()}
    whole: dict[str, TensorInfo] = {}
    for name, tensor in tensors.items():
        scale = tensors.get(name + _SCALE)
        if scale is not None:
            whole[name] = _Matrix(tensor, scale, ternary).taken_apart()
        elif not (name.endswith(_SCALE) and name.removesuffix(_SCALE) in tensors):
            whole[name] = tensor
    return whole


def _is_matrix_of_layer(tensor: TensorInfo) -> bool:
    return layer_of(tensor.name) >= 0 and len(tensor.shape) == 2 and tensor.type.is_float


def _kind_of(width: int) -> TensorType:
    blocks = TYPE_BY_NAME["TQ2_0"]
    return TYPE_BY_NAME["F16"] if width % blocks.block_size else blocks


def _rows(levels: NDArray[np.uint8], factor: np.float32) -> NDArray[np.uint8]:
    """Rows of weights, plus one, as bytes of their type. factor: what weights of 1 stand for."""
    import numpy as np

    if _kind_of(levels.shape[1]).name == "F16":
        return float_bytes((levels.astype(np.float32) - 1) * factor, TYPE_BY_NAME["F16"])
    # (rows, blocks, halves of 128, quarters of those, 32)
    parts = levels.reshape(len(levels), -1, 2, PER_BYTE, 32) << (2 * np.arange(PER_BYTE, dtype=np.uint8))[:, None]
    together = np.bitwise_or.reduce(parts, axis=3).reshape(len(levels), parts.shape[1], -1)
    d = float_bytes(np.full((*together.shape[:2], 1), factor), TYPE_BY_NAME["F16"])
    return np.concatenate([together, d], axis=2).reshape(len(levels), -1)


def _rounded(tensor: TensorInfo) -> TensorInfo:
    """A matrix of plain numbers with each weight as the nearest of -1, 0 and 1 times the mean of their sizes."""

    @cache
    def mean() -> np.float32:
        import numpy as np

        total = 0.0
        for first in range(0, tensor.n_rows, ROWS_AT_ONCE):
            rows = read_floats(tensor, first, min(ROWS_AT_ONCE, tensor.n_rows - first))
            total += float(np.abs(rows).sum(dtype=np.float64))
        return np.float32(max(total / tensor.n_elements, LEAST_MEAN))

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        values = read_floats(tensor, first, count)
        if not np.isfinite(values).all():
            raise ModelFileError(
                f"{tensor.path}: {tensor.name} has numbers in it that are not finite.", "Fetch the file again."
            )
        levels = np.clip(np.rint(values / mean()), -1, 1) + 1
        return _rows(levels.astype(np.uint8), as_stored(mean(), tensor.type))

    return derived(tensor, make_rows, shape=tensor.shape, kind=_kind_of(tensor.shape[1]))


def as_stored(value: np.float32, kind: TensorType) -> np.float32:
    """The nearest number that the type has, in which the model computes."""
    import numpy as np

    if kind.name == "BF16":
        bits = int(value.view(np.uint32))
        return np.uint32((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).view(np.float32)
    return np.float32(np.float16(value)) if kind.name == "F16" else value


@dataclass(frozen=True, slots=True)
class _Matrix:
    packed: TensorInfo
    scale: TensorInfo
    ternary: Ternary

    def taken_apart(self) -> TensorInfo:
        packed, scale = self.packed, self.scale
        fits = packed.type.name == "I8" and len(packed.shape) == 2 and scale.type.is_float and scale.n_elements == 1
        if not fits:
            raise ModelFileError(
                f"{packed.path}: {packed.name}, {packed.type.name} of shape {packed.shape}, with a scale of shape "
                f"{scale.shape} are no weights of which four share a byte.",
                "The configuration and the weights disagree: fetch both again.",
            )

        def make_rows(first: int, count: int) -> NDArray[np.uint8]:
            import numpy as np

            return _rows(self._levels(first, count), np.float32(self._factor()))

        shape = (packed.shape[0] * PER_BYTE, packed.shape[1])
        return derived(packed, make_rows, shape=shape, kind=_kind_of(packed.shape[1]))

    def _levels(self, first: int, count: int) -> NDArray[np.uint8]:
        """Some rows' weights, plus one."""
        import numpy as np

        from engine.checkpoints.rows import read_rows

        quarter, pieces = self.packed.shape[0], []
        for part in range(first // quarter, -(-(first + count) // quarter)):
            begin, end = max(first - part * quarter, 0), min(first + count - part * quarter, quarter)
            pieces.append(np.asarray(read_rows(self.packed, begin, end - begin)) >> (2 * part) & 3)
        return np.concatenate(pieces)

    def _factor(self) -> float:
        """What weights of 1 stand for."""
        scale = float(read_floats(self.scale, 0, 1).item())
        if not math.isfinite(scale) or (self.ternary.divided and not scale):
            raise ModelFileError(
                f"{self.scale.path}: {self.scale.name} is {scale}, which is no scale.",
                "The file is damaged: fetch it again.",
            )
        return 1 / scale if self.ternary.divided else scale
