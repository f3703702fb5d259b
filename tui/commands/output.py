"""How commands speak: results on stdout, everything else on stderr."""

from __future__ import annotations

import re
import sys
import time
from typing import Self

import click
import msgspec

from tui.text import UNSAFE, fitted, safe_line, safe_text

PROGRESS_PERIOD_S = 0.1
"""A progress line is painted anew at most this often."""

_PROGRESS_WIDTH = 79
"""Columns: a line as wide as the usual terminal would go on in the next one, and could not be painted over."""


class CommandError(Exception):
    """A command cannot do its work; the message says what, why and what to do."""


def write_json(value: object) -> None:
    """Write one value as one line; in names of files, what is not UTF-8 becomes U+FFFD."""
    try:
        line = msgspec.json.encode(value)
    except UnicodeEncodeError:
        import json

        spelled = json.dumps(msgspec.to_builtins(value), ensure_ascii=False, separators=(",", ":"))
        line = whole_text(spelled).encode()
    write_as_json(line.decode())


def write_as_json(text: str, *, newline: bool = True) -> None:
    """Write what is JSON already: on a terminal, what it would obey is spelled out, which means the same."""
    if sys.stdout.isatty():
        text = UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    click.echo(text.encode("utf-8", "replace"), nl=newline)


def write_text(text: str, *, newline: bool = True) -> None:
    """Write text: exactly to a file or pipe, without anything that a terminal would obey to a terminal."""
    click.echo((safe_text(text) if sys.stdout.isatty() else text).encode("utf-8", "replace"), nl=newline)


def say(text: str) -> None:
    """Tell the user something that is not the result."""
    click.echo(safe_text(text), err=True)


def complain(text: str) -> None:
    """Tell in one line why the command failed."""
    click.echo(f"llm-tui: {safe_line(text, 2000)}", err=True)


def table(rows: list[list[str]], right: frozenset[int] = frozenset()) -> str:
    """Align rows in columns two spaces apart; right: the columns that are set to the right."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for at, (cell, width) in enumerate(zip(row, widths, strict=True)):
            room = " " * (width - cell_len(cell))
            cells.append(room + cell if at in right else cell + room)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def whole_text(text: str) -> str:
    """The text with U+FFFD for what is no character: bytes of an argument or a file's name that are not UTF-8."""
    return re.sub(r"[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)


class ProgressLine:
    """One line on a terminal's stderr that is painted over and gone at the end; nothing where that is no terminal."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._painted_s = 0.0
        self._width = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def show(self, text: str) -> None:
        """Paint the line, unless that was done a moment ago."""
        now = time.monotonic()
        if not self._shown or now - self._painted_s < PROGRESS_PERIOD_S:
            return
        self._painted_s = now
        from rich.cells import cell_len

        line = fitted(safe_line(text, _PROGRESS_WIDTH), _PROGRESS_WIDTH)
        width = cell_len(line)
        click.echo(f"\r{line}{' ' * (self._width - width)}", err=True, nl=False)
        self._width = width

    def clear(self) -> None:
        """Take the line away."""
        if self._width:
            click.echo(f"\r{' ' * self._width}\r", err=True, nl=False)
            self._width = 0


def percent(done: float, total: float) -> str:
    """How far something is; nothing where the total is not known."""
    return f"{min(100, 100 * done // total):.0f} %" if total else ""
