"""A screen written down: its text, and which cells look how; so that a difference can be read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from rich.segment import Segment
from textual._compositor import LayoutUpdate
from textual.app import App

_SIZE, _THEME = "══ ", "── "


@dataclass(frozen=True)
class Look:
    """A screen's rows of text; and its pens: what each letter means, then runs of cells, rows that look alike once."""

    rows: tuple[str, ...]
    pens: tuple[str, ...]

    def lines(self) -> list[str]:
        """All of it, the rows with their numbers."""
        return [*(f"{at:2}│{row}" for at, row in enumerate(self.rows)), *self.pens]


Looks = dict[tuple[str, str], Look]
"""How a screen looks, by size and theme."""


def look_of(app: App[object]) -> Look:
    """What is on the screen now, with what lies below a dialog."""
    update = app.screen._compositor.render_update(full=True, screen_stack=app._background_screens)
    assert isinstance(update, LayoutUpdate)
    rows = [[segment for strip in row for segment in strip if not segment.control] for row in update.strips]
    letters: dict[str, str] = {}
    runs = [_runs(row, letters) for row in rows]
    legend = [f"{letter} = {style}" for style, letter in letters.items()]
    texts = ("".join(segment.text for segment in row).rstrip() for row in rows)
    return Look(tuple(texts), (*legend, *_row_numbers(runs)))


def _runs(row: list[Segment], letters: dict[str, str]) -> str:
    runs = []
    for style, segments in groupby(row, key=lambda segment: str(segment.style)):
        letter = letters.setdefault(style, _letter(len(letters)))
        runs.append(f"{letter}{sum(segment.cell_length for segment in segments)}")
    return " ".join(runs)


def _letter(at: int) -> str:
    return chr(ord("a") + at) if at < 26 else _letter(at // 26 - 1) + _letter(at % 26)


def _row_numbers(runs: list[str]) -> Iterator[str]:
    for run, alike in groupby(enumerate(runs), key=lambda numbered: numbered[1]):
        numbers = [at for at, _ in alike]
        yield f"{numbers[0]}-{numbers[-1]}: {run}" if len(numbers) > 1 else f"{numbers[0]}: {run}"


def runs_of(look: Look) -> Iterator[tuple[str, str]]:
    """A look's text, cut where its style changes, and the style. Only right where each character takes one cell."""
    styles: dict[str, str] = {}
    runs: dict[int, str] = {}
    for pen in look.pens:
        if named := re.fullmatch(r"([a-z]+) = (.*)", pen):
            styles[named[1]] = named[2]
        elif numbered := re.fullmatch(r"(\d+)(?:-(\d+))?: (.*)", pen):
            runs |= dict.fromkeys(range(int(numbered[1]), int(numbered[2] or numbered[1]) + 1), numbered[3])
    for at, row in enumerate(look.rows):
        x = 0
        for letter, width in re.findall(r"([a-z]+)(\d+)", runs[at]):
            yield row[x : x + int(width)].ljust(int(width)), styles[letter]
            x += int(width)
        yield "\n", ""


def write_looks(file: Path, looks: Looks) -> None:
    """Keep looks in a file; text that a theme shows like the one before stands there once."""
    lines: list[str] = []
    for size, themes in groupby(sorted(looks, key=lambda key: len(looks[key].rows)), key=lambda key: key[0]):
        lines.append(_SIZE + size)
        before: tuple[str, ...] | None = None
        for key in themes:
            look = looks[key]
            lines.append(_THEME + key[1])
            lines += look.pens if look.rows == before else look.lines()
            before = look.rows
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_looks(file: Path) -> Looks:
    """What a file keeps; nothing where there is none."""
    looks: Looks = {}
    rows: list[str] = []
    pens: list[str] = []
    size = theme = ""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    for line in [*text.splitlines(), _SIZE]:
        if line.startswith((_SIZE, _THEME)):
            if theme:
                looks[size, theme] = Look(tuple(rows), tuple(pens))
            theme = line.removeprefix(_THEME) if line.startswith(_THEME) else ""
            size = line.removeprefix(_SIZE) if line.startswith(_SIZE) else size
            pens = []
        elif row := re.match(r"[ \d]\d│", line):
            rows = rows if row.group() != " 0│" else []
            rows.append(line[row.end() :])
        else:
            pens.append(line)
    return looks


def difference(kept: Looks, now: Looks) -> str:
    """What is another than it was kept, as a difference that can be read; "" for nothing."""
    parts: list[str] = []
    for key in {**kept, **now}:
        before, after = kept.get(key), now.get(key)
        if before != after:
            name = " ".join(key)
            parts += difflib.unified_diff(
                before.lines() if before else [],
                after.lines() if after else [],
                f"{name}, kept",
                f"{name}, now",
                lineterm="",
                n=1,
            )
    return "\n".join(parts)
