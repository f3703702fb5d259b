"""Rotary frequencies: how fast each pair of a head's dimensions turns with the position."""

from __future__ import annotations

import math
from decimal import Context, Decimal
from functools import cache

import numpy as np
from numpy.typing import NDArray

from engine.architecture.config import ModelConfig, RopeScaling

Frequencies = NDArray[np.float64]

_DIGITS = Context(prec=40)
"""Arithmetic with far more digits than a float64 has."""


def rotary_frequencies(
    config: ModelConfig, rope_dim: int, divisors: NDArray[np.float32] | None
) -> tuple[Frequencies, float]:
    """Angles a position, float64 (rope_dim / 2,), and the factor on cosines and sines.

    divisors: what each frequency is divided by (Llama 3's and Phi's files have them), or None. All of it as llama.cpp
    does. Source: Su et al. 2021; linear scaling: Chen et al. 2023; YaRN: Peng et al. 2023; LongRoPE: Ding et al. 2024.
    """
    frequencies = _plain(config.rope_theta, rope_dim)
    if divisors is not None:
        frequencies = frequencies / divisors[: frequencies.size].astype(np.float64)
    scaling = config.rope_scaling
    if scaling.type != "yarn":
        return frequencies / scaling.factor, scaling.attn_factor
    kept = _kept_by_yarn(scaling, config.rope_theta, rope_dim)
    stretched = frequencies / scaling.factor
    magnitude = _yarn_magnitude(scaling.factor) / _yarn_magnitude(scaling.factor, scaling.log_multiplier)
    return stretched + (frequencies - stretched) * kept, scaling.attn_factor * magnitude


def layer_frequencies(config: ModelConfig, divisors: NDArray[np.float32] | None) -> list[tuple[Frequencies, float]]:
    """The same for each layer, one object for those that turn alike: some that have a window turn by another base."""

    @cache
    def frequencies(rope_dim: int, theta: float | None) -> tuple[Frequencies, float]:
        return rotary_frequencies(config, rope_dim, divisors) if theta is None else (_plain(theta, rope_dim), 1.0)

    layers = config.attention
    if config.architecture.unturned:
        # The part of a latent vector that other models turn stays as it is: so it does where it turns by nothing.
        still = cache(np.zeros)
        return [(still(a.rope_dim // 2), 1.0) for a in layers]
    return [frequencies(a.rope_dim, config.local_rope_theta if config.turns_locally(a) else None) for a in layers]


def _plain(theta: float, rope_dim: int) -> Frequencies:
    """Pair i turns by theta^(-2 i / rope_dim), rounded once: NumPy's last bit would depend on the processor."""
    exponents = (_DIGITS.divide(-2 * i, rope_dim) for i in range(rope_dim // 2))
    return np.array([float(_DIGITS.power(Decimal(theta), exponent)) for exponent in exponents])


def _kept_by_yarn(scaling: RopeScaling, theta: float, rope_dim: int) -> Frequencies:
    """How much of each frequency stays as it was: 1 for the fast ones, 0 for the slow ones, a ramp between."""

    def pair_that_turns(times: float) -> float:
        """The pair that turns so many times over the original context."""
        return rope_dim * math.log(scaling.original_max_seq_len / (times * 2 * math.pi)) / (2 * math.log(theta))

    low, high = pair_that_turns(scaling.beta_fast), pair_that_turns(scaling.beta_slow)
    if scaling.whole_pairs:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(0.0, low), min(rope_dim - 1.0, high)
    ramp = (np.arange(rope_dim // 2) - low) / max(0.001, high - low)
    return np.asarray(1.0 - np.clip(ramp, 0.0, 1.0))


def _yarn_magnitude(factor: float, multiplier: float = 1.0) -> float:
    """What YaRN multiplies queries and keys by, against the flatter softmax of longer contexts.

    multiplier: DeepSeek's, called mscale and mscale_all_dim there. Source: Peng et al. 2023, section 3.4.
    """
    return 1.0 + 0.1 * multiplier * math.log(factor) if factor > 1.0 else 1.0
