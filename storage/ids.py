"""Ids that sort by the time at which they were made, even when the clock is set back."""

from __future__ import annotations

import secrets
import threading
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_N_RANDOM_BITS = 30

ID_LENGTH = 16

_lock = threading.Lock()
_last = 0


def new_id() -> str:
    """Make an id: 16 characters of Crockford's base 32, 50 bits of milliseconds and then 30 random ones.

    Greater than every id that this process made before.
    """
    global _last
    with _lock:
        number = (time.time_ns() // 1_000_000) << _N_RANDOM_BITS | secrets.randbits(_N_RANDOM_BITS)
        _last = max(number, _last + 1)
        number = _last
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(5 * (ID_LENGTH - 1), -1, -5))


def is_id(text: str) -> bool:
    """Tell whether a text has the shape of an id."""
    return len(text) == ID_LENGTH and all(char in _ALPHABET for char in text)
