"""An answer as plain text, each token tinted by how likely it was in the model; and what the tints mean."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rich.cells import cell_len
from textual.app import App
from textual.content import Content
from textual.widget import Widget

from storage.answer_tokens import AnswerTokens
from tui.language import _
from tui.text import safe_text

BANDS = ((0.7, "sure"), (0.3, "likely"), (0.1, "unlikely"), (0.0, "rare"))
"""The least probability of each tint."""

# Some themes' backgrounds are one and the same in 16 colours: the lines under what is unlikely stay.
_IN_COLOURS = {
    "sure": "",
    "likely": "$foreground on $success-muted",
    "unlikely": "$foreground on $warning-muted underline",
    "rare": "$foreground on $error-muted bold underline",
}
_IN_ANSI_COLOURS = {
    "sure": "",
    "likely": "ansi_green",
    "unlikely": "ansi_yellow underline",
    "rare": "ansi_red bold underline",
}
_WITHOUT_COLOURS = {"sure": "", "likely": "bold", "unlikely": "underline", "rare": "reverse"}


def band_of(chance: float | None) -> str:
    """The tint of a token; of one whose probability is not known, none."""
    return next((band for least, band in BANDS if chance is not None and chance >= least), "sure")


def can_tint(tokens: AnswerTokens) -> bool:
    """Whether anything is known of how likely an answer's tokens were."""
    return any(chance is not None for chance in tokens.chances)


def _styles(app: App[object]) -> dict[str, str]:
    if app.no_color:
        return _WITHOUT_COLOURS
    return _IN_ANSI_COLOURS if app.native_ansi_color else _IN_COLOURS


def _pieces(text: str, tokens: AnswerTokens) -> Iterator[tuple[str, str]]:
    """The tint and the text of each token, and of what no token is known of."""
    at = 0
    for length, chance in zip(tokens.lengths, tokens.chances, strict=True):
        yield band_of(chance), text[at : at + length]
        at += length
    yield "sure", text[at:]


class TintedText(Widget):
    """An answer's text as it is, with its line breaks."""

    DEFAULT_CSS = "TintedText { height: auto; width: 1fr; margin-bottom: 1; }"

    def __init__(self, text: str, tokens: AnswerTokens) -> None:
        super().__init__()
        pieces = [piece for piece in _pieces(text.rstrip(), tokens) if piece[1]]
        runs = groupby(pieces, key=lambda piece: piece[0])
        self.parts = [(safe_text("".join(piece for _band, piece in run)), band) for band, run in runs]

    def render(self) -> Content:
        """All of it."""
        styles = _styles(self.app)
        return Content.assemble(*[(text, styles[band]) for text, band in self.parts])


class TintLegend(Widget):
    """One line that says what each tint means; where there is little room, the tints alone."""

    DEFAULT_CSS = "TintLegend { height: 1; width: 1fr; padding: 0 2; text-wrap: nowrap; }"

    def render(self) -> Content:
        """The least probability of each tint."""
        styles = _styles(self.app)
        told = _("Tokens that the model gave")
        words = [(f" {least:.0%}+ " if least else f" {_('less')} ", styles[band]) for least, band in BANDS]
        tints = Content(" ").join(Content.assemble(word) for word in words)
        fits = cell_len(told) + 1 + tints.cell_length <= self.content_size.width
        return Content.assemble(told, " ", tints) if fits else tints
