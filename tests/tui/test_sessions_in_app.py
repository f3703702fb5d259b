"""Sessions in the app: there again at the next start, found, left and opened without a word lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from textual import events

from engine.protocol import Generate
from storage import answers, sessions, tree
from storage.connections import open_database
from storage.database import Database
from storage.errors import NoSuchMessageError, StorageError
from storage.records import pack_token_ids
from tui.paths import user_paths
from tui.services.history import History
from tui.widgets.history_pane import HistoryPane
from tui.widgets.prompt_box import PromptBox
from tui.widgets.session_list import SessionList

if TYPE_CHECKING:
    from tests.tui.conftest import Stage


async def store_interrupted_answer() -> None:
    """Leave what a crash in the middle of an answer leaves behind."""
    database = await Database.open(user_paths().database)
    session = await database.call(sessions.create_session, model="m", system="s", settings={}, title="Cut short")
    asked = await database.call(tree.append_message, session.id, None, "user", "count")
    answer = await database.call(
        answers.begin_answer, session.id, asked.id, model="Tiny 135M Q4_1", settings={}, seed=None
    )
    await database.call(answers.checkpoint_answer, answer.id, "one two", pack_token_ids([0, 1]), 2)
    await database.call(
        answers.finish_answer,
        answer.id,
        "one two",
        "interrupted",
        prompt_tokens=None,
        generated_tokens=2,
        tokens_per_second=None,
        first_token_ms=None,
        seed=None,
    )
    await database.close()


async def test_a_session_is_there_at_the_next_start_and_goes_on_with_its_context(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("Capital of France?")
    async with stage.ready(continue_last=True) as play:
        await play.until_shown("Paris is the capital of France.")
        await play.ask("And of Italy?")
        assert [text for _, text in stage.last_prompt()][1:] == [
            "Capital of France?",
            "Paris is the capital of France.",
            "And of Italy?",
        ]


async def test_the_last_model_is_opened_again(stage: Stage) -> None:
    async with stage.ready():
        pass
    async with stage.ready(model=None) as play:
        assert "Tiny 135M Q4_1" in play.text()


async def test_a_plain_start_begins_anew_and_lists_what_was(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("Capital of France?")
    async with stage.ready() as play:
        await play.until_shown("Capital of France")
        assert "Today" in play.text()
        assert play.open_session.path == []


async def test_the_draft_of_each_session_is_kept(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("first")
        first = play.open_session.session.id
        await play.press(*"half a thought")
        await play.press("ctrl+n")
        await play.until(lambda: play.open_session.session is None)
        await play.until(lambda: play.app.query_one(PromptBox).text == "")
        await play.press(*"another one")
    async with stage.ready(resume=first) as play:
        await play.until(lambda: play.app.query_one(PromptBox).text == "half a thought")
        # What was typed into the session that never was sent is a session of its own by now.
        await play.until_shown("another one")


@pytest.mark.parametrize("failing", [False, True])
async def test_what_is_typed_while_another_session_opens_is_for_that_one(
    stage: Stage, failing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage.ready() as play:
        await play.ask("first")
        first = play.open_session.session
        box = play.app.query_one(PromptBox)
        await play.press(*"half a ")
        if failing:

            async def fail() -> None:
                raise StorageError("no way", hint="")

            monkeypatch.setattr(play.opening, "_leave", fail)
        async with play.session_lock:
            await play.press("ctrl+n", *"new", "ctrl+n", *"er")
            # The second ctrl+n waits for the first one, for a while.
            await play.until(lambda: box.text == "newer")
        if failing:
            await play.until_told("no way")
            await play.until(lambda: box.text == "half a newer")
            return
        await play.until(lambda: play.open_session.session is None)
        await play.press(*"!")
        assert box.text == "newer!"
        await play.press("f2", "enter", *"thought")
        await play.until(lambda: play.open_session.session is not None and box.text == "half a thought")
        assert play.open_session.session.id == first.id
    async with stage.ready(resume=first.id) as play:
        await play.until(lambda: play.app.query_one(PromptBox).text == "half a thought")


async def test_choosing_the_open_session_leaves_the_prompt_box_alone(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("first")
        await play.press(*"half a ", "f2", "enter", *"thought")
        await play.until(lambda: play.app.query_one(PromptBox).text == "half a thought")


async def test_opening_a_session_twice_at_once_takes_no_text_along(stage: Stage) -> None:
    async with stage.ready() as play:
        box = play.app.query_one(PromptBox)
        await play.ask("first")
        first = play.open_session.session.id
        await play.press(*"of the first", "ctrl+n")
        await play.until(lambda: play.open_session.session is None)
        await play.ask("second")
        second = play.open_session.session.id
        await play.press(*"of the second")
        pane = play.app.screen.query_one(HistoryPane)
        async with play.session_lock:
            for session_id in (first, first, second, first):
                pane.post_message(pane.Chosen(session_id))
            await play.until(lambda: play.app.screen.parts.switching.n_under_way == 4)
        await play.until(lambda: not play.app.screen.parts.switching.n_under_way)
        assert box.text == "of the first"
        await play.opening.open(second)
        await play.until(lambda: box.text == "of the second")


async def test_what_is_typed_before_the_session_opens_stays(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("first")
        session_id = play.open_session.session.id
    async with stage.running(resume=session_id) as play:
        await play.press(*"quick")
        await play.until(lambda: play.app.workspace.is_open)
        await play.until_shown("Paris is")
        assert play.app.query_one(PromptBox).text == "quick"


async def test_the_history_opens_another_session(stage: Stage) -> None:
    stage.set_script(answers=["Alpha.", "Beta."])
    async with stage.ready() as play:
        await play.ask("question a")
        await play.press("ctrl+n")
        await play.until(lambda: play.open_session.session is None)
        await play.ask("question b")
        await play.press("f2", "down", "enter")
        await play.until_shown("Alpha.")
        assert "Beta." not in play.text()
        assert isinstance(play.app.focused, PromptBox)


async def test_search_finds_words_of_answers(stage: Stage) -> None:
    stage.set_script(answers=["The zebra sleeps.", "The lion roars."])
    async with stage.ready() as play:
        await play.ask("question a")
        await play.press("ctrl+n")
        await play.until(lambda: play.open_session.session is None)
        await play.ask("question b")
        await play.press("f2", "slash", *"zeb")
        await play.until(lambda: "question b" not in play.shown("#sessions"))
        await play.until(lambda: "zebra" in play.shown("#sessions"))
        await play.press("enter", "enter")
        await play.until_shown("The zebra sleeps.")


async def test_a_session_that_there_is_not_leaves_the_others(stage: Stage) -> None:
    db = open_database(user_paths().database)
    sessions.create_session(db, model="m", system="", settings={}, title="Rivers")
    async with stage.running(resume="nowhere") as play:
        await play.until_told("There is no session nowhere.")
        await play.until(lambda: "Rivers" in play.shown("#sessions"))
        sessions.create_session(db, model="m", system="", settings={}, title="Lakes")
        await play.until(lambda: "Lakes" in play.shown("#sessions"))
    db.close()


async def test_a_message_that_is_gone_is_not_gone_to(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("first")
        other = play.open_session.session
        await play.press("ctrl+n")
        await play.until(lambda: play.open_session.session is None)
        await play.ask("second")
        with pytest.raises(NoSuchMessageError):
            await play.opening.open(other.id, at="0123456789abcdef")
        assert play.open_session.session.title == "second"
        await play.ask("third")
        assert [item.message.content for item in play.open_session.path][::2] == ["second", "third"]


async def test_a_deleted_session_comes_back(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("precious")
        await play.press("f2", "d")
        await play.until(lambda: "precious" not in play.shown("#sessions"))
        await play.until(lambda: play.open_session.session is None)
        play.app.screen.action_restore_session()
        await play.until(lambda: "precious" in play.shown("#sessions"))
        await play.until_shown("Paris is")


async def test_a_session_gets_another_title(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("hello")
        await play.press("f10")
        await play.until_shown("Title of this session")
        await play.press("home", "shift+end", "delete", *"My title", "enter")
        await play.until(lambda: "My title" in play.shown("#sessions"))
        assert "My title" in play.shown("ChatHeader")


async def test_a_start_after_a_crash_comes_back_to_the_answer_and_goes_on(stage: Stage) -> None:
    await store_interrupted_answer()
    stage.set_script(answers=["one two three four"])
    async with stage.ready() as play:
        await play.until_shown("interrupted")
        await play.press("ctrl+g")
        await play.until(lambda: stage.heard(Generate))
        await play.answered()
        assert play.open_session.path[-1].message.content == "one two three four"


async def test_the_answer_is_on_disk_while_it_is_written(stage: Stage) -> None:
    stage.set_script(answers=["one two three"], hold_after=2)
    async with stage.ready() as play:
        await play.say("count")
        await play.until_shown("one two")
        reader = await Database.open(user_paths().database)
        session_id = play.open_session.session.id

        async def stored() -> str:
            return (await reader.call(tree.path, session_id))[-1].message.content

        async with asyncio.timeout(10):
            while await stored() != "one two":
                await play.pilot.pause(0.02)
        await reader.close()
        # Until more comes, it is not stored again.
        await play.until(lambda: play.writing.answer.is_stored)


@pytest.mark.parametrize("is_cut_off", [False, True])
async def test_leaving_the_app_keeps_the_answer_and_an_app_that_is_cut_off_comes_back_to_it(
    stage: Stage, is_cut_off: bool
) -> None:
    stage.set_script(answers=["one two three"], hold_after=2)
    async with stage.ready() as play:
        await play.say("count")
        await play.until_shown("one two")
        session_id = play.open_session.session.id
        play.writing.is_cut_off = is_cut_off
        await play.press("ctrl+q")
    database = await Database.open(user_paths().database)
    message = (await database.call(tree.path, session_id))[-1].message
    await database.close()
    assert (message.content, message.state) == ("one two", "interrupted" if is_cut_off else "stopped")
    async with stage.ready() as play:
        await play.until_shown("count")
        await play.until(lambda: play.open_session.id == (session_id if is_cut_off else None))


async def test_text_typed_just_before_leaving_is_kept(stage: Stage) -> None:
    stage.set_script(answers=["one"])
    async with stage.ready() as play:
        await play.ask("count")
        session_id = play.open_session.session.id
        for letter in "and on":
            play.app.post_message(events.Key("space" if letter == " " else letter, letter))
        play.app.post_message(events.Key("ctrl+q", None))
        await play.until(lambda: not play.app.is_running)
    database = await Database.open(user_paths().database)
    session = await database.call(sessions.get_session, session_id)
    await database.close()
    assert session.draft == "and on"


async def test_hundreds_of_sessions_come_a_page_at_a_time(stage: Stage) -> None:
    database = await Database.open(user_paths().database)
    for number in range(150):
        await database.call(sessions.create_session, model="m", system="s", settings={}, title=f"Session {number}")
    await database.close()
    async with stage.ready() as play:
        listed = play.app.query_one(SessionList)
        await play.until(lambda: listed.option_count > 50)
        assert listed.option_count < 100
        await play.press("f2", "end")
        await play.until(lambda: listed.option_count > 100)
        await play.press("end")
        await play.until(lambda: listed.option_count > 150)
        await play.press("end")
        await play.until_shown("Session 0")


async def test_a_damaged_database_is_told_and_one_can_chat_all_the_same(stage: Stage) -> None:
    path = user_paths().database
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    before = path.read_bytes()
    async with stage.ready() as play:
        await play.until_told("kept in memory")
        play.app.clear_notifications()
        await play.ask("hello")
        await play.until_shown("Paris is the capital of France.")
    assert path.read_bytes() == before


async def test_a_title_is_cut_to_the_width_of_the_pane(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("a question that is longer than the pane")
        await play.until(lambda: "a question that is l" in play.shown("#sessions"))
        lines = [line for line in play.shown("#sessions").splitlines() if line.strip()]
        assert len(lines) == 2
        assert lines[1].rstrip().endswith("…")


@pytest.fixture
def may_open(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """The last session is not found before this is set."""
    event, last = asyncio.Event(), History.last

    async def last_when_allowed(history: History) -> str | None:
        await event.wait()
        return await last(history)

    monkeypatch.setattr(History, "last", last_when_allowed)
    return event


async def test_a_question_asked_while_the_session_opens_is_asked_in_it(stage: Stage, may_open: asyncio.Event) -> None:
    async with stage.ready() as play:
        await play.ask("first")
        session_id = play.open_session.session.id
    async with stage.running(continue_last=True) as play:
        await play.press(*"second", "enter")
        await play.until(lambda: any(worker.group == "send" for worker in play.app.workers))
        may_open.set()
        await play.until(lambda: len(play.open_session.path) == 4)
        await play.answered()
        assert play.open_session.session.id == session_id
        assert [item.message.content for item in play.open_session.path][::2] == ["first", "second"]


async def test_what_is_typed_while_the_session_opens_comes_behind_its_draft(
    stage: Stage, may_open: asyncio.Event
) -> None:
    async with stage.ready() as play:
        await play.ask("first")
        await play.press(*"old")
    async with stage.running(continue_last=True) as play:
        await play.press(*"half")
        may_open.set()
        await play.until(lambda: play.app.workspace.is_open and play.open_session.path)
        await play.press(*"done")
        await play.until(lambda: play.app.screen.query_one(PromptBox).text == "oldhalfdone")
        assert len(play.open_session.path) == 2


async def test_the_archive_is_listed_though_the_session_still_opens(stage: Stage, may_open: asyncio.Event) -> None:
    async with stage.running(continue_last=True) as play:
        await play.press("f2", "v")
        await play.until_shown("Nothing is archived.")
        may_open.set()
        await play.until(lambda: play.app.workspace.is_open)
