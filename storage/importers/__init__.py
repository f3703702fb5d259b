"""Take sessions in: our own JSON or database, ChatGPT's export, the logs of the llm command line tool."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from ..errors import ImportFileError
from ..held_files import unheld
from ..migrations import is_ours
from ..portable import PortableSession
from ..records import format_utc
from . import chatgpt, llm_logs, own_database, own_json
from .storing import ImportReport, store_sessions

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase

__all__ = ["ImportReport", "import_file"]

_SQLITE = b"SQLite format 3\0"
_CHATGPT_MEMBER = "conversations.json"
_CHATGPT_MEMBERS = re.compile(r"conversations(-\d+)?\.json")
"""ChatGPT's archives have one file of this name, or since 2026 many with numbers."""

_DAMAGE: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)
"""What zipfile raises for an archive that it cannot read."""

with suppress(ImportError):
    # Some builds of Python lack it; zipfile refuses what is packed with it then.
    from lzma import LZMAError

    _DAMAGE += (LZMAError,)


class _UnknownFormError(ImportFileError):
    """The file is none of those that we read."""

    hint = (
        "What can be imported: JSON of `llm-tui sessions export`, a backup or another sessions.db of llm-tui, ChatGPT's"
        " conversations.json (or the archive with it), and llm's logs.db."
    )


def import_file(db: SqliteDatabase, path: Path | str, stream: BinaryIO | None = None) -> ImportReport:
    """Import a file in any form that we read: all of it, or (with an error) nothing.

    Sessions and messages that were imported before are recognised; only what is new in them is added, and answers that
    have grown since. Of ChatGPT's conversations those that are not in its form are left out, unless none is in it.
    stream: what to read instead; path only names it then. Raises ImportFileError.
    """
    try:
        sessions, n_left_out = read_sessions(Path(path), stream)
        for session in sessions:
            _rewrite_times(Path(path), session)
        return msgspec.structs.replace(store_sessions(db, sessions), n_left_out=n_left_out)
    except UnicodeError as error:
        raise ImportFileError(f"{path} has text in it that is not Unicode: {error}.") from error


def read_sessions(path: Path, stream: BinaryIO | None = None) -> tuple[list[PortableSession], int]:
    """Read the sessions of a file, and how many could not be read; raises ImportFileError."""
    try:
        with _at_rest(path, stream) as file:
            with unheld(file) as may_open:
                if not may_open:
                    raise ImportFileError(f"{path} is the database itself: what is in it need not be imported.")
            with file.open("rb") as opened:
                start = opened.read(len(_SQLITE))
            if start == _SQLITE:
                return _from_database(path, file), 0
            files = _zipped(path, file) if zipfile.is_zipfile(file) else [file.read_bytes()]
    except OSError as error:
        raise ImportFileError(f"{path} cannot be read: {error.strerror or error}.") from error
    return _from_json(path, files)


def _from_database(path: Path, file: Path) -> list[PortableSession]:
    try:
        ours = is_ours(file)
    except sqlite3.Error as error:
        raise ImportFileError(f"{path} cannot be read: {error}.") from error
    return own_database.read(path, file) if ours else llm_logs.read(path, file)


@contextmanager
def _at_rest(path: Path, stream: BinaryIO | None) -> Iterator[Path]:
    """The file itself, or a copy of what comes through a pipe: its form is known only after a look at it."""
    if stream is None and path.is_file():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="llm-tui-") as folder:
        copy = Path(folder) / "import"
        with nullcontext(stream) if stream else path.open("rb") as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target)
        yield copy


def _zipped(path: Path, file: Path) -> list[bytes]:
    try:
        # ChatGPT sends its export as an archive with the conversations in it; packed anew, they may be in a folder.
        with zipfile.ZipFile(file) as archive:
            names = [name for name in archive.namelist() if _CHATGPT_MEMBERS.fullmatch(PurePosixPath(name).name)]
            if names:
                outermost = min((PurePosixPath(name).parent for name in names), key=lambda folder: len(folder.parts))
                return [archive.read(name) for name in sorted(names) if PurePosixPath(name).parent == outermost]
    except _DAMAGE as error:
        raise ImportFileError(f"{path} is a damaged archive: {error}.") from error
    raise ImportFileError(f"{path} has no {_CHATGPT_MEMBER} in it.", "Is it ChatGPT's export?")


def _from_json(path: Path, files: list[bytes]) -> tuple[list[PortableSession], int]:
    try:
        # Unlike msgspec, takes the half characters that other programs leave where they cut a title.
        documents: list[Any] = [json.loads(data) for data in files]
    except (ValueError, RecursionError) as error:
        raise _UnknownFormError(f"{path} is not JSON: {error}.") from error
    document = documents[0]
    if len(documents) > 1:
        document = [item for part in documents for item in (part if isinstance(part, list) else [part])]
    if chatgpt.recognises(document):
        return chatgpt.read(path, document)
    if own_json.recognises(document):
        return own_json.read(path, document), 0
    raise _UnknownFormError(f"{path} has no sessions in it that we can read.")


def _rewrite_times(path: Path, session: PortableSession) -> None:
    """Write a session's times as records keep them; raises ImportFileError where one is no time."""
    try:
        session.created_utc = _utc(session.created_utc)
        session.updated_utc = _utc(session.updated_utc)
        for message in session.messages:
            message.created_utc = _utc(message.created_utc)
    except ValueError as error:
        name = session.title or session.id
        raise ImportFileError(f"{path}: session “{name}” has a time that cannot be read: {error}.") from error


def _utc(text: str) -> str:
    """A time as records keep it; "" where none is known. ValueError, with what stands there, where it is none.

    The calendar's first year and its last stand for that, too: other programs' empty times are there, and what is so
    near its ends has no local time everywhere.
    """
    if not text:
        return ""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(text) from None
    if moment.year in (MINYEAR, MAXYEAR):
        return ""
    return format_utc(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
