"""Take sessions in: our own JSON, ChatGPT's export, the logs of the llm command line tool."""

from __future__ import annotations

import json
import zipfile
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ImportFileError
from ..portable import PortableSession
from ..records import format_utc
from . import chatgpt, llm_logs, own_json
from .storing import ImportReport, store_sessions

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase

__all__ = ["ImportReport", "import_file"]

_SQLITE = b"SQLite format 3\0"
_CHATGPT_MEMBER = "conversations.json"


def import_file(db: SqliteDatabase, path: Path | str) -> ImportReport:
    """Import a file in any form that we read: all of it, or (with an error) nothing.

    Sessions and messages that were imported before are recognised; only what is new in them is added, and answers that
    have grown since. Raises ImportFileError.
    """
    try:
        sessions = read_sessions(Path(path))
        for session in sessions:
            _rewrite_times(Path(path), session)
        return store_sessions(db, sessions)
    except UnicodeError as error:
        raise ImportFileError(f"{path} has text in it that is not Unicode: {error}.") from error


def read_sessions(path: Path) -> list[PortableSession]:
    """Read the sessions of a file; raises ImportFileError."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_SQLITE))
        if start == _SQLITE:
            return llm_logs.read(path)
        data = _zipped(path) if zipfile.is_zipfile(path) else path.read_bytes()
    except OSError as error:
        raise ImportFileError(f"{path} cannot be read: {error.strerror or error}.") from error
    return _from_json(path, data)


def _zipped(path: Path) -> bytes:
    try:
        # ChatGPT sends its export as an archive with the conversations in it.
        with zipfile.ZipFile(path) as archive:
            return archive.read(_CHATGPT_MEMBER)
    except KeyError:
        raise ImportFileError(f"{path} has no {_CHATGPT_MEMBER} in it.", "Is it ChatGPT's export?") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise ImportFileError(f"{path} is a damaged archive: {error}.") from error


def _from_json(path: Path, data: bytes) -> list[PortableSession]:
    try:
        # Unlike msgspec, takes the half characters that other programs leave where they cut a title.
        document: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ImportFileError(f"{path} is not JSON: {error}.", _KNOWN) from error
    if chatgpt.recognises(document):
        return chatgpt.read(path, document)
    if own_json.recognises(document):
        return own_json.read(path, document)
    raise ImportFileError(f"{path} has no sessions in it that we can read.", _KNOWN)


def _rewrite_times(path: Path, session: PortableSession) -> None:
    """Write a session's times as records keep them; raises ImportFileError where one is no time."""
    try:
        session.created_utc = _utc(session.created_utc)
        session.updated_utc = _utc(session.updated_utc)
        for message in session.messages:
            message.created_utc = _utc(message.created_utc)
    except (ValueError, OverflowError) as error:
        name = session.title or session.id
        raise ImportFileError(f"{path}: session “{name}” has a time that cannot be read: {error}.") from error


def _utc(text: str) -> str:
    """A time as records keep it; "" where none is known."""
    if not text:
        return ""
    moment = datetime.fromisoformat(text)
    return format_utc(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


_KNOWN = (
    "What can be imported: JSON of `llm-tui sessions export`, ChatGPT's conversations.json (or the archive with it),"
    " and llm's logs.db."
)
