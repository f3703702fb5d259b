"""Terminals of every kind: the app starts in them, shows its prompt, answers and leaves without a trace."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tui.conftest import Stage
    from tests.tui.terminal import Terminal

GREY = {0, 7, 8, 15, 16, 59, 102, 145, 188, 231, *range(232, 256)}
"""The greys among 256 colours."""


def use(terminal: Terminal) -> None:
    """Ask something, begin a command, leave the app."""
    terminal.wait_for("Tiny 135M Q4_1")
    terminal.wait_for("Ask something")
    terminal.type("hello\r")
    terminal.wait_for("capital of France.")
    terminal.type("/pre")
    terminal.wait_for("default or your own")
    terminal.type("\x11")
    assert terminal.wait_for_end() == 0
    assert b"Traceback" not in terminal.output


@pytest.mark.parametrize(
    "kind", ["xterm", "xterm-256color", "vt100", "linux", "screen", "screen-256color", "tmux-256color", "ansi"]
)
def test_every_kind_of_terminal(stage: Stage, open_terminal: Callable[..., Terminal], kind: str) -> None:
    terminal = open_terminal(TERM=kind, COLORTERM="", size=(80, 24))
    use(terminal)
    # The alternate screen is left and the cursor shown again.
    assert terminal.output.rindex(b"\x1b[?1049l") > terminal.output.rindex(b"\x1b[?1049h")
    assert b"\x1b[?25h" in terminal.output[terminal.output.rindex(b"\x1b[?1049h") :]


def test_no_color(stage: Stage, open_terminal: Callable[..., Terminal]) -> None:
    terminal = open_terminal(NO_COLOR="1", size=(80, 24))
    use(terminal)
    styles = re.findall(rb"\x1b\[([0-9;]*)m", terminal.output)
    assert styles
    for style in styles:
        rest = re.sub(rb"[34]8;2;(\d+);\1;\1(?=;|$)", b"", style)
        assert b"8;2;" not in rest, style
        assert {int(number) for number in re.findall(rb"[34]8;5;(\d+)", rest)} <= GREY, style
        plain = re.sub(rb"[34]8;5;\d+", b"", rest)
        assert not re.search(rb"(^|;)([349][1-6]|10[1-6])(;|$)", plain), style


@pytest.mark.parametrize("theme", ["textual-light", "ansi-dark", "ansi-light", "nonsense"])
def test_themes(stage: Stage, open_terminal: Callable[..., Terminal], theme: str) -> None:
    (stage.home / "settings.toml").write_text(f'[chat]\nmodel_titles = false\n[app]\ntheme = "{theme}"\n')
    use(open_terminal(size=(80, 24)))


@pytest.mark.parametrize("multiplexer", ["TMUX", "STY", "SSH_CONNECTION"])
def test_what_follows_an_emoji_is_placed_where_widths_may_be_seen_otherwise(
    stage: Stage, open_terminal: Callable[..., Terminal], multiplexer: str
) -> None:
    terminal = open_terminal(**{"TMUX": "", "STY": "", "SSH_CONNECTION": "", multiplexer: "x"})
    terminal.wait_for("ready")
    terminal.type("a\U0001f600b")
    terminal.wait_shown("\U0001f600b")
    behind = re.findall("\U0001f600(?s:(.{8}))".encode(), terminal.output)
    assert behind
    assert all(re.match(rb"\x1b\[[0-9;]*[HC]", after) for after in behind), behind
