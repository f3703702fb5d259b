"""Which code block of a message is copied: the last one first, then each time the one before."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tui.language import _

if TYPE_CHECKING:
    from storage.records import PathMessage

_MAY_BE_CODE = re.compile(r"```|~~~|^(?: {4}| {0,3}\t)", re.MULTILINE)
"""Whatever has code in it has one of these; to read it as Markdown takes much longer."""


class CodeCopies:
    """Remembers what was copied last."""

    def __init__(self) -> None:
        self._message_id = ""
        self._n_before = 0
        self._looked_in: dict[str, tuple[int, bool]] = {}

    def has_any(self, items: Iterable[PathMessage]) -> bool:
        """Whether any of these messages has a block to copy; each is read once, unless it has grown since."""
        return any(self._has_any(item) for item in items)

    def _has_any(self, item: PathMessage) -> bool:
        from tui.markdown import code_blocks

        text = item.message.content
        length, has_any = self._looked_in.get(item.message.id, (-1, False))
        if length != len(text):
            has_any = bool(_MAY_BE_CODE.search(text)) and bool(code_blocks(text))
            self._looked_in[item.message.id] = (len(text), has_any)
        return has_any

    def forget(self) -> None:
        """Begin with the last block of a message again."""
        self._n_before = 0

    def next_of(self, items: Iterable[PathMessage]) -> tuple[str, str] | None:
        """The block to copy from the first message that has any, and words for which one it is; None without any."""
        from tui.markdown import code_blocks

        for item in items:
            blocks = code_blocks(item.message.content)
            if not blocks:
                continue
            if item.message.id != self._message_id or not 0 < self._n_before <= len(blocks):
                self._n_before = len(blocks)
            self._message_id = item.message.id
            number = self._n_before
            self._n_before -= 1
            which = _("Block {n} of {total}.", n=number, total=len(blocks)) if len(blocks) > 1 else ""
            return blocks[number - 1], which
        return None
