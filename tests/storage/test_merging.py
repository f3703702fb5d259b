"""A session that went on in another database comes back; other sessions stay as they are."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from sqlite_utils import Database

from storage.connections import open_database
from storage.export import export_session
from storage.importers.storing import store_sessions
from storage.merging import merge_session
from storage.records import Session
from storage.sessions import get_session
from storage.tree import append_message, path


def said(db: Database, session_id: str) -> list[str]:
    return [step.message.content for step in path(db, session_id)]


def test_a_message_whose_id_another_session_has_comes_into_its_own(
    db: Database, session: Session, tmp_path: Path
) -> None:
    question = append_message(db, session.id, None, "user", "Rivers?")
    with closing(open_database(tmp_path / "shelter.db")) as shelter:
        merge_session(shelter, export_session(db, session.id))
        answer = append_message(shelter, session.id, question.id, "assistant", "The Danube")
        # A copy under another name, which was edited by hand and imported meanwhile.
        copy = export_session(shelter, session.id)
        copy.id = "copy"
        copy.messages = copy.messages[1:]
        copy.messages[0].parent_id, copy.messages[0].content = None, "The Rhine"
        store_sessions(db, [copy])
        for more in ("", ", the Po"):
            shelter.execute("UPDATE messages SET content = content || ? WHERE id = ?", [more, answer.id])
            merge_session(db, export_session(shelter, session.id))
            assert said(db, session.id) == ["Rivers?", f"The Danube{more}"]
    assert said(db, "copy") == ["The Rhine"]
    assert (get_session(db, session.id).n_messages, get_session(db, "copy").n_messages) == (2, 1)
