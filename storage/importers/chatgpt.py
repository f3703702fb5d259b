"""ChatGPT's conversations.json: trees of nodes, of which only some are messages that somebody saw."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..errors import ImportFileError
from ..portable import PortableMessage, PortableSession, checked
from ..records import format_utc
from .storing import BETWEEN_PIECES, derived_id

Json = dict[str, Any]

# What the model told itself, and what ChatGPT told the model.
_UNSEEN_CONTENT = {
    "thoughts",
    "reasoning_recap",
    "model_editable_context",
    "user_editable_context",
    "tether_browsing_display",
}
# OSError: what the C library says of a time that it cannot count to.
_WRONG = (AttributeError, KeyError, TypeError, ValueError, OverflowError, OSError, msgspec.ValidationError)
_MARK = re.compile("\ue200([^\ue200-\ue202]*)\ue202?([^\ue200\ue201]*)\ue201")
"""What stands in a text where ChatGPT shows something else: its kind, like `cite`, and what it is about."""

_UNFINISHED = {"in_progress", "finished_partial_completion"}


class _Node(msgspec.Struct):
    """A node that becomes a message; parent: the nearest one above that does, too."""

    id: str
    parent: str | None
    role: Literal["user", "assistant"]
    texts: list[str]
    model: str | None
    created_utc: str
    unfinished: bool
    n_children: int = 0


def recognises(document: Any) -> bool:
    """Tell whether a JSON document is ChatGPT's export, or one conversation of it; what is none may be among them."""
    conversations = document if isinstance(document, list) else [document]
    return any(isinstance(item, dict) and "mapping" in item for item in conversations)


def read(path: Path, document: Any) -> tuple[list[PortableSession], int]:
    """Read the conversations, and how many of them are not in ChatGPT's form.

    Raises ImportFileError with the title of the first of those where there are no others.
    """
    sessions: list[PortableSession] = []
    wrong: list[ImportFileError] = []
    for conversation in document if isinstance(document, list) else [document]:
        try:
            sessions.append(checked(_session(conversation)))
        except _WRONG:
            title = conversation.get("title") if isinstance(conversation, dict) else json.dumps(conversation)
            wrong.append(
                ImportFileError(f"{path}: the conversation “{title}” is not in ChatGPT's form.", "Export it anew.")
            )
    if wrong and not sessions:
        raise wrong[0]
    return sessions, len(wrong)


def _session(conversation: Json) -> PortableSession:
    mapping: dict[str, Json] = conversation["mapping"]
    nodes = _nodes(mapping, conversation)
    merged = _merge_answers(nodes)
    walked = _up_from(mapping, conversation.get("current_node"))
    head = next((merged[step] for step in walked if step in merged), None)
    on_path = set()
    while head is not None:
        on_path.add(head)
        head = nodes[head].parent
    created = _utc(conversation.get("create_time"), "")
    identity = conversation.get("conversation_id") or conversation.get("id") or f"{conversation.get('title')}{created}"
    models = [node.model for node in nodes.values() if node.model]
    return PortableSession(
        id=derived_id(identity),
        title=conversation.get("title") or "",
        model=conversation.get("default_model_slug") or (models[-1] if models else ""),
        system=_custom_instructions(mapping),
        messages=[_message(node, identity, node.id in on_path) for node in nodes.values()],
        created_utc=created,
        updated_utc=_utc(conversation.get("update_time"), created),
        archived=bool(conversation.get("is_archived")),
    )


def _message(node: _Node, identity: str, on_path: bool) -> PortableMessage:
    return PortableMessage(
        id=derived_id(f"{identity}/{node.id}"),
        parent_id=None if node.parent is None else derived_id(f"{identity}/{node.parent}"),
        role=node.role,
        content=BETWEEN_PIECES.join(node.texts),
        state="interrupted" if node.unfinished else "complete",
        model=node.model,
        created_utc=node.created_utc,
        on_path=on_path,
    )


def _nodes(mapping: dict[str, Json], conversation: Json) -> dict[str, _Node]:
    """Find the nodes that were seen, parents before children."""
    nodes: dict[str, _Node] = {}
    parents: dict[str, str | None] = {}
    for node_id in _parents_first(mapping):
        node = mapping[node_id]
        above = node.get("parent")
        parent = parents.get(above) if above is not None else None
        parents[node_id] = parent
        message: Json = node.get("message") or {}
        text = _text(message) if message and _is_seen(message) else ""
        if text:
            metadata = message.get("metadata") or {}
            is_user = message["author"]["role"] == "user"
            nodes[node_id] = _Node(
                id=node_id,
                parent=parent,
                role="user" if is_user else "assistant",
                texts=[text],
                model=None if is_user else metadata.get("model_slug"),
                created_utc=_utc(message.get("create_time"), _utc(conversation.get("create_time"), "")),
                unfinished=message.get("status") in _UNFINISHED,
            )
            parents[node_id] = node_id
            if parent is not None:
                nodes[parent].n_children += 1
    return nodes


def _merge_answers(nodes: dict[str, _Node]) -> dict[str, str]:
    """Make one answer of the pieces in which ChatGPT keeps it (text, a tool's call, its result, more text).

    Returns for each node that was seen the one that it is part of now.
    """
    merged: dict[str, str] = {}
    for node in list(nodes.values()):
        parent = None if node.parent is None else nodes[merged[node.parent]]
        if parent and node.role == parent.role == "assistant" and parent.n_children == 1:
            parent.texts += node.texts
            parent.model = node.model or parent.model
            parent.unfinished = node.unfinished
            parent.n_children = node.n_children
            merged[node.id] = parent.id
            del nodes[node.id]
        else:
            node.parent = parent.id if parent else None
            merged[node.id] = node.id
    return merged


def _parents_first(mapping: dict[str, Json]) -> list[str]:
    ordered: dict[str, None] = {}
    for node_id in mapping:
        branch: dict[str, None] = {}
        step: str | None = node_id
        while step in mapping and step not in ordered and step not in branch:
            branch[step] = None
            step = mapping[step].get("parent")
        ordered.update(reversed(branch.items()))
    return list(ordered)


def _up_from(mapping: dict[str, Json], node_id: str | None) -> list[str]:
    """Walk from a node to its root."""
    walked: dict[str, None] = {}
    while node_id in mapping and node_id not in walked:
        walked[node_id] = None
        node_id = mapping[node_id].get("parent")
    return list(walked)


def _is_seen(message: Json) -> bool:
    metadata = message.get("metadata") or {}
    content = message.get("content") or {}
    return (
        message["author"]["role"] in ("user", "assistant", "tool")
        and not metadata.get("is_visually_hidden_from_conversation")
        and content.get("content_type") not in _UNSEEN_CONTENT
    )


def _text(message: Json) -> str:
    """Write a message's content as Markdown; what is not text is named."""
    content = message.get("content") or {}
    kind = content.get("content_type")
    metadata = message.get("metadata") or {}
    references = metadata.get("content_references") or []
    shown = {str(reference.get("matched_text")): str(reference.get("alt") or "") for reference in references}
    parts = [_MARK.sub(lambda mark: _in_place_of(mark, shown), _part(part)) for part in content.get("parts") or []]
    if text := content.get("text") or content.get("result"):
        parts.append(_fenced(kind, content, text) if kind in ("code", "execution_output") else str(text))
    attachments = metadata.get("attachments") or []
    parts += [f"[attachment: {attachment.get('name', 'unnamed')}]" for attachment in attachments]
    return "\n\n".join(part for part in parts if part.strip())


def _fenced(kind: str, content: Json, text: str) -> str:
    language = content.get("language") if kind == "code" else ""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{'' if language in (None, 'unknown') else language}\n{text.rstrip()}\n{fence}"


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return ""
    if isinstance(part.get("text"), str):
        return str(part["text"])
    kind = str(part.get("content_type", "part")).removesuffix("_asset_pointer").replace("_", " ")
    place = part.get("asset_pointer")
    return f"[{kind}: {place}]" if place else f"[{kind}]"


def _in_place_of(mark: re.Match[str], shown: dict[str, str]) -> str:
    """What ChatGPT shows in the place of a mark: a link, a name, nothing. shown: what its references say of marks."""
    kind, about = mark.groups()
    if text := shown.get(mark[0]):
        return text
    if kind == "entity":
        # Its kind, its name, and more words about it.
        with suppress(ValueError, LookupError, TypeError, RecursionError):
            return str(json.loads(about)[1])
    return "" if kind.endswith("cite") else mark[0]


def _custom_instructions(mapping: dict[str, Json]) -> str:
    """Find what the user told ChatGPT to always keep in mind."""
    for node in mapping.values():
        content = (node.get("message") or {}).get("content") or {}
        if content.get("content_type") == "user_editable_context":
            texts = [content.get("user_profile"), content.get("user_instructions")]
            return "\n\n".join(text for text in texts if text)
    return ""


def _utc(seconds: float | None, otherwise: str) -> str:
    if seconds is None:
        return otherwise
    return format_utc(datetime.fromtimestamp(float(seconds), UTC))
