"""Two apps on one database: each sees what the other does, and only one writes in a session."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from engine.protocol import Generate
from storage import answers, claims, deletion, sessions, tree
from storage.answer_tokens import AnswerTokens
from storage.connections import open_database
from storage.errors import SessionHeldError
from storage.export import session_json
from storage.owners import Owner, this_owner
from storage.records import pack_token_ids
from tests.storage.holding import who_holds
from tests.tui.test_engine_trouble import COUNTING
from tui.paths import user_paths
from tui.screens.main.palette_commands import main_commands
from tui.services.answer import Beginning
from tui.widgets.key_line import KeyLine
from tui.widgets.transcript import Transcript

if TYPE_CHECKING:
    from sqlite_utils import Database

    from storage.records import Message, Session
    from tests.tui.conftest import Stage


@pytest.fixture
def db(stage: Stage) -> Iterator[Database]:
    """The database of the stage's app, as another app has it open."""
    with closing(open_database(user_paths().database)) as opened:
        yield opened


def begin_elsewhere(db: Database, system: str = "") -> tuple[Session, Message]:
    """A session of another app, and the message in it."""
    session = sessions.create_session(db, model="m", system=system, settings={}, title="Shared")
    return session, tree.append_message(db, session.id, None, "user", "said elsewhere")


async def test_what_another_app_does_is_seen(stage: Stage, db: Database) -> None:
    async with stage.ready() as play:
        await play.ask("mine")
        session_id = play.open_session.session.id
        sessions.create_session(db, model="m", system="", settings={}, title="Theirs")
        await play.until(lambda: "Theirs" in play.shown("#sessions"))
        sessions.rename_session(db, session_id, "Another title")
        await play.until(lambda: "Another title" in play.shown("ChatHeader"))


async def test_what_is_typed_in_a_session_that_another_app_deletes_is_kept(stage: Stage, db: Database) -> None:
    session, _ = begin_elsewhere(db)
    async with stage.ready(resume=session.id) as play:
        await play.press(*"not sent yet")
        await play.until(lambda: sessions.get_session(db, session.id).draft == "not sent yet")
        deletion.delete_session(db, session.id)
        await play.until_told("This session was deleted elsewhere.")
        await play.until(lambda: "said elsewhere" not in play.text())
        assert play.open_session.session is None
        assert "not sent yet" in play.shown("PromptBox")
        await play.ask("")
    assert [session.title for session in sessions.list_sessions(db)] == ["not sent yet"]


@pytest.mark.parametrize(("command", "told"), [("attach", "is not text in UTF-8"), ("model", "is no model file")])
async def test_naming_the_database_itself_does_not_take_its_locks_away(stage: Stage, command: str, told: str) -> None:
    database = user_paths().database
    come_and_go = "import sys; from storage.connections import open_database; open_database(sys.argv[1]).close()"
    async with stage.ready() as play:
        await play.ask("question")
        await play.press(*f"/{command} {database}", "enter")
        await play.until_told(told)
        subprocess.run([sys.executable, "-c", come_and_go, database], check=True)
        assert database.with_name(f"{database.name}-wal").exists()


async def test_a_draft_in_a_session_that_is_deleted_during_an_answer_is_kept(stage: Stage, db: Database) -> None:
    stage.set_script(answers=[COUNTING], hold_after=3)
    async with stage.ready() as play:
        await play.say("question")
        session = play.open_session.session
        await play.press(*"not sent")
        await play.until(lambda: sessions.get_session(db, session.id).draft == "not sent")
        assert play.writing.is_busy
        deletion.purge_session(db, session.id)
    (left,) = sessions.list_sessions(db)
    assert (left.title, left.draft) == ("not sent", "not sent")
    assert play.open_session.session.id == left.id


async def test_a_session_that_another_app_has_open_is_read_and_forked(stage: Stage, db: Database) -> None:
    session, message = begin_elsewhere(db)
    other = this_owner()
    claims.claim_session(db, session.id, other)
    async with stage.ready(resume=session.id) as play:
        await play.until_shown("Open in another llm-tui")
        # The other app goes on, and that is seen here.
        tree.append_message(db, session.id, message.id, "user", "said later")
        await play.until_shown("said later")
        await play.press(*"no", "enter")
        await play.until_shown("not sent")
        assert len(play.open_session.path) == 2
        await play.press("ctrl+t")
        await play.until(lambda: play.open_session.session.id != session.id)
        await play.until(lambda: "Open in another" not in play.text())
        assert await play.ask("here") == "Paris is the capital of France."
        assert len(tree.path(db, session.id)) == 2


async def test_a_session_that_another_app_has_open_is_not_changed_whatever_is_asked_for(
    stage: Stage, db: Database
) -> None:
    session, asked = begin_elsewhere(db, system="Be brief.")
    asked = tree.edit_message(db, asked.id, "asked otherwise")
    answer = answers.begin_answer(db, session.id, asked.id, model="m", settings={}, seed=None)
    figures = dict.fromkeys(("prompt_tokens", "generated_tokens", "tokens_per_second", "first_token_ms", "seed"))
    answers.finish_answer(db, answer.id, "Paris", "stopped", token_ids=pack_token_ids([1]), **figures)
    claims.claim_session(db, session.id, Owner("other", "elsewhere", 4711, 0.0))
    async with stage.ready(resume=session.id) as play:
        await play.until_shown("Open in another llm-tui")
        conversation, before = play.conversation, session_json(db, session.id)
        nothing = AnswerTokens(ids=[], lengths=[], chances=[])
        for deed in (
            lambda: conversation.send("more"),
            lambda: conversation.edit(asked.id, "asked once more"),
            lambda: conversation.delete_message(answer.id),
            lambda: conversation.switch_sibling(asked.id, -1),
            lambda: conversation.answer_again(),
            lambda: conversation.go_on(),
            lambda: conversation.branch(Beginning(nothing, "", 1)),
            lambda: conversation.set_system("Be kind."),
            lambda: conversation.set_template("chatml"),
        ):
            with pytest.raises(SessionHeldError, match="elsewhere"):
                await deed()
        assert session_json(db, session.id) == before
        assert stage.heard(Generate) == []


async def test_a_session_is_free_again_once_the_other_app_leaves_it(stage: Stage, db: Database) -> None:
    session, _ = begin_elsewhere(db)
    other = this_owner()
    claims.claim_session(db, session.id, other)
    async with stage.ready(resume=session.id) as play:
        await play.until_shown("Open in another llm-tui")
        claims.release_session(db, session.id, other)
        await play.until(lambda: "Open in another" not in play.text())
        assert play.claim.held_by is None
        assert who_holds(db, session.id).pid == os.getpid()
        await play.opening.new()
        assert who_holds(db, session.id) is None


async def test_how_answers_are_written_is_as_the_app_before_has_left_it(stage: Stage, db: Database) -> None:
    other = this_owner()
    session, _ = begin_elsewhere(db, system="Be brief.")
    claims.claim_session(db, session.id, other)
    async with stage.ready(resume=session.id) as play:
        await play.until_shown("System: Be brief.")
        sessions.set_system(db, session.id, "Rhyme.")
        sessions.set_template(db, session.id, "zephyr")
        sessions.set_settings(db, session.id, {"temperature": 0.25})
        await play.until_shown("System: Rhyme.")
        claims.release_session(db, session.id, other)
        await play.until(lambda: play.claim.held_by is None)
        await play.ask("mine")
        asked = stage.heard(Generate)[-1]
        assert (asked.prompt.messages[0].content, asked.prompt.template) == ("Rhyme.", "zephyr")
        assert asked.sampling.temperature == 0.25
        assert "0.25" in play.shown("#temperature")


async def test_a_session_of_an_app_that_was_killed_is_taken_over(stage: Stage, db: Database) -> None:
    session, _ = begin_elsewhere(db)
    claim = (
        "import sys; from storage import claims, owners; from storage.connections import open_database;"
        "claims.claim_session(open_database(sys.argv[1]), sys.argv[2], owners.this_owner())"
    )
    subprocess.run([sys.executable, "-c", claim, user_paths().database, session.id], check=True)
    async with stage.ready(resume=session.id) as play:
        assert play.claim.held_by is None
        assert play.app.screen.query_one(Transcript).query_one(".held").display is False


async def test_the_answer_of_an_app_that_is_killed_can_go_on_in_another_that_runs(stage: Stage, db: Database) -> None:
    session, asked = begin_elsewhere(db)
    write = (
        "import sys; from storage import answers, claims, owners; from storage.connections import open_database;"
        "from storage.records import pack_token_ids; db = open_database(sys.argv[1]);"
        "claims.claim_session(db, sys.argv[2], owners.this_owner());"
        "answer = answers.begin_answer(db, *sys.argv[2:], model='m', settings={}, seed=None);"
        "answers.checkpoint_answer(db, answer.id, 'Half an answer', pack_token_ids([1, 2]), 2);"
        "print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", write, str(user_paths().database), session.id, asked.id]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        async with stage.ready(resume=session.id) as play:
            await play.until_shown("Half an answer")
            assert play.claim.held_by is not None
            other.kill()
            other.wait()
            await play.opening.beat()
            await play.until_shown("interrupted")
            assert play.claim.held_by is None
            assert play.writing.can_go_on


async def test_a_held_session_offers_nothing_that_it_refuses(stage: Stage) -> None:
    stage.set_script(hold_after=2)
    async with stage.ready() as play:
        await play.say("hello")
        await play.until_shown("Paris is")
        await play.press("escape")
        await play.answered()
        await play.until_shown("ctrl+g go on")
        session = play.open_session.session
        assert session is not None
    db = open_database(user_paths().database)
    claims.claim_session(db, session.id, Owner("other", "elsewhere", 4711, 0.0))
    db.close()
    async with stage.ready(resume=session.id) as play:
        await play.until_shown("Open in another llm-tui")
        await play.until(lambda: "ctrl+g" not in play.shown(KeyLine))
        await play.press("shift+tab", "k")
        await play.until(lambda: "y copy" in play.shown(KeyLine))
        assert "f fork" in play.shown(KeyLine)
        refused = {"r", "d", "delete", "e", "left_square_bracket", "right_square_bracket"}
        assert not refused & {key for key, active in play.app.screen.active_bindings.items() if active.enabled}
        commands = {command.title for command in main_commands(play.app.screen)}
        assert not commands & {"Answer this message again", "Delete this message"}
