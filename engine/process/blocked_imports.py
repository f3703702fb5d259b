"""What other modules would import though the engine can do without: about 5 MB, and some of its start."""

from __future__ import annotations

import sys
from contextlib import suppress

OPENSSL = "_hashlib"
"""Behind hashlib, which has its own SHA-256 as well: fast enough for a few hundred kilobytes of machine code."""

OPTIONAL = ("typing_extensions",)
"""What msgspec takes from it where it can, typing has as well."""


def block_imports() -> None:
    """Have imports of these fail, as they do where they are not installed. To be called before anything is imported."""
    for name in OPTIONAL:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    if OPENSSL not in sys.modules:
        _block_openssl()


def _block_openssl() -> None:
    sys.modules[OPENSSL] = None  # type: ignore[assignment]
    with suppress(ImportError, AttributeError):
        import hashlib

        hashlib.sha256(b"")
        return
    # A Python whose only hashes are OpenSSL's.
    del sys.modules[OPENSSL]
    sys.modules.pop("hashlib", None)
