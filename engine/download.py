"""Fetch a model file from a URL: resumed where it broke off, checked, and under its name only when it is whole.

What came so far lies beside the target as NAME.part, with NAME.part.json saying which file of the server it is the
beginning of. It is gone on with only where the server says that the file is still the same (its ETag), or where the
checksum will tell at the end; otherwise the download begins anew. Sources: RFC 9110, ranges and If-Range.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import msgspec

from engine.errors import DownloadError

if TYPE_CHECKING:
    import httpx

Report = Callable[[int, int], None]
"""Called with the bytes that are there and the bytes of the whole file, 0 where the server does not say."""

ATTEMPTS = 5
"""Broken connections in a row that brought nothing; each that brought something starts the count again."""

PAUSE_S = 0.5
"""Before the next attempt; doubled with each that brings nothing."""

SPARE_BYTES = 64 << 20
"""Room on the disk that a download leaves to others."""

CONNECT_S, SILENCE_S = 20.0, 60.0
_REDIRECTS = 10
_BLOCK_BYTES = 1 << 20


class _Part(msgspec.Struct):
    """What the unfinished file is the beginning of."""

    url: str
    etag: str
    total: int
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """The file to fetch; headers: what the server is told besides, like a key. It is not told to other servers."""

    url: str
    sha256: str
    headers: Mapping[str, str]


class RefusedError(DownloadError):
    """The server does not hand the file out; status: of its answer."""

    def __init__(self, message: str, hint: str, status: int) -> None:
        super().__init__(message, hint)
        self.status = status


class _BrokenOff(Exception):
    """The connection ended before the file did."""


def file_name_of(url: str) -> str:
    """The name that a file from this URL gets. Raises DownloadError for a URL that names none."""
    wrong = DownloadError(f"{url} names no file to fetch.", "Give the whole address, from https:// to the file's name.")
    try:
        address = urlsplit(url)
    except ValueError:
        raise wrong from None
    name = unquote(address.path).replace("\\", "/").rpartition("/")[2]
    name = re.sub(r"[\x00-\x1f\x7f]", "", name).lstrip(".")
    if address.scheme not in ("http", "https") or not address.netloc or not name:
        raise wrong
    return name


def _say_nothing(done: int, total: int) -> None:
    pass


def download(
    url: str,
    folder: Path,
    report: Report,
    *,
    checking: Report = _say_nothing,
    sha256: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Path:
    """Fetch a file into a folder and return its path; a file of that name that is there already is an error.

    sha256: what the file must have, in hexadecimal digits; checking: how far that is. headers: what the server is told
    besides. Raises DownloadError; what came stays for the next time, unless it is the wrong file. So it does where
    `report` or `checking` raises something.
    """
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise DownloadError(f"{sha256} is no SHA-256.", "It has 64 hexadecimal digits.")
    target = folder / file_name_of(url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        with _alone(part):
            if target.exists():
                raise DownloadError(f"{target} is there already.", "Remove it first, or open it as it is.")
            _fetch(_Wanted(url=url, sha256=(sha256 or "").lower(), headers=headers or {}), part, report)
            if sha256 is not None:
                _check(part, sha256, checking)
            part.replace(target)
            _note(part).unlink(missing_ok=True)
    except OSError as error:
        raise DownloadError(f"{target} cannot be written: {error.strerror or error}.", "Check the disk.") from error
    return target


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


@contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Hold the unfinished file for this process; one that no server gave anything for is gone afterwards."""
    with part.open("ab") as file:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DownloadError(f"Another llm-tui is fetching {part.stem}.", "Wait until it is done.") from None
        try:
            yield
        finally:
            if part.exists() and not part.stat().st_size and not _note(part).exists():
                part.unlink()


def _httpx() -> Any:
    try:
        import httpx
    except ImportError:
        raise DownloadError(
            "Fetching from an address needs the package httpx, which is not installed.",
            "Install it: pip install 'llm-tui[hf]'.",
        ) from None
    return httpx


def _fetch(wanted: _Wanted, part: Path, report: Report) -> None:
    """Bring the unfinished file to its end, over as many connections as that takes."""
    httpx = _httpx()
    timeout = httpx.Timeout(SILENCE_S, connect=CONNECT_S)
    with httpx.Client(follow_redirects=True, max_redirects=_REDIRECTS, timeout=timeout) as client:
        failures = 0
        while True:
            before = part.stat().st_size
            try:
                _go_on(client, wanted, part, report)
                return
            except (httpx.TransportError, _BrokenOff) as error:
                failures = 1 if part.stat().st_size > before else failures + 1
                if failures >= ATTEMPTS:
                    raise DownloadError(
                        f"{wanted.url} could not be fetched: {error or type(error).__name__}.",
                        "Check the connection, then give the same command again: it goes on where it was.",
                    ) from error
                time.sleep(PAUSE_S * 2 ** (failures - 1))
                # Whoever wants it no more says so here.
                note = _read_note(part)
                report(part.stat().st_size, note.total if note is not None else 0)
            except (httpx.InvalidURL, httpx.TooManyRedirects) as error:
                raise DownloadError(f"{wanted.url} could not be fetched: {error}.", "Check the address.") from error


def _go_on(client: httpx.Client, wanted: _Wanted, part: Path, report: Report) -> None:
    """Fetch what is missing, over one connection."""
    known = _read_note(part)
    has_sum = known is not None and known.sha256 != "" and known.sha256 == wanted.sha256
    is_same = known is not None and known.etag != "" and known.url == wanted.url
    start = part.stat().st_size if has_sum or is_same else 0
    headers = {**wanted.headers, "Accept-Encoding": "identity"}
    if start and known is not None:
        if start == known.total:
            return
        # With a checksum, whichever server has the file now may have its own ETag for it.
        headers |= {"Range": f"bytes={start}-"} | ({} if has_sum else {"If-Range": known.etag})
    with client.stream("GET", wanted.url, headers=headers) as response:
        if response.status_code == 416:
            # What is here is no beginning of what is there.
            os.truncate(part, 0)
            raise _BrokenOff("the server has another file now")
        _refuse(response, wanted.url)
        if response.status_code == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            os.truncate(part, 0)
            raise _BrokenOff("the server sent another part than was asked for")
        if response.status_code == 200:
            start = 0
            os.truncate(part, 0)
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else 0
        etag = response.headers.get("ETag", "")
        # Only a strong one says that the bytes are the same.
        note = _Part(wanted.url, "" if etag.startswith("W/") else etag, total, wanted.sha256)
        _note(part).write_bytes(msgspec.json.encode(note))
        check_room(part.parent, total - start)
        _receive(response, part, start, total, report)


def _receive(response: httpx.Response, part: Path, start: int, total: int, report: Report) -> None:
    done = start
    report(done, total)
    with part.open("r+b") as file:
        file.seek(start)
        for piece in response.iter_raw():
            file.write(piece)
            done += len(piece)
            report(done, total)
        file.flush()
        os.fsync(file.fileno())
    if total and done != total:
        raise _BrokenOff(f"it ended after {done} of {total} bytes")


def _read_note(part: Path) -> _Part | None:
    try:
        return msgspec.json.decode(_note(part).read_bytes(), type=_Part)
    except (OSError, msgspec.MsgspecError):
        return None


def _refuse(response: httpx.Response, url: str) -> None:
    """Raise DownloadError for an answer that is not the file."""
    # After a redirect, 403 is how a store says that the address it was given is no longer valid.
    is_stale = response.status_code == 403 and bool(response.history)
    if response.status_code == 429 or response.status_code >= 500 or is_stale:
        raise _BrokenOff(f"the server answers {response.status_code}")
    if response.status_code not in (200, 206):
        reasons = {401: "it wants a login", 403: "it is not for everyone", 404: "there is no such file"}
        reason = reasons.get(response.status_code, response.reason_phrase)
        raise RefusedError(
            f"{url} could not be fetched: {response.status_code}, {reason}.", "Check the address.", response.status_code
        )
    if response.headers.get("Content-Type", "").partition(";")[0].strip() in ("text/html", "application/xhtml+xml"):
        raise DownloadError(f"{url} is a web page, not a model file.", "Copy the address of the file itself.")


def check_room(folder: Path, needed: int) -> None:
    """Raise DownloadError where a folder has no room for so many bytes more."""
    free = shutil.disk_usage(folder).free
    if needed + SPARE_BYTES > free:
        raise DownloadError(
            f"There is no room in {folder}: {needed / 1e6:.0f} MB are to come, {free / 1e6:.0f} MB are free.",
            "Make room, then give the same command again.",
        )


def sha256_of(path: Path, checking: Report = _say_nothing) -> str:
    """The checksum of a whole file, in hexadecimal digits. checking: how far it is read."""
    digest, block = hashlib.sha256(), memoryview(bytearray(_BLOCK_BYTES))
    with path.open("rb", buffering=0) as file:
        done, total = 0, os.fstat(file.fileno()).st_size
        while n_bytes := file.readinto(block):
            digest.update(block[:n_bytes])
            done += n_bytes
            checking(done, total)
    return digest.hexdigest()


def _check(part: Path, sha256: str, checking: Report) -> None:
    """Compare the whole file with what was asked for; the wrong one is deleted."""
    found = sha256_of(part, checking)
    if found != sha256.lower():
        part.unlink(missing_ok=True)
        _note(part).unlink(missing_ok=True)
        raise DownloadError(
            f"What came is not the wanted file: its SHA-256 is {found}.",
            "It was deleted. Check the address and the checksum.",
        )
