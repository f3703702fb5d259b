"""Themes of Textual's that are changed here, since some of their colours cannot be read on their background."""

from __future__ import annotations

from dataclasses import replace

from textual.theme import BUILTIN_THEMES, Theme

_LIGHT = BUILTIN_THEMES["textual-light"]
_ANSI_DARK = BUILTIN_THEMES["ansi-dark"]

CHANGED_THEMES: tuple[Theme, ...] = (
    # Its orange on its grey has a contrast of 1.5, its keys' blue of 2.9.
    replace(
        _LIGHT,
        accent="#9a4c00",
        warning="#9a4c00",
        success="#2e7d4f",
        variables={"footer-key-foreground": "#004578"},
    ),
    # Many terminals' dark blue can hardly be seen on black.
    replace(
        _ANSI_DARK,
        primary="ansi_bright_blue",
        variables={
            **_ANSI_DARK.variables,
            "link-color": "ansi_bright_blue",
            "markdown-h3-color": "ansi_bright_blue",
            "border-blurred": "ansi_bright_black",
        },
    ),
)
