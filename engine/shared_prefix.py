"""What two texts have in common at their beginning, and from how much on that is worth keeping for the next one."""

from __future__ import annotations

from collections.abc import Sequence

LEAST_GAIN_TOKENS = 64
"""What spares fewer tokens than so many is neither kept nor taken up: reading them again costs as little."""


def common_prefix_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many ids the two have in common at their beginning."""
    n = min(len(a), len(b))
    return next((i for i in range(n) if a[i] != b[i]), n)
