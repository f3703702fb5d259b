"""Another model in the middle of a session: the session goes on, and each answer keeps the name of who wrote it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.protocol import Generate, Load

if TYPE_CHECKING:
    from tests.tui.conftest import Stage


async def test_the_session_goes_on_with_the_other_model(stage: Stage) -> None:
    other = stage.home / "models" / "Other 1B Q8_0.gguf"
    other.parent.mkdir()
    other.write_bytes(b"GGUF")
    async with stage.ready() as play:
        await play.ask("first question")
        session = play.conversation.session
        await play.press("f4")
        await play.until_shown("None here yet")
        await play.press(*str(other), "enter")
        await play.until(lambda: stage.heard(Load)[-1].path == str(other))
        await play.until(lambda: play.app.workspace.engine.is_ready)
        assert "first question" in play.text()
        await play.ask("second question")
        assert play.conversation.session.id == session.id
        assert [text for role, text in stage.last_prompt() if role == "user"] == ["first question", "second question"]
        assert stage.heard(Generate)[-1].session == stage.heard(Generate)[0].session
        answers = [at.message for at in play.conversation.path if at.message.role == "assistant"]
        assert [answer.model for answer in answers] == ["Tiny 135M Q4_1", "Other 1B Q8_0"]
