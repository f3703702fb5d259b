"""A code block of an answer: in pieces, so that a line more costs the same in a long block as in a short one."""

from __future__ import annotations

import re

from markdown_it.token import Token
from textual.app import ComposeResult
from textual.content import Content
from textual.highlight import (
    ANSIDarkHighlightTheme,
    ANSILightHighlightTheme,
    HighlightTheme,
    TokenType,
    highlight,
)
from textual.widgets import Label, Markdown
from textual.widgets._markdown import MarkdownBlock, MarkdownFence  # the first is not exported; Textual is pinned

from tui.widgets.code_text import CodeText

PIECE_LINES = 40

_LANGUAGE = re.compile(r"[{.\s]*([\w+#-]+)")
"""The name of the language, before whatever else a model writes: "python title=…", "{.python}"."""


class _OnBlack(ANSIDarkHighlightTheme):
    """Textual's, with the blue that can be seen on black."""

    STYLES: dict[TokenType, str] = {  # noqa: RUF012 - no ClassVar in Textual
        token: style.replace("ansi_blue", "ansi_bright_blue") for token, style in ANSIDarkHighlightTheme.STYLES.items()
    }


class CodeFence(MarkdownFence):
    """A fence of pieces, each a label of PIECE_LINES lines; what is before the last two never changes again.

    `kept` lines are final: an update brings the lines behind them.
    """

    DEFAULT_CSS = """
    CodeFence { overflow: hidden; }
    CodeFence:ansi { margin: 0 0 1 0; }
    CodeFence > Label { width: 1fr; }
    CodeFence:ansi > Label { padding: 0 1; }
    """

    def __init__(self, markdown: Markdown, token: Token, code: str) -> None:
        super().__init__(markdown, token, code)
        self.kept = 0
        self._pieces: list[Label] = []
        self._texts: list[str] = []
        self._theme_shown = ""

    @classmethod
    def highlight(cls, code: str, language: str, ansi: bool = False, dark: bool = False) -> Content:
        """Colour a piece of code. A language that is not named is not guessed: that tries hundreds of them."""
        theme: type[HighlightTheme] = HighlightTheme
        if ansi:
            theme = _OnBlack if dark else ANSILightHighlightTheme
        # The parent colours a block as soon as it is made; here that waits until it is shown.
        named = _LANGUAGE.match(language)
        # A lexer that replaced tabs would count other places than the code has.
        return highlight(code, language=named[1], theme=theme, tab_size=0) if named else Content(code)

    def compose(self) -> ComposeResult:
        """The pieces there are."""
        for text, content in self._split(self.code):
            self._texts.append(text)
            self._pieces.append(Label(content))
        self._theme_shown = self.app.theme
        yield from self._pieces

    def set_content(self, content: Content) -> None:
        """Leave the content to the pieces."""

    def notify_style_update(self) -> None:
        """Colour anew for another theme."""
        MarkdownBlock.notify_style_update(self)
        if self._theme_shown and self._theme_shown != self.app.theme:
            self._theme_shown = self.app.theme
            for piece, (_, content) in zip(self._pieces, self._split("\n".join(self._texts)), strict=False):
                piece.update(content, layout=False)

    def keep(self, n_lines: int) -> None:
        """Take so many of the lines behind the final ones as final too; a multiple of PIECE_LINES."""
        self.kept += n_lines

    async def _update_from_block(self, block: MarkdownBlock) -> None:
        if not isinstance(block, CodeFence):
            await super()._update_from_block(block)
            return
        self._copy_context(block)
        first = self.kept // PIECE_LINES
        new: list[Label] = []
        for at, (text, content) in enumerate(self._split(block.code), start=first):
            if at >= len(self._pieces):
                self._texts.append(text)
                self._pieces.append(Label(content))
                new.append(self._pieces[-1])
            elif self._texts[at] != text:
                self._texts[at] = text
                width, height = self._pieces[at].content_size
                self._pieces[at].update(content, layout=content.get_height({}, width) != height)
        if new:
            await self.mount_all(new)

    @property
    def allow_horizontal_scroll(self) -> bool:
        """Never: long lines go on below."""
        return False

    def _split(self, code: str) -> list[tuple[str, CodeText]]:
        coloured = self.highlight(code, self.lexer, self.app.native_ansi_color, self.app.current_theme.dark)
        lines = coloured.split("\n", allow_blank=True)
        pieces = [Content("\n").join(lines[at : at + PIECE_LINES]) for at in range(0, max(len(lines), 1), PIECE_LINES)]
        return [(piece.plain, CodeText(piece.plain, list(piece.spans))) for piece in pieces]
