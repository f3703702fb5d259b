"""HTTP clients take proxies and certificates from the environment: what is wrong with those, as a sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from engine.errors import EngineError

_Client = TypeVar("_Client")


def in_this_environment(make: Callable[[], _Client], kind: type[EngineError]) -> _Client:
    """The client that `make` makes with httpx. Raises an error of this kind where the environment lets none be made."""
    import httpx

    try:
        return make()
    except (ImportError, httpx.InvalidURL, ValueError, OSError) as error:
        told = _told(error)
        raise kind(told.message, told.hint) from error


def _told(error: Exception) -> EngineError:
    if isinstance(error, ImportError):
        return EngineError(
            "The environment names a SOCKS proxy, which needs the package socksio; it is not installed.",
            "Install it: pip install socksio. Or unset HTTP_PROXY, HTTPS_PROXY and ALL_PROXY.",
        )
    if isinstance(error, OSError):
        return EngineError(
            f"The certificates that the environment names cannot be read: {error.strerror or error}.",
            "Check SSL_CERT_FILE and SSL_CERT_DIR.",
        )
    return EngineError(
        f"The environment names a proxy that cannot be used: {error}.",
        "Check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.",
    )
