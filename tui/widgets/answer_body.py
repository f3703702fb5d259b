"""The text of an answer as Markdown, while it is being written and afterwards."""

from __future__ import annotations

from contextlib import suppress

from textual.content import Content
from textual.geometry import Size
from textual.reactive import Reactive
from textual.widgets import Markdown
from textual.widgets._markdown import MarkdownParagraph  # not exported; Textual is pinned
from textual.widgets.markdown import MarkdownStream

from tui.markdown import markdown_parser
from tui.text import safe_text


class AnswerParagraph(MarkdownParagraph):
    """A paragraph that moves the rest of the screen only when it needs another line."""

    # The parent arranges us in the same pass as it grows: no second one for the new size.
    virtual_size = Reactive(Size(0, 0))

    def set_content(self, content: Content) -> None:
        """Show more text."""
        self._content = content
        width, height = self.content_size
        same_height = width > 0 and content.get_height({}, width) == height
        self.update(content, layout=not same_height)


class AnswerBody(Markdown):
    """Markdown that grows: fragments are gathered by Textual's stream, the whole is laid out once more at the end."""

    DEFAULT_CSS = """
    AnswerBody { padding: 0; }
    AnswerBody > MarkdownParagraph { margin: 0 0 1 0; }
    AnswerBody MarkdownList MarkdownParagraph { margin: 0; }
    AnswerBody MarkdownFence { margin: 0 0 1 0; }
    AnswerBody MarkdownFence > Label { padding: 0 1; }
    AnswerBody MarkdownHeader { margin: 0 0 1 0; }
    AnswerBody MarkdownBlockQuote { margin: 0 0 1 0; }
    """

    BLOCKS = {**Markdown.BLOCKS, "paragraph_open": AnswerParagraph}  # noqa: RUF012 - no ClassVar in Textual
    virtual_size = Reactive(Size(0, 0))

    def __init__(self, text: str) -> None:
        super().__init__(safe_text(text), parser_factory=markdown_parser, open_links=False)
        self._stream: MarkdownStream | None = None

    async def grow(self, text: str) -> None:
        """Add a fragment; it shows as soon as the screen keeps up."""
        if self._stream is None:
            self._stream = Markdown.get_stream(self)
        await self._stream.write(safe_text(text))

    async def settle(self, text: str) -> None:
        """Show the final text, whatever became of the fragments; the place that the reader looks at does not move."""
        await self._end_stream()
        self.styles.min_height = self.outer_size.height
        try:
            await self.update(safe_text(text))
        finally:
            self.styles.min_height = None

    async def _end_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.stop()

    async def on_unmount(self) -> None:
        """Leave no task behind."""
        with suppress(RuntimeError):
            await self._end_stream()
