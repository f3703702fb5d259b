"""A recorded session as an SVG that plays by itself, for the README.

    .venv/bin/python bench/animation.py [docs/session.cast [docs/session.svg]]

The cast is played on an emulated terminal. Every row that it shows is drawn once, and every frame says which rows it
has; a style sheet moves the frames past, over and over. Who asks for less motion sees the last frame.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path

import pyte
from pyte.screens import Char

FRAME_S = 0.12
"""Frames are at least so long: what comes sooner is shown with what follows."""

LAST_S = 2.5
"""How long the last frame stays before it all begins again."""

CELL_WIDTH, ROW_HEIGHT, BASELINE, FONT_SIZE, MARGIN = 8.4, 18, 13, 14, 10
FONTS = "'DejaVu Sans Mono',Menlo,Consolas,'Liberation Mono',monospace"
FOREGROUND, BACKGROUND = "e0e0e0", "121212"
NAMES = {"default": FOREGROUND, "black": "000000", "white": "c0c0c0"}

# pyte writes these out: keyboard modes, questions about modes and the pointer's shape.
_UNKNOWN = re.compile(r"\x1b\[[<>=][0-9;]*[a-z]|\x1b\[\?[0-9;]*\$p|\x1b\]22;[a-z-]*\x07")


@dataclass(frozen=True)
class Frame:
    """What is on screen from a time on, in seconds: row by row, in cells."""

    at_s: float
    rows: tuple[tuple[Char, ...], ...]


def frames(cast: Path) -> tuple[int, int, list[Frame]]:
    """Columns, rows, and what the screen shows when."""
    header, *events = (json.loads(line) for line in cast.read_text(encoding="utf-8").splitlines())
    columns, n_rows = header["width"], header["height"]
    screen = pyte.Screen(columns, n_rows)
    stream = pyte.Stream(screen)
    found: list[Frame] = []
    for (at_s, _kind, data), (next_s, *_rest) in zip(events, [*events[1:], (float("inf"), "")], strict=True):
        stream.feed(_UNKNOWN.sub("", data))
        began_s = found[-1].at_s if found else 0.0
        if next_s - began_s >= FRAME_S:
            rows = tuple(tuple(screen.buffer[y][x] for x in range(columns)) for y in range(n_rows))
            if not found or rows != found[-1].rows:
                found.append(Frame(max(at_s, began_s + FRAME_S) if found else 0.0, rows))
    return columns, n_rows, found


class Drawing:
    """Rows as SVG, each once, and each of their parts once; pens: the classes of the style sheet."""

    def __init__(self) -> None:
        self._names: dict[tuple[Char, ...], str] = {}
        self._rows: dict[str, list[str]] = {}
        self._pens: dict[str, str] = {}

    @property
    def definitions(self) -> str:
        """All rows, made of what several of them share, and of what is theirs alone."""
        times = Counter(part for parts in self._rows.values() for part in parts)
        shared = {part: f"s{number}" for number, part in enumerate(part for part in times if times[part] > 1)}
        drawn = [part.replace(" ", f' id="{name}" ', 1) for part, name in shared.items()]
        for name, parts in self._rows.items():
            pieces = (f'<use href="#{shared[part]}"/>' if part in shared else part for part in parts)
            drawn.append(f'<g id="{name}">{"".join(pieces)}</g>')
        return "".join(drawn)

    @property
    def style_sheet(self) -> str:
        """What each class means."""
        return "".join(f".{name}{{{rules}}}" for rules, name in self._pens.items())

    def row(self, cells: tuple[Char, ...]) -> str | None:
        """The name of a row; None for one on which there is nothing."""
        if cells not in self._names:
            parts = list(self._parts(cells))
            self._names[cells] = f"r{len(self._rows)}" if parts else ""
            if parts:
                self._rows[self._names[cells]] = parts
        return self._names[cells] or None

    def _parts(self, cells: tuple[Char, ...]) -> Iterator[str]:
        at = 0
        for look, run in groupby(cells, key=_look):
            text = "".join(cell.data for cell in run)
            width = len(text)
            foreground, background, rules = look
            if background != BACKGROUND:
                pen = self._pen(f"fill:#{background}")
                yield f'<rect class="{pen}" x="{_x(at)}" y="-{BASELINE}" width="{_x(width)}" height="{ROW_HEIGHT}"/>'
            for piece in re.finditer(r"\S+(?: \S+)*", text):
                pen = self._pen(f"fill:#{foreground}{rules}")
                n_cells = len(piece.group())
                yield (
                    f'<text class="{pen}" x="{_x(at + piece.start())}" textLength="{_x(n_cells)}">'
                    f"{escape(piece.group(), quote=False)}</text>"
                )
            at += width

    def _pen(self, rules: str) -> str:
        return self._pens.setdefault(rules, f"p{len(self._pens)}")


def _look(cell: Char) -> tuple[str, str, str]:
    """A cell's colours, and the rest of its style as CSS."""
    foreground = NAMES.get(cell.fg, cell.fg)
    background = BACKGROUND if cell.bg == "default" else NAMES.get(cell.bg, cell.bg)
    if cell.reverse:
        foreground, background = background, foreground
    rules = ";font-weight:bold" if cell.bold else ""
    rules += ";font-style:italic" if cell.italics else ""
    rules += ";text-decoration:underline" if cell.underscore else ""
    return foreground, background, rules


def _x(cells: int) -> str:
    return f"{cells * CELL_WIDTH:.1f}".removesuffix(".0")


def svg(columns: int, n_rows: int, shown: list[Frame]) -> str:
    """The whole picture."""
    drawing = Drawing()
    height = n_rows * ROW_HEIGHT
    film = []
    for number, frame in enumerate(shown):
        uses = [
            f'<use href="#{name}" y="{y * ROW_HEIGHT}"/>'
            for y, cells in enumerate(frame.rows)
            if (name := drawing.row(cells))
        ]
        film.append(f'<g transform="translate(0,{number * height})">{"".join(uses)}</g>')
    length_s = shown[-1].at_s + LAST_S
    steps = "".join(
        f"{frame.at_s / length_s * 100:.2f}%{{transform:translateY(-{number * height}px)}}"
        for number, frame in enumerate(shown)
    )
    last = (len(shown) - 1) * height
    width_px, height_px = columns * CELL_WIDTH, float(height)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width_px + 2 * MARGIN:.0f} {height + 2 * MARGIN}" '
        f'role="img" aria-label="A session with llm-tui"><style>'
        f"text{{font:{FONT_SIZE}px {FONTS};white-space:pre}}"
        f"{drawing.style_sheet}"
        f"#film{{animation:film {length_s:.2f}s step-end infinite}}"
        f"@keyframes film{{{steps}100%{{transform:translateY(-{last}px)}}}}"
        f"@media (prefers-reduced-motion:reduce){{#film{{animation:none;transform:translateY(-{last}px)}}}}"
        f"</style><defs>{drawing.definitions}</defs>"
        f'<rect width="100%" height="100%" rx="8" fill="#{BACKGROUND}"/>'
        f'<svg x="{MARGIN}" y="{MARGIN}" width="{width_px:.1f}" height="{height_px:.0f}" overflow="hidden">'
        f'<g transform="translate(0,{BASELINE})"><g id="film">{"".join(film)}</g></g></svg></svg>\n'
    )


def main() -> None:
    """Convert."""
    cast = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/session.cast")
    file = Path(sys.argv[2]) if len(sys.argv) > 2 else cast.with_suffix(".svg")
    columns, n_rows, shown = frames(cast)
    file.write_text(svg(columns, n_rows, shown), encoding="utf-8")
    print(f"{file}: {file.stat().st_size // 1000} kB, {len(shown)} frames, {shown[-1].at_s + LAST_S:.0f} s")


if __name__ == "__main__":
    main()
