"""A download that is stopped while its server is silent, and wanted again before its thread has noticed."""

from __future__ import annotations

import queue
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from textual.message import Message

from engine import download
from tui.messages import FetchAdvanced, FetchEnded
from tui.paths import user_paths
from tui.services.fetching import Fetching
from tui.services.models import Models
from tui.settings import Settings

WITHIN_S = 20.0
CONTENT = b"GGUF" * 1000


@dataclass
class Silent:
    """A server that accepts and says nothing until it is told to."""

    listening: socket.socket
    url: str
    posted: queue.Queue[Message] = field(default_factory=queue.Queue)

    def accept(self) -> socket.socket:
        """The next connection."""
        connection, _ = self.listening.accept()
        connection.settimeout(WITHIN_S)
        return connection

    def answer(self) -> None:
        """Send the file over the next connection."""
        with self.accept() as connection:
            while not connection.recv(65536).endswith(b"\r\n\r\n"):
                pass
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CONTENT) + CONTENT)

    def ended(self) -> FetchEnded:
        """The next end of a download."""
        while not isinstance(event := self.posted.get(timeout=WITHIN_S), FetchEnded):
            pass
        return event

    def told(self, stage: str) -> FetchAdvanced:
        """The next word of this stage; nothing may end before it."""
        while True:
            event = self.posted.get(timeout=WITHIN_S)
            assert isinstance(event, FetchAdvanced), getattr(event, "error", event)
            if event.stage == stage:
                return event


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Silent]:
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(WITHIN_S)
        yield Silent(listening, f"http://127.0.0.1:{listening.getsockname()[1]}/files/model.gguf")


@pytest.fixture
def models(server: Silent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Models:
    monkeypatch.setenv("LLM_TUI_HOME", str(tmp_path))
    return Models(server.posted.put, user_paths(), Settings())


def test_a_stalled_download_that_is_started_again_goes_on_by_itself(server: Silent, models: Models) -> None:
    assert models.fetch(server.url)
    with server.accept():
        models.stop_fetch()
        assert (server.ended().path, models.is_fetching) == (None, False)
        assert models.fetch(f" {server.url}")
        assert server.told("ending").name == "model.gguf"
        assert models.is_fetching
    server.answer()
    ended = server.ended()
    assert ended.path is not None, ended.error
    assert ended.path.read_bytes() == CONTENT


def test_who_waits_can_be_stopped_too_and_the_next_waits_for_both(server: Silent, models: Models) -> None:
    assert models.fetch(server.url)
    with server.accept():
        for _ in range(2):
            models.stop_fetch()
            server.ended()
            assert models.fetch(server.url)
            server.told("ending")
    server.answer()
    assert server.ended().path is not None


def test_what_is_stopped_before_it_begins_asks_the_server_for_nothing(server: Silent, models: Models) -> None:
    """As one that has waited for another, which ends in the moment in which it is stopped itself."""
    fetching = Fetching(server.url, user_paths().models_dir, server.posted.put)
    fetching.stop()
    fetching.start()
    fetching.join(WITHIN_S)
    assert not fetching.is_alive
    server.listening.settimeout(0.0)
    with pytest.raises(BlockingIOError):
        server.accept()
    assert server.posted.empty()


def test_another_download_does_not_wait_for_one_that_was_stopped(server: Silent, models: Models) -> None:
    assert models.fetch(server.url)
    with server.accept():
        models.stop_fetch()
        server.ended()
        assert models.fetch(server.url.replace("model", "another"))
        server.answer()
        ended = server.ended()
        assert ended.path is not None, ended.error
        assert ended.path.name == "another.gguf"
