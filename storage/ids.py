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
        return _text(_last)


def from_bytes(digest: bytes) -> str:
    """Make an id of the first 80 bits of a digest: the same digest makes the same id."""
    return _text(int.from_bytes(digest[:10], "big"))


def _text(number: int) -> str:
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(5 * (ID_LENGTH - 1), -1, -5))
