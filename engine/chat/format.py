"""A chat format: from a conversation to the token ids that a model answers to."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

import msgspec

from engine.chat.channels import CHANNEL, has_channels
from engine.chat.families import FAMILIES, Family, Slot, recognise
from engine.chat.markers import defuse, restore, unused_mark
from engine.chat.templates import ChatTemplate
from engine.chat.thoughts import without_thoughts
from engine.chat.tools import are_told, fields_of, has_tools, mapped, texts_of, told_plainly
from engine.checkpoints.metadata import Metadata
from engine.errors import TemplateError
from engine.protocol import ChatMessage
from engine.tokenizer.base import Tokenizer

FILE = "file"
"""The name under which the file's own template can be chosen."""

Source = Literal["file", "family", "chosen"]

_TEMPLATE_NAMES = (
    (CHANNEL, "harmony"),
    ("<|turn>", "gemma-4"),
    ("<|im_start|>", "chatml"),
    ("<|start_header_id|>", "llama-3"),
    ("<start_of_turn>", "gemma"),
    ("<<SYS>>", "llama-2"),
    ("[INST]", "mistral"),
    ("<|assistant|>", "zephyr"),
    ("### Instruction", "alpaca"),
)
"""What a template contains, and what to call it on the screen."""

_FALLBACKS = {"mistral": "mistral-v1"}
"""The family that takes a failed template's place, where it is not the one of that name; chatml for the rest."""

_LLAMA_CPP_NAMES = {"llama2": "llama-2", "llama2-sys": "llama-2", "llama3": "llama-3", "phi3": "phi-3"}
"""What llama.cpp calls a family, where it is another name. Its converter writes such names in a template's place."""

_A_NAME = re.compile(r"[\w.-]+")
"""What is no template: there is nothing in it for a message."""


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """How a model reads a conversation.

    source: "file" for the model's own template, "family" if recognised, "chosen" by the user. stops: texts that end an
    answer. fallback: what to use if the file's template fails.
    """

    name: str
    source: Source
    stops: tuple[str, ...]
    body: Family | ChatTemplate
    fallback: ChatFormat | None = None

    def start(self) -> None:
        """Get ready in the background, so that the first answer does not wait."""
        if isinstance(self.body, ChatTemplate):
            self.body.start()

    def kept(self, tokenizer: Tokenizer, messages: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
        """What the model reads of the messages: all, or all but thoughts.

        Where a vocabulary has channels, it is not the model that marked thoughts by words; its template takes them in a
        field of their own, and leaves out those of past answers.
        """
        if not has_channels(tokenizer):
            return messages
        return [
            msgspec.structs.replace(each, content=without_thoughts(each.content)) if each.role == "assistant" else each
            for each in messages
        ]

    def encode(self, tokenizer: Tokenizer, messages: Sequence[ChatMessage]) -> list[int]:
        """Token ids up to where the assistant's next answer begins, with BOS where the model wants it, once.

        Special tokens written inside a message stay plain text. Raises TemplateError.
        """
        messages = self.kept(tokenizer, messages)
        mark = unused_mark([*(text for message in messages for text in texts_of(message)), self._fixed_text()])
        markers = tokenizer.marker_texts
        defused = [mapped(message, lambda text: defuse(text, markers, mark)) for message in messages]
        if isinstance(self.body, Family):
            parts = _family_parts(self.body, tokenizer, told_plainly(defused) if has_tools(defused) else defused)
        else:
            parts = tokenizer.split(_rendered(self.body, tokenizer, defused), parse_special=True)
        parts = restore(parts, mark)
        begins_with_bos = bool(parts) and parts[0] == tokenizer.bos_id
        return tokenizer.encode_parts(parts, add_bos=tokenizer.add_bos and not begins_with_bos)

    def _fixed_text(self) -> str:
        return self.body.source if isinstance(self.body, ChatTemplate) else ""


def format_names() -> list[str]:
    """Every format that can be chosen; "file" is the model's own template."""
    return [FILE, *FAMILIES]


def choose_format(
    metadata: Mapping[str, object], name_or_path: str | PurePath, template: str | None = None
) -> ChatFormat:
    """The chosen format, else the file's own template, else the family that the model's name and tokens point to.

    Raises TemplateError if there is no such format, or no template in the file that was asked for.
    """
    meta = Metadata.of(metadata)
    if template is not None and template != FILE:
        if template not in FAMILIES:
            raise TemplateError(f"There is no chat format {template!r}.", f"Choose one of {', '.join(format_names())}.")
        return _of_family(FAMILIES[template], "chosen")
    source = meta.text("tokenizer.chat_template", "")
    written = source.strip()
    chosen: Source = "chosen" if template == FILE else "file"
    if named := FAMILIES.get(_LLAMA_CPP_NAMES.get(written, written)):
        return _of_family(named, chosen)
    if written and not _A_NAME.fullmatch(written):
        name = _template_name(source)
        family = FAMILIES.get(_FALLBACKS.get(name, name), FAMILIES["chatml"])
        return ChatFormat(name, chosen, (), ChatTemplate(source), _of_family(family, "family"))
    if template == FILE:
        raise TemplateError("The model file has no chat template.", f"Choose one of {', '.join(FAMILIES)}.")
    tokens = meta.texts("tokenizer.ggml.tokens") if "tokenizer.ggml.tokens" in meta else ()
    path = PurePath(name_or_path)
    names = (path.name, meta.text("general.name", ""), path.parent.name)
    return _of_family(recognise(names, tokens), "family")


def _of_family(family: Family, source: Source) -> ChatFormat:
    return ChatFormat(family.name, source, family.stops, family)


def _template_name(source: str) -> str:
    return next((name for text, name in _TEMPLATE_NAMES if text in source), "jinja")


def _family_parts(family: Family, tokenizer: Tokenizer, messages: Sequence[ChatMessage]) -> list[str | int]:
    """The family's prompt as parts. A space of its own at the beginning is the one that the tokenizer puts there."""
    special = {Slot.BOS: tokenizer.bos_id if tokenizer.add_bos else None, Slot.EOS: tokenizer.eos_id}
    parts: list[str | int] = []
    for piece in family.pieces(messages):
        if isinstance(piece, Slot):
            parts += [] if (token_id := special[piece]) is None else [token_id]
        elif tokenizer.adds_space_prefix and (not parts or isinstance(parts[-1], int)):
            parts += tokenizer.split(piece.removeprefix(" "), parse_special=True)
        else:
            parts += tokenizer.split(piece, parse_special=True)
    return parts


def _rendered(template: ChatTemplate, tokenizer: Tokenizer, messages: Sequence[ChatMessage]) -> str:
    """The template's text; where it refuses tools or drops what they said, that is told in plain words."""
    special = tokenizer.vocabulary.special_texts
    if has_tools(messages):
        with contextlib.suppress(TemplateError):
            text = _with_system(template, special, messages)
            if are_told(messages, text):
                return text
        messages = told_plainly(messages)
    return _with_system(template, special, messages)


def _with_system(template: ChatTemplate, special: Mapping[str, str], messages: Sequence[ChatMessage]) -> str:
    """The template's text; where it refuses or drops the system message, that goes into the user's first one."""
    system = [message.content.strip() for message in messages if message.role == "system"]
    try:
        text = _with_the_question(template, special, messages)
        if all(content in text for content in system):
            return text
    except TemplateError:
        plain = _alternating(messages)
        if plain == list(messages):
            raise
        return _with_the_question(template, special, plain)
    return _with_the_question(template, special, _alternating(messages))


def _with_the_question(template: ChatTemplate, special: Mapping[str, str], messages: Sequence[ChatMessage]) -> str:
    """The template's text; where it fails or drops what the user said last, that of contents in parts if it is better.

    Models that were made for pictures too often have templates that only look into such parts.
    """
    question = next((message.content.strip() for message in reversed(messages) if message.role == "user"), "")
    text, failed = "", None
    try:
        text = template.render([{"role": m.role, "content": m.content, **fields_of(m)} for m in messages], special)
        if question in text:
            return text
    except TemplateError as error:
        failed = error
    parts = [{"role": m.role, "content": [{"type": "text", "text": m.content}], **fields_of(m)} for m in messages]
    with contextlib.suppress(TemplateError):
        of_parts = template.render(parts, special)
        written_out = any(str(each["content"]) in of_parts for each in parts)
        if question in of_parts and not written_out:
            return of_parts
    if failed is not None:
        raise failed
    return text


def _alternating(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The same words as user and assistant in turn: what system and neighbours of one role say is joined."""
    turns: list[ChatMessage] = []
    for message in messages:
        role = "user" if message.role == "system" else message.role
        if turns and turns[-1].role == role:
            turns[-1] = ChatMessage(role=role, content=f"{turns[-1].content}\n\n{message.content}")
        else:
            turns.append(ChatMessage(role=role, content=message.content))
    return turns
