"""When a request that failed is worth another try, and how long to wait before it."""

from __future__ import annotations

import contextlib
import math
import random
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
"""Answers of a server or proxy that may be different a moment later."""


@dataclass(frozen=True)
class Backoff:
    """The pauses between tries: each twice as long as the one before, and a random part of it.

    patience_s: a server that asks for a longer pause than this is taken at its word and not asked again.
    """

    first_s: float = 0.5
    most_s: float = 10.0
    patience_s: float = 60.0

    def pause_s(self, n_failures: int, retry_after_s: float | None) -> float | None:
        """How long to wait after so many failures; None if that is too long. The server's own wish goes first."""
        if retry_after_s is not None:
            return retry_after_s if retry_after_s <= self.patience_s else None
        longest_s = min(self.most_s, self.first_s * 2.0 ** (n_failures - 1))
        return longest_s * random.uniform(0.5, 1.0)


def retry_after_s(value: str | None) -> float | None:
    """A Retry-After header in seconds: it has a number, or the time of day; None if there is none."""
    if not value:
        return None
    with contextlib.suppress(ValueError):
        seconds = float(value)
        return None if math.isnan(seconds) else max(0.0, seconds)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
