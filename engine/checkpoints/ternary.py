"""Weights of -1, 0 or 1, four to a byte, with a scale for each matrix, as Hugging Face's folders of BitNet have them.

A byte has the weights, plus one, of four rows that lie a quarter of the matrix apart, from its lowest bits on. They
become TQ2_0, or F16 where rows are no whole blocks of that. Source: integrations/bitnet.py in the transformers
repository.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.checkpoints.checkpoint import TensorInfo
from engine.checkpoints.derived import derived, float_bytes, read_floats
from engine.checkpoints.metadata import Metadata
from engine.checkpoints.tensor_types import TYPE_BY_NAME
from engine.errors import ModelFileError, UnsupportedModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PER_BYTE = 4
_SCALE = "_scale"


@dataclass(frozen=True, slots=True)
class Ternary:
    """divided: products are divided by a matrix's scale, rather than multiplied."""

    divided: bool


def ternary_of(how: Mapping[str, object], values: Metadata) -> Ternary | None:
    """What a `quantization_config` says of such weights; None where it is of others.

    Raises UnsupportedModelError where weights become ternary only while the model runs.
    """
    if how.get("quant_method") != "bitnet":
        return None
    settings = Metadata(how, values.path)
    mode = settings.text("quantization_mode", "offline")
    if mode != "offline":
        raise UnsupportedModelError(
            f"{values.path}: the weights become -1, 0 or 1 only while the model runs (quantization_mode {mode!r}), "
            "which is not run here.",
            "Choose the folder whose weights are packed, or a GGUF of TQ2_0 or TQ1_0.",
        )
    return Ternary(divided=settings.text("linear_class", "bitlinear") != "autobitlinear")


def ternary_weights(tensors: Mapping[str, TensorInfo], ternary: Ternary) -> dict[str, TensorInfo]:
    """The tensors without scales, and the matrices that have one as TQ2_0 or F16. Raises ModelFileError."""
    whole: dict[str, TensorInfo] = {}
    for name, tensor in tensors.items():
        scale = tensors.get(name + _SCALE)
        if scale is not None:
            whole[name] = _Matrix(tensor, scale, ternary).taken_apart()
        elif not (name.endswith(_SCALE) and name.removesuffix(_SCALE) in tensors):
            whole[name] = tensor
    return whole


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
        blocks = TYPE_BY_NAME["TQ2_0"]
        kind = TYPE_BY_NAME["F16"] if packed.shape[1] % blocks.block_size else blocks

        def make_rows(first: int, count: int) -> NDArray[np.uint8]:
            import numpy as np

            levels, factor = self._levels(first, count), np.float32(self._factor())
            if kind is not blocks:
                return float_bytes((levels.astype(np.float32) - 1) * factor, kind)
            # (rows, blocks, halves of 128, quarters of those, 32)
            parts = levels.reshape(count, -1, 2, PER_BYTE, 32) << (2 * np.arange(PER_BYTE, dtype=np.uint8))[:, None]
            together = np.bitwise_or.reduce(parts, axis=3).reshape(count, parts.shape[1], -1)
            d = float_bytes(np.full((*together.shape[:2], 1), factor), TYPE_BY_NAME["F16"])
            return np.concatenate([together, d], axis=2).reshape(count, -1)

        return derived(packed, make_rows, shape=(packed.shape[0] * PER_BYTE, packed.shape[1]), kind=kind)

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
