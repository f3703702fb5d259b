"""Fetching a file from a real server on loopback that resumes, breaks off, changes its mind and refuses."""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engine import download as module
from engine.download import download, file_name_of
from engine.errors import DownloadError

CONTENT = b"GGUF" + bytes(range(256)) * 5000
OTHER = b"GGUF" + bytes(range(255, -1, -1)) * 5000


@dataclass
class Site:
    """What the server has, and what it was asked for.

    cut: how many bytes the next answers send before they end. most: how many bytes a part has at most. ignores_etags:
    parts are sent of whatever file there is now. tells_length: no answer ends before it should without being noticed.
    """

    url: str = ""
    content: bytes = CONTENT
    etag: str = '"one"'
    content_type: str = "application/octet-stream"
    status: int = 200
    cut: list[int] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    ignores_ranges: bool = False
    off_by: int = 0
    most: int | None = None
    ignores_etags: bool = False
    tells_length: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    logins: list[str] = field(default_factory=list)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.0)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            site.logins.append(self.headers.get("Authorization", ""))
            site.ranges.append(wanted)
            if self.path.startswith("/elsewhere"):
                self.send_response(302)
                self.send_header("Location", "/files/model.gguf")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = 0
            is_known = site.ignores_etags or self.headers.get("If-Range") == site.etag
            if wanted and is_known and not site.ignores_ranges:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206 if start else site.status)
            body = site.content[start:][: site.most if start else None]
            if site.tells_length:
                self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", site.content_type)
            self.send_header("ETag", site.etag)
            if start:
                shown = start + site.off_by
                self.send_header("Content-Range", f"bytes {shown}-{shown + len(body) - 1}/{len(site.content)}")
            for name, value in site.headers.items():
                self.send_header(name, value)
            self.end_headers()
            sent = body[: site.cut.pop(0)] if site.cut else body
            self.wfile.write(sent)
            self.close_connection = len(sent) < len(body) or not site.tells_length

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Whoever gave up reading is no error here."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}/files/model.gguf"
    yield site
    server.shutdown()
    server.server_close()
    thread.join()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_with_progress(site: Site, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    path = download(site.url, tmp_path / "models", lambda *progress: told.append(progress))
    assert path == tmp_path / "models" / "model.gguf"
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["model.gguf"]
    assert told[0] == (0, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))


def test_redirects_are_followed(site: Site, tmp_path: Path) -> None:
    path = download(site.url.replace("files", "elsewhere"), tmp_path, lambda *_: None)
    assert path.read_bytes() == CONTENT


def test_a_broken_connection_is_gone_on_with(site: Site, tmp_path: Path) -> None:
    site.cut = [300_000, 500_000]
    path = download(site.url, tmp_path, lambda *_: None)
    assert path.read_bytes() == CONTENT
    assert site.ranges == [None, "bytes=300000-", "bytes=800000-"]


def test_a_later_command_goes_on_where_an_earlier_one_gave_up(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    site.cut = [400_000]
    with pytest.raises(DownloadError, match="goes on where it was"):
        download(site.url, tmp_path, lambda *_: None)
    assert names(tmp_path) == ["model.gguf.part", "model.gguf.part.json"]
    told: list[int] = []
    path = download(site.url, tmp_path, lambda done, total: told.append(done))
    assert path.read_bytes() == CONTENT
    assert told[0] == 400_000
    assert names(tmp_path) == ["model.gguf"]


@pytest.mark.parametrize("ignores_ranges", [False, True])
def test_a_file_that_changed_meanwhile_is_fetched_anew(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ignores_ranges: bool
) -> None:
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    site.cut = [400_000]
    with pytest.raises(DownloadError):
        download(site.url, tmp_path, lambda *_: None)
    site.etag, site.content, site.ignores_ranges = '"two"', OTHER, ignores_ranges
    assert download(site.url, tmp_path, lambda *_: None).read_bytes() == OTHER


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_never_gets_anywhere_is_given_up(site: Site, tmp_path: Path, status: int) -> None:
    site.status = status
    with pytest.raises(DownloadError, match=str(status)):
        download(site.url, tmp_path, lambda *_: None)
    assert len(site.ranges) == module.ATTEMPTS


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("as_date", [False, True])
def test_a_server_is_left_alone_as_long_as_it_asks(site: Site, tmp_path: Path, status: int, as_date: bool) -> None:
    wish = formatdate(time.time() + 2, usegmt=True) if as_date else "1"
    site.status, site.headers = status, {"Retry-After": wish}
    asked: list[int] = []

    def open_again() -> None:
        asked.append(len(site.ranges))
        site.status, site.headers = 200, {}

    assert download(site.url, tmp_path, lambda *_: None, pausing=open_again).read_bytes() == CONTENT
    assert set(asked) == {1}
    assert len(site.ranges) == 2


def test_a_pause_can_be_stopped(site: Site, tmp_path: Path) -> None:
    site.status, site.headers = 503, {"Retry-After": "100"}

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(site.url, tmp_path, lambda *_: None, pausing=stop)
    assert len(site.ranges) == 1


@pytest.mark.parametrize(("wish", "minutes"), [("600", 10), ("601", 11), ("1e400", 1440)])
def test_a_pause_that_is_too_long_is_told_and_not_made(site: Site, tmp_path: Path, wish: str, minutes: int) -> None:
    site.status, site.headers = 429, {"Retry-After": wish}
    with pytest.raises(DownloadError, match="the server answers 429") as caught:
        download(site.url, tmp_path, lambda *_: None)
    assert caught.value.hint == f"Give the same command again in {minutes} minutes, as the server asks."
    assert len(site.ranges) == 1


def test_a_server_that_begins_anew_each_time_is_given_up(site: Site, tmp_path: Path) -> None:
    site.cut, site.off_by = [500_000] * 100, 5
    with pytest.raises(DownloadError, match="could not be fetched"):
        download(site.url, tmp_path, lambda *_: None)
    assert len(site.cut) > 90


def test_a_server_that_is_there_is_no_matter_of_the_connection(site: Site, tmp_path: Path) -> None:
    site.status = 429
    with pytest.raises(DownloadError, match="429") as caught:
        download(site.url, tmp_path, lambda *_: None)
    assert caught.value.hint == "Give the same command again later."
    assert names(tmp_path) == []


def test_what_cannot_be_gone_on_with_is_not_said_to_be(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    site.cut, site.etag = [400_000], 'W/"one"'
    with pytest.raises(DownloadError) as caught:
        download(site.url, tmp_path, lambda *_: None)
    assert caught.value.hint == "Check the connection, then give the same command again."


@pytest.mark.parametrize("location", ["file:///etc/hostname", "ftp://127.0.0.1/model.gguf"])
def test_a_way_on_to_no_web_server_is_not_tried_again(site: Site, tmp_path: Path, location: str) -> None:
    site.status, site.headers = 302, {"Location": location}
    with pytest.raises(DownloadError, match=r"unsupported protocol '\w+://'\. Check") as caught:
        download(site.url, tmp_path, lambda *_: None)
    assert caught.value.hint == "Check the address."
    assert len(site.ranges) == 1


def test_between_two_attempts_it_can_be_stopped(site: Site, tmp_path: Path) -> None:
    site.status = 500

    class Enough(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise Enough

    with pytest.raises(Enough):
        download(site.url, tmp_path, stop)
    assert len(site.ranges) == 1


def test_the_checksum_decides(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="not the wanted file"):
        download(site.url, tmp_path, lambda *_: None, sha256="0" * 64)
    assert names(tmp_path) == []
    digest = hashlib.sha256(CONTENT).hexdigest().upper()
    assert download(site.url, tmp_path, lambda *_: None, sha256=digest).exists()


def test_what_is_no_file_is_refused(site: Site, tmp_path: Path) -> None:
    site.status = 404
    with pytest.raises(DownloadError, match="404, there is no such file"):
        download(site.url, tmp_path, lambda *_: None)
    site.status, site.content_type = 200, "text/html; charset=utf-8"
    with pytest.raises(DownloadError, match="web page"):
        download(site.url, tmp_path, lambda *_: None)
    assert not (tmp_path / "model.gguf").exists()


def test_another_part_than_was_asked_for_is_not_put_together(site: Site, tmp_path: Path) -> None:
    site.cut = [300_000]
    site.off_by = 7
    path = download(site.url, tmp_path, lambda *_: None)
    assert path.read_bytes() == CONTENT
    assert site.ranges == [None, "bytes=300000-", None]


def test_parts_may_be_smaller_than_was_asked_for(site: Site, tmp_path: Path) -> None:
    site.cut, site.most = [300_000], 400_000
    assert download(site.url, tmp_path, lambda *_: None).read_bytes() == CONTENT
    assert site.ranges == [None, "bytes=300000-", "bytes=700000-", "bytes=1100000-"]


@pytest.mark.parametrize(
    ("etag", "content"), [('"two"', OTHER), ('"one"', OTHER + b"!"), ("", OTHER + b"!")], ids=["etag", "size", "both"]
)
def test_parts_of_two_files_are_not_put_together(site: Site, tmp_path: Path, etag: str, content: bytes) -> None:
    site.cut, site.ignores_etags = [300_000], True

    def change(done: int, total: int) -> None:
        if done:
            site.etag, site.content = etag, content

    assert download(site.url, tmp_path, change).read_bytes() == content
    assert site.ranges == [None, "bytes=300000-", None]


def test_a_part_that_nobody_asked_for_is_no_file(site: Site, tmp_path: Path) -> None:
    site.status, site.headers = 206, {"Content-Range": f"bytes 0-{len(CONTENT) - 1}/{2 * len(CONTENT)}"}
    with pytest.raises(DownloadError, match="another part than was asked for"):
        download(site.url, tmp_path, lambda *_: None)
    assert "model.gguf" not in names(tmp_path)


def test_what_comes_compressed_is_refused(site: Site, tmp_path: Path) -> None:
    site.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(DownloadError, match=r"compressed \(gzip\)"):
        download(site.url, tmp_path, lambda *_: None)
    assert names(tmp_path) == []


def test_where_no_length_is_told_the_tensors_tell(site: Site, tmp_path: Path, write_model: Callable[..., Path]) -> None:
    site.content = write_model(tmp_path / "source.gguf").read_bytes()
    site.tells_length, site.etag, site.cut = False, "", [20_000] * module.ATTEMPTS
    with pytest.raises(DownloadError, match="bytes that its header asks for"):
        download(site.url, tmp_path, lambda *_: None)
    assert "model.gguf" not in names(tmp_path)
    site.etag, site.cut = '"one"', [20_000]
    assert download(site.url, tmp_path, lambda *_: None).read_bytes() == site.content
    assert site.ranges[-2:] == [None, "bytes=20000-"]


@pytest.mark.parametrize("content", [b"", b'{"error": "too many requests"}'])
def test_a_message_in_the_place_of_a_model_is_refused(site: Site, tmp_path: Path, content: bytes) -> None:
    site.content, site.content_type = content, "application/json"
    with pytest.raises(DownloadError, match="is no GGUF file"):
        download(site.url, tmp_path, lambda *_: None)
    assert names(tmp_path) == []
    assert download(site.url.replace(".gguf", ".json"), tmp_path, lambda *_: None).read_bytes() == content


def test_a_length_that_is_too_small_is_no_end(site: Site, tmp_path: Path, write_model: Callable[..., Path]) -> None:
    whole = write_model(tmp_path / "source.gguf").read_bytes()
    for n_bytes, what in ((len(whole) - 1, "bytes that its header asks for"), (200, "within its header")):
        site.content = whole[:n_bytes]
        with pytest.raises(DownloadError, match=f"is not the whole file: it ends after {n_bytes} .*{what}"):
            download(site.url, tmp_path, lambda *_: None)
        assert names(tmp_path) == ["source.gguf"]


def test_a_password_is_sent_and_nowhere_else(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    url = site.url.replace("http://", "http://me:top%40hat@rack@") + "?token=secret"
    site.cut = [400_000]
    with pytest.raises(DownloadError) as caught:
        download(url, tmp_path, lambda *_: None)
    note = (tmp_path / "model.gguf.part.json").read_text()
    assert site.url in note
    assert site.url in str(caught.value)
    for told in (note, str(caught.value)):
        assert not re.search("me:|hat|rack|secret", told)
    assert download(url, tmp_path, lambda *_: None).read_bytes() == CONTENT
    assert site.ranges == [None, "bytes=400000-"]
    assert {base64.b64decode(login.removeprefix("Basic ")) for login in site.logins} == {b"me:top@hat@rack"}


@pytest.mark.parametrize("url", ["http://me:secret@a..b/x.gguf", "ftp://me:secret@host/x", "http://me:secret@host/"])
def test_what_is_wrong_with_an_address_is_told_without_its_password(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError) as caught:
        download(url, tmp_path, lambda *_: None)
    assert "secret" not in str(caught.value)


def test_an_etag_that_cannot_be_sent_back_is_none(site: Site, tmp_path: Path) -> None:
    site.etag, site.cut = '"é"', [300_000]
    assert download(site.url, tmp_path, lambda *_: None).read_bytes() == CONTENT
    assert site.ranges == [None, None]


def test_checking_a_large_file_tells_how_far_it_is_and_can_be_stopped(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK_BYTES", 300_000)
    digest = hashlib.sha256(CONTENT).hexdigest()
    told: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        told.append((done, total))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(site.url, tmp_path, lambda *_: None, sha256=digest, checking=stop)
    assert told == [(300_000, len(CONTENT))]
    download(site.url, tmp_path, lambda *_: None, sha256=digest, checking=lambda *progress: told.append(progress))
    assert [done for done, _ in told[1:]] == [*range(300_000, len(CONTENT), 300_000), len(CONTENT)]
    assert site.ranges == [None]


def test_a_checksum_that_is_none_is_refused_before_anything_is_fetched(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="is no SHA-256"):
        download(site.url, tmp_path, lambda *_: None, sha256="abc")
    assert site.ranges == []


def test_room_is_asked_for_before_anything_is_written(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SPARE_BYTES", 1 << 60)
    with pytest.raises(DownloadError, match="no room"):
        download(site.url, tmp_path, lambda *_: None)
    assert names(tmp_path) == []


def test_a_file_that_is_there_is_left_alone(site: Site, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_text("mine")
    with pytest.raises(DownloadError, match="there already"):
        download(site.url, tmp_path, lambda *_: None)
    assert (tmp_path / "model.gguf").read_text() == "mine"
    assert names(tmp_path) == ["model.gguf"]
    assert site.ranges == []


def test_two_at_once_do_not_mix(site: Site, tmp_path: Path) -> None:
    def again(done: int, total: int) -> None:
        with pytest.raises(DownloadError, match="Another llm-tui"):
            download(site.url, tmp_path, lambda *_: None)

    assert download(site.url, tmp_path, again).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.org/a/My%20Model.gguf?download=true", "My Model.gguf"),
        ("https://example.org/a/..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("https://example.org/.hidden.gguf", "hidden.gguf"),
    ],
)
def test_names(url: str, name: str) -> None:
    assert file_name_of(url) == name


@pytest.mark.parametrize("host", ["a..b", "xn--", "x" * 70])
def test_hosts_that_cannot_be(tmp_path: Path, host: str) -> None:
    with pytest.raises(DownloadError, match=r"could not be fetched: .*\. Check the address"):
        download(f"http://{host}/x.gguf", tmp_path, lambda *_: None)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/",
        "https://example.org/\ud800.gguf",
        "ftp://example.org/x",
        "https:///x",
        "model.gguf",
        "https://e/..",
    ],
)
def test_addresses_without_a_file(url: str) -> None:
    with pytest.raises(DownloadError, match="names no file"):
        file_name_of(url)
