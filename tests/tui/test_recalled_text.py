"""A prompt that begins with a slash and was sent as text comes back as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tui.slash import as_typed, read_prompt
from tui.widgets.prompt_box import PromptBox

if TYPE_CHECKING:
    from tests.tui.conftest import Stage


@pytest.mark.parametrize("message", ["hello", "/new", "/usr/bin", "//", "/", "a /new"])
def test_what_is_typed_again_is_the_same_message(message: str) -> None:
    assert read_prompt(as_typed(message)) == message


@pytest.mark.parametrize("typed", [" /new", "//new"])
async def test_a_recalled_text_is_sent_as_text_again(stage: Stage, typed: str) -> None:
    async with stage.ready() as play:
        box = play.app.query_one(PromptBox)
        assert await play.ask(typed)
        await play.press("up")
        await play.until(lambda: box.text == "//new")
        await play.press("enter")
        await play.until(lambda: len(play.open_session.path) == 4)
        await play.answered()
        assert [role for role, _ in stage.last_prompt()][-1] == "user"
        assert stage.last_prompt()[-1] == ("user", "/new")
