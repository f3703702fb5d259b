"""Which code block of a message is copied: the last one first, then each time the one before."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tui.language import _

if TYPE_CHECKING:
    from storage.records import PathMessage


class CodeCopies:
    """Remembers what was copied last."""

    def __init__(self) -> None:
        self._message_id = ""
        self._n_before = 0

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
