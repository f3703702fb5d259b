"""The user's editor where no temporary file can be written: said, and nothing lost."""

from __future__ import annotations

import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from tui.widgets.prompt_box import PromptBox

if TYPE_CHECKING:
    from tests.tui.conftest import Stage


async def test_without_a_temporary_folder_the_text_stays_in_the_box(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITOR", sys.executable)
    async with stage.ready() as play:
        await play.press(*"typed")
        monkeypatch.setattr(tempfile, "tempdir", str(stage.home / "nowhere"))
        await play.press("alt+e")
        await play.until_shown("cannot be started here")
        assert play.app.query_one(PromptBox).text == "typed"
