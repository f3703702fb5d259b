"""Text files that go with the next message: read, refused with a reason, counted in the model's tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from engine.typed_path import typed_path
from storage.held_files import unheld
from tui.language import _
from tui.sentences import system_words
from tui.services.engine_session import EngineSession
from tui.services.own_thread import on_own_thread
from tui.text import human_bytes, safe_line, safe_text

LIMIT_BYTES = 1_000_000
"""A quarter of a million tokens or so: more than models of this machine can read."""

_FENCE = re.compile(r"^ {0,3}(`{3,})", re.MULTILINE)


class AttachError(Exception):
    """A file that is not attached; the message says why and what to do."""


@dataclass(frozen=True)
class Attachment:
    """A file as it was when it was attached. n_tokens: None while no model is there to count."""

    path: Path
    text: str
    n_tokens: int | None = None

    @property
    def words(self) -> str:
        """Name and size in a few words."""
        n_tokens = self.n_tokens
        size = _("{n:,} tokens", n=n_tokens) if n_tokens is not None else human_bytes(len(self.text.encode()))
        return f"{safe_line(self.path.name, 40)} {size}"

    @property
    def block(self) -> str:
        """The file as it stands in the message: its name, and its text between fences that it does not have itself."""
        longest = max((len(found[1]) for found in _FENCE.finditer(self.text)), default=0)
        fence = "`" * max(3, longest + 1)
        end = "" if self.text.endswith("\n") else "\n"
        return f"File {safe_line(self.path.name)}:\n\n{fence}\n{self.text}{end}{fence}"


class Attachments:
    """The files of the next message."""

    def __init__(self, engine: EngineSession) -> None:
        self._engine = engine
        self.files: list[Attachment] = []

    async def add(self, name: str) -> Attachment:
        """Read a file and count its tokens. Raises AttachError; nothing is attached then."""
        path = typed_path(name)
        path = path if path.is_absolute() else Path.cwd() / path
        text = await on_own_thread(_read_text, path)
        attachment = await self._counted(Attachment(path, text))
        self._refuse_too_long(attachment)
        self.files = [*(file for file in self.files if file.path != path), attachment]
        return attachment

    async def count(self) -> None:
        """Count again: another model makes other tokens."""
        counted = [await self._counted(file) for file in self.files]
        by_path = {file.path: file for file in counted}
        self.files = [by_path.get(file.path, file) for file in self.files]

    def remove(self, name: str) -> bool:
        """Take a file back by its name, all without one; False where there is none."""
        left = [file for file in self.files if name and name not in (file.path.name, str(file.path))]
        removed = len(left) < len(self.files)
        self.files = left
        return removed

    def message(self, text: str) -> str:
        """The message with its files, the question first: it makes the session's title."""
        return "\n\n".join(part for part in (text, *(file.block for file in self.files)) if part)

    @property
    def words(self) -> str:
        """All files in a line."""
        return _("Attached: {files}", files=" · ".join(file.words for file in self.files)) if self.files else ""

    async def _counted(self, attachment: Attachment) -> Attachment:
        return replace(attachment, n_tokens=await self._engine.count_tokens(attachment.block))

    def _refuse_too_long(self, attachment: Attachment) -> None:
        card = self._engine.card
        if card is not None and card.context and (attachment.n_tokens or 0) >= card.context:
            raise AttachError(
                _(
                    "{words}: the model reads {limit:,} at most. Attach a part of it,"
                    " or open the model with more context (engine.context in the settings).",
                    words=attachment.words,
                    limit=card.context,
                )
            )


def _read(path: Path) -> bytes:
    with unheld(path) as may_open:
        if not may_open:
            # The app's own database: no text, and what must not be closed here.
            return b"\0"
        with path.open("rb") as file:
            return file.read(LIMIT_BYTES)


def _read_text(path: Path) -> str:
    """A file's text. Raises AttachError for what is no text file of a sane size."""
    name = safe_line(str(path))
    try:
        # What is no file is not opened: a pipe would be waited for without end.
        if not path.exists():
            raise AttachError(_("There is no file {name}.", name=name))
        if not path.is_file():
            raise AttachError(_("{name} is no file. Name a text file.", name=name))
        n_bytes = path.stat().st_size
        if n_bytes > LIMIT_BYTES:
            size, limit = human_bytes(n_bytes), human_bytes(LIMIT_BYTES)
            raise AttachError(
                _(
                    "{name} has {size}, and {limit} is the most that can be attached. Cut out a part.",
                    name=name,
                    size=size,
                    limit=limit,
                )
            )
        data = _read(path)
    except (OSError, ValueError) as error:
        reason = system_words(error) if isinstance(error, OSError) else str(error)
        raise AttachError(_("{path} cannot be read: {reason}.", path=name, reason=reason)) from error
    if not data:
        raise AttachError(_("{name} is empty.", name=name))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise AttachError(
            _("{name} is not text in UTF-8. Convert it first, for instance with iconv or pdftotext.", name=name)
        )
    return safe_text(text)
