"""Fetch a model file from a URL: resumed where it broke off, checked, and under its name only when it is whole.

What came so far lies beside the target as NAME.part, with NAME.part.json saying which file of the server it is the
beginning of. It is gone on with only where the server says that the file is still the same (its ETag), or where the
checksum will tell at the end; otherwise the download begins anew. Sources: RFC 9110, ranges and If-Range.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import msgspec

from engine.address import login_of, public, without_login
from engine.errors import DownloadError
from engine.http_environment import in_this_environment
from engine.reports import ReportBytes, ReportPause
from engine.served import BrokenOff, NotNow, Span, begins_as_gguf, is_gguf, missing_of_gguf, refuse, span_of, strong

if TYPE_CHECKING:
    import httpx

ATTEMPTS = 5
"""Broken connections in a row that brought nothing; each that brought something starts the count again."""

PAUSE_S = 0.5
"""Before the next attempt; doubled with each that brings nothing."""

PATIENCE_S = 120.0
"""A server that wants to be left alone for longer than this is not waited for."""

POLL_S = 0.2
"""Between two reports of a pause, either of which can end it."""

SPARE_BYTES = 64 << 20
"""Room on the disk that a download leaves to others."""

CONNECT_S, SILENCE_S = 20.0, 60.0
_REDIRECTS = 10
_DAY_S = 86_400.0
_BLOCK_BYTES = 1 << 20


class _Part(msgspec.Struct):
    """What the unfinished file is the beginning of. url: without what may be secret in it."""

    url: str
    etag: str
    total: int
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """The file to fetch. url: without what may be secret; asked_for: only without the login, which is apart.

    headers: what the server is told besides, like a key. Other servers are told neither that nor the login.
    """

    url: str
    asked_for: str
    login: tuple[str, str] | None
    sha256: str
    headers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class _Listeners:
    """Whom a download tells what it does."""

    report: ReportBytes
    pausing: ReportPause


def file_name_of(url: str) -> str:
    """The name that a file from this URL gets. Raises DownloadError for a URL that names none."""
    wrong = _names_none(public(url))
    try:
        # A path cannot have lone surrogates either.
        address = urlsplit(url.encode().decode())
    except ValueError:
        raise wrong from None
    name = unquote(address.path).replace("\\", "/").rpartition("/")[2]
    name = re.sub(r"[\x00-\x1f\x7f]", "", name).lstrip(".")
    if address.scheme not in ("http", "https") or not address.netloc or not name:
        raise wrong
    return name


def _names_none(url: str) -> DownloadError:
    return DownloadError(f"{url} names no file to fetch.", "Give the whole address, from https:// to the file's name.")


def _say_nothing(done: int, total: int) -> None:
    pass


def _pause() -> None:
    pass


def download(
    url: str,
    folder: Path,
    report: ReportBytes,
    *,
    checking: ReportBytes = _say_nothing,
    pausing: ReportPause = _pause,
    sha256: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Path:
    """Fetch a file into a folder and return its path; a file of that name that is there already is an error.

    sha256: what the file must have, in hexadecimal digits; checking: how far that is. pausing: called again and again
    while the server wants to be left alone. headers: what the server is told besides. Raises DownloadError; what came
    stays for the next time, unless it is the wrong file. So it does where one of the reports raises something.
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
            wanted = _Wanted(
                url=public(url),
                asked_for=without_login(url),
                login=login_of(url),
                sha256=(sha256 or "").lower(),
                headers=headers or {},
            )
            _fetch(wanted, part, _Listeners(report=report, pausing=pausing))
            if sha256 is not None:
                _check(part, sha256, checking)
            elif is_gguf(target):
                _check_gguf(part, wanted)
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
            if part.exists() and not part.stat().st_size:
                _remove(part)


def _httpx() -> Any:
    try:
        import httpx
    except ImportError:
        raise DownloadError(
            "Fetching from an address needs the package httpx, which is not installed.",
            "Install it: pip install 'llm-tui[hf]'.",
        ) from None
    return httpx


def check_environment() -> None:
    """Raise DownloadError where the environment's proxies or certificates let nothing be fetched."""
    in_this_environment(_httpx().Client, DownloadError).close()


def _fetch(wanted: _Wanted, part: Path, tell: _Listeners) -> None:
    """Bring the unfinished file to its end, over as many connections as that takes."""
    httpx = _httpx()
    timeout = httpx.Timeout(SILENCE_S, connect=CONNECT_S)

    def client_of_its_own() -> Any:
        return httpx.Client(follow_redirects=True, max_redirects=_REDIRECTS, timeout=timeout)

    with in_this_environment(client_of_its_own, DownloadError) as client:
        failures = 0
        # What was thrown away and fetched once more is nothing new.
        furthest = part.stat().st_size
        while True:
            try:
                _go_on(client, wanted, part, tell.report)
                return
            except (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.TooManyRedirects, UnicodeError) as error:
                raise DownloadError(
                    f"{wanted.url} could not be fetched: {said_of(error)}.", "Check the address."
                ) from error
            except (httpx.TransportError, BrokenOff) as error:
                came = part.stat().st_size
                failures = 1 if came > furthest else failures + 1
                furthest = max(furthest, came)
                wish_s = error.pause_s if isinstance(error, NotNow) else None
                if failures >= ATTEMPTS or (wish_s or 0.0) > PATIENCE_S:
                    raise _given_up(error, wanted, part) from error
                if wish_s is None:
                    time.sleep(PAUSE_S * 2 ** (failures - 1))
                else:
                    _leave_alone(wish_s, tell.pausing)
                # Whoever wants it no more says so here.
                note = _read_note(part)
                tell.report(part.stat().st_size, note.total if note is not None else 0)


def _leave_alone(wish_s: float, pausing: ReportPause) -> None:
    """Wait as long as the server asks for."""
    ends_s = time.monotonic() + wish_s
    while (left_s := ends_s - time.monotonic()) > 0:
        pausing()
        time.sleep(min(left_s, POLL_S))


def said_of(error: Exception) -> str:
    """What went wrong, as a part of a sentence."""
    return str(error).rstrip(".") or type(error).__name__


def _given_up(error: Exception, wanted: _Wanted, part: Path) -> DownloadError:
    """What to do about a server that gave up, or was given up."""
    message = f"{wanted.url} could not be fetched: {said_of(error)}."
    if isinstance(error, NotNow):
        minutes = math.ceil(min(error.pause_s or 0.0, _DAY_S) / 60)
        if minutes > PATIENCE_S / 60:
            return DownloadError(message, f"Give the same command again in {minutes} minutes, as the server asks.")
        return DownloadError(message, "Give the same command again later.")
    if part.stat().st_size and any(_begun(_read_note(part), wanted)):
        return DownloadError(
            message, "Check the connection, then give the same command again: it goes on where it was."
        )
    return DownloadError(message, "Check the connection, then give the same command again.")


def _begun(known: _Part | None, wanted: _Wanted) -> tuple[bool, bool]:
    """Whether the checksum, or the server's ETag, makes sure that what is here is the beginning of what is wanted."""
    if known is None:
        return False, False
    has_sum = known.sha256 != "" and known.sha256 == wanted.sha256
    return has_sum, strong(known.etag) != "" and public(known.url) == wanted.url


def _go_on(client: httpx.Client, wanted: _Wanted, part: Path, report: ReportBytes) -> None:
    """Fetch what is missing, over one connection."""
    known = _read_note(part)
    has_sum, is_same = _begun(known, wanted)
    start = part.stat().st_size if has_sum or is_same else 0
    headers = {**wanted.headers, "Accept-Encoding": "identity"}
    if start and known is not None:
        if start == known.total:
            return
        # With a checksum, whichever server has the file now may have its own ETag for it.
        headers |= {"Range": f"bytes={start}-"} | ({} if has_sum else {"If-Range": known.etag})
    with client.stream("GET", wanted.asked_for, headers=headers, auth=wanted.login) as response:
        span, etag = _accepted(response, wanted, part, start)
        if not span.start:
            os.truncate(part, 0)
        elif known is not None:
            if not _goes_on(known, span, "" if has_sum else etag):
                _forget(part)
                raise BrokenOff("the server has another file now")
            span, etag = replace(span, total=span.total or known.total), etag or known.etag
        _note(part).write_bytes(msgspec.json.encode(_Part(wanted.url, etag, span.total, wanted.sha256)))
        check_room(part.parent, span.total - span.start)
        _receive(response, part, span, report)


def _accepted(response: httpx.Response, wanted: _Wanted, part: Path, start: int) -> tuple[Span, str]:
    """Which bytes of the file an answer brings, and the file's ETag."""
    try:
        if response.status_code == 416:
            raise BrokenOff("the server has another file now")
        refuse(response, wanted.url)
        return span_of(response, start), strong(response.headers.get("ETag", ""))
    except BrokenOff:
        # What is here may be no beginning of what is there.
        if response.status_code in (206, 416):
            _forget(part)
        raise


def _goes_on(known: _Part, span: Span, etag: str) -> bool:
    """Whether a part is of the file that was begun; some servers send one whatever If-Range says."""
    return etag in ("", known.etag) and (0 in (span.total, known.total) or span.total == known.total)


def _forget(part: Path) -> None:
    """Begin anew."""
    os.truncate(part, 0)
    _note(part).unlink(missing_ok=True)


def _remove(part: Path) -> None:
    """Leave nothing of what is not wanted."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _receive(response: httpx.Response, part: Path, span: Span, report: ReportBytes) -> None:
    done = span.start
    report(done, span.total)
    with part.open("r+b") as file:
        file.seek(done)
        for piece in response.iter_raw():
            file.write(piece)
            done += len(piece)
            report(done, span.total)
        file.flush()
        os.fsync(file.fileno())
    total = span.total or span.end
    if total and done != total:
        raise BrokenOff(f"it ended after {done} of {total} bytes")
    if not span.total and is_gguf(part.with_suffix("")) and begins_as_gguf(part):
        missing = missing_of_gguf(part)
        if missing:
            raise BrokenOff(missing)


def _read_note(part: Path) -> _Part | None:
    try:
        return msgspec.json.decode(_note(part).read_bytes(), type=_Part)
    except (OSError, msgspec.MsgspecError):
        return None


def check_room(folder: Path, needed: int) -> None:
    """Raise DownloadError where a folder has no room for so many bytes more."""
    free = shutil.disk_usage(folder).free
    if needed + SPARE_BYTES > free:
        raise DownloadError(
            f"There is no room in {folder}: {needed / 1e6:.0f} MB are to come, {free / 1e6:.0f} MB are free.",
            "Make room, then give the same command again.",
        )


def sha256_of(path: Path, checking: ReportBytes = _say_nothing) -> str:
    """The checksum of a whole file, in hexadecimal digits. checking: how far it is read."""
    digest, block = hashlib.sha256(), memoryview(bytearray(_BLOCK_BYTES))
    with path.open("rb", buffering=0) as file:
        done, total = 0, os.fstat(file.fileno()).st_size
        while n_bytes := file.readinto(block):
            digest.update(block[:n_bytes])
            done += n_bytes
            checking(done, total)
    return digest.hexdigest()


def _check_gguf(part: Path, wanted: _Wanted) -> None:
    """See whether what came is GGUF, and has its end: a server may tell a length that the file does not have."""
    if not begins_as_gguf(part):
        _remove(part)
        raise DownloadError(f"What came from {wanted.url} is no GGUF file.", "It was deleted. Check the address.")
    if missing := missing_of_gguf(part):
        _remove(part)
        raise DownloadError(
            f"What came from {wanted.url} is not the whole file: {missing}.",
            "It was deleted. Give the same command again later, or fetch it from elsewhere.",
        )


def _check(part: Path, sha256: str, checking: ReportBytes) -> None:
    """Compare the whole file with what was asked for; the wrong one is deleted."""
    found = sha256_of(part, checking)
    if found != sha256.lower():
        _remove(part)
        raise DownloadError(
            f"What came is not the wanted file: its SHA-256 is {found}.",
            "It was deleted. Check the address and the checksum.",
        )
