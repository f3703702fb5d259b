"""Copying: what the terminal gets to read, and what the user is told."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tui.clipboard import LIMIT_BYTES, CopyError, copy_sequence, sent_words
from tui.markdown import code_blocks

if TYPE_CHECKING:
    from tests.tui.conftest import Stage
    from tests.tui.terminal import Terminal


def raw(text: str) -> bytes:
    return b"\x1b]52;c;" + base64.b64encode(text.encode()) + b"\x07"


def wrapped(text: str) -> bytes:
    return b"\x1bPtmux;\x1b" + raw(text) + b"\x1b\\"


def test_the_sequence_is_what_terminals_read() -> None:
    assert copy_sequence("hé", "auto", {}).encode() == raw("hé")
    assert copy_sequence("hé", "raw", {"TMUX": "x"}).encode() == raw("hé")
    assert copy_sequence("hé", "tmux", {}).encode() == wrapped("hé")
    assert copy_sequence("hé", "auto", {"TMUX": "x"}).encode() == raw("hé") + wrapped("hé")


def test_what_is_too_long_or_switched_off_is_refused_with_a_way_out() -> None:
    assert copy_sequence("x" * LIMIT_BYTES, "raw", {})
    with pytest.raises(CopyError, match=r"100 kB.*at most 100.*/export"):
        copy_sequence("é" * (LIMIT_BYTES // 2 + 1), "raw", {})
    with pytest.raises(CopyError, match=r"switched off.*/export"):
        copy_sequence("x", "off", {})


def test_nothing_is_promised() -> None:
    assert "3 characters sent" in sent_words("abc", {})
    assert "If they do not arrive" in sent_words("abc", {})
    assert "set-clipboard on" in sent_words("abc", {"TMUX": "x"})


def test_code_blocks() -> None:
    assert code_blocks("a\n```py\nx = 1\n```\nb\n\n    y = 2\n\n- c\n  ```\n  z\n  ```\n") == [
        "x = 1\n",
        "y = 2\n",
        "z\n",
    ]


@pytest.mark.parametrize(("environment", "sent"), [({"TMUX": ""}, raw), ({"TMUX": "/tmp/tmux,1,0"}, wrapped)])
def test_a_message_and_its_code_reach_the_terminal(
    stage: Stage,
    open_terminal: Callable[..., Terminal],
    environment: dict[str, str],
    sent: Callable[[str], bytes],
) -> None:
    answer = "See:\n\n```py\nprint('é')\n```\n"
    stage.set_script(answers=[answer])
    terminal = open_terminal(**environment)
    terminal.wait_for("Tiny 135M Q4_1")
    terminal.type("hello\r")
    terminal.wait_for("again")
    terminal.type("\x1b[Z")
    terminal.wait_for("y copy")
    terminal.type("y")
    terminal.wait_for(f"{len(answer)} characters sent")
    assert sent(answer) in terminal.output
    terminal.type("b")
    terminal.wait_for("11 characters sent")
    assert sent("print('é')\n") in terminal.output
    terminal.type("\x11")
    assert terminal.wait_for_end() == 0


async def test_more_blocks_of_code_are_copied_one_by_one_from_the_last_one_on(stage: Stage) -> None:
    stage.set_script(answers=["```\none\n```\n\n```\ntwo\n```\n\n```\nthree\n```\n", "```\nfour\n```\n"])
    async with stage.ready() as play:
        await play.ask("hello")
        await play.press("shift+tab")
        for block in ("three", "two", "one", "three"):
            await play.press("b")
            await play.until(lambda block=block: play.app.clipboard == f"{block}\n")
        told = [note.message.partition(".")[0] for note in play.app._notifications]
        assert told == ["Block 3 of 3", "Block 2 of 3", "Block 1 of 3", "Block 3 of 3"]
        await play.press("escape")
        await play.ask("again")
        await play.press("shift+tab", "b", "b")
        await play.until(lambda: play.app.clipboard == "four\n")
        await play.press("k", "k", "k", "b")
        await play.until(lambda: play.app.clipboard == "three\n")


async def test_the_last_line_offers_to_copy_code_only_where_there_is_any(stage: Stage) -> None:
    stage.set_script(answers=["```\none\n```\n", "none here"])
    async with stage.ready() as play:

        def last_line() -> str:
            return play.text().splitlines()[-1]

        await play.ask("hello")
        await play.press("shift+tab")
        await play.until(lambda: "b copy code" in last_line())
        await play.press("k")
        await play.press("k")
        await play.until(lambda: "y copy" in last_line() and "copy code" not in last_line())
        await play.press("b")
        await play.until_told("There is no code block to copy.")
        await play.press("j")
        await play.until(lambda: "b copy code" in last_line())


async def test_what_cannot_be_copied_is_said(stage: Stage) -> None:
    (stage.home / "settings.toml").write_text('[chat]\nmodel_titles = false\n[app]\nclipboard = "off"\n')
    async with stage.ready() as play:
        await play.ask("hello")
        await play.press("shift+tab", "b")
        await play.until_shown("no code block")
        await play.press("y")
        await play.until_shown("switched off")
