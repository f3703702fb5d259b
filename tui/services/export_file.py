"""The open session as a file that others can read: Markdown, or JSON with nothing left out."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

from engine.typed_path import typed_path
from storage.errors import StorageError
from storage.export import session_json, session_markdown
from storage.records import Session
from tui.language import _
from tui.sentences import system_words
from tui.services.own_thread import on_own_thread
from tui.services.store import Store

_NAME_CHARACTERS = 40


async def export_session_file(store: Store, session: Session, wanted: str) -> Path:
    """Write a session to a file and return its path; a file that is there already is never written over.

    wanted: the file; "md" or "json" for one in the user's home, named after the session. JSON where the name ends so,
    else Markdown. Also what the database could not take is in it. Raises StorageError where it cannot be written.
    """
    if wanted in ("md", "json"):
        path = await on_own_thread(_unused, typed_path("~"), session.title, wanted)
    else:
        path = typed_path(wanted)
    write = session_json if path.suffix == ".json" else session_markdown
    text = await store.call(write, session.id)
    try:
        await asyncio.to_thread(_write_new, path, text)
    except FileExistsError:
        raise StorageError(_("{path} is there already.", path=path), _("Name another file.")) from None
    except OSError as error:
        raise StorageError(
            _("{path} cannot be written: {reason}.", path=path, reason=system_words(error)),
            _("Name another file."),
        ) from error
    return path


def _unused(folder: Path, title: str, suffix: str) -> Path:
    name = "-".join(re.findall(r"\w+", title.lower()))[:_NAME_CHARACTERS].strip("-") or "session"
    path, n = folder / f"{name}.{suffix}", 1
    while path.exists():
        n += 1
        path = folder / f"{name}-{n}.{suffix}"
    return path


def _write_new(path: Path, text: str) -> None:
    """Write a file for its owner alone, whole or not at all."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError:
        path.unlink(missing_ok=True)
        raise
