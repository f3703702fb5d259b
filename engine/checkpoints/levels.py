"""Matrices of small integers with scales beside them, as blocks of GGUF's types that hold the same integers.

A weight is its level times the scale of its group, plus the group's minimum where groups have one. Where a block of 32
is of one group, and a type has room for the levels, nothing is lost but what 16 bits of a scale cannot say: scales of
F16 stay as they are, those of BF16 down to 8e-6. Other matrices become F16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.checkpoints.derived import float_bytes
from engine.checkpoints.small_floats import nibbles_of
from engine.checkpoints.tensor_types import TYPE_BY_NAME, TensorType
from engine.errors import ModelFileError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.signedinteger] | NDArray[np.uint8]

BLOCK = 32

_SIGNED = {"Q4_0": (-8, 7), "Q5_0": (-16, 15), "Q8_0": (-128, 127)}
_WITH_MINIMA = {"Q4_1": (0, 15), "Q5_1": (0, 31)}
"""The least and the largest level that types have room for, the smallest types first."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Where levels lie, and which group each column is in.

    low, high: what levels are between. group: so many columns are in one, 0 for all. has_minima: see above.
    """

    low: int
    high: int
    group: int
    has_minima: bool = False

    def kind(self, width: int) -> TensorType:
        """The type of such a matrix with rows of so many columns."""
        if width % BLOCK == 0 and self.group % BLOCK == 0:
            for name, (low, high) in (_WITH_MINIMA if self.has_minima else _SIGNED).items():
                if low <= self.low and self.high <= high:
                    return TYPE_BY_NAME[name]
        return TYPE_BY_NAME["F16"]

    def n_groups(self, width: int) -> int:
        """How many groups a row has."""
        return -(-width // (self.group or width)) if width else 0

    def rows(
        self,
        levels: Integers,
        scales: NDArray[np.float32],
        minima: NDArray[np.float32] | None,
        path: Path,
        name: str,
    ) -> NDArray[np.uint8]:
        """Rows as bytes of that type.

        levels: (rows, columns). scales, minima: (rows, groups). Raises ModelFileError where those are not finite, under
        the name of what they belong to.
        """
        import numpy as np

        width = levels.shape[1]
        kind = self.kind(width)
        for numbers in (scales, minima):
            if numbers is not None and not (np.abs(numbers) < np.finfo(np.float16).max).all():
                raise ModelFileError(
                    f"{path}: {name} has a scale that is infinite, too large or no number.",
                    "The file is damaged: fetch it again.",
                )
        if kind.name == "F16":
            numbers = levels.astype(np.float32)
            if width % scales.shape[1] == 0:
                weights = numbers.reshape(*scales.shape, -1)
                weights *= scales[..., None]
                weights += 0 if minima is None else minima[..., None]
                return float_bytes(weights.reshape(numbers.shape), kind)
            group_of = np.arange(width) // (self.group or width)
            numbers *= scales[:, group_of]
            return float_bytes(numbers if minima is None else numbers + minima[:, group_of], kind)
        block_groups = np.arange(0, width, BLOCK) // (self.group or width)
        heads = [scales] if minima is None else [scales, minima]
        halves = [each[:, block_groups, None].astype(np.float16).view(np.uint8) for each in heads]
        blocks = levels.reshape(len(levels), -1, BLOCK)
        return np.concatenate([*halves, *_bits(blocks, kind.name)], axis=2).reshape(len(levels), -1)


def unpacked_levels(packed: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Rows of numbers of so many bits, one behind the other from the lowest bits on: (rows, bytes) → (rows, numbers).

    The bytes of a row are whole eights of numbers.
    """
    import numpy as np

    if bits == 8:
        return packed
    if bits == 4:
        return nibbles_of(packed)
    eights = np.zeros((len(packed), packed.shape[1] // bits, 8), np.uint8)
    eights[..., :bits] = packed.reshape(len(packed), -1, bits)
    numbers = eights.view("<u8") >> np.arange(0, 8 * bits, bits, dtype=np.uint64)
    return (numbers & np.uint64((1 << bits) - 1)).astype(np.uint8).reshape(len(packed), -1)


def _bits(blocks: Integers, name: str) -> list[NDArray[np.uint8]]:
    """What comes behind a block's scale and minimum: (rows, blocks, BLOCK) → parts of (rows, blocks, bytes)."""
    import numpy as np

    if name == "Q8_0":
        return [blocks.astype(np.int8).view(np.uint8)]
    levels = (blocks - _SIGNED.get(name, (0, 0))[0]).astype(np.uint8)
    nibbles = (levels[..., :16] & np.uint8(15)) | (levels[..., 16:] << np.uint8(4))
    if name.startswith("Q4"):
        return [nibbles]
    return [np.packbits(levels >> 4, axis=2, bitorder="little"), nibbles]
