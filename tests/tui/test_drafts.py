"""What was typed where the session cannot keep it: it goes to the fork, comes back, or is a session of its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from storage import claims, deletion, sessions, tree
from storage.connections import open_database
from storage.errors import StorageError
from storage.owners import this_owner
from tests.tui.conftest import PATIENCE_S
from tui.paths import user_paths
from tui.services.drafts import Drafts
from tui.services.store import Store
from tui.widgets.prompt_box import PromptBox

if TYPE_CHECKING:
    from tests.tui.conftest import Play, Stage


def held_session(title: str = "Shared") -> str:
    """A session that another app has open."""
    db = open_database(user_paths().database)
    session = sessions.create_session(db, model="m", system="", settings={}, title=title)
    tree.append_message(db, session.id, None, "user", "said elsewhere")
    sessions.set_draft(db, session.id, "theirs")
    claims.claim_session(db, session.id, this_owner())
    db.close()
    return session.id


def stored_drafts() -> dict[str, str]:
    """The drafts in the database, by title."""
    db = open_database(user_paths().database)
    drafts = {session.title: session.draft for session in sessions.list_sessions(db)}
    db.close()
    return drafts


def box(play: Play) -> PromptBox:
    return play.app.query_one(PromptBox)


def test_what_is_typed_before_a_draft_is_shown_comes_behind_it_and_goes_without_it() -> None:
    drafts = Drafts(Store(lambda error: None))
    drafts.change("typed")
    drafts.take_up("s", "stored ", keep_typed=True)
    assert (drafts.to_show, drafts.text) == ("stored ", "stored typed")
    drafts.change("typed on")
    assert (drafts.to_show, drafts.text) == ("stored ", "stored typed on")
    drafts.clear()
    assert drafts.text == "stored "
    drafts.is_shown()
    drafts.change("something else")
    assert (drafts.to_show, drafts.text) == ("something else", "something else")


def test_what_is_empty_by_now_is_no_session_at_the_end() -> None:
    drafts = Drafts(Store(lambda error: None))
    for session_id, text in (("a", "typed"), ("b", "more"), ("b", " ")):
        drafts.change(text)
        drafts.keep(session_id)
    drafts.keep_apart("apart")
    drafts.keep_apart("\n")
    assert drafts.take_kept() == ["typed", "apart"]
    assert (drafts.take_kept(), drafts.has_apart) == ([], False)


async def test_a_fork_of_a_held_session_gets_what_was_typed_in_it(stage: Stage) -> None:
    session_id = held_session()
    async with stage.ready(resume=session_id) as play:
        await play.until_shown("Open in another llm-tui")
        box(play).show_draft("mine")
        await play.press("enter")
        await play.until_shown("not sent")
        await play.press("ctrl+t")
        await play.until(lambda: play.open_session.session.id != session_id)
        await play.until(lambda: box(play).text == "mine")
        await play.press("ctrl+n")
        await play.until(lambda: play.open_session.session is None)
        await play.opening.open(session_id)
        await play.until(lambda: box(play).text == "theirs")


async def test_what_is_typed_in_a_held_session_comes_back_with_it_and_is_a_session_at_the_end(stage: Stage) -> None:
    session_id = held_session()
    async with stage.ready(resume=session_id) as play:
        await play.until_shown("Open in another llm-tui")
        box(play).show_draft("mine")
        await play.press("ctrl+n")
        await play.until(lambda: play.open_session.session is None)
        await play.until(lambda: box(play).text == "")
        await play.opening.open(session_id)
        await play.until(lambda: box(play).text == "mine")
    assert stored_drafts() == {"Shared": "theirs", "mine": "mine"}


async def test_what_is_typed_in_a_session_that_was_deleted_elsewhere_is_one_of_its_own(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("first")
        box(play).show_draft("still in the box")
        await play.until(lambda: stored_drafts() == {"first": "still in the box"})
        db = open_database(user_paths().database)
        deletion.delete_session(db, play.open_session.session.id)
        db.close()
        # Whether the app has noticed by now or not.
        await play.press("ctrl+n")
        await play.until(lambda: stored_drafts() == {"still in the box": "still in the box"})
        assert box(play).text == ""


async def test_what_is_typed_while_the_draft_is_being_stored_is_stored_after_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ready, set_draft = threading.Event(), threading.Event(), sessions.set_draft

    def set_slowly(*arguments: Any) -> None:
        begun.set()
        assert ready.wait(PATIENCE_S)
        set_draft(*arguments)

    async with stage.ready() as play:
        await play.ask("first")
        monkeypatch.setattr(sessions, "set_draft", set_slowly)
        await play.press(*"half a")
        await play.until(begun.is_set)
        await play.press(*" thought")
        ready.set()
        await play.until(lambda: stored_drafts() == {"first": "half a thought"})


async def test_a_setting_and_a_draft_that_cannot_be_stored_at_once_are_stored_when_the_session_is_left(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[Any] = []

    def refuse(*arguments: Any) -> None:
        refused.append(arguments)
        raise StorageError("not now")

    async with stage.ready() as play:
        await play.ask("first")
        session = play.open_session.session
        with monkeypatch.context() as patch:
            for name in ("set_settings", "set_draft"):
                patch.setattr(sessions, name, refuse)
            play.conversation.set_sampling(msgspec.structs.replace(play.open_session.sampling, temperature=0.25))
            await play.until(lambda: refused)
            refused.clear()
            box(play).show_draft("half a thought")
            await play.until(lambda: refused)
        await play.opening.new()
        stored = await play.app.workspace.store.call(sessions.get_session, session.id)
        assert (stored.settings["temperature"], stored.draft) == (0.25, "half a thought")


async def test_what_is_sent_is_no_draft_from_the_moment_at_which_it_is_said(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("first")
        box(play).show_draft("second")
        await play.until(lambda: stored_drafts() == {"first": "second"})
        assert await play.conversation.send("second")
        assert stored_drafts() == {"first": ""}
