"""Slopes by which heads think less of distant positions. Source: Press et al. 2021 (ALiBi)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def head_slopes(n_heads: int, most: float) -> NDArray[np.float32]:
    """What a position's distance takes off its score, (n_heads,): falling powers of 2, down to 2 to the power of -most.

    Where the number of heads is no power of 2, those that are too many have slopes between the others'.
    """
    whole = 2 ** int(math.log2(n_heads))
    powers = [most * (i + 1) / whole for i in range(whole)]
    powers += [most * (2 * i + 1) / (2 * whole) for i in range(n_heads - whole)]
    return np.array([2.0**-power for power in powers], np.float32)
