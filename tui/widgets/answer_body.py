"""The text of an answer as Markdown, while it is being written and afterwards."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable
from contextlib import suppress

from markdown_it.token import Token
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.reactive import Reactive
from textual.widgets import Markdown
from textual.widgets._markdown import (  # not exported; Textual is pinned
    MarkdownBlock,
    MarkdownBullet,
    MarkdownHorizontalRule,
    MarkdownListItem,
    MarkdownOrderedList,
    MarkdownParagraph,
)

from tui.markdown import markdown_parser
from tui.services import background
from tui.text import safe_text
from tui.widgets.answer_table import TABLE, AnswerTable, gather_tables
from tui.widgets.code_fence import PIECE_LINES, CodeFence
from tui.widgets.even_lines import EvenLines

DRAWING_SHARE = 0.03
"""How much of one processor core drawing may take; what costs more is drawn less often, down to every LONGEST_S."""

HURRIED_SHARE, HURRIED_TEXT = 0.015, 200
"""The same while more than so many characters come from one drawing to the next, ten times as fast as people read."""

LONGEST_S = 1.0

_NESTED_RULE = "nested_hr"
_MAY_BE_NUMBER = re.compile(r"\s*\d{1,9}\s*")


class AnswerParagraph(MarkdownParagraph):
    """A paragraph that moves the rest of the screen only when it needs another line."""

    # The parent arranges us in the same pass as it grows: no second one for the new size.
    virtual_size = Reactive(Size(0, 0))

    def set_content(self, content: Content) -> None:
        """Show more text."""
        self._content = content
        width, height = self.content_size
        same_height = width > 0 and content.get_height({}, width) == height
        # Where a new one goes is found when it is mounted.
        self.update(content, layout=self.is_attached and not same_height)


class NumberedList(MarkdownOrderedList):
    """A list with the mark behind its numbers that was written: 1. or 1)."""

    def compose(self) -> ComposeResult:
        """The items; Textual's own always have points behind their numbers."""
        items = [block for block in self._blocks if isinstance(block, MarkdownListItem)]
        first = int(items[0].bullet) if items else 1
        numbers = [f" {number}{self._token.markup} " for number in range(first, first + len(items))]
        for number, item in zip(numbers, items, strict=True):
            bullet = MarkdownBullet()
            bullet.symbol = number.rjust(len(numbers[-1]))
            yield Horizontal(bullet, Vertical(*item._blocks))
        self._blocks.clear()


class AnswerBody(EvenLines, Markdown):
    """Markdown that grows: what came since the last drawing is drawn together, the whole once more at the end.

    Only the end of the text is parsed when more comes: the last top-level block, and of a long code block or table
    only what may still change.
    """

    DEFAULT_CSS = """
    AnswerBody { padding: 0; }
    AnswerBody MarkdownFence { margin: 0 0 1 0; }
    AnswerBody MarkdownFence > Label { padding: 0 1; }
    AnswerBody MarkdownHeader { margin: 0 0 1 0; }
    AnswerBody MarkdownH1 { content-align: left middle; color: $text-primary; text-style: bold underline; }
    AnswerBody MarkdownH2 { color: $text-primary; text-style: bold; }
    AnswerBody MarkdownH3 { color: $foreground; text-style: bold; }
    AnswerBody MarkdownH4 { color: $text-muted; text-style: bold; }
    AnswerBody MarkdownBlockQuote { margin: 0 0 1 0; }
    AnswerBody MarkdownBlockQuote > MarkdownParagraph { margin: 0 0 1 0; }
    AnswerBody MarkdownBlockQuote > MarkdownBlock:last-child { margin-bottom: 0; }
    AnswerBody MarkdownHorizontalRule {
        margin: 1 0; padding: 0; border-bottom: none; border-top: solid $secondary;
    }
    """

    BLOCKS = {  # noqa: RUF012 - no ClassVar in Textual
        **Markdown.BLOCKS,
        "paragraph_open": AnswerParagraph,
        "fence": CodeFence,
        "code_block": CodeFence,
        "ordered_list_open": NumberedList,
    }
    virtual_size = Reactive(Size(0, 0))

    class Drawn(Message):
        """More of the text is about to be on screen: what changes with it can be drawn in the same frame."""

    def __init__(self, text: str) -> None:
        super().__init__(safe_text(text), parser_factory=markdown_parser, open_links=False)
        self._tail: str | None = None
        self._tail_blocks = 1
        self._is_patchy = False
        self._waiting: list[str] = []
        self._painting: asyncio.Task[None] | None = None
        self._drawn = asyncio.Event()
        self._over = asyncio.Event()

    async def grow(self, text: str) -> None:
        """Add a fragment; it shows as soon as the screen keeps up."""
        self._waiting.append(safe_text(text))
        if self._painting is None or self._painting.done():
            self._over.clear()
            self._painting = background.begin(self._paint(), "draw answer", self.post_message)

    async def settle(self, text: str) -> None:
        """Show the final text, whatever became of the fragments; the place that the reader looks at does not move."""
        text = safe_text(text)
        await self._end_painting()
        if self._is_as_parsed_at_once(text):
            if rest := text[len(self.source) :]:
                await self._add(rest)
            return
        self._tail, self._is_patchy = None, False
        self.styles.min_height = self.outer_size.height
        try:
            await self.update(text)
        finally:
            self.styles.min_height = None

    def _is_as_parsed_at_once(self, text: str) -> bool:
        """Whether what is drawn is a text's beginning and would not look otherwise if all were parsed together.

        Pieces of a long block may be coloured otherwise, the target of a link may stand below it, and where drawing
        went wrong something may be missing.
        """
        return self._tail is not None and not self._is_patchy and "]:" not in text and text.startswith(self.source)

    async def _paint(self) -> None:
        """Draw while there is something to draw, and rest in between as long as the last drawing asks for."""
        while self._waiting and not self._over.is_set():
            began_s = time.thread_time()
            text = "".join(self._waiting)
            self._waiting.clear()
            # First, as it takes a few steps to whom it concerns.
            self.post_message(self.Drawn())
            try:
                await self._add(text)
            except Exception:
                if not self.is_attached:
                    # A screen that is being closed draws no more.
                    return
                self._is_patchy = True
                raise
            if not self._over.is_set():
                self._drawn.clear()
                self.call_after_refresh(self._drawn.set)
                await self._rest(self._drawn, LONGEST_S)
            took_s = time.thread_time() - began_s
            share = HURRIED_SHARE if len(text) > HURRIED_TEXT else DRAWING_SHARE
            await self._rest(self._over, min(took_s / share, LONGEST_S))

    @staticmethod
    async def _rest(event: asyncio.Event, limit_s: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), limit_s)

    async def _end_painting(self) -> None:
        self._over.set()
        # A screen that is being closed draws no more.
        self._drawn.set()
        self._waiting.clear()
        painting, self._painting = self._painting, None
        if painting is not None:
            # What goes wrong in it is told by then.
            await asyncio.wait([painting])

    async def on_unmount(self) -> None:
        """Leave no task behind."""
        await self._end_painting()

    def _parse_markdown(self, tokens: Iterable[Token]) -> Iterable[MarkdownBlock]:
        return super()._parse_markdown(map(_in_its_place, gather_tables(tokens)))

    def unhandled_token(self, token: Token) -> MarkdownBlock | None:
        """Make the blocks that Textual does not know."""
        if token.type == _NESTED_RULE:
            return MarkdownHorizontalRule(self, token)
        return AnswerTable(self, token) if token.type == TABLE else None

    async def _add(self, text: str) -> None:
        """Add text to the end: like Textual's append, which parses a long last block again from its beginning."""
        async with self.lock:
            if self._tail is None:
                # What stands here already may end in the middle of a list, a table or a block of code.
                tokens = list(gather_tables(markdown_parser().parse(self.source)))
                self._tail, self._tail_blocks = _open_end(self.source, tokens)
            self._markdown += text
            self._tail += text
            tokens = list(gather_tables(markdown_parser().parse(self._tail)))
            blocks = list(self._parse_markdown(tokens))
            existing = [child for child in self.children if isinstance(child, MarkdownBlock)]
            with self.app.batch_update():
                last = existing[-1] if existing else None
                if self._tail_blocks > 1:
                    await self.remove_children(existing[-self._tail_blocks :])
                elif last is not None and blocks:
                    # Textual's lists raise this where they have no item yet; a new one then takes over, as there.
                    with suppress(IndexError):
                        await last._update_from_block(blocks[0])
                        blocks = blocks[1:]
                if blocks:
                    await self.mount_all(blocks)
            tail, self._tail_blocks = _open_end(self._tail, tokens)
            self._tail = _cut(tail, tokens, next(iter(reversed(self.query_children(MarkdownBlock))), None))
            self._is_patchy = self._is_patchy or self._tail != tail


def _in_its_place(token: Token) -> Token:
    """Textual would put a rule that stands in a list or a quote before that, once more for each drawing."""
    if token.type == "hr" and token.level:
        token.type = _NESTED_RULE
    return token


def _open_end(tail: str, tokens: list[Token]) -> tuple[str, int]:
    """The text that the next parsing goes on with, and how many blocks it makes: the last one.

    With the one before where that is a list, and the last may become the number of its next item.
    """
    blocks = _blocks(tokens)
    if not blocks:
        return tail, 1
    lines = tail.splitlines(keepends=True)
    rest = "".join(lines[_first_line(blocks[-1]) :])
    if len(blocks) > 1 and blocks[-2].type == "ordered_list_open" and _MAY_BE_NUMBER.fullmatch(rest):
        return "".join(lines[_first_line(blocks[-2]) :]), 2
    return rest, 1


def _first_line(token: Token) -> int:
    assert token.map is not None
    return token.map[0]


def _blocks(tokens: list[Token]) -> list[Token]:
    return [token for token in tokens if token.map is not None and token.level == 0]


def _cut(tail: str, tokens: list[Token], block: MarkdownBlock | None) -> str:
    """Leave away what of the last block's text is drawn for good."""
    blocks = _blocks(tokens)
    if not blocks:
        return tail
    last = blocks[-1]
    lines = tail.splitlines(keepends=True)
    if last.type == "fence" and isinstance(block, CodeFence):
        n_lines = last.content.rstrip().count("\n") // PIECE_LINES - 1
        if n_lines > 0:
            block.keep(n_lines * PIECE_LINES)
            del lines[1 : 1 + n_lines * PIECE_LINES]
    elif last.type == TABLE and isinstance(block, AnswerTable):
        n_rows = block.n_rows - block.kept - 1
        if n_rows > 0:
            block.keep(n_rows)
            del lines[2 : 2 + n_rows]
    return "".join(lines)
