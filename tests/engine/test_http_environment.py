"""Proxies and certificates that the environment names and that cannot be used: told, by whoever makes a client."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine.download import download
from engine.errors import DownloadError, EngineError, ServerError
from engine.remote import ServerConfig
from engine.remote.client import RemoteClient

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
URL = "http://example.invalid/model.gguf"

SETTINGS = [
    ("ALL_PROXY", "http://127.0.0.1:port", "a proxy that cannot be used: Invalid port: 'port'."),
    ("ALL_PROXY", "ftp://127.0.0.1:1", "a proxy that cannot be used: Unknown scheme"),
    ("NO_PROXY", "[::", "a proxy that cannot be used"),
    ("SSL_CERT_FILE", "/nowhere/at/all.pem", "certificates that the environment names cannot be read: No such file"),
    ("SSL_CERT_FILE", __file__, "certificates that the environment names cannot be read"),
    ("ALL_PROXY", "socks5h://127.0.0.1:1", "needs the package socksio"),
]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, *map(str.lower, PROXIES), "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "socksio", None)


@pytest.mark.parametrize(("name", "value", "message"), SETTINGS)
def test_a_download_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(DownloadError) as caught:
        download(URL, tmp_path, lambda *_: None)
    _check(caught.value, name, message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "value", "message"), SETTINGS)
async def test_a_servers_client_tells(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ServerError) as caught:
        await RemoteClient.start(ServerConfig(base_url="http://example.invalid/v1"))
    _check(caught.value, name, message)


async def test_this_machines_own_servers_need_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "ftp://127.0.0.1:1")
    client = await RemoteClient.start(ServerConfig(base_url="http://127.0.0.1:1/v1"))
    assert client.alive
    await client.close()


def _check(error: EngineError, name: str, message: str) -> None:
    assert message in str(error)
    assert name in error.hint
