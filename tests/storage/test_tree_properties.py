"""Whatever one does to a tree of messages, it stays one, its paths stay valid, and only what was deleted is gone."""

from __future__ import annotations

import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from sqlite_utils import Database

from storage.answers import begin_answer, finish_answer
from storage.connections import check, open_database
from storage.export import all_sessions_json
from storage.importers import import_file
from storage.records import Message
from storage.sessions import create_session, get_session
from storage.tree import (
    all_messages,
    append_message,
    delete_message,
    edit_message,
    fork_session,
    path,
    path_to,
    siblings,
    switch_to,
)

TEXT = st.text(max_size=12)


@cache
def empty_file() -> bytes:
    """An empty database's file: making one takes longer than all that is done to it here."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        open_database(path).close()
        return path.read_bytes()


def open_empty(path: Path) -> Database:
    """A new database that waits for no disk: that is not what is tested here, and most of the time."""
    path.write_bytes(empty_file())
    db = open_database(path)
    db.execute("PRAGMA synchronous = OFF")
    return db


class Tree(RuleBasedStateMachine):
    """Beside the database, a model in Python: what each message is and whom it follows."""

    sessions = Bundle("sessions")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.db = open_empty(Path(self.folder.name) / "sessions.db")
        self.messages: dict[str, dict[str, Message]] = {}
        self.heads: dict[str, str | None] = {}

    def teardown(self) -> None:
        # Raises when the index does not have what the messages say.
        self.db.execute("INSERT INTO messages_index (messages_index, rank) VALUES ('integrity-check', 1)")
        assert check(self.db) == []
        self.db.close()
        self.folder.cleanup()

    @initialize(target=sessions)
    def first(self) -> str:
        return self.create()

    @rule(target=sessions)
    def create(self) -> str:
        made = create_session(self.db, model="tiny", system="", settings={})
        self.messages[made.id] = {}
        self.heads[made.id] = None
        return made.id

    def some(self, data: st.DataObject, session_id: str) -> str | None:
        known = list(self.messages[session_id])
        return data.draw(st.sampled_from([None, *known])) if known else None

    def record(self, message: Message) -> None:
        self.messages[message.session_id][message.id] = message
        self.heads[message.session_id] = message.id

    def branch(self, session_id: str, leaf: str | None) -> list[str]:
        steps: list[str] = []
        while leaf is not None:
            steps.append(leaf)
            leaf = self.messages[session_id][leaf].parent_id
        return steps[::-1]

    @rule(session_id=sessions, data=st.data(), text=TEXT)
    def append(self, session_id: str, data: st.DataObject, text: str) -> None:
        self.record(append_message(self.db, session_id, self.some(data, session_id), "user", text))

    @rule(session_id=sessions, text=TEXT)
    def go_on(self, session_id: str, text: str) -> None:
        self.record(append_message(self.db, session_id, self.heads[session_id], "user", text))

    @rule(session_id=sessions, text=TEXT, state=st.sampled_from(["complete", "stopped", "failed"]))
    def answer(self, session_id: str, text: str, state: str) -> None:
        begun = begin_answer(self.db, session_id, self.heads[session_id], model="tiny", settings={"t": 1}, seed=1)
        done = finish_answer(
            self.db,
            begun.id,
            text,
            state,  # type: ignore[arg-type]
            prompt_tokens=1,
            generated_tokens=1,
            tokens_per_second=0.1,
            first_token_ms=0.1,
            seed=2,
            token_ids=b"\x01\x00\x00\x00",
        )
        self.record(done)

    @rule(session_id=sessions, data=st.data(), text=TEXT)
    def edit(self, session_id: str, data: st.DataObject, text: str) -> None:
        if message_id := self.some(data, session_id):
            self.record(edit_message(self.db, message_id, text))

    @rule(session_id=sessions, data=st.data())
    def switch(self, session_id: str, data: st.DataObject) -> None:
        if message_id := self.some(data, session_id):
            leaf = switch_to(self.db, message_id)
            assert message_id in self.branch(session_id, leaf.id)
            assert leaf.id not in {message.parent_id for message in self.messages[session_id].values()}
            self.heads[session_id] = leaf.id

    @rule(session_id=sessions, data=st.data())
    def switch_comes_back(self, session_id: str, data: st.DataObject) -> None:
        """Away to another version and back again: the same branch as before."""
        if (message_id := self.some(data, session_id)) and message_id in self.branch(
            session_id, self.heads[session_id]
        ):
            before = [step.message for step in path(self.db, session_id)]
            for version in siblings(self.db, message_id):
                switch_to(self.db, version.id)
            switch_to(self.db, message_id)
            assert [step.message for step in path(self.db, session_id)] == before

    @rule(session_id=sessions, data=st.data())
    def delete(self, session_id: str, data: st.DataObject) -> None:
        if not (message_id := self.some(data, session_id)):
            return
        known = self.messages[session_id]
        doomed = {other for other in known if message_id in self.branch(session_id, other)}
        parent = known[message_id].parent_id
        head_before = self.heads[session_id]
        delete_message(self.db, message_id)
        self.messages[session_id] = {other: known[other] for other in known if other not in doomed}
        head = get_session(self.db, session_id).head_id
        if head_before not in doomed:
            assert head == head_before
        elif parent is not None:
            assert parent in self.branch(session_id, head)
        self.heads[session_id] = head

    @rule(target=sessions, session_id=sessions, data=st.data())
    def fork(self, session_id: str, data: st.DataObject) -> str:
        message_id = self.some(data, session_id)
        if message_id is None:
            return self.create()
        original = [step.message.content for step in path_to(self.db, message_id)]
        forked = fork_session(self.db, session_id, message_id)
        copies = all_messages(self.db, forked.id)
        assert [message.content for message in copies] == original
        self.messages[forked.id] = {message.id: message for message in copies}
        self.heads[forked.id] = copies[-1].id
        return forked.id

    @rule(session_id=consumes(sessions))
    def round_trip(self, session_id: str) -> None:
        """Export all, import into an empty database, export again: the same text."""
        exported = "".join(all_sessions_json(self.db))
        file = Path(self.folder.name) / "export.json"
        file.write_text(exported, encoding="utf-8")
        empty = Path(self.folder.name) / "empty.db"
        with closing(open_empty(empty)) as other:
            report = import_file(other, file)
            assert report.n_new == len(self.messages)
            assert "".join(all_sessions_json(other)) == exported
            assert import_file(other, file).n_known == len(self.messages)
            assert "".join(all_sessions_json(other)) == exported
        empty.unlink()

    @invariant()
    def nothing_is_lost_and_all_is_a_tree(self) -> None:
        for session_id, known in self.messages.items():
            assert {message.id: message for message in all_messages(self.db, session_id)} == known
            session = get_session(self.db, session_id)
            assert (session.n_messages, session.head_id) == (len(known), self.heads[session_id])
            steps = path(self.db, session_id)
            assert [step.message.id for step in steps] == self.branch(session_id, session.head_id)
            for step in steps:
                versions = [m.id for m in known.values() if m.parent_id == step.message.parent_id]
                assert step.sibling_count == len(versions)
                assert versions[step.sibling_index] == step.message.id

    @invariant()
    def one_of_every_version_is_shown(self) -> None:
        odd = self.db.execute(
            "SELECT session_key, parent_key FROM messages GROUP BY session_key, parent_key HAVING sum(shown) <> 1"
        ).fetchall()
        assert odd == []

    @invariant()
    def nothing_refers_to_what_is_gone(self) -> None:
        assert self.db.execute("PRAGMA foreign_key_check").fetchall() == []


Tree.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestTree = Tree.TestCase
