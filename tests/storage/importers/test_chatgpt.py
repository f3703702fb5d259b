"""ChatGPT's export: its trees, what it hides, and what is not text."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from storage.errors import ImportFileError
from storage.importers import import_file
from storage.sessions import get_session
from storage.tree import all_messages, path, siblings, switch_to

T0 = 1_700_000_000.25


def node(
    node_id: str,
    parent: str | None,
    role: str | None = None,
    *parts: Any,
    content: dict[str, Any] | None = None,
    **message: Any,
) -> dict[str, Any]:
    """A node as ChatGPT writes it; without a role it carries no message."""
    body = None
    if role is not None:
        body = {
            "id": node_id,
            "author": {"role": role, "name": None, "metadata": {}},
            "create_time": T0,
            "update_time": None,
            "content": content or {"content_type": "text", "parts": list(parts)},
            "status": "finished_successfully",
            "end_turn": True,
            "weight": 1.0,
            "metadata": {},
            "recipient": "all",
        } | message
    return {"id": node_id, "message": body, "parent": parent, "children": []}


def conversation(*nodes: dict[str, Any], current: str, **more: Any) -> dict[str, Any]:
    mapping = {item["id"]: item for item in nodes}
    for item in nodes:
        if item["parent"]:
            mapping[item["parent"]]["children"].append(item["id"])
    return {
        "title": "Rivers",
        "create_time": T0,
        "update_time": T0 + 60,
        "mapping": mapping,
        "moderation_results": [],
        "current_node": current,
        "conversation_id": "6543f0c6-0000-8000-a000-000000000001",
        "default_model_slug": "gpt-4o",
        "is_archived": False,
    } | more


def start() -> list[dict[str, Any]]:
    return [
        node("root", None),
        node("hidden", "root", "system", "", metadata={"is_visually_hidden_from_conversation": True}),
        node("q", "hidden", "user", "Three rivers?"),
    ]


def imported(db: Database, tmp_path: Path, *conversations: dict[str, Any]) -> str:
    file = tmp_path / "conversations.json"
    file.write_text(json.dumps(list(conversations)))
    return import_file(db, file).session_ids[0]


def shown(db: Database, session_id: str) -> list[tuple[str, str]]:
    return [(step.message.role, step.message.content) for step in path(db, session_id)]


def test_a_conversation_becomes_a_session(db: Database, tmp_path: Path) -> None:
    model = {"model_slug": "gpt-4o-mini"}
    answer = node("a", "q", "assistant", "Danube, Rhine, Po.", metadata=model, create_time=T0 + 5)
    session = get_session(db, imported(db, tmp_path, conversation(*start(), answer, current="a", is_archived=True)))
    assert (session.title, session.model, session.archived, session.n_messages) == ("Rivers", "gpt-4o", True, 2)
    assert (session.created_utc, session.updated_utc) == ("2023-11-14T22:13:20.250Z", "2023-11-14T22:14:20.250Z")
    assert shown(db, session.id) == [("user", "Three rivers?"), ("assistant", "Danube, Rhine, Po.")]
    stored = all_messages(db, session.id)[1]
    assert (stored.model, stored.created_utc) == ("gpt-4o-mini", "2023-11-14T22:13:25.250Z")


def test_branches_stay_and_the_current_one_is_shown(db: Database, tmp_path: Path) -> None:
    nodes = [
        *start(),
        node("a1", "q", "assistant", "First"),
        node("a2", "q", "assistant", "Second"),
        node("a3", "q", "assistant", "Third"),
        node("q2", "a2", "user", "Why?"),
        node("b", "a2", "user", "How?"),
        node("b1", "b", "assistant", "So."),
        *(node(text, "a1", "user", text) for text in ("Once", "Twice")),
    ]
    session_id = imported(db, tmp_path, conversation(*nodes, current="b1"))
    assert [text for _, text in shown(db, session_id)] == ["Three rivers?", "Second", "How?", "So."]
    versions = siblings(db, path(db, session_id)[1].message.id)
    assert [version.content for version in versions] == ["First", "Second", "Third"]
    assert switch_to(db, versions[0].id).content == "Twice"


def test_an_answer_in_pieces_becomes_one(db: Database, tmp_path: Path) -> None:
    code = {"content_type": "code", "language": "python", "text": "print('```')"}
    output = {"content_type": "execution_output", "text": "```"}
    nodes = [
        *start(),
        node("t", "q", "assistant", content={"content_type": "thoughts", "thoughts": [{"summary": "Hm"}]}),
        node("a1", "t", "assistant", "Let me see.", metadata={"model_slug": "o3"}),
        node("a2", "a1", "assistant", content=code, recipient="python"),
        node("a3", "a2", "tool", content=output),
        node("w", "a3", "tool", content={"content_type": "tether_browsing_display", "result": "L0: what it has read"}),
        node("r", "w", "assistant", content={"content_type": "reasoning_recap", "content": "Thought for 3 s"}),
        node("a4", "r", "assistant", "Done.", status="in_progress"),
        node("q2", "a4", "user", "Thanks"),
    ]
    session_id = imported(db, tmp_path, conversation(*nodes, current="q2", default_model_slug=None))
    assert get_session(db, session_id).model == "o3"
    assert shown(db, session_id) == [
        ("user", "Three rivers?"),
        ("assistant", "Let me see.\n\n````python\nprint('```')\n````\n\n````\n```\n````\n\nDone."),
        ("user", "Thanks"),
    ]
    answer = path(db, session_id)[1].message
    assert (answer.model, answer.state) == ("o3", "interrupted")


def test_pieces_that_branch_stay_apart(db: Database, tmp_path: Path) -> None:
    nodes = [
        *start(),
        node("a1", "q", "assistant", "Let me see."),
        node("a2", "a1", "assistant", "One"),
        node("a3", "a1", "assistant", "Two"),
    ]
    session_id = imported(db, tmp_path, conversation(*nodes, current="a3"))
    assert [text for _, text in shown(db, session_id)] == ["Three rivers?", "Let me see.", "Two"]


def test_what_is_not_text_is_named(db: Database, tmp_path: Path) -> None:
    image = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://file-abc", "width": 2, "height": 2}
    speech = {"content_type": "audio_transcription", "text": "And aloud", "direction": "in"}
    content = {"content_type": "multimodal_text", "parts": [image, "What is this?", speech, None]}
    asked = node("q", None, "user", content=content, metadata={"attachments": [{"name": "notes.pdf", "id": "file-x"}]})
    session_id = imported(db, tmp_path, conversation(asked, current="q"))
    assert shown(db, session_id) == [
        ("user", "[image: file-service://file-abc]\n\nWhat is this?\n\nAnd aloud\n\n[attachment: notes.pdf]")
    ]


def test_the_marks_of_what_was_found_in_the_web_become_what_is_shown_for_them(db: Database, tmp_path: Path) -> None:
    cited, unknown = (f"\ue200cite\ue202turn0search{number}\ue201" for number in range(2))
    name = '\ue200entity\ue202["river","Po","in Italy"]\ue201'
    odd = "\ue200chart\ue202{}\ue201\ue200entity\ue202{}\ue201"
    references = [
        {"matched_text": cited, "type": "grouped_webpages", "alt": "([rivers.org](https://rivers.org))"},
        {"matched_text": unknown, "type": "hidden", "alt": None},
        {"matched_text": " ", "type": "sources_footnote", "alt": ""},
    ]
    said = node(
        "a", "q", "assistant", f"The {name} {cited}.{unknown}{odd}", metadata={"content_references": references}
    )
    session_id = imported(db, tmp_path, conversation(*start(), said, current="a"))
    assert shown(db, session_id)[1][1] == f"The Po ([rivers.org](https://rivers.org)).{odd}"


def test_custom_instructions_become_the_system_prompt(db: Database, tmp_path: Path) -> None:
    context = {
        "content_type": "user_editable_context",
        "user_profile": "I am a child.",
        "user_instructions": "Be kind.",
    }
    hidden = {"is_visually_hidden_from_conversation": True, "is_user_system_message": True}
    nodes = [node("c", None, "user", content=context, metadata=hidden), node("q", "c", "user", "Hi")]
    session_id = imported(db, tmp_path, conversation(*nodes, current="q"))
    assert get_session(db, session_id).system == "I am a child.\n\nBe kind."
    assert shown(db, session_id) == [("user", "Hi")]


def test_a_conversation_without_messages_is_a_session_without_messages(db: Database, tmp_path: Path) -> None:
    session = get_session(db, imported(db, tmp_path, conversation(node("root", None), current="root", title=None)))
    assert (session.title, session.n_messages, session.head_id) == ("", 0, None)


def test_nodes_with_nothing_in_them_and_nodes_in_a_ring_do_no_harm(db: Database, tmp_path: Path) -> None:
    empty = node("e", "q", "assistant")
    assert empty["message"] is not None
    empty["message"] |= {"content": None, "metadata": None}
    answer = node("a", "e", "assistant", "Danube", metadata=None, create_time=None)
    session_id = imported(db, tmp_path, conversation(*start(), empty, answer, current="a"))
    assert shown(db, session_id) == [("user", "Three rivers?"), ("assistant", "Danube")]
    mapping = {"a": node("a", "b", "user", "A"), "b": node("b", "a", "assistant", "B")}
    ring = {"title": "Ring", "mapping": mapping, "current_node": "a"}
    assert sorted(m.content for m in all_messages(db, imported(db, tmp_path, ring))) == ["A", "B"]


@pytest.mark.parametrize("name", ["conversation_id", "id"])
def test_next_month_s_export_adds_only_what_is_new(db: Database, tmp_path: Path, name: str) -> None:
    ids = {"conversation_id": None, name: "6543f0c6-0000-8000-a000-000000000002"}
    first = [*start(), node("a", "q", "assistant", "Danube")]
    session_id = imported(db, tmp_path, conversation(*first, current="a", **ids))
    later = [*start(), node("a", "q", "assistant", "Danube"), node("q2", "a", "user", "More")]
    file = tmp_path / "conversations.json"
    file.write_text(json.dumps([conversation(*later, current="q2", title="Renamed", **ids)]))
    report = import_file(db, file)
    assert (report.n_extended, report.n_messages) == (1, 1)
    assert [text for _, text in shown(db, session_id)] == ["Three rivers?", "Danube", "More"]
    assert import_file(db, file).n_known == 1


def test_an_answer_that_has_grown_by_the_next_export_grows_here(db: Database, tmp_path: Path) -> None:
    begun = node("a1", "q", "assistant", "Let me see.", status="in_progress")
    session_id = imported(db, tmp_path, conversation(*start(), begun, current="a1"))
    assert path(db, session_id)[1].message.state == "interrupted"
    whole = [
        node("a1", "q", "assistant", "Let me see."),
        node("a2", "a1", "assistant", "Done.", metadata={"model_slug": "o3"}),
    ]
    file = tmp_path / "conversations.json"
    file.write_text(json.dumps([conversation(*start(), *whole, current="a2", update_time=T0 + 90)]))
    report = import_file(db, file)
    assert (report.session_ids, report.n_extended, report.n_messages) == ([session_id], 1, 1)
    answer = path(db, session_id)[1].message
    assert (answer.content, answer.state, answer.model) == ("Let me see.\n\nDone.", "complete", "o3")
    assert get_session(db, session_id).updated_utc == "2023-11-14T22:14:50.250Z"
    assert import_file(db, file).n_known == 1


@pytest.mark.parametrize("moment", [1e18, -1e18, 1e300, float("nan")])
def test_a_time_beyond_all_calendars_is_said_with_its_conversation(db: Database, tmp_path: Path, moment: float) -> None:
    with pytest.raises(ImportFileError, match=r"conversations\.json: the conversation “Rivers”"):
        imported(db, tmp_path, conversation(*start(), current="q", create_time=moment))


def test_an_answer_in_pieces_that_branches_in_a_later_export_is_taken_apart(db: Database, tmp_path: Path) -> None:
    nodes = [
        *start(),
        node("a1", "q", "assistant", "One"),
        node("t", "a1", "tool", "Two"),
        node("a2", "t", "assistant", "Three"),
        node("a3", "a2", "assistant", "Four"),
        node("q2", "a3", "user", "Why?"),
    ]
    once = conversation(*nodes, current="q2")
    later = [
        *(item | {"children": []} for item in nodes),
        node("a2b", "t", "assistant", "Another three"),
        node("a3b", "a2", "assistant", "Another four"),
        node("q2b", "a2b", "user", "How?"),
    ]
    session_id = imported(db, tmp_path, once)
    assert [text for _, text in shown(db, session_id)] == ["Three rivers?", "One\n\nTwo\n\nThree\n\nFour", "Why?"]
    n_before = len(all_messages(db, session_id))
    file = tmp_path / "conversations.json"
    file.write_text(json.dumps([conversation(*later, current="q2b")]))
    report = import_file(db, file)
    assert report.session_ids == [session_id]
    assert report.n_messages == len(all_messages(db, session_id)) - n_before
    parents = {m.id: m.content for m in all_messages(db, session_id)}
    assert sorted((m.content, parents.get(m.parent_id or "", "")) for m in all_messages(db, session_id)) == [
        ("Another four", "Three"),
        ("Another three", "One\n\nTwo"),
        ("Four", "Three"),
        ("How?", "Another three"),
        ("One\n\nTwo", "Three rivers?"),
        ("Three", "One\n\nTwo"),
        ("Three rivers?", ""),
        ("Why?", "Four"),
    ]
    before = all_messages(db, session_id)
    for again in (later, nodes):
        file.write_text(json.dumps([conversation(*(item | {"children": []} for item in again), current="q2")]))
        assert import_file(db, file).n_known == 1
    assert all_messages(db, session_id) == before


def test_conversations_that_are_not_in_its_form_are_left_out_and_counted(db: Database, tmp_path: Path) -> None:
    file = tmp_path / "conversations.json"
    odd = [
        conversation(*start(), node("x", "q", "user", "Hi", metadata={"attachments": [None]}), current="q"),
        {"title": "a node that is none", "mapping": {"a": None}},
        conversation(*start(), current="q", create_time="2024-01-01T00:00:00Z"),
        conversation(*start(), node("x", "q", "assistant", content={"content_type": "code", "text": {}}), current="q")
        | {"title": 3},
        None,
        "a text",
        {"title": "nothing in it"},
    ]
    good = conversation(*start(), current="q", conversation_id="good")
    file.write_text(json.dumps([*odd, good]))
    report = import_file(db, file)
    assert (report.n_new, report.n_left_out) == (1, len(odd))
    assert shown(db, report.session_ids[0]) == [("user", "Three rivers?")]
    file.write_text(json.dumps(odd))
    with pytest.raises(ImportFileError, match=r"the conversation “Rivers” is not in ChatGPT's form\. Export it anew\."):
        import_file(db, file)


@pytest.mark.parametrize("module, packing", [("zlib", zipfile.ZIP_DEFLATED), ("lzma", zipfile.ZIP_LZMA)])
def test_a_damaged_archive_is_said_to_be_damaged(db: Database, tmp_path: Path, module: str, packing: int) -> None:
    pytest.importorskip(module)
    file = tmp_path / "export.zip"
    with zipfile.ZipFile(file, "w", packing) as archive:
        archive.writestr("conversations.json", json.dumps([conversation(*start(), current="q")]))
    whole = file.read_bytes()
    directory = whole.rindex(b"PK\x01\x02")
    damaged = {
        "its text": whole[:60] + b"\xff" * 20 + whole[80:],
        "its directory": whole[:directory] + b"XX" + whole[directory + 2 :],
    }
    for data in damaged.values():
        file.write_bytes(data)
        with pytest.raises(ImportFileError, match=r"export\.zip is a damaged archive"):
            import_file(db, file)


def test_the_archive_that_chatgpt_sends_is_opened(db: Database, tmp_path: Path) -> None:
    file = tmp_path / "export.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("chat.html", "<html>")
        archive.writestr("conversations.json", json.dumps([conversation(*start(), current="q")]))
    assert import_file(db, file).n_new == 1
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("chat.html", "<html>")
    with pytest.raises(ImportFileError, match=r"no conversations\.json"):
        import_file(db, file)


def test_the_numbered_files_of_a_large_archive_are_all_read(db: Database, tmp_path: Path) -> None:
    file = tmp_path / "export.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for number in (1, 0):
            said = conversation(*start(), current="q", conversation_id=f"c{number}", title=f"Part {number}")
            archive.writestr(f"./export/conversations-{number:03}.json", json.dumps([said, None]))
        archive.writestr("./export/older/conversations.json", "not looked at")
        archive.writestr("./export/shared_conversations.json", json.dumps([{"id": "x", "title": "Shared"}]))
        archive.writestr("./export/conversations.json.index", "{}")
    report = import_file(db, file)
    assert [get_session(db, session_id).title for session_id in report.session_ids] == ["Part 0", "Part 1"]
    assert report.n_left_out == 2
