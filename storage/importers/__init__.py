"""Take sessions in: our own JSON, ChatGPT's export, the logs of the llm command line tool."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ImportFileError
from ..portable import PortableSession
from . import chatgpt, llm_logs, own_json
from .storing import ImportReport, store_sessions

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase

__all__ = ["ImportReport", "import_file"]

_SQLITE = b"SQLite format 3\0"
_CHATGPT_MEMBER = "conversations.json"


def import_file(db: SqliteDatabase, path: Path | str) -> ImportReport:
    """Import a file in any form that we read: all of it, or (with an error) nothing.

    Sessions and messages that were imported before are recognised; only what is new in them is added. Raises
    ImportFileError.
    """
    try:
        return store_sessions(db, read_sessions(Path(path)))
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
    with zipfile.ZipFile(path) as archive:
        try:
            # ChatGPT sends its export as an archive with the conversations in it.
            return archive.read(_CHATGPT_MEMBER)
        except KeyError:
            raise ImportFileError(f"{path} has no {_CHATGPT_MEMBER} in it.", "Is it ChatGPT's export?") from None
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
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


_KNOWN = (
    "What can be imported: JSON of `llm-tui sessions export`, ChatGPT's conversations.json (or the archive with it),"
    " and llm's logs.db."
)
