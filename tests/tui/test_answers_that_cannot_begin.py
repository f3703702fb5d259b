"""An answer that the database has begun and the app cannot go on with: said, and nothing waits for it for ever."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlite_utils import Database

from engine.protocol import Generate
from storage.answer_tokens import AnswerTokens
from storage.errors import CorruptDatabaseError
from storage.transactions import reads
from tui.services import shelter_folder
from tui.services.answer import Beginning
from tui.widgets.prompt_box import PromptBox

if TYPE_CHECKING:
    from tests.tui.conftest import Play, Stage


async def interrupt_next_reading(play: Play) -> None:
    """Have SQLite break off the first reading of a branch after an answer was begun or taken up again."""
    expected = ["INTO unfinished", "RECURSIVE"]

    def watch_writing(db: Database) -> None:
        db.conn.set_trace_callback(lambda statement: has_come(statement, "INTO unfinished"))

    @reads
    def watch_reading(db: Database) -> None:
        db.conn.set_trace_callback(lambda statement: db.conn.interrupt() if has_come(statement, "RECURSIVE") else None)

    def has_come(statement: str, part: str) -> bool:
        if expected[:1] != [part] or part not in statement:
            return False
        expected.pop(0)
        return True

    await play.app.workspace.store.call(watch_writing)
    await play.app.workspace.store.call(watch_reading)


def damage_what_is_written(db: Database) -> None:
    """Have every change of the text of an answer that is being written meet a damaged index."""
    db.execute("CREATE VIRTUAL TABLE temp.damaged USING fts5(text)")
    db.execute("INSERT INTO temp.damaged VALUES ('text')")
    db.execute("DELETE FROM temp.damaged_content")
    check = "INSERT INTO damaged (damaged) VALUES ('integrity-check')"
    when = "BEFORE UPDATE OF content ON main.messages WHEN new.state = 'writing'"
    db.execute(f"CREATE TEMP TRIGGER meeting_it {when} BEGIN {check}; END")


async def test_an_answer_that_cannot_be_shown_is_interrupted(stage: Stage) -> None:
    async with stage.ready() as play:
        await interrupt_next_reading(play)
        await play.press(*"hello", "enter")
        await play.until_told("interrupted")
        answer = play.open_session.path[-1].message
        assert (answer.role, answer.state, answer.content) == ("assistant", "interrupted", "")
        assert not play.writing.is_busy
        assert stage.heard(Generate) == []
        # What was asked is stored, and not to be sent once more.
        await play.until(lambda: play.app.query_one(PromptBox).text == "")


async def test_a_message_that_was_edited_is_kept_though_its_answer_cannot_be_shown(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("hello")
        await interrupt_next_reading(play)
        assert await play.conversation.edit(play.open_session.path[0].message.id, "good morning")
        await play.until_told("interrupted")
        assert [item.message.content for item in play.open_session.path] == ["good morning", ""]


async def test_an_answer_that_was_to_go_on_and_cannot_be_shown_still_can(stage: Stage) -> None:
    stage.set_script(answers=["one two three"], hold_after=2)
    async with stage.ready() as play:
        await play.say("count")
        await play.until_shown("one two")
        await play.press("escape")
        await play.answered()
        await interrupt_next_reading(play)
        await play.press("ctrl+g")
        await play.until_told("interrupted")
        answer = play.open_session.path[-1].message
        assert (answer.state, answer.content) == ("interrupted", "one two")
        assert play.writing.can_go_on
        assert len(stage.heard(Generate)) == 1


async def test_a_branch_whose_beginning_cannot_be_stored_is_interrupted_and_shown(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with stage.ready() as play:
        await play.ask("hello")
        await play.app.workspace.store.call(damage_what_is_written)
        # Nor is there memory for it.
        nowhere = tmp_path / "a file"
        nowhere.touch()
        monkeypatch.setattr(shelter_folder, "MEMORY", nowhere)
        monkeypatch.setattr("tempfile.tempdir", str(nowhere))
        beginning = Beginning(AnswerTokens(ids=[0], lengths=[5], chances=[None]), "Paris", 1)
        with pytest.raises(CorruptDatabaseError):
            await play.conversation.branch(beginning)
        answer = play.open_session.path[-1]
        assert (answer.message.state, answer.message.content) == ("interrupted", "Paris")
        assert (answer.sibling_index, answer.sibling_count) == (1, 2)
        assert len(stage.heard(Generate)) == 1
        # It has its tokens, and goes on from them.
        await play.press("ctrl+g")
        await play.answered()
