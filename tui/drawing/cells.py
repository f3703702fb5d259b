"""Lines of text as cells: what stands in each column of the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from rich.cells import split_graphemes
from rich.segment import Segment

from tui.drawing.pens import Pen, PenCase


def cells(segments: Iterable[Segment], case: PenCase) -> tuple[list[str], list[Pen]]:
    """The text and the pen of each column; the second column of a wide character has the text ""."""
    texts: list[str] = []
    pens: list[Pen] = []
    for text, style, control in segments:
        if control or not text:
            continue
        pen = case.pen(style)
        new = list(text) if text.isascii() else _columns(text, texts)
        texts += new
        if pen.blank is pen or " " not in text:
            pens += [pen] * len(new)
        else:
            blank = pen.blank
            pens += [blank if cell == " " else pen for cell in new]
    return texts, pens


def _columns(text: str, before: list[str]) -> list[str]:
    columns: list[str] = []
    for start, end, width in split_graphemes(text)[0]:
        if width:
            columns += [text[start:end], *[""] * (width - 1)]
            continue
        # What has no width belongs to the character before it.
        place = columns or before
        at = len(place) - 1
        while at > 0 and not place[at]:
            at -= 1
        if at >= 0:
            place[at] += text[start:end]
    return columns


@lru_cache(maxsize=4096)
def is_doubtful(cell: str) -> bool:
    """Whether terminals disagree about how many columns a character takes: emoji, joined or marked ones."""
    if len(cell) > 1:
        return is_doubtful(cell[0]) or not all("\u0300" <= mark <= "\u036f" for mark in cell[1:])
    return cell >= "\U0001f000" or "\u231a" <= cell <= "\u23ff" or "\u2600" <= cell <= "\u27bf"
