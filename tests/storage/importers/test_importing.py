"""Importing: every form is recognised, nothing comes in twice, and a bad file leaves nothing behind."""

from __future__ import annotations

import io
import json
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from storage.answers import finish_answer, resume_answer
from storage.deletion import delete_session, purge_session
from storage.errors import ImportFileError
from storage.export import all_sessions_json, export_session
from storage.importers import import_file
from storage.records import now_utc, pack_token_ids
from storage.search import search
from storage.sessions import get_session, list_sessions, rename_session
from storage.tree import all_messages, append_message, edit_message, path, switch_to


def message(message_id: str, parent_id: str | None, **more: Any) -> dict[str, Any]:
    return {"id": message_id, "parent_id": parent_id, "role": "user", "content": f"I am {message_id}", **more}


def shown(db: Database, session_id: str) -> list[str]:
    return [step.message.content for step in path(db, session_id)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sessions.json"


def write(file: Path, document: object) -> Path:
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


def test_the_fields_that_show_prints_are_enough(db: Database, file: Path) -> None:
    messages = [
        message("q", None, state="complete", on_path=True, created_utc="2024-05-06T07:08:09.123Z"),
        message("a", "q", role="assistant", model="tiny", settings={"top_k": 1}, on_path=True),
        message("b", "q", role="assistant", on_path=False),
    ]
    write(file, {"id": "old", "title": "Old", "model": "tiny", "system": "", "messages": messages})
    assert import_file(db, file).session_ids == ["old"]
    assert shown(db, "old") == ["I am q", "I am a"]
    assert all_messages(db, "old")[0].created_utc == "2024-05-06T07:08:09.123Z"
    assert get_session(db, "old").n_messages == 3


def test_messages_may_come_in_any_order(db: Database, file: Path) -> None:
    messages = [message("c", "b"), message("a", None), message("b", "a")]
    import_file(db, write(file, {"id": "s", "messages": messages}))
    assert [m.id for m in all_messages(db, "s")] == ["a", "b", "c"]


def test_a_session_that_went_on_elsewhere_is_extended(db: Database, file: Path) -> None:
    messages = [message("a", None, on_path=True), message("b", "a", on_path=True)]
    write(file, {"id": "s", "title": "Title", "messages": messages})
    import_file(db, file)
    rename_session(db, "s", "Renamed here")
    messages.append(message("c", "b", on_path=True))
    report = import_file(db, write(file, {"id": "s", "title": "Title", "messages": messages}))
    assert (report.n_new, report.n_extended, report.n_messages) == (0, 1, 1)
    assert shown(db, "s") == ["I am a", "I am b", "I am c"]
    assert get_session(db, "s").title == "Renamed here"
    assert import_file(db, file).n_known == 1


def test_a_session_that_went_another_way_here_keeps_its_way(db: Database, file: Path) -> None:
    messages = [message("a", None, on_path=True), message("b", "a", on_path=True)]
    import_file(db, write(file, {"id": "s", "messages": messages}))
    edit_message(db, "b", "Written here")
    append_message(db, "s", path(db, "s")[-1].message.id, "assistant", "Answered here")
    messages.append(message("c", "b", on_path=True))
    import_file(db, write(file, {"id": "s", "messages": messages}))
    assert shown(db, "s") == ["I am a", "Written here", "Answered here"]
    assert len(all_messages(db, "s")) == 5
    exported = "".join(all_sessions_json(db))
    assert json.loads(exported)["sessions"][0]["messages"][-1]["id"] == "c"


def test_what_a_file_has_behind_the_end_of_the_way_here_is_shown_with_it(db: Database, file: Path) -> None:
    messages = [message("q", None), message("a", "q"), message("b", "a"), message("other", None, on_path=True)]
    import_file(db, write(file, {"id": "s", "messages": messages[:2]}))
    import_file(db, write(file, {"id": "s", "messages": messages}))
    assert shown(db, "s") == ["I am q", "I am a", "I am b"]


def test_two_sessions_with_the_same_messages_stay_two(db: Database, file: Path) -> None:
    sessions = [{"id": name, "messages": [message("a", None), message("b", "a")]} for name in ("s", "t")]
    assert import_file(db, write(file, sessions)).n_new == 2
    assert shown(db, "s") == shown(db, "t") == ["I am a", "I am b"]
    assert import_file(db, file).n_known == 2


def test_a_deleted_session_comes_back(db: Database, file: Path) -> None:
    import_file(db, write(file, {"id": "s", "messages": [message("a", None)]}))
    delete_session(db, "s")
    report = import_file(db, file)
    assert (report.session_ids, report.n_extended) == (["s"], 1)
    assert shown(db, "s") == ["I am a"]


def test_strange_ids_are_replaced_always_alike(db: Database, file: Path) -> None:
    document = {"id": "../../etc", "messages": [message("\x1b[2J", None), message("ü", "\x1b[2J")]}
    (session_id,) = import_file(db, write(file, document)).session_ids
    assert session_id.isalnum()
    assert all(m.id.isalnum() for m in all_messages(db, session_id))
    assert import_file(db, file).n_known == 1


def test_broken_unicode_is_taken_with_replacements(db: Database, file: Path) -> None:
    write(file, {"id": "s", "title": "cut \ud83d", "messages": [message("a", None, content="\udc00")]})
    import_file(db, file)
    assert get_session(db, "s").title == "cut ?"
    assert shown(db, "s") == ["?"]
    assert export_session(db, "s").messages[0].content == "?"


BAD = {
    "no JSON": "{",
    "nothing": "",
    "a number": "17",
    "an empty list": "[]",
    "something else": '{"name": "x"}',
    "too deep": "[" * 100_000,
    "no id": json.dumps({"messages": []}),
    "a wrong role": json.dumps({"id": "s", "messages": [message("a", None, role="wizard")]}),
    "half a character": json.dumps({"id": "s", "messages": [message("a", None, role="user\ud800")]}),
    "a number too large": json.dumps({"id": "s", "messages": [message("a", None, seed=2**64)]}),
    "no time": json.dumps({"id": "s", "messages": [message("a", None, created_utc="yesterday")]}),
    "a missing parent": json.dumps({"id": "s", "messages": [message("a", "b")]}),
    "a circle": json.dumps({"id": "s", "messages": [message("a", "b"), message("b", "a")]}),
    "twins": json.dumps({"id": "s", "messages": [message("a", None), message("a", None)]}),
    "a good one before": json.dumps(
        [{"id": "good", "messages": [message("a", None)]}, {"id": "bad", "messages": [message("b", "c")]}]
    ),
    "a newer form": json.dumps({"format": "llm-tui sessions", "version": 99, "sessions": []}),
    "ChatGPT without nodes": json.dumps([{"title": "x", "mapping": 3}]),
    "ChatGPT with a number for a title": json.dumps([{"title": 3, "mapping": {}}]),
    "ChatGPT without an author": json.dumps([{"title": "x", "mapping": {"a": {"message": {"content": {}}}}}]),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_a_bad_file_is_refused_in_words_and_leaves_nothing(db: Database, file: Path, content: str) -> None:
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ImportFileError) as caught:
        import_file(db, file)
    assert str(caught.value).endswith(".")
    assert list_sessions(db) == []
    assert db.execute("SELECT count(*) FROM messages").fetchone()[0] == 0


def test_a_time_that_is_none_is_said_with_its_file_and_session(db: Database, file: Path) -> None:
    write(file, {"id": "s", "title": "Rivers", "messages": [], "updated_utc": "2024-02-30"})
    with pytest.raises(
        ImportFileError, match=r"sessions\.json: session “Rivers” has a time that cannot be read: 2024-02-30\.$"
    ):
        import_file(db, file)


@pytest.mark.parametrize(
    "empty", ["", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999-14:00"]
)
def test_another_program_s_empty_time_is_an_unknown_one(db: Database, file: Path, empty: str) -> None:
    messages = [message("a", None, created_utc=empty), message("b", "a", created_utc="2024-05-06T07:08:09.123Z")]
    known = "2024-05-06T07:00:00.000Z"
    write(file, [{"id": "s", "messages": messages, "created_utc": known, "updated_utc": empty}])
    import_file(db, file)
    assert [m.created_utc for m in all_messages(db, "s")] == [known, "2024-05-06T07:08:09.123Z"]
    assert get_session(db, "s").updated_utc == known
    before = now_utc()
    messages = [message("c", None, created_utc=empty)]
    import_file(db, write(file, {"id": "t", "messages": messages, "created_utc": empty, "updated_utc": empty}))
    assert get_session(db, "t").created_utc >= before
    assert all_messages(db, "t")[0].created_utc >= before


def test_a_pipe_is_read_as_a_file_is(db: Database, file: Path, tmp_path: Path) -> None:
    content = write(file, {"id": "s", "messages": [message("a", None)]}).read_bytes()
    archive = tmp_path / "export.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        node = {"message": {"author": {"role": "user"}, "content": {"parts": ["Hi"]}}}
        zipped.writestr("export/conversations.json", json.dumps([{"title": "x", "mapping": {"a": node}}]))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for data in (content, archive.read_bytes()):
        with ThreadPoolExecutor(1) as writer:
            written = writer.submit(pipe.write_bytes, data)
            assert import_file(db, pipe).n_new == 1
            written.result()
        # A file of that name is none of its affair.
        report = import_file(db, archive if data is content else file, io.BytesIO(data))
        assert (report.n_known, report.session_ids) == (1, [])
    with pytest.raises(ImportFileError, match="stdin is not JSON"):
        import_file(db, "stdin", io.BytesIO(b"{"))


def test_a_copy_that_was_edited_is_known_when_the_original_is_gone(db: Database, file: Path) -> None:
    messages = [message("a", None), message("b", "a")]
    import_file(db, write(file, {"id": "s", "messages": messages}))
    import_file(db, write(file, {"id": "copy", "messages": messages}))
    purge_session(db, "s")
    assert import_file(db, file).n_known == 1
    assert shown(db, "copy") == ["I am a", "I am b"]


def test_an_answer_that_has_grown_elsewhere_grows_here(db: Database, file: Path) -> None:
    answer = message("a", "q", role="assistant", content="Danube", state="stopped", token_ids=[1], on_path=True)
    write(file, {"id": "s", "messages": [message("q", None), answer]})
    import_file(db, file)
    assert import_file(db, file).n_known == 1
    answer |= {"content": "Danube, Rhine", "token_ids": [1, 2]}
    import_file(db, write(file, {"id": "s", "messages": [message("q", None), answer]}))
    assert all_messages(db, "s")[1].token_ids == pack_token_ids([1, 2])
    answer |= {"state": "complete", "token_ids": None, "seed": 5}
    assert import_file(db, write(file, {"id": "s", "messages": [message("q", None), answer]})).n_extended == 1
    stored = all_messages(db, "s")[1]
    assert (stored.content, stored.state, stored.seed, stored.token_ids) == ("Danube, Rhine", "complete", 5, None)
    assert [hit.message_id for hit in search(db, "rhine")] == ["a"]
    assert import_file(db, file).n_known == 1


@pytest.mark.parametrize("written_here", ["Danube and more", "Danube, Rhine, Po", "Danube/Po"])
def test_an_answer_that_went_on_here_stays(db: Database, file: Path, written_here: str) -> None:
    answer = message("a", "q", role="assistant", content="Danube", state="stopped", on_path=True)
    import_file(db, write(file, {"id": "s", "messages": [message("q", None), answer]}))
    resume_answer(db, "a")
    write(file, {"id": "s", "messages": [message("q", None), answer | {"content": "Danube, Rhine"}]})
    assert import_file(db, file).n_known == 1
    assert (shown(db, "s")[1], all_messages(db, "s")[1].state) == ("Danube", "writing")
    figures = dict.fromkeys(("prompt_tokens", "generated_tokens", "tokens_per_second", "first_token_ms", "seed"))
    finish_answer(db, "a", written_here, "complete", **figures)
    assert import_file(db, file).n_known == 1
    assert shown(db, "s")[1] == written_here


def test_a_file_that_is_not_there_is_said_so(db: Database, tmp_path: Path) -> None:
    with pytest.raises(ImportFileError, match="cannot be read"):
        import_file(db, tmp_path / "nowhere.json")
    with pytest.raises(ImportFileError, match="cannot be read"):
        import_file(db, tmp_path)


def test_hidden_branches_come_back_at_the_leaf_where_they_were_left(db: Database, file: Path) -> None:
    messages = [
        message("a", None, on_path=False, shown=False),
        message("b", "a", shown=True),
        message("c", "a", shown=False),
        message("d", "c", shown=True),
        message("x", None, on_path=True, shown=True),
    ]
    import_file(db, write(file, {"id": "s", "messages": messages}))
    assert shown(db, "s") == ["I am x"]
    assert switch_to(db, "a").id == "b"


def test_the_branch_that_goes_on_is_the_one_to_come_back_to(db: Database, file: Path) -> None:
    messages = [message("a", None, on_path=True), message("b", "a", on_path=True), message("b2", "a")]
    import_file(db, write(file, {"id": "s", "messages": messages}))
    messages.append(message("c", "b", on_path=True))
    import_file(db, write(file, {"id": "s", "messages": messages}))
    assert switch_to(db, "a").id == "c"


def test_a_branch_that_ends_before_its_leaf_goes_on_from_there(db: Database, file: Path) -> None:
    messages = [message("a", None, on_path=True), message("b", "a")]
    import_file(db, write(file, {"id": "s", "messages": messages}))
    assert shown(db, "s") == ["I am a"]
    append_message(db, "s", "a", "user", "Another")
    assert shown(db, "s") == ["I am a", "Another"]
    assert switch_to(db, "a").content == "Another"
