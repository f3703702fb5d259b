"""What a server hands out: the file that was asked for, a part of it and which, or something else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import DownloadError, ModelFileError, UnsupportedModelError
from engine.remote.retries import retry_after_s

if TYPE_CHECKING:
    import httpx

_PART = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


class RefusedError(DownloadError):
    """The server does not hand the file out; status: of its answer."""

    def __init__(self, message: str, hint: str, status: int) -> None:
        super().__init__(message, hint)
        self.status = status


class BrokenOff(Exception):
    """The connection ended before the file did, or brought what does not belong to it."""


class NotNow(BrokenOff):
    """The server is there, and hands nothing out at the moment. pause_s: how long it wants to be left alone."""

    def __init__(self, message: str, pause_s: float | None = None) -> None:
        super().__init__(message)
        self.pause_s = pause_s


@dataclass(frozen=True)
class Span:
    """The bytes of a file that an answer brings. end: 0 where the server does not say; total: of the file, or 0."""

    start: int
    end: int
    total: int


def refuse(response: httpx.Response, url: str) -> None:
    """Raise DownloadError for an answer that is not the file, BrokenOff for one that may be another next time."""
    # After a redirect, 403 is how a store says that the address it was given is no longer valid.
    is_stale = response.status_code == 403 and bool(response.history)
    if response.status_code == 429 or response.status_code >= 500 or is_stale:
        pause_s = None if is_stale else retry_after_s(response.headers.get("Retry-After"))
        raise NotNow(f"the server answers {response.status_code}", pause_s)
    if response.status_code not in (200, 206):
        reasons = {401: "it wants a login", 403: "it is not for everyone", 404: "there is no such file"}
        reason = reasons.get(response.status_code, response.reason_phrase)
        raise RefusedError(
            f"{url} could not be fetched: {response.status_code}, {reason}.", "Check the address.", response.status_code
        )
    if response.headers.get("Content-Type", "").partition(";")[0].strip() in ("text/html", "application/xhtml+xml"):
        raise DownloadError(f"{url} is a web page, not a model file.", "Copy the address of the file itself.")
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise DownloadError(
            f"The server sends {url} compressed ({encoding}), which it was asked not to.", "Fetch it from elsewhere."
        )


def span_of(response: httpx.Response, start: int) -> Span:
    """Which bytes come, of those from `start` on; from 0 where the server sends the whole file instead."""
    if response.status_code != 206:
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else 0
        return Span(0, total, total)
    part = _PART.fullmatch(response.headers.get("Content-Range", ""))
    if part is None or int(part[1]) != start or not start:
        raise BrokenOff("the server sent another part than was asked for")
    return Span(start, int(part[2]) + 1, int(part[3]) if part[3] != "*" else 0)


def strong(etag: str) -> str:
    """The ETag if it says that the bytes are the same and can be sent back, else nothing."""
    return "" if etag.startswith("W/") or not etag.isascii() else etag


def is_gguf(path: Path) -> bool:
    """Whether a file should be GGUF, by its name."""
    return path.suffix.lower() == ".gguf"


def begins_as_gguf(path: Path) -> bool:
    """Whether a file can be GGUF: a message in its place, or nothing at all, cannot."""
    with path.open("rb") as file:
        return file.read(4) == b"GGUF"


def missing_of_gguf(path: Path) -> str:
    """What a GGUF file lacks of what its own header promises, as a part of a sentence; "" where that is nothing.

    Nothing is known to be missing of what is damaged in another way, or of a kind that is not read here.
    """
    from engine.checkpoints.gguf import needed_bytes

    size = path.stat().st_size
    try:
        needed = needed_bytes(path)
    except UnsupportedModelError:
        return ""
    except ModelFileError as error:
        return f"it ends after {size} bytes, within its header" if error.ends_early else ""
    return f"it ends after {size} of the {needed} bytes that its header asks for" if size < needed else ""
