"""The vectors of a layer without attention; its matrices are where attention has its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RecurrentWeights:
    """All float32.

    taps: (width of the convolution, channels). Of a delta net, None without one: time_bias, time_scale (value_heads,);
    head_norm: (state_dim,).
    """

    taps: Vector
    time_bias: Vector | None
    time_scale: Vector | None
    head_norm: Vector | None


def recurrent_weights(block: str, values: Callable[[str], Vector | None]) -> RecurrentWeights | None:
    """Those of the layer whose tensors' names begin so, None if it attends. values: of a tensor, in its shape."""
    taps = values(f"{block}shortconv.conv.weight")
    if taps is None:
        taps = values(f"{block}ssm_conv1d.weight")
    if taps is None:
        return None
    return RecurrentWeights(
        taps=np.ascontiguousarray(taps.T),
        time_bias=values(f"{block}ssm_dt.bias"),
        time_scale=values(f"{block}ssm_a"),
        head_norm=values(f"{block}ssm_norm.weight"),
    )
