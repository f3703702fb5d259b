"""Copying to the clipboard of whoever sits at the terminal, with an escape sequence (OSC 52), also over SSH.

Nobody answers whether it arrived: terminals may refuse it, and tmux lets it through only when it is told to. So nothing
more is said than that it was sent, and a file is the way out. Sources: xterm's control sequences, OSC 52; tmux(1),
set-clipboard and allow-passthrough.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Literal

from tui.language import N_, _

Clipboard = Literal["auto", "raw", "tmux", "off"]
"""raw: to the terminal as it is. tmux: wrapped, for the terminal around tmux. auto: both in tmux, else raw."""

LIMIT_BYTES = 100_000
"""Terminals take no more, and some hang on it."""

_WAY_OUT = N_("/export writes a file.")


class CopyError(Exception):
    """Nothing was sent; the sentence says why, and what to do."""


def copy_sequence(text: str, clipboard: Clipboard, environment: Mapping[str, str]) -> str:
    """What makes the terminal take a text. Raises CopyError."""
    if clipboard == "off":
        off = _('Copying is switched off in the settings ([app] clipboard = "off").')
        raise CopyError(f"{off} {_(_WAY_OUT)}")
    data = text.encode("utf-8", "replace")
    if len(data) > LIMIT_BYTES:
        raise CopyError(
            _(
                "Not copied: these are {size} kB, terminals take at most {limit}. {way_out}",
                size=len(data) // 1000,
                limit=LIMIT_BYTES // 1000,
                way_out=_(_WAY_OUT),
            )
        )
    raw = f"\x1b]52;c;{base64.b64encode(data).decode()}\a"
    wrapped = f"\x1bPtmux;{raw.replace(chr(27), chr(27) * 2)}\x1b\\"
    if clipboard == "auto":
        return raw + wrapped if environment.get("TMUX") else raw
    return wrapped if clipboard == "tmux" else raw


def sent_words(text: str, environment: Mapping[str, str]) -> str:
    """What can honestly be said after sending."""
    what = _("{n:,} characters sent to the terminal's clipboard.", n=len(text))
    if environment.get("TMUX"):
        return f"{what} {_('If they do not arrive: tmux set-option -g set-clipboard on.')} {_(_WAY_OUT)}"
    return f"{what} {_('If they do not arrive, it does not allow that.')} {_(_WAY_OUT)}"
