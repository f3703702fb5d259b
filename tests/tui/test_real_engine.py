"""The app with the real engine and the starter model, once through."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tui.app import LlmTuiApp
from tui.options import AppOptions

if TYPE_CHECKING:
    from tests.tui.conftest import Stage


@pytest.mark.slow
async def test_the_starter_model_answers_stops_and_remembers(stage: Stage, starter_model: Path) -> None:
    (stage.home / "settings.toml").write_text("[sampling]\ntemperature = 0.0\nmax_tokens = 4000\n")
    async with stage.play(LlmTuiApp(AppOptions(model=str(starter_model)))) as play:
        await play.until(lambda: play.app.workspace.engine.is_ready, patience_s=170)
        assert "Paris" in await play.ask("What is the capital of France?")
        await play.until_shown("tok/s")
        await play.say("Write a long story about the sea.")
        await play.until(lambda: play.conversation.answer and len(play.conversation.answer.new_ids) > 5)
        await play.press("escape")
        await play.answered()
        stopped = play.conversation.path[-1].message
        assert stopped.content
        session_id = play.conversation.session.id
    async with stage.play(LlmTuiApp(AppOptions(model=None, resume=session_id))) as play:
        await play.until(lambda: play.app.workspace.engine.is_ready and play.conversation.path)
        assert play.conversation.path[-1].message.content == stopped.content
        assert "Paris" in play.conversation.path[1].message.content
        await play.until_shown("What is the capital")
