"""The history pane: titles, pins, the archive, deleting for good, and the way from a search to the message."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from textual.widgets import Markdown
from textual.widgets._toast import Toast

from engine.kept_caches import KEPT, kept_file
from storage import deletion, sessions, tree
from storage.connections import open_database
from storage.database import Database
from storage.export import all_sessions_json
from storage.importers import import_file
from tests.tui.test_boxes import press_at_once
from tui.in_order import BEFORE_KEYS
from tui.paths import user_paths
from tui.services.history import PAGE, Found, History, day_words
from tui.widgets.answer_body import AnswerBody
from tui.widgets.prompt_box import PromptBox
from tui.widgets.session_list import SearchBox, SessionList
from tui.widgets.transcript import Transcript

if TYPE_CHECKING:
    from tests.tui.conftest import Play, Stage


def make_sessions(*titles: str) -> list[str]:
    """Sessions with a message each, the last one the newest."""
    db = open_database(user_paths().database)
    ids = []
    for title in titles:
        session = sessions.create_session(db, model="m", system="", settings={}, title=title)
        tree.append_message(db, session.id, None, "user", f"about {title}")
        ids.append(session.id)
    db.close()
    return ids


def listed(play: Play) -> list[str]:
    """The lines of the history."""
    return [line.strip() for line in play.shown("#sessions").splitlines() if line.strip()]


async def test_a_session_is_renamed_pinned_and_put_away(stage: Stage) -> None:
    make_sessions("Lakes", "Rivers")
    async with stage.ready() as play:
        await play.until(lambda: listed(play) == ["Today", "Rivers", "Lakes"])
        await play.press("f2", "down", "r")
        await play.until_shown("Title of this session")
        await play.press("home", "shift+end", *"Seas", "enter")
        await play.until(lambda: listed(play) == ["Today", "Rivers", "Seas"])
        await play.press("p")
        await play.until(lambda: listed(play) == ["Pinned", "Seas", "Today", "Rivers"])
        await play.press("a")
        await play.until(lambda: listed(play) == ["Today", "Rivers"])
        await play.press("v")
        await play.until(lambda: listed(play) == ["Pinned", "Seas"])
        await play.press("a")
        await play.until(lambda: "Nothing is archived." in listed(play))
        await play.press("v")
        await play.until(lambda: listed(play) == ["Pinned", "Seas", "Today", "Rivers"])


@pytest.mark.parametrize("keys", [("end",), ("pagedown", "pagedown")])
async def test_a_page_that_comes_late_is_not_put_below_another_list(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, keys: tuple[str, ...]
) -> None:
    make_sessions(*(f"Session {n}" for n in range(PAGE + 1)))
    wanted, allowed, page = asyncio.Event(), asyncio.Event(), History.page

    async def slow_page(history: History, after: str | None = None, **options: Any) -> list[Found] | None:
        if after is not None:
            wanted.set()
            await allowed.wait()
        return await page(history, after, **options)

    monkeypatch.setattr(History, "page", slow_page)
    async with stage.ready() as play:
        await play.until(lambda: listed(play))
        await play.press("f2", *keys)
        await play.until(wanted.is_set)
        await play.press("v")
        await play.until(lambda: "Nothing is archived." in listed(play))
        allowed.set()
        await play.until(lambda: all(worker.group not in ("history", BEFORE_KEYS) for worker in play.app.workers))
        assert play.app.screen.query_one(SessionList).option_count == 1


@pytest.mark.parametrize("key", ["end", "up"])
async def test_the_end_of_the_history_is_the_oldest_session(stage: Stage, key: str) -> None:
    make_sessions(*(f"Session {n}" for n in range(3 * PAGE)))
    async with stage.ready() as play:
        await play.until(lambda: len(listed(play)) > 1)
        press_at_once(play, "f2", "home", key, "enter", *"then")
        await play.until(lambda: play.app.query_one(PromptBox).text == "then")
        await play.until(lambda: play.open_session.session is not None)
        assert play.open_session.session.title == "Session 0"
        await play.until(lambda: listed(play)[-1] == "▸ Session 0")


async def test_what_a_search_found_is_put_away_and_taken_back(stage: Stage) -> None:
    (rivers,) = make_sessions("Rivers")
    async with stage.ready() as play:
        store = play.app.workspace.store
        await play.press("f2", "v")
        await play.until_shown("─ Archived")
        await play.press("slash", *"riv")
        await play.until(lambda: any("Rivers" in line for line in listed(play)))
        await play.until_shown("─ History")
        await play.press("enter", "p", "a")
        await play.until_told("The session is archived")
        session = await store.call(sessions.get_session, rivers)
        assert (session.pinned, session.archived) == (True, True)
        await play.press("p", "a")
        await play.until_told("back among the others")
        session = await store.call(sessions.get_session, rivers)
        assert (session.pinned, session.archived) == (False, False)


@pytest.mark.parametrize("back", [(), ("enter",)])
async def test_escape_ends_a_search_before_it_leaves_the_history(stage: Stage, back: tuple[str, ...]) -> None:
    make_sessions("Rivers")
    async with stage.ready() as play:
        await play.press("f2", "slash", *"zzzqqq", *back)
        await play.until(lambda: listed(play) == ["Nothing found."])
        searching = play.app.focused
        await play.until_shown("esc clear")
        await play.press("escape")
        await play.until(lambda: listed(play) == ["Today", "Rivers"])
        assert play.app.focused is searching
        await play.press("escape")
        assert play.app.focused is play.app.screen.query_one(PromptBox)


async def test_what_the_database_refuses_is_told_and_not_said_to_be_done(stage: Stage) -> None:
    make_sessions("Rivers")
    async with stage.ready() as play:
        await play.until(lambda: listed(play) == ["Today", "Rivers"])
        await play.app.workspace.store.call(lambda db: db.execute("PRAGMA query_only = ON"))
        await play.press("f2")
        for key in ("p", "a", "d"):
            await play.press(key)
            await play.until_told("cannot be written")
            assert [toast for toast in play.app._notifications if toast.severity != "error"] == []
            play.app.clear_notifications()
            await play.until(lambda: not play.app.screen.query(Toast))
        assert listed(play) == ["Today", "Rivers"]


async def test_what_is_deleted_can_be_brought_back_and_is_gone_at_the_end(stage: Stage) -> None:
    lakes, rivers = make_sessions("Lakes", "Rivers")
    kept = kept_file(stage.home / "cache" / KEPT, rivers)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"keys and values")
    async with stage.ready() as play:
        await play.until(lambda: listed(play) == ["Today", "Rivers", "Lakes"])
        await play.press("f2", "d")
        await play.until(lambda: listed(play) == ["Today", "Lakes"])
        await play.press("d")
        await play.until(lambda: "No sessions yet." in listed(play))
        await play.press("u")
        await play.until(lambda: "about Lakes" in play.text())
        # One of the two notes that u brings a session back holds no more.
        assert [note.message[:15] for note in play.app._notifications] == ["Session deleted"]
        assert kept.exists()
    assert not kept.exists()
    db = open_database(user_paths().database)
    assert [session.id for session in sessions.list_sessions(db)] == [lakes]
    assert deletion.deleted_sessions(db) == []
    db.close()
    assert b"about Rivers" not in b"".join(file.read_bytes() for file in user_paths().data_dir.glob("sessions.db*"))


async def test_what_was_brought_back_elsewhere_stays_at_the_end(stage: Stage) -> None:
    make_sessions("Lakes", "Rivers")
    db = open_database(user_paths().database)
    copy = stage.home / "copy.json"
    copy.write_text("".join(all_sessions_json(db)))
    async with stage.ready() as play:
        await play.until(lambda: listed(play) == ["Today", "Rivers", "Lakes"])
        await play.press("f2", "d")
        await play.until(lambda: listed(play) == ["Today", "Lakes"])
        import_file(db, copy)
    assert [session.title for session in sessions.list_sessions(db)] == ["Rivers", "Lakes"]
    db.close()


@pytest.mark.parametrize("year", ["0001-01-01", "9999-12-31"])
def test_a_session_of_another_age_has_a_day(year: str, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        for zone in ("UTC+12", "UTC-12"):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            for clock in ("00:00:01", "23:59:59"):
                assert day_words(f"{year}T{clock}.000000Z")
    finally:
        monkeypatch.undo()
        time.tzset()


async def test_an_app_forgets_what_another_one_deleted_long_ago(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.services.history.UNDO_S", -1.0)
    monkeypatch.setattr("tui.services.housekeeping.PURGE_AFTER_S", 0.0)
    (rivers,) = make_sessions("Rivers")
    db = open_database(user_paths().database)
    deletion.delete_session(db, rivers)
    async with stage.ready() as play:
        await play.until(lambda: not deletion.deleted_sessions(db))
    db.close()


async def test_a_search_opens_the_session_at_the_message_on_its_branch(stage: Stage) -> None:
    database = await Database.open(user_paths().database)
    session = await database.call(sessions.create_session, model="m", system="", settings={}, title="Long")
    parent = None
    for number in range(200):
        text = "the Okavango delta" if number == 60 else f"line {number}"
        message = await database.call(tree.append_message, session.id, parent, "user", text)
        parent = message.id
        if number == 60:
            okavango = message
    other = await database.call(tree.edit_message, okavango.id, "another way")
    await database.close()
    async with stage.ready() as play:
        await play.press("f2", "slash", *"okav")
        await play.until(lambda: "Okavango" in play.shown("#sessions"))
        await play.press("enter", "enter")
        await play.until_shown("the Okavango delta")
        transcript = play.app.screen.query_one(Transcript)
        await play.until(lambda: transcript.cursor_item and transcript.cursor_item.message.id == okavango.id)
        assert [item.message.id for item in play.open_session.path].count(other.id) == 0
        await play.until_shown("line 62")
        assert "line 199" not in play.text()
        await play.press("end")
        await play.until_shown("line 199")


def talk(title: str, *texts: str) -> list[str]:
    """A session of these messages; returns their ids."""
    db = open_database(user_paths().database)
    session = sessions.create_session(db, model="m", system="", settings={}, title=title)
    ids: list[str] = []
    for text in texts:
        ids.append(tree.append_message(db, session.id, ids[-1] if ids else None, "user", text).id)
    db.close()
    return ids


async def test_a_title_is_listed_once_above_all_that_is_found_in_its_session(stage: Stage) -> None:
    upper = talk("Europe", "a river one", "nothing", "a river three")
    lower = talk("The river", "nothing", "a river in town")
    async with stage.ready() as play:
        await play.press("f2", "slash", *"river")
        await play.until(
            lambda: listed(play) == ["The river", "a river in town", "Europe", "a river three", "a river one"]
        )
        await play.press("enter")
        transcript = play.app.screen.query_one(Transcript)
        for message_id in (lower[1], upper[2], upper[0]):
            await play.until(lambda: isinstance(play.app.focused, SessionList))
            await play.press("down", "enter")
            await play.until(
                lambda at=message_id: transcript.cursor_item is not None and transcript.cursor_item.message.id == at
            )
            await play.press("f2")
        assert [text for text in listed(play) if "Europe" in text] == ["▸ Europe"]


async def test_a_click_on_what_is_found_opens_that_and_on_the_title_above_the_first(stage: Stage) -> None:
    (first, _, third) = talk("Europe", "a river one", "nothing", "a river three")
    async with stage.ready() as play:
        await play.press("f2", "slash", *"river")
        await play.until(lambda: listed(play) == ["Europe", "a river three", "a river one"])
        transcript = play.app.screen.query_one(Transcript)
        for line, message_id in ((2, first), (0, third), (2, first), (1, third)):
            await play.pilot.click("#sessions", offset=(6, line))
            await play.until(
                lambda at=message_id: transcript.cursor_item is not None and transcript.cursor_item.message.id == at
            )


async def test_a_key_before_all_is_drawn_leaves_the_found_message_in_sight(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = open_database(user_paths().database)
    session = sessions.create_session(db, model="m", system="", settings={}, title="Lakes")
    asked = tree.append_message(db, session.id, None, "user", "about lakes")
    answer = tree.append_message(db, session.id, asked.id, "assistant", "deep water\n\n" * 60)
    db.close()
    drawing = asyncio.Event()
    draws: list[asyncio.Task[None]] = []

    async def draw_later(body: AnswerBody, text: str) -> None:
        async def draw() -> None:
            await drawing.wait()
            await Markdown.update(body, text)

        draws.append(asyncio.create_task(draw()))

    async with stage.ready() as play:
        monkeypatch.setattr(AnswerBody, "update", draw_later)
        transcript = play.app.screen.query_one(Transcript)
        transcript.focus()
        await play.opening.open(session.id, at=asked.id)
        await play.until(lambda: transcript.has_focus and draws)
        await play.press("up")
        drawing.set()
        await play.until(lambda: all(draw.done() for draw in draws) and transcript.max_scroll_y > 60)
        assert transcript.scroll_y == 0
        await play.press("end")
        await play.until(lambda: transcript.scroll_y == transcript.max_scroll_y)
        assert play.open_session.path[-1].message.id == answer.id


async def test_a_slow_search_does_not_hide_a_newer_one(stage: Stage) -> None:
    make_sessions("Alpha", "Beta")
    async with stage.ready() as play:
        await play.press("f2", "slash", *"alpha")
        await play.until(lambda: "Alpha" in play.shown("#sessions") and "Beta" not in play.shown("#sessions"))
        await play.press(*["backspace"] * 5, *"bet")
        await play.until(lambda: "Beta" in play.shown("#sessions") and "Alpha" not in play.shown("#sessions"))
        await play.press(*["backspace"] * 3)
        await play.until(lambda: listed(play) == ["Today", "Beta", "Alpha"])


@pytest.mark.parametrize("key", ["enter", "down"])
async def test_from_the_search_box_to_what_was_found(stage: Stage, key: str) -> None:
    make_sessions("Lakes", "Rivers")
    async with stage.ready() as play:
        await play.press("f2", "slash", *"lakes")
        await play.until(lambda: listed(play)[:1] == ["Lakes"])
        await play.press(key)
        await play.until(lambda: play.app.focused is not None and play.app.focused.id == "sessions")
        await play.press("enter")
        await play.until_shown("about Lakes")


async def test_letters_right_behind_the_slash_are_searched_for(stage: Stage) -> None:
    make_sessions("Lakes", "Delta")
    async with stage.ready() as play:
        await play.until(lambda: listed(play) == ["Today", "Delta", "Lakes"])
        await play.press("f2")
        await play.until(lambda: isinstance(play.app.focused, SessionList))
        press_at_once(play, "slash", *"lakes", "backspace", *"s")
        await play.until(lambda: play.app.screen.query_one(SearchBox).value == "lakes")
        await play.until(lambda: listed(play)[:1] == ["Lakes"])
        await play.press("escape", "escape")
        await play.until(lambda: listed(play) == ["Today", "Delta", "Lakes"])
