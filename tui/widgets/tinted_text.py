"""An answer as plain text, each token tinted by how likely it was in the model; and what the tints mean."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from textual.content import Content
from textual.widgets import Static

from storage.answer_tokens import AnswerTokens
from tui.language import _
from tui.text import safe_text

BANDS = ((0.7, "sure"), (0.3, "likely"), (0.1, "unlikely"), (0.0, "rare"))
"""The least probability of each tint."""

# Some themes' backgrounds are one and the same in 16 colours: the lines under what is unlikely stay.
_CSS = """
{name} > .tint--sure {{ }}
{name} > .tint--likely {{ background: $success-muted; color: $foreground; }}
{name} > .tint--unlikely {{ background: $warning-muted; color: $foreground; text-style: underline; }}
{name} > .tint--rare {{ background: $error-muted; color: $foreground; text-style: bold underline; }}
{name}:ansi > .tint--likely {{ background: ansi_default; color: ansi_green; }}
{name}:ansi > .tint--unlikely {{ background: ansi_default; color: ansi_yellow; }}
{name}:ansi > .tint--rare {{ background: ansi_default; color: ansi_red; }}
{name}:nocolor > .tint--likely {{ text-style: bold; }}
{name}:nocolor > .tint--unlikely {{ text-style: underline; }}
{name}:nocolor > .tint--rare {{ text-style: reverse; }}
"""
_COMPONENTS = {f"tint--{band}" for _least, band in BANDS}


def band_of(chance: float | None) -> str:
    """The tint of a token; of one whose probability is not known, none."""
    return next((band for least, band in BANDS if chance is not None and chance >= least), "sure")


def can_tint(tokens: AnswerTokens | None) -> bool:
    """Whether anything is known of how likely an answer's tokens were."""
    return tokens is not None and any(chance is not None for chance in tokens.chances)


def _pieces(text: str, tokens: AnswerTokens) -> Iterator[tuple[str, str]]:
    """The tint and the text of each token, and of what no token is known of."""
    at = 0
    for length, chance in zip(tokens.lengths, tokens.chances, strict=True):
        yield band_of(chance), text[at : at + length]
        at += length
    yield "sure", text[at:]


class TintedText(Static):
    """An answer's text as it is, with its line breaks."""

    DEFAULT_CSS = "TintedText { height: auto; width: 1fr; margin-bottom: 1; }" + _CSS.format(name="TintedText")
    COMPONENT_CLASSES = _COMPONENTS

    def __init__(self, text: str, tokens: AnswerTokens) -> None:
        runs = groupby(_pieces(text.rstrip(), tokens), key=lambda piece: piece[0])
        parts = [("".join(piece for _band, piece in run), f".tint--{band}") for band, run in runs]
        super().__init__(Content.assemble(*[(safe_text(piece), style) for piece, style in parts if piece]))


class TintLegend(Static):
    """One line that says what each tint means."""

    DEFAULT_CSS = "TintLegend { height: 1; width: 1fr; padding: 0 2; text-wrap: nowrap; }" + _CSS.format(
        name="TintLegend"
    )
    COMPONENT_CLASSES = _COMPONENTS

    def __init__(self) -> None:
        (least_sure, _sure), (least_likely, _likely), (least_unlikely, _unlikely), _rare = BANDS
        super().__init__(
            Content.assemble(
                _("Tokens that the model gave"),
                " ",
                (f" {least_sure:.0%}+ ", ".tint--sure"),
                " ",
                (f" {least_likely:.0%}+ ", ".tint--likely"),
                " ",
                (f" {least_unlikely:.0%}+ ", ".tint--unlikely"),
                " ",
                (" " + _("less") + " ", ".tint--rare"),
            )
        )
