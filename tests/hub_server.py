"""A server on loopback that speaks what llm-tui needs of the Hugging Face hub: files, redirects to a store, tokens."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE_BYTES = 1000
"""From so many bytes on a file lies in the store, and the hub knows its SHA-256."""


@dataclass
class Asked:
    """A request that arrived."""

    place: str
    path: str
    range: str | None
    token: str | None


@dataclass
class Hub:
    """What the hub has: files by repository and path.

    locked: the token that a repository wants. gated: repositories with terms that nobody accepted. lies: files of which
    the store has other bytes. cut: after how many bytes the store's next answers break off, None for one that does not.
    gate: while it is cleared, the store sends half of a file and waits.
    """

    endpoint: str = ""
    store: str = ""
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    locked: dict[str, str] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    lies: dict[str, bytes] = field(default_factory=dict)
    cut: list[int | None] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    commit: str = "c0ffee" * 6 + "c0ff"

    def __post_init__(self) -> None:
        self.gate.set()

    def of(self, place: str) -> list[Asked]:
        """The requests for files of the hub or the store."""
        return [request for request in self.asked if request.place == place and not request.path.startswith("/api/")]


def _large(content: bytes) -> bool:
    return len(content) >= LARGE_BYTES


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: Hub, place: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub, self.place = hub, place

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever gave up reading is no error here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        self.server.hub.asked.append(Asked(self.server.place, path, self.headers.get("Range"), token))
        if self.server.place == "store":
            self._give(self.server.hub.lies.get(path) or self._of_store(path), '"of-the-store"')
        elif path.startswith("/api/models/"):
            self._tell(path.removeprefix("/api/models/"), token)
        else:
            self._resolve(path, token)

    def _of_store(self, path: str) -> bytes:
        repo, _, file = path.removeprefix("/").partition("//")
        return self.server.hub.repos[repo][file]

    def _refuses(self, repo: str, token: str | None) -> bool:
        if repo in self.server.hub.gated:
            self._answer(403 if token else 401, b"{}", X_Error_Code="GatedRepo")
        elif token and self.server.hub.locked.get(repo, token) != token:
            self._answer(401, b"{}", X_Error_Message="Invalid credentials in Authorization header")
        elif repo not in self.server.hub.repos or self.server.hub.locked.get(repo, token) != token:
            self._answer(404 if token else 401, b"{}", X_Error_Code="RepoNotFound")
        else:
            return False
        return True

    def _tell(self, rest: str, token: str | None) -> None:
        repo, _, revision = rest.partition("/revision/")
        if repo not in self.server.hub.gated and self._refuses(repo, token):
            return
        if revision not in ("", "main", self.server.hub.commit):
            self._answer(404, b"{}", X_Error_Code="RevisionNotFound")
            return
        siblings: list[dict[str, Any]] = []
        for name, content in self.server.hub.repos[repo].items():
            sibling: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": _blob(content)}
            if _large(content):
                digest = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 134}
            siblings.append(sibling)
        found = {"id": repo, "sha": self.server.hub.commit, "siblings": siblings, "tags": [], "downloads": 0}
        self._answer(200, json.dumps(found).encode(), "application/json")

    def _resolve(self, path: str, token: str | None) -> None:
        repo, _, rest = path.removeprefix("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        if self._refuses(repo, token):
            return
        content = self.server.hub.repos[repo].get(name)
        if content is None or revision not in ("main", self.server.hub.commit):
            self._answer(404, b"Entry not found", X_Error_Code="EntryNotFound")
        elif _large(content):
            self._answer(302, b"", Location=f"{self.server.hub.store}/{repo}//{name}?signature=1")
        else:
            self._give(content, f'"{len(content)}"')

    def _answer(self, status: int, body: bytes, kind: str = "text/plain", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _give(self, content: bytes, etag: str) -> None:
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        body = content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", etag)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        cut = self.server.hub.cut.pop(0) if self.server.hub.cut and self.server.place == "store" else None
        if cut is not None:
            self.wfile.write(body[:cut])
            self.close_connection = True
            return
        half = len(body) // 2
        self.wfile.write(body[:half])
        self.wfile.flush()
        self.server.hub.gate.wait()
        self.wfile.write(body[half:])


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub without models, and its store at another address."""
    hub = Hub()
    servers = [_Server(hub, place) for place in ("hub", "store")]
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    hub.endpoint, hub.store = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    try:
        yield hub
    finally:
        hub.gate.set()
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()
