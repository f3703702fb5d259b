"""Our own JSON: one session, many in one document, or a list of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from ..errors import ImportFileError
from ..portable import FORMAT, VERSION, Archive, PortableSession


def recognises(document: Any) -> bool:
    """Tell whether a JSON document has sessions in our form."""
    if isinstance(document, list):
        return bool(document) and all(isinstance(item, dict) and "messages" in item for item in document)
    return isinstance(document, dict) and ("messages" in document or document.get("format") == FORMAT)


def read(path: Path, document: Any) -> list[PortableSession]:
    """Read the sessions of a document; raises ImportFileError with the place that is wrong."""
    try:
        if isinstance(document, list):
            return msgspec.convert(document, list[PortableSession])
        if "messages" in document:
            return [msgspec.convert(document, PortableSession)]
        if isinstance(version := document.get("version"), int) and version > VERSION:
            raise ImportFileError(f"{path} was exported by a newer llm-tui (version {version}).", "Update llm-tui.")
        return msgspec.convert(document, Archive).sessions
    except msgspec.ValidationError as error:
        raise ImportFileError(f"{path} is not a session as llm-tui exports them: {error}.") from error
