"""The message cursor: edit, answer again, fork, delete, and go from branch to branch, all from the keyboard."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from textual.widgets import TextArea

from engine.protocol import Generate, Sampling
from storage import answers, sessions, tree
from storage.answer_tokens import AnswerTokens
from storage.connections import open_database
from storage.errors import CorruptDatabaseError
from tests.tui.test_engine_trouble import engine_pids
from tui.paths import user_paths
from tui.screens.edit_message import EditMessageScreen
from tui.screens.main.palette_commands import main_commands
from tui.services.answer import Beginning
from tui.widgets.prompt_box import PromptBox
from tui.widgets.transcript import Transcript

if TYPE_CHECKING:
    from tests.tui.conftest import Play, Stage


def said(play: Play) -> list[str]:
    """The shown branch."""
    return [item.message.content for item in play.open_session.path]


async def two_turns(play: Play) -> None:
    await play.ask("first")
    await play.ask("second")
    play.app.screen.query_one(Transcript).focus()


async def test_an_earlier_message_is_edited_and_nothing_is_lost(stage: Stage) -> None:
    stage.set_script(answers=["One.", "Two.", "Three."])
    async with stage.ready() as play:
        await two_turns(play)
        await play.press("k", "k", "k", "k", "e")
        await play.until_shown("Another version of this message")
        await play.press(*" again", "ctrl+s")
        await play.until(lambda: said(play) == ["first again", "Three."])
        await play.until_shown("2/2")
        assert stage.last_prompt()[-1] == ("user", "first again")
        await play.answered()
        await play.press("alt+left")
        await play.until(lambda: said(play) == ["first", "One.", "second", "Two."])
        await play.until_shown("1/2")
    async with stage.ready(continue_last=True) as play:
        await play.until(lambda: said(play) == ["first", "One.", "second", "Two."])


async def test_what_is_stored_and_cannot_be_answered_is_not_in_the_box_to_be_sent_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise CorruptDatabaseError("sessions.db", "a page of it is lost")

    async with stage.ready() as play:
        monkeypatch.setattr(answers, "begin_answer", refuse)
        await play.press(*"once", "enter")
        await play.until_told("a page of it is lost")
        await play.until(lambda: said(play) == ["once"])
        await play.until(lambda: not play.app.screen.query_one(PromptBox).text)


async def test_what_is_being_sent_or_edited_when_the_app_is_left_is_stored_once(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("first")
        conversation, question = play.conversation, play.open_session.path[0].message.id
        for deed in (lambda: conversation.send("sent"), lambda: conversation.edit(question, "edited")):
            with closing(open_database(user_paths().database)) as other:
                other.execute("BEGIN IMMEDIATE")
                doing = asyncio.create_task(deed())
                await play.until(play.session_lock.locked)
                # As the end of the screen does.
                doing.cancel()
                other.execute("ROLLBACK")
            await play.until(lambda: not play.session_lock.locked())
            await play.answered()
    with closing(open_database(user_paths().database)) as db:
        kept = tree.all_messages(db, tree.get_message(db, question).session_id)
    assert [message.content for message in kept if message.role == "user"] == ["first", "sent", "edited"]
    assert [message.state for message in kept if message.role == "assistant"] == ["complete"] * 3


async def test_an_answer_is_corrected_and_the_conversation_goes_on_from_there(stage: Stage) -> None:
    stage.set_script(answers=["One.", "Two."])
    async with stage.ready() as play:
        await play.ask("first")
        play.app.screen.query_one(Transcript).focus()
        await play.press("k", "e")
        await play.until_shown("Another version of this message")
        await play.press("backspace", *" and a half.", "ctrl+s")
        await play.until(lambda: said(play) == ["first", "One and a half."])
        await play.ask("more")
        assert [text for _, text in stage.last_prompt()][1:] == ["first", "One and a half.", "more"]


async def test_the_key_that_takes_another_version_says_whether_it_is_sent(stage: Stage) -> None:
    stage.set_script(answers=["One."])
    async with stage.ready() as play:
        await play.ask("first")
        play.app.screen.query_one(Transcript).focus()
        for up, word in (("k", "keep"), ("k", "send")):
            await play.press(up, "e")
            await play.until_shown("Another version of this message")
            await play.until(lambda at=word: f"ctrl+s {at}  esc close" in play.shown("KeyLine"))
            await play.press("escape")
            await play.until(lambda: play.app.focused is play.app.screen.query_one(Transcript))


async def test_an_earlier_answer_is_written_again(stage: Stage) -> None:
    stage.set_script(answers=["One.", "Two.", "Three."])
    async with stage.ready() as play:
        await two_turns(play)
        await play.press("k", "k", "k", "r")
        await play.until(lambda: said(play) == ["first", "Three."])
        await play.until_shown("2/2")
        await play.answered()
        play.app.screen.query_one(Transcript).focus()
        await play.press("k", "left_square_bracket")
        await play.until(lambda: said(play) == ["first", "One.", "second", "Two."])


async def test_the_cursor_stays_on_a_message_of_which_another_version_is_shown(stage: Stage) -> None:
    stage.set_script(answers=["One.", "Two.", "Three."])
    async with stage.ready() as play:
        await two_turns(play)
        transcript = play.app.screen.query_one(Transcript)
        await play.press("k", "k", "k", "r")
        await play.until(lambda: said(play) == ["first", "Three."])
        await play.answered()
        for key, shown in (("left_square_bracket", "One."), ("right_square_bracket", "Three.")):
            await play.press(key)
            await play.until(lambda shown=shown: said(play)[1] == shown)
            await play.until(lambda: [view.message_id for view in transcript.query(".-cursor")])
            assert transcript.cursor_item is not None
            assert transcript.cursor_item.message.content == shown
        await play.press("e")
        await play.until(lambda: isinstance(play.app.screen, EditMessageScreen))
        assert play.app.screen.query_one(TextArea).text == "Three."


async def test_an_earlier_message_whose_answer_is_called_off_is_not_where_the_conversation_goes_on(
    stage: Stage,
) -> None:
    stage.set_script(answers=["One.", "Two."])
    async with stage.ready() as play:
        await two_turns(play)
    stage.set_script(gate="never")
    async with stage.running(continue_last=True) as play:
        await play.until(lambda: said(play) == ["first", "One.", "second", "Two."])
        play.app.screen.query_one(Transcript).focus()
        await play.press("k", "k", "k", "k", "r")
        await play.until(lambda: play.writing.waiting)
        await play.press("escape")
        await play.until(lambda: not play.writing.waiting)
        await play.press("escape")
        await play.say("third")
        await play.until(lambda: said(play) == ["first", "One.", "second", "Two.", "third"])


async def test_a_fork_is_a_session_of_its_own(stage: Stage) -> None:
    stage.set_script(answers=["One.", "Two.", "Three."])
    async with stage.ready() as play:
        await two_turns(play)
        before = play.open_session.session.id
        await play.press("k", "k", "k", "f")
        await play.until(lambda: play.open_session.session.id != before)
        await play.until(lambda: said(play) == ["first", "One."])
        await play.ask("third")
        assert said(play) == ["first", "One.", "third", "Three."]
        await play.opening.open(before)
        assert said(play) == ["first", "One.", "second", "Two."]


async def test_a_message_is_deleted_after_a_question(stage: Stage) -> None:
    stage.set_script(answers=["One.", "Two."])
    async with stage.ready() as play:
        await two_turns(play)
        await play.press("k", "k", "d")
        await play.until_shown("all that follows it")
        await play.press("escape")
        assert said(play) == ["first", "One.", "second", "Two."]
        await play.press("d")
        await play.until_shown("all that follows it")
        await play.press("enter")
        await play.until(lambda: said(play) == ["first", "One."])
        await play.until(lambda: "second" not in play.shown("#transcript"))


async def test_the_last_message_is_deleted_where_none_was_chosen(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("first")
        play.app.screen.query_one(Transcript).focus()
        await play.press("d")
        await play.until_shown("all that follows it")
        await play.press("enter")
        await play.until(lambda: said(play) == ["first"])


async def test_versions_are_gone_through_however_quickly_the_keys_come(stage: Stage) -> None:
    stage.set_script(answers=["One.", "Two.", "Three.", "Four."])
    async with stage.ready() as play:
        await play.ask("first")
        for text in ("Two.", "Three.", "Four."):
            await play.press("ctrl+r")
            await play.until(lambda text=text: said(play) == ["first", text])
            await play.answered()
        async with play.session_lock:
            # Before the first one is none.
            await play.press("alt+left", "alt+left", "alt+left", "alt+left")
        await play.until(lambda: said(play) == ["first", "One."])
        async with play.session_lock:
            await play.press("alt+right", "alt+right")
        await play.until(lambda: said(play) == ["first", "Three."])
        async with play.session_lock:
            # Nor is one behind the last.
            await play.press("alt+right", "alt+right", "alt+left", "alt+left")
        await play.until(lambda: said(play) == ["first", "Two."])


async def test_the_last_question_is_edited_from_the_prompt_box(stage: Stage) -> None:
    stage.set_script(answers=["One.", "Two."])
    async with stage.ready() as play:
        await play.ask("frist")
        await play.press("ctrl+o")
        await play.until_shown("Another version of this message")
        await play.press(*["backspace"] * 5, *"first", "ctrl+s")
        await play.until(lambda: said(play) == ["first", "Two."])


async def test_everything_stands_in_the_palette(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("first")
        titles = " ".join(command.title for command in main_commands(play.app.screen))
        for word in (
            "Fork",
            "another version of your",
            "Delete this message",
            "Answer this message again",
            "Rename",
            "Pin",
        ):
            assert word.casefold() in titles.casefold(), word
    db = open_database(user_paths().database)
    assert len(sessions.list_sessions(db)) == 1
    db.close()


@pytest.mark.parametrize("again", [("ctrl+r",), ("shift+tab", "k", "r"), ("shift+tab", "k", "k", "r")])
async def test_an_answer_that_was_stopped_before_its_first_token_is_no_version(
    stage: Stage, again: tuple[str, ...]
) -> None:
    stage.set_script(hold_after=0)
    async with stage.ready() as play:
        await play.say("hello")
        await play.until(lambda: stage.heard(Generate))
        await play.press("escape")
        await play.answered()
        assert play.open_session.path[-1].message.content == ""
        await play.press(*again)
        await play.until(lambda: len(stage.heard(Generate)) == 2)
        await play.until(lambda: play.writing.is_busy)
        await play.press("escape", "escape")
        await play.answered()
        assert play.open_session.path[-1].sibling_count == 1
        assert len(play.open_session.path) == 2


@pytest.mark.parametrize("again", [("ctrl+r",), ("shift+tab", "k", "r"), ("shift+tab", "k", "k", "r")])
async def test_what_replaces_an_empty_version_answers_the_same_question(stage: Stage, again: tuple[str, ...]) -> None:
    stage.set_script(answers=["One.", "Two."])
    async with stage.ready() as play:
        await two_turns(play)
        stage.set_script(answers=["Three."], hold_after=0)
        await play.app.workspace.engine.restart()
        await play.until(lambda: play.app.workspace.engine.is_ready)
        await play.press("k", "k", "k", "r")
        await play.until(lambda: len(stage.heard(Generate)) == 3)
        await play.press("escape")
        await play.answered()
        assert said(play) == ["first", ""]
        await play.press("escape", *again)
        await play.until(lambda: len(stage.heard(Generate)) == 4)
        assert stage.last_prompt()[1:] == [("user", "first")]
        play.conversation.set_sampling(Sampling(temperature=0.5))
        await play.until(lambda: said(play) == ["first", "Three."])
        assert play.open_session.path[-1].sibling_count == 2


async def test_an_empty_answer_from_which_the_conversation_went_on_stays_with_all_that_follows(stage: Stage) -> None:
    stage.set_script(hold_after=0)
    async with stage.ready() as play:
        await play.say("first")
        await play.until(lambda: stage.heard(Generate))
        await play.press("escape")
        await play.answered()
        stage.set_script(answers=["Two.", "Three."])
        await play.app.workspace.engine.restart()
        await play.until(lambda: play.app.workspace.engine.is_ready)
        await play.ask("second")
        assert said(play) == ["first", "", "second", "Two."]
        play.app.screen.query_one(Transcript).focus()
        await play.press("k", "k", "k", "r")
        await play.until(lambda: said(play) == ["first", "Three."])
        await play.answered()
        await play.press("alt+left")
        await play.until(lambda: said(play) == ["first", "", "second", "Two."])


async def test_nothing_else_is_done_to_a_session_while_an_answer_is_written(stage: Stage) -> None:
    stage.set_script(answers=["One.", "Two and more"], hold_after=2)
    async with stage.ready() as play:
        await play.ask("hello")
        await play.press("ctrl+r")
        await play.until(lambda: play.writing.answer and len(play.writing.answer.new_ids) == 2)
        asked, answered = (item.message.id for item in play.open_session.path)
        conversation, beginning = (
            play.conversation,
            Beginning(AnswerTokens(ids=[0], lengths=[1], chances=[None]), "x", 1),
        )
        assert not await conversation.send("more")
        assert not await conversation.edit(asked, "other")
        assert not await conversation.answer_again()
        assert not await conversation.branch(beginning)
        assert not await conversation.go_on()
        await conversation.delete_message(asked)
        await conversation.switch_sibling(answered, -1)
        assert [item.message.id for item in play.open_session.path] == [asked, answered]
        await play.press("escape")
        await play.answered()
        assert said(play) == ["hello", "Two and"]
        assert play.open_session.path[-1].sibling_count == 2
        assert len(stage.heard(Generate)) == 2


async def test_an_empty_answer_is_replaced_once_the_engine_is_back(stage: Stage) -> None:
    stage.set_script(hold_after=0)
    async with stage.ready() as play:
        await play.say("hello")
        await play.until(lambda: stage.heard(Generate))
        os.kill(engine_pids()[0], signal.SIGKILL)
        await play.until(lambda: play.app.workspace.engine.phase == "dead")
        await play.answered()
        await play.press("ctrl+r")
        await play.until(lambda: play.writing.waiting)
        stage.set_script()
        await play.press("f5")
        await play.until(lambda: said(play) == ["hello", "Paris is the capital of France."])
        assert play.open_session.path[-1].sibling_count == 1
