"""Where a server is and how to talk with it: one `[servers.NAME]` of the settings."""

from __future__ import annotations

import ipaddress
import unicodedata
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-goog-api-key"})
"""Headers that carry keys, which have no place in a settings file."""


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A server that speaks the OpenAI-compatible interface.

    base_url: up to and with ``/v1``. model: as the server calls it; may be left out where it has only one.
    api_key_env: the environment variable with the key; or api_key_file: a file that only its owner may read.
    api_key_header: ``Authorization`` sends ``Bearer KEY``, any other header the key alone. headers: sent with every
    request. ca_file: certificates (PEM) to trust in place of the usual ones. connect_timeout_s: for a connection;
    silence_timeout_s: the longest time without a byte, which a long prompt may need. retries: before the first token.
    """

    base_url: str
    model: str = ""
    api_key_env: str = ""
    api_key_file: str = ""
    api_key_header: str = "Authorization"
    headers: dict[str, str] = {}
    ca_file: str = ""
    connect_timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    silence_timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 300.0
    retries: Annotated[int, msgspec.Meta(ge=0, le=10)] = 4

    def __post_init__(self) -> None:
        _check_url(self.base_url)
        if self.api_key_env and self.api_key_file:
            raise ValueError("the key comes from api_key_env or from api_key_file, not from both")
        for name, value in {**self.headers, self.api_key_header: ""}.items():
            if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"{name!r} cannot be the name of a header")
            if not value.isascii() or not value.isprintable():
                raise ValueError(f"the header {name} has characters that cannot be sent")
        for name in self.headers:
            if name.lower() in SECRET_HEADERS:
                raise ValueError(
                    f"the header {name} carries a key: name the key's place in api_key_env or api_key_file"
                )

    @property
    def root_url(self) -> str:
        """The server without the interface's ``/v1``: what is beside it has its place there."""
        return self.base_url.rstrip("/").removesuffix("/v1")

    @property
    def host(self) -> str:
        """The server's name and port, as a user would recognise it."""
        return urlsplit(self.base_url).netloc

    @property
    def is_encrypted_or_local(self) -> bool:
        """Whether nobody on the way can read what is sent."""
        parts = urlsplit(self.base_url)
        return parts.scheme == "https" or is_loopback(parts.hostname or "")


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and _is_host(parts.hostname or "") and parts.port != 0
    except ValueError:
        valid = False
    if not valid or not url.isprintable() or " " in url:
        raise ValueError("base_url has to be like https://HOST:PORT/v1")
    if parts.username is not None or parts.password is not None:
        raise ValueError("base_url holds a password: name its place in api_key_env or api_key_file")
    if parts.query or parts.fragment:
        raise ValueError("base_url ends with its path, without ? and #")


def _is_host(name: str) -> bool:
    """Whether a name can be looked up as it is written. UnicodeError, a ValueError, where it breaks the rules."""
    return bool(name.encode("idna").decode("idna")) and unicodedata.is_normalized("NFKC", name)
