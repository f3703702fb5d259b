"""Another model in the middle of a session: the session goes on, and each answer keeps the name of who wrote it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from engine.protocol import Generate, Load
from tui.model_choice import last_model
from tui.paths import user_paths
from tui.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from tests.tui.conftest import Stage


async def test_the_session_goes_on_with_the_other_model(stage: Stage) -> None:
    other = stage.home / "models" / "Other 1B Q8_0.gguf"
    other.parent.mkdir()
    other.write_bytes(b"GGUF")
    async with stage.ready() as play:
        await play.ask("first question")
        session = play.open_session.session
        await play.press("f4")
        await play.until_shown("None here yet")
        await play.press(*str(other), "enter")
        await play.until(lambda: stage.heard(Load)[-1].path == str(other))
        await play.until(lambda: play.app.workspace.engine.is_ready)
        assert "first question" in play.text()
        await play.ask("second question")
        assert play.open_session.session.id == session.id
        assert [text for role, text in stage.last_prompt() if role == "user"] == ["first question", "second question"]
        assert stage.heard(Generate)[-1].session == stage.heard(Generate)[0].session
        answers = [at.message for at in play.open_session.path if at.message.role == "assistant"]
        assert [answer.model for answer in answers] == ["Tiny 135M Q4_1", "Other 1B Q8_0"]


async def test_another_model_goes_on_with_an_answer_from_its_text(stage: Stage) -> None:
    other = stage.home / "Other 1B Q8_0.gguf"
    other.write_bytes(b"GGUF")
    stage.set_script(answers=["one two three"], hold_after=2)
    async with stage.ready() as play:
        await play.say("count")
        await play.until_shown("one two")
        await play.press("escape")
        await play.answered()
        stage.set_script(answers=[", and more"], hold_after=1)
        await play.press(*f"/model {other}", "enter")
        await play.until(lambda: stage.heard(Load)[-1].path == str(other))
        await play.app.workspace.engine.restart()
        await play.until(lambda: play.app.workspace.engine.is_ready)
        for n_asked, text in ((2, "one two"), (3, "one two,")):
            await play.press("ctrl+g")
            await play.until(lambda n=n_asked: len(stage.heard(Generate)) == n)
            asked = stage.heard(Generate)[-1].prompt
            assert (asked.answer_ids, asked.answer_text) == ([], text)
            await play.until(lambda: play.writing.answer and play.writing.answer.new_ids)
            await play.press("escape")
            await play.answered()
        message = play.open_session.path[-1].message
        assert (message.content, message.generated_tokens) == ("one two,,", 4)


@pytest.mark.parametrize("is_folder", [False, True])
async def test_what_is_no_model_leaves_the_open_one_alone(stage: Stage, is_folder: bool) -> None:
    junk = stage.home / "bin.dat"
    if is_folder:
        junk.mkdir()
    else:
        junk.write_bytes(b"\0\1\2\3\4\5")
    async with stage.ready() as play:
        await play.press(*f"/model {junk}", "enter")
        await play.until_told("a folder without a model" if is_folder else "no model file that is known here")
        await play.ask("still there?")
        assert [load.path for load in stage.heard(Load)] == [str(stage.model)]


async def test_only_a_model_that_opens_is_the_next_starts(stage: Stage) -> None:
    other = stage.home / "Other 1B Q8_0.gguf"
    other.write_bytes(b"GGUF")
    async with stage.ready() as play:
        await play.until(lambda: last_model(user_paths()) == stage.model)
        stage.set_script(load_error="The file ends too early.")
        await play.app.workspace.engine.restart()
        await play.until_shown("The file ends too early.")
        await play.press(*f"/model {other}", "enter")
        await play.until(lambda: stage.heard(Load)[-1].path == str(other))
        await play.until(lambda: play.app.workspace.engine.phase == "empty")
        await play.until(lambda: "The file ends too early." in play.app.screen.query_one(StatusLine).trouble)
        assert last_model(user_paths()) == stage.model
        stage.set_script()
        await play.app.workspace.engine.restart()
        await play.press(*f"/model {other}", "enter")
        await play.until(lambda: play.app.workspace.engine.is_ready)
        await play.until(lambda: last_model(user_paths()) == other)
