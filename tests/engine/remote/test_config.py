"""What stands in `[servers.NAME]` is checked before anything is sent anywhere."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.remote import ServerConfig
from engine.remote.config import is_loopback


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"base_url": "example.org/v1"}, "has to be like"),
        ({"base_url": "ftp://example.org/v1"}, "has to be like"),
        ({"base_url": "http:///v1"}, "has to be like"),
        ({"base_url": "http://example.org:99999/v1"}, "has to be like"),
        ({"base_url": "http://xn--a/v1"}, "has to be like"),
        ({"base_url": "http://a..b/v1"}, "has to be like"),
        ({"base_url": "http://\N{FULLWIDTH DIGIT ONE}/v1"}, "has to be like"),
        ({"base_url": "http://a\x01b/v1"}, "has to be like"),
        ({"base_url": "http://example.org/v1\n"}, "has to be like"),
        ({"base_url": "http://example.org/my v1"}, "has to be like"),
        ({"base_url": "https://me:secret@example.org/v1"}, "holds a password"),
        ({"base_url": "https://example.org/v1?key=secret"}, "without \\? and #"),
        ({"api_key_env": "A", "api_key_file": "b"}, "not from both"),
        ({"headers": {"Authorization": "Bearer secret"}}, "carries a key"),
        ({"headers": {"X-API-Key": "secret"}}, "carries a key"),
        ({"headers": {"X Y": "a"}}, "cannot be the name"),
        ({"headers": {"X-Y": "a\r\nHost: b"}}, "cannot be sent"),
        ({"api_key_header": "A: b"}, "cannot be the name"),
        ({"silence_timeout_s": 0}, "> 0"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=words) as caught:
        msgspec.convert({"base_url": "http://localhost:8000/v1", **fields}, ServerConfig)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "root", "private"),
    [
        ("http://localhost:8000/v1", "http://localhost:8000", True),
        ("http://localhost:8000/v1/", "http://localhost:8000", True),
        ("http://[::1]:8000/v1", "http://[::1]:8000", True),
        ("http://10.0.0.7:8000/v1", "http://10.0.0.7:8000", False),
        ("https://example.org/openai/v1", "https://example.org/openai", True),
        (
            "https://café.fr/v1",
            "https://café.fr",
            True,
        ),
        ("http://[fe80::1%eth0]/v1", "http://[fe80::1%eth0]", False),
        ("https://example.org/compat", "https://example.org/compat", True),
    ],
)
def test_addresses(url: str, root: str, private: bool) -> None:
    config = ServerConfig(base_url=url)
    assert (config.root_url, config.is_encrypted_or_local) == (root, private)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost.example.org", "example.org", ""])
def test_other_machines(host: str) -> None:
    assert not is_loopback(host)
