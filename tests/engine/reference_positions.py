"""What the oracle has of models that do without turning, and of Apertus."""

from __future__ import annotations

import numpy as np


def alibi(n_heads, most):
    """The slope of each head, by the paper's rule: those of the next smaller power of 2, then every other one of twice
    as many."""
    if not most:
        return np.zeros(n_heads)
    whole = 2 ** int(np.log2(n_heads))
    first = 2.0 ** (-most / whole * np.arange(1, whole + 1))
    between = 2.0 ** (-most / (2 * whole) * np.arange(1, 2 * whole + 1))[::2]
    return np.concatenate([first, between[: n_heads - whole]])


def xielu(x, below, above, beta):
    """As the paper has it, with the softplus of what is learned."""
    positive, negative = np.log1p(np.exp(above)), beta + np.log1p(np.exp(below))
    return np.where(x > 0, positive * x * x + beta * x, negative * (np.expm1(np.minimum(x, 0)) - x) + beta * x)
