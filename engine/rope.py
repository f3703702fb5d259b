"""Rotary frequencies: how fast each pair of a head's dimensions turns with the position."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.config import ModelConfig
from engine.errors import UnsupportedModelError


def rotary_frequencies(config: ModelConfig, divisors: NDArray[np.float32] | None) -> tuple[NDArray[np.float64], float]:
    """Angles a position, float64 (rope_dim / 2,), and the factor on cosines and sines.

    divisors: what each frequency is divided by (Llama 3's file has them), or None. Source: Su et al. 2021; linear
    scaling: Chen et al. 2023.
    """
    pairs = config.rope_dim // 2
    frequencies = config.rope_theta ** (-np.arange(pairs, dtype=np.float64) * 2 / config.rope_dim)
    if divisors is not None:
        frequencies = frequencies / divisors[:pairs].astype(np.float64)
    scaling = config.rope_scaling
    match scaling.type:
        case "none":
            return frequencies, 1.0
        case "linear":
            return frequencies / scaling.factor, 1.0
        case other:
            raise UnsupportedModelError(
                f"The model stretches its context by {other!r}, which this engine does not do yet.",
                "Choose another model.",
            )
