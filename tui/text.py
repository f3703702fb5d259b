"""Text from elsewhere made safe to show: what a terminal would obey becomes a visible character."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tui.language import N_, _, number

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_PICTURES = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"} | {
    0x7F: "\N{SYMBOL FOR DELETE}",
    0x2028: "\n",
    0x2029: "\n",
}
UNSAFE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]",
)
"""A character that a terminal would obey, or that turns the order of others, or is none."""


def safe_text(text: str) -> str:
    r"""Replace control characters, escape sequences' beginnings, bidirectional overrides and lone surrogates.

    Lines and tabs stay; "\r\n" is a line's end. C0 controls become their pictures (ESC is ␛), the rest becomes �.
    The result means the same to a terminal as to a reader, and is valid UTF-8.
    """
    if "\r\n" in text:
        text = text.replace("\r\n", "\n")
    return UNSAFE.sub(_picture, text)


def _picture(found: re.Match[str]) -> str:
    return _PICTURES.get(ord(found[0]), _REPLACEMENT)


def safe_line(text: str, limit: int = 200) -> str:
    """The same in one line of at most `limit` characters, for titles and names."""
    line = " ".join(safe_text(text[: limit * 4]).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def fitted(text: str, n_cells: int, least: int = 1) -> str:
    """A line that takes so many cells at most: its beginning and an ellipsis; nothing of it in fewer than `least`."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= n_cells:
        return text
    # What goes on ends in an ellipsis of its own.
    return set_cell_size(text, max(n_cells - 1, 0)).rstrip(" …") + "…" if n_cells >= least else ""


def first_line(text: str, limit: int = 60) -> str:
    """The first line that says anything, for a session's title."""
    for line in text.splitlines():
        if line.strip():
            return safe_line(line, limit)
    return ""


def short_path(path: str | Path) -> str:
    """A path with its folder, `~` for the user's home."""
    full = Path(os.path.abspath(path))
    home = Path(os.path.expanduser("~"))  # where nobody knows it, Path.home raises an error
    return str("~" / full.relative_to(home)) if full.is_relative_to(home) else str(full)


def human_bytes(n_bytes: float) -> str:
    """A size in words of three digits at most: 812 B, 98 MB, 3.8 GB."""
    for unit in (N_("B"), N_("kB"), N_("MB"), N_("GB")):
        if n_bytes < 999.5:
            return f"{number(n_bytes, '.0f' if n_bytes >= 9.95 or unit == 'B' else '.1f')} {_(unit)}"
        n_bytes /= 1000
    return f"{number(n_bytes, '.1f')} {_('TB')}"


def human_count(count: float) -> str:
    """A count in words: 512, 8.2 k, 135 M, 6.7 B; models are named so in every language."""
    for unit in ("", " k", " M"):
        if count < 999.5:
            return f"{count:.0f}{unit}" if count >= 9.95 or not unit else f"{count:.1f}{unit}"
        count /= 1000
    return f"{count:.1f} B"
