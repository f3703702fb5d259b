"""The activation of Apertus, with numbers for each layer. Source: Huang & Schlag 2024."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass

from engine.checkpoints import Metadata
from engine.errors import UnsupportedModelError

LEAST_EPS = 1e-3
"""How far below 0 the exponential may begin; that is left out, being much less than what weights are rounded by."""

_LINEAR_FROM = 20.0
"""Where ln(1 + e^x) is taken for x."""


@dataclass(frozen=True, slots=True)
class Xielu:
    """For x > 0 squared · x² + slope · x, else exponential · (e^x - 1 - x) + slope · x."""

    squared: float
    slope: float
    exponential: float


def xielu_from_gguf(meta: Metadata, n_layers: int) -> tuple[Xielu, ...]:
    """That of each layer. Raises ModelFileError for numbers that do not fit, UnsupportedModelError for others."""
    below, above, slopes, eps = (_of_layers(meta, name, n_layers) for name in ("alpha_n", "alpha_p", "beta", "eps"))
    if any(abs(value) > LEAST_EPS for value in eps):
        raise UnsupportedModelError(
            f"{meta.path or 'The model'} has an activation that changes at {max(eps, key=abs):g} (xielu.eps), which "
            "this engine does not run.",
            "Choose another model.",
        )
    return tuple(
        Xielu(squared=_softplus(p), slope=slope, exponential=slope + _softplus(n))
        for n, p, slope in zip(below, above, slopes, strict=True)
    )


def _softplus(x: float) -> float:
    return x if x > _LINEAR_FROM else math.log1p(math.exp(x))


def _of_layers(meta: Metadata, name: str, n_layers: int) -> list[float]:
    """A number that may be given once or for each layer."""
    key = f"xielu.{name}"
    value = meta.get(key)
    values = value if isinstance(value, array) else [value] * n_layers
    if len(values) != n_layers:
        raise meta.error(f"{key} has {len(values)} elements, it should have {n_layers}.")
    return [Metadata({key: one}, meta.path).real(key, low=-1e6, high=1e6) for one in values]
