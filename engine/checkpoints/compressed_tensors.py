"""Weights as compressed-tensors (llm-compressor, vLLM) and NVIDIA's ModelOpt keep them.

Integers of 2, 4 or 8 bits, packed into words or a byte each, with scales and perhaps zeros for groups or rows; numbers
of four bits with scales in eight (NVFP4) or powers of two (MXFP4); FP8. What a matrix is shows in the tensors that it
is made of. Source: the compressors in the compressed-tensors repository; torch/export in ModelOpt's.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.checkpoints.checkpoint import TensorInfo
from engine.checkpoints.derived import derived, float_bytes, read_floats
from engine.checkpoints.eight_bits import ANY, Block, with_scales
from engine.checkpoints.few_bytes import first_bytes
from engine.checkpoints.levels import Grid, unpacked_levels
from engine.checkpoints.limits import MAX_WIDTH
from engine.checkpoints.small_floats import MXFP4_GROUP, by_groups, e2m1_numbers, e4m3_numbers, mxfp4_rows, pairs_of
from engine.checkpoints.tensor_types import TYPE_BY_NAME
from engine.errors import ModelFileError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FORMATS = (
    "pack-quantized",
    "int-quantized",
    "naive-quantized",
    "nvfp4-pack-quantized",
    "mxfp4-pack-quantized",
    "mixed-precision",
)
_ALGORITHMS = ("NVFP4", "FP8")
"""Of ModelOpt, what `quant_algo` may be."""

_WEIGHT, _PACKED, _SCALE, _ZEROS = "weight", "weight_packed", "weight_scale", "weight_zero_point"
_SHAPE, _GROUPS = "weight_shape", "weight_g_idx"
_DIVISOR, _FACTOR = "weight_global_scale", "weight_scale_2"
"""What all scales of a matrix are divided by in compressed-tensors, and multiplied by in ModelOpt."""

_BESIDE = (_SCALE, _ZEROS, _SHAPE, _GROUPS, _DIVISOR, _FACTOR)
_OF_ACTIVATIONS = tuple(
    f"{what}_{part}"
    for what in ("input", "output", "q", "k", "v")
    for part in ("scale", "zero_point", "global_scale", "g_idx")
)

_WORD_BITS, _NVFP4_GROUP = 32, 16
_BITS = (2, 4, 8)


def is_compressed(how: Mapping[str, object]) -> bool:
    """Whether a `quantization_config` is of these, without sparse or turned weights."""
    if how.get("quant_method") == "modelopt":
        return how.get("quant_algo") in _ALGORITHMS
    sparse = how.get("sparsity_config")
    is_dense = not sparse or (isinstance(sparse, dict) and sparse.get("format", "dense") == "dense")
    named = how.get("quant_method") == "compressed-tensors" and how.get("format") in _FORMATS
    return named and is_dense and not how.get("transform_config")


def uncompressed(tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """The tensors with one in the place of those that each matrix is made of. Raises ModelFileError."""
    whole: dict[str, TensorInfo] = {}
    for name, tensor in tensors.items():
        module, _, part = name.rpartition(".")
        parts = {each: tensors[f"{module}.{each}"] for each in (_WEIGHT, *_BESIDE) if f"{module}.{each}" in tensors}
        if part == _PACKED:
            made = _Integers.of_words(tensor, parts) if tensor.type.name == "I32" else _Floats.of(tensor, parts)
            whole[f"{module}.{_WEIGHT}"] = made.unpacked()
        elif part == _WEIGHT and _SCALE in parts and tensor.type.name == "I8":
            is_float = parts[_SCALE].type.name == "F8_E4M3" and _FACTOR in parts
            whole[name] = (_Floats.of(tensor, parts) if is_float else _Integers.of_bytes(tensor, parts)).unpacked()
        elif part == _SCALE and parts.get(_WEIGHT, tensor).type.name == "F8_E4M3" and _WEIGHT in parts:
            whole[name] = tensor
        elif part not in _OF_ACTIVATIONS and part not in _BESIDE:
            whole[name] = tensor
    return with_scales(whole, Block(1, ANY))


def _unfit(packed: TensorInfo, parts: Mapping[str, TensorInfo]) -> ModelFileError:
    beside = ", ".join(f"{name} {part.type.name} {part.shape}" for name, part in parts.items() if part is not packed)
    return ModelFileError(
        f"{packed.path}: {packed.name}, {packed.type.name} of shape {packed.shape}, does not fit what is beside it: "
        f"{beside or 'nothing'}.",
        "Fetch all parts of the model again.",
    )


@dataclass(frozen=True, slots=True)
class _Integers:
    """A matrix of integers. zeros: taken away from them. order: which group each input is in, None if in order."""

    packed: TensorInfo
    bits: int
    shape: tuple[int, int]
    scales: TensorInfo
    zeros: TensorInfo | None
    order: TensorInfo | None

    @classmethod
    def of_words(cls, packed: TensorInfo, parts: Mapping[str, TensorInfo]) -> _Integers:
        """Packed into words, rows one behind the other."""
        rows, columns = _shape(packed, parts)
        bits = next((bits for bits in _BITS if -(-columns * bits // _WORD_BITS) == packed.shape[-1]), 0)
        if not bits or packed.shape != (rows, packed.shape[-1]):
            raise _unfit(packed, parts)
        return cls(packed, bits, (rows, columns), *cls._beside(packed, parts, (rows, columns), _WORD_BITS // bits))

    @classmethod
    def of_bytes(cls, packed: TensorInfo, parts: Mapping[str, TensorInfo]) -> _Integers:
        """With a sign and a byte each."""
        if len(packed.shape) != 2:
            raise _unfit(packed, parts)
        shape = (packed.shape[0], packed.shape[1])
        return cls(packed, 8, shape, *cls._beside(packed, parts, shape, 1))

    @staticmethod
    def _beside(
        packed: TensorInfo, parts: Mapping[str, TensorInfo], shape: tuple[int, int], together: int
    ) -> tuple[TensorInfo, TensorInfo | None, TensorInfo | None]:
        """The scales, the zeros and the order. together: so many rows' zeros share a word."""
        scales, zeros, order = (parts.get(name) for name in (_SCALE, _ZEROS, _GROUPS))
        if scales is None or not scales.type.is_float:
            raise _unfit(packed, parts)
        if len(scales.shape) == 1:
            scales = replace(scales, shape=(scales.shape[0], 1))
        n_rows, n_groups = scales.shape if len(scales.shape) == 2 else (0, 0)
        per_group = -(-shape[1] // n_groups) if n_groups else 0
        fits = n_rows in (1, shape[0]) and per_group > 0 and -(-shape[1] // per_group) == n_groups
        if zeros is not None:
            kind = "I32" if packed.type.name == "I32" else "I8"
            wanted = (-(-n_rows // together), n_groups)
            fits = fits and zeros.type.name == kind and zeros.shape in (wanted, wanted[:1] if n_groups == 1 else wanted)
        if order is not None:
            fits = fits and order.type.name == "I32" and order.shape == (shape[1],)
        if not fits:
            raise _unfit(packed, parts)
        return scales, zeros, order

    def unpacked(self) -> TensorInfo:
        """As a type with room for the integers without their zeros, else as F16."""
        half, most = 1 << self.bits - 1, (1 << self.bits) - 1
        n_groups = self.scales.shape[1]
        group = 1 if self.order is not None else -(-self.shape[1] // n_groups)
        grid = Grid(-half, half - 1, group) if self.zeros is None else Grid(-most, most, group)

        def make_rows(first: int, count: int) -> NDArray[np.uint8]:
            import numpy as np

            levels = self._levels(first, count)
            every = read_floats(self.scales, 0, self.scales.n_rows).reshape(self.scales.shape)
            scales = np.broadcast_to(every, (self.shape[0], n_groups))[first : first + count]
            zeros, group_of = self._zeros(first, count), self._group_of()
            if zeros is not None:
                levels -= zeros[:, group_of]
            if self.order is not None:
                return float_bytes(levels * scales[:, group_of], TYPE_BY_NAME["F16"])
            return grid.rows(levels, scales, None, self.packed.path, self.packed.name)

        named = replace(self.packed, name=self.packed.name.replace(_PACKED, _WEIGHT))
        return derived(named, make_rows, shape=self.shape, kind=grid.kind(self.shape[1]))

    def _levels(self, first: int, count: int) -> NDArray[np.int16]:
        packed = _bytes(self.packed, first, count)
        if self.packed.type.name == "I8":
            return packed.view("int8").astype("int16")
        return unpacked_levels(packed, self.bits)[:, : self.shape[1]].astype("int16") - (1 << self.bits - 1)

    def _zeros(self, first: int, count: int) -> NDArray[np.int16] | None:
        """Of some rows, by their groups."""
        import numpy as np

        if self.zeros is None:
            return None
        n_groups = self.scales.shape[1]
        raw = _bytes(self.zeros, 0, self.zeros.n_rows).reshape(-1)
        if self.zeros.type.name == "I8":
            every = raw.view(np.int8).astype(np.int16).reshape(-1, n_groups)
        else:
            words = np.ascontiguousarray(raw.view(np.uint32).reshape(-1, n_groups).T).view(np.uint8)
            every = unpacked_levels(words, self.bits).T.astype(np.int16) - (1 << self.bits - 1)
        return (every if len(every) > 1 else np.repeat(every, self.shape[0], axis=0))[first : first + count]

    def _group_of(self) -> NDArray[np.int64]:
        """The group that each input is in; where that is not known, an order has -1."""
        import numpy as np

        n_groups = self.scales.shape[1]
        in_order = np.arange(self.shape[1]) // -(-self.shape[1] // n_groups)
        if self.order is None:
            return in_order
        found = _bytes(self.order, 0, 1).reshape(-1).view(np.int32).astype(np.int64)
        if (found == -1).all():
            return in_order
        if found.min() < 0 or found.max() >= n_groups:
            raise ModelFileError(
                f"{self.order.path}: {self.order.name} names a group beyond the {n_groups} that there are.",
                "The file is damaged: fetch it again.",
            )
        return found


@dataclass(frozen=True, slots=True)
class _Floats:
    """A matrix of numbers of four bits, two to a byte, the first in the lower half.

    whole: what all its scales are divided by (divides) or multiplied by; None of powers of two.
    """

    packed: TensorInfo
    scales: TensorInfo
    whole: TensorInfo | None
    divides: bool

    @classmethod
    def of(cls, packed: TensorInfo, parts: Mapping[str, TensorInfo]) -> _Floats:
        scales = parts.get(_SCALE)
        if packed.type.name != "I8" or len(packed.shape) != 2 or scales is None:
            raise _unfit(packed, parts)
        width, has_powers = 2 * packed.shape[1], scales.type.name == "I8"
        group = MXFP4_GROUP if has_powers else _NVFP4_GROUP
        whole = parts.get(_FACTOR, parts.get(_DIVISOR))
        fits = (
            width % group == 0
            and scales.shape == (packed.shape[0], width // group)
            and scales.type.name in ("I8", "F8_E4M3")
            and ((whole is None) if has_powers else (whole is not None and whole.type.is_float))
            and (whole is None or whole.n_elements == 1)
        )
        if not fits:
            raise _unfit(packed, parts)
        return cls(packed, scales, whole, divides=_FACTOR not in parts)

    def unpacked(self) -> TensorInfo:
        """As GGUF's MXFP4, or as F16."""
        kind = TYPE_BY_NAME["MXFP4" if self.whole is None else "F16"]
        named = replace(self.packed, name=self.packed.name.replace(_PACKED, _WEIGHT))
        shape = (self.packed.shape[0], 2 * self.packed.shape[1])
        return derived(named, self._blocks if self.whole is None else self._numbers, shape=shape, kind=kind)

    def _blocks(self, first: int, count: int) -> NDArray[np.uint8]:
        return mxfp4_rows(_bytes(self.packed, first, count), _bytes(self.scales, first, count))

    def _numbers(self, first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        packed = _bytes(self.packed, first, count)
        numbers = np.take(pairs_of(e2m1_numbers()), packed, axis=0).reshape(count, -1)
        scales = e4m3_numbers()[_bytes(self.scales, first, count)] * np.float32(self._factor())
        return float_bytes(by_groups(numbers, scales), TYPE_BY_NAME["F16"])

    def _factor(self) -> float:
        """What all scales are multiplied by."""
        if self.whole is None:
            return 1.0
        found = float(read_floats(self.whole, 0, 1).item())
        if not math.isfinite(found) or not found:
            raise ModelFileError(
                f"{self.whole.path}: {self.whole.name} is {found}, which is no scale.",
                "The file is damaged: fetch it again.",
            )
        return 1 / found if self.divides else found


def _shape(packed: TensorInfo, parts: Mapping[str, TensorInfo]) -> tuple[int, int]:
    """The rows and columns that `weight_shape` says."""
    shape = parts.get(_SHAPE)
    formats = {"I64": "<2q", "I32": "<2i"}
    if shape is None or shape.n_elements != 2 or shape.type.name not in formats:
        raise _unfit(packed, parts)
    raw = first_bytes(shape, shape.n_bytes)
    rows, columns = struct.unpack(formats[shape.type.name], raw) if len(raw) == shape.n_bytes else (0, 0)
    if not (0 < rows <= MAX_WIDTH and 0 < columns <= MAX_WIDTH):
        raise _unfit(packed, parts)
    return rows, columns


def _bytes(tensor: TensorInfo, first: int, count: int) -> NDArray[np.uint8]:
    import numpy as np

    from engine.checkpoints.rows import read_rows

    return np.asarray(read_rows(tensor, first, count))
