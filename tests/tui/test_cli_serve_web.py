"""`llm-tui serve-web` as a process: a page is loaded and the app behind it seen and left, as a browser does it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psutil
import pytest

from tests.tui.terminal import Picture
from tui.cli import COMMANDS

Cli = Callable[..., Any]
LIMIT_S = 60
SIZE = (100, 30)


@pytest.fixture
def served(home: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server of pages and its address; there is no model, so that every app begins with a welcome."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tui", "serve-web", "--port", "0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"LLM_TUI_HOME": str(home)},
    )
    assert process.stdout
    url = process.stdout.readline().strip()
    assert url, process.communicate(timeout=LIMIT_S)
    yield url, process
    process.kill()
    process.communicate(timeout=LIMIT_S)


async def page_of(url: str, **headers: str) -> tuple[int, str, Any]:
    """What is at an address: status, text, headers."""
    async with aiohttp.ClientSession() as client, client.get(url, headers=headers) as response:
        return response.status, await response.text(errors="replace"), response.headers


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """The WebSocket that a page names, opened as its script does."""
    _status, page, _headers = await page_of(url)
    found = re.search(r'data-session-websocket-url="([^"]+)"', page)
    assert found
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(
            f"{found[1]}?width={SIZE[0]}&height={SIZE[1]}", headers={"Origin": url.rsplit("/", 2)[0]}
        ) as socket,
    ):
        yield socket


class Shown:
    """What an app shows on the page behind a WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._picture = Picture(SIZE)
        self._output = b""

    async def until(self, *texts: str, gone: str = "") -> str:
        """All of the screen, once it has these texts, and no longer the one that has to go."""
        async with asyncio.timeout(LIMIT_S):
            while not all(text in self._picture.text() for text in texts) or (gone and gone in self._picture.text()):
                message = await self._socket.receive()
                assert message.type == aiohttp.WSMsgType.BINARY, (message, self._picture.text())
                self._output += message.data
                # Each message is all that the app wrote at once: nothing is cut short at its end.
                self._picture.draw(self._output + b"\x1b")
        return self._picture.text()


async def test_a_page_shows_the_app_and_takes_its_keys(served: tuple[str, subprocess.Popen[str]], cli: Cli) -> None:
    url, server = served
    status, page, headers = await page_of(url)
    assert status == 200
    assert "llm-tui" in page
    assert "font-src 'self'" in headers["Content-Security-Policy"]
    async with opened(url) as socket:
        page_shown = Shown(socket)
        first = await page_shown.until("Welcome", "Later", "no limit")
        assert "New session" in first
        assert "Ask something" in first
        await socket.send_json(["stdin", "\x1b"])
        # What comes right behind an escape would be a key with alt.
        await page_shown.until("temperature", "Ask something", gone="Welcome")
        await socket.send_json(["stdin", "a draft"])
        await page_shown.until("a draft")
        [app] = [child for child in psutil.Process(server.pid).children() if "tui" in " ".join(child.cmdline())]
        await socket.send_json(["stdin", "\x11"])
        async with asyncio.timeout(LIMIT_S):
            while (await socket.receive()).type == aiohttp.WSMsgType.BINARY:
                pass
    app.wait(LIMIT_S)
    assert "a draft" in cli("sessions", "list").out


async def test_the_end_of_the_server_is_that_of_its_apps(served: tuple[str, subprocess.Popen[str]]) -> None:
    url, server = served
    async with opened(url) as socket:
        await Shown(socket).until("Welcome")
        apps = psutil.Process(server.pid).children(recursive=True)
        assert apps
        server.send_signal(signal.SIGTERM)
        async with asyncio.timeout(LIMIT_S):
            while (await socket.receive()).type not in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
                pass
    assert server.wait(LIMIT_S) == 0
    _gone, alive = psutil.wait_procs(apps, LIMIT_S)
    assert alive == []


async def test_without_the_secret_or_from_another_site_there_is_nothing(
    served: tuple[str, subprocess.Popen[str]],
) -> None:
    url, _server = served
    root = url.rsplit("/", 2)[0]
    assert len(urlsplit(url).path.strip("/")) >= 20
    for path in ("/", "/ws", "/static/js/textual.js", "/x/ws"):
        status, _page, _headers = await page_of(root + path)
        assert status == 404, path
    for headers in ({"Origin": "http://example.com"}, {"Host": "example.com"}):
        status, page, _headers = await page_of(f"{url}ws", **headers)
        assert status == 403, headers
        assert "websocket" not in page


def test_other_machines_are_refused(cli: Cli, home: Path) -> None:
    for host in ("0.0.0.0", "192.168.0.1", "::", "example.com"):
        ran = cli("serve-web", "--host", host)
        assert ran.code == 2
        assert f"{host} can be reached by other machines" in ran.err
        assert ran.out == ""


def test_a_missing_package_is_named_with_what_installs_it(cli: Cli, home: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "textual_serve", None)
    ran = cli("serve-web")
    assert ran.code == 1
    assert ran.err == (
        "llm-tui: Showing the app in a browser needs the package textual_serve: pip install 'llm-tui[web]'.\n"
    )


def test_a_port_that_is_taken_is_said(cli: Cli, home: Path, served: tuple[str, subprocess.Popen[str]]) -> None:
    url, _server = served
    ran = cli("serve-web", "--port", str(urlsplit(url).port))
    assert ran.code == 1
    assert "Choose another --port" in ran.err


def test_the_help_names_it(cli: Cli) -> None:
    assert COMMANDS["serve-web"][1] in cli("--help").out
