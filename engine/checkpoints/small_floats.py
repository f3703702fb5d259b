"""Floating-point numbers of four and eight bits, and powers of two in a byte, as weights and their scales have them.

Source: OCP Microscaling Formats 1.0 (E2M1, E8M0); Micikevicius et al. 2022 (E4M3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MXFP4_GROUP = 32
"""So many weights share a power of two in MXFP4."""


def e2m1_numbers() -> NDArray[np.float32]:
    """The number that each four bits stand for: a sign, two bits of an exponent, one of a fraction."""
    import numpy as np

    sizes = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
    return np.concatenate([sizes, -sizes])


def e4m3_numbers() -> NDArray[np.float32]:
    """The number that each byte stands for: a sign, four bits of an exponent, three of a fraction; no infinities."""
    import numpy as np

    byte = np.arange(256)
    exponent, fraction = byte >> 3 & 15, byte & 7
    size = np.where(exponent > 0, (8 + fraction) * 2.0 ** (exponent - 10), fraction * 2.0**-9)
    size[(byte & 127) == 127] = np.nan
    return np.where(byte & 128, -size, size).astype(np.float32)


def e8m0_numbers() -> NDArray[np.float32]:
    """The power of two that each byte stands for; the last one is no number."""
    import numpy as np

    return np.append(np.ldexp(np.float32(1), np.arange(-127, 128)), np.float32(np.nan))


def pairs_of(numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    """By a byte, the two of 16 numbers that its lower and its upper four bits stand for: (256, 2)."""
    import numpy as np

    byte = np.arange(256)
    return np.stack([numbers[byte & 15], numbers[byte >> 4]], axis=1)


def nibbles_of(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(rows, bytes) → (rows, numbers of four bits), the lower ones first."""
    import numpy as np

    numbers = np.empty((*packed.shape, 2), np.uint8)
    numbers[..., 0], numbers[..., 1] = packed & np.uint8(15), packed >> np.uint8(4)
    return numbers.reshape(len(packed), -1)


def mxfp4_rows(packed: NDArray[np.uint8], scales: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Rows of GGUF's MXFP4: (rows, bytes of two numbers) and a power of two for every 32 of those."""
    import numpy as np

    numbers = nibbles_of(packed).reshape(len(packed), -1, MXFP4_GROUP)
    halves = numbers[..., :16] | (numbers[..., 16:] << np.uint8(4))
    return np.concatenate([scales[..., None], halves], axis=2).reshape(len(packed), -1)


def by_groups(numbers: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of numbers multiplied by the scales of as many neighbours each: (rows, columns), (rows, groups)."""
    return (numbers.reshape(*scales.shape, -1) * scales[..., None]).reshape(len(numbers), -1)
