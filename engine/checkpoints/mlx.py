"""Weights as Apple's MLX quantises them: small integers in 32-bit words, with a scale and a bias for each group.

A level times its scale, plus its bias, is what GGUF's types with minima are as well. In newer modes, numbers are
floating-point ones of four or eight bits, without biases. Source: mlx.core.quantize, and the models of mlx-lm, of which
some have other names and shapes than transformers' have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.checkpoints.checkpoint import MakeRows, TensorInfo
from engine.checkpoints.derived import as_floats, derived, float_bytes, read_floats
from engine.checkpoints.levels import Grid, unpacked_levels
from engine.checkpoints.limits import MAX_WIDTH
from engine.checkpoints.metadata import Metadata
from engine.checkpoints.small_floats import (
    MXFP4_GROUP,
    by_groups,
    e2m1_numbers,
    e4m3_numbers,
    e8m0_numbers,
    mxfp4_rows,
    pairs_of,
)
from engine.checkpoints.tensor_types import TYPE_BY_NAME
from engine.errors import ModelFileError, UnsupportedModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WORD_BITS = 32
_AFFINE = "affine"
_AFFINE_BITS = (2, 3, 4, 5, 6, 8)
_USUAL = {_AFFINE: (4, 64), "mxfp4": (4, 32), "nvfp4": (4, 16), "mxfp8": (8, 32)}
"""By the modes, the bits and the group of what does not say them."""

_WORDS, _SCALES, _BIASES = "weight", "scales", "biases"

_EXPERTS = re.compile(r"\.experts\.(gate|up|down)_proj\.(weight|bias)$")
"""What gpt-oss's stacks of experts are called, where others' are `switch_mlp`."""

_CONVOLUTION = re.compile(r"\.(?:conv1d|conv\.conv)\.weight$")

_SHIFTED = re.compile(
    r"\.(?:input_layernorm|post_attention_layernorm|q_norm|k_norm)\.weight$|(?:^|\.)model\.norm\.weight$"
)
_DELTA_NET = ".linear_attn."
"""Beside such parts, these norms have 1 added already."""


@dataclass(frozen=True, slots=True)
class Words:
    """How words are made. group: so many inputs share a scale."""

    bits: int
    group: int
    mode: str

    @property
    def are_floats(self) -> bool:
        """Whether they have floating-point numbers."""
        return self.mode != _AFFINE

    @classmethod
    def of(cls, how: Mapping[str, object], values: Metadata) -> Words:
        """What a configuration says. Raises ModelFileError, UnsupportedModelError for modes that are not known."""
        settings = Metadata(how, values.path)
        mode = settings.text("mode", _AFFINE)
        if mode not in _USUAL:
            raise UnsupportedModelError(
                f"{values.path}: the weights are quantised in the mode {mode[:40]!r} of MLX, which is not known here.",
                "Choose the original weights of the model, or a GGUF.",
            )
        bits = settings.integer("bits", _USUAL[mode][0], low=1, high=WORD_BITS)
        group = settings.integer("group_size", _USUAL[mode][1], low=1, high=MAX_WIDTH)
        if bits not in (_AFFINE_BITS if mode == _AFFINE else _USUAL[mode][:1]):
            raise settings.error(f"bits is {bits}, which MLX's mode {mode!r} does not have.")
        return cls(bits, group, mode)


@dataclass(frozen=True, slots=True)
class MlxQuantization:
    """How the modules are quantised that have no settings of their own, and those that have."""

    usual: Words
    own: Mapping[str, Words]


def is_mlx(how: Mapping[str, object]) -> bool:
    """Whether a `quantization_config` is MLX's, which does not name itself."""
    return "quant_method" not in how and ("bits" in how or "group_size" in how)


def mlx_quantization(how: Mapping[str, object], values: Metadata) -> MlxQuantization:
    """What `quantization` says. Raises ModelFileError, UnsupportedModelError."""
    own = {name: Words.of(each, values) for name, each in how.items() if isinstance(each, dict)}
    return MlxQuantization(Words.of(how, values), own)


def unpacked_mlx(tensors: Mapping[str, TensorInfo], quantization: MlxQuantization) -> dict[str, TensorInfo]:
    """The tensors of the model, as transformers has them but for stacks of experts. Raises ModelFileError."""
    is_delta_net = any(_DELTA_NET in name and _has_inputs_first(name, each) for name, each in tensors.items())
    whole: dict[str, TensorInfo] = {}
    for name, tensor in tensors.items():
        module, _, part = name.rpartition(".")
        if part in (_SCALES, _BIASES) and f"{module}.{_WORDS}" in tensors:
            continue
        if part == _WORDS and f"{module}.{_SCALES}" in tensors:
            words = quantization.own.get(module, quantization.usual)
            scales, biases = tensors[f"{module}.{_SCALES}"], tensors.get(f"{module}.{_BIASES}")
            tensor = _Matrix.of(tensor, scales, biases, words).unpacked()
        elif _has_inputs_first(name, tensor):
            tensor = _inputs_last(tensor)
        elif is_delta_net and _SHIFTED.search(name):
            tensor = as_floats(tensor, "F32", plus=-1.0)
        whole[_EXPERTS.sub(r".switch_mlp.\1_proj.\2", name)] = tensor
    return whole


def _has_inputs_first(name: str, tensor: TensorInfo) -> bool:
    """Whether it is a convolution as MLX has them."""
    return _CONVOLUTION.search(name) is not None and len(tensor.shape) == 3 and tensor.shape[2] == 1


def _inputs_last(convolution: TensorInfo) -> TensorInfo:
    """(channels, places, 1) as (channels, 1, places)."""
    channels, places, _ = convolution.shape

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        from engine.checkpoints.rows import read_rows

        return np.asarray(read_rows(convolution, first * places, count * places)).reshape(count, -1)

    return derived(convolution, make_rows, shape=(channels, 1, places), kind=convolution.type)


@dataclass(frozen=True, slots=True)
class _Matrix:
    """A matrix or a stack of them: (…, rows, words of a row), and (…, rows, groups)."""

    packed: TensorInfo
    scales: TensorInfo
    biases: TensorInfo | None
    words: Words
    width: int

    @classmethod
    def of(cls, packed: TensorInfo, scales: TensorInfo, biases: TensorInfo | None, words: Words) -> _Matrix:
        width = packed.shape[-1] * WORD_BITS // words.bits
        shape = (*packed.shape[:-1], width // words.group)
        fits = (
            packed.type.name == "I32"
            and len(packed.shape) in (2, 3)
            and packed.shape[-1] * WORD_BITS % (8 * words.bits) == 0
            and width % words.group == 0
            and scales.shape == shape
            and (scales.type.name == "I8" if words.are_floats else scales.type.is_float)
            and ((biases is None) if words.are_floats else (biases is not None and biases.shape == shape))
        )
        if not fits:
            of_biases = f"biases of shape {biases.shape}" if biases is not None else "no biases"
            raise ModelFileError(
                f"{packed.path}: {packed.name}, of shape {packed.shape}, does not fit scales of shape {scales.shape}, "
                f"{of_biases}, and {words.bits} bits in groups of {words.group} ({words.mode}).",
                "The configuration and the weights disagree: fetch both again.",
            )
        return cls(packed, scales, biases, words, width)

    def unpacked(self) -> TensorInfo:
        """As a type with minima, as MXFP4, or as F16."""
        shape, words = (*self.packed.shape[:-1], self.width), self.words
        if not words.are_floats:
            grid = Grid(0, (1 << words.bits) - 1, words.group, has_minima=True)
            if "F32" in {each.type.name for each in (self.scales, self.biases) if each is not None}:
                grid = replace(grid, high=1 << 8)  # F16, of which each weight is rounded alone
            return derived(self.packed, self._affine_rows(grid), shape=shape, kind=grid.kind(self.width))
        is_mxfp4 = words.mode == "mxfp4" and words.group == MXFP4_GROUP
        kind = TYPE_BY_NAME["MXFP4" if is_mxfp4 else "F16"]
        return derived(self.packed, self._mxfp4_rows if is_mxfp4 else self._float_rows, shape=shape, kind=kind)

    def _affine_rows(self, grid: Grid) -> MakeRows:
        def make_rows(first: int, count: int) -> NDArray[np.uint8]:
            levels = unpacked_levels(self._bytes(self.packed, first, count), self.words.bits)
            scales = read_floats(self.scales, first, count)
            biases = None if self.biases is None else read_floats(self.biases, first, count)
            return grid.rows(levels, scales, biases, self.packed.path, self.packed.name)

        return make_rows

    def _mxfp4_rows(self, first: int, count: int) -> NDArray[np.uint8]:
        return mxfp4_rows(self._bytes(self.packed, first, count), self._bytes(self.scales, first, count))

    def _float_rows(self, first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        packed = self._bytes(self.packed, first, count)
        table = e4m3_numbers() if self.words.bits == 8 else pairs_of(e2m1_numbers())
        numbers = np.take(table, packed, axis=0).reshape(count, -1)
        of_groups = (e4m3_numbers if self.words.mode == "nvfp4" else e8m0_numbers)()
        scales = of_groups[self._bytes(self.scales, first, count)]
        return float_bytes(by_groups(numbers, scales), TYPE_BY_NAME["F16"])

    @staticmethod
    def _bytes(tensor: TensorInfo, first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        from engine.checkpoints.rows import read_rows

        return np.asarray(read_rows(tensor, first, count))
