"""What every tokenizer does: find special tokens in a text, encode what lies between, and decode."""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property

from engine.checkpoints.tokenizer_keys import TokenType
from engine.errors import EngineError
from engine.tokenizer.vocabulary import SPECIAL_TYPES, Vocabulary

_MARKER = re.compile(
    "<[|\uff5c].*[|\uff5c]>"
    r"|<\|\w+>|<\w+\|>|<(start|end)_of_turn>|\[/?(INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS)\]",
    re.S,
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_SURROGATE_BUT_BYTES = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_C_WHITE_SPACE = " \t\n\v\f\r"
_SILENT = (TokenType.CONTROL, TokenType.UNKNOWN, TokenType.UNUSED)


class Tokenizer(ABC):
    """A model's tokenizer.

    A text is a list of parts on its way to ids: ids of special tokens, and the texts between them.
    adds_space_prefix: a text, and what follows a special token, is encoded as if a space came before it.
    """

    adds_space_prefix = False

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    @property
    def vocab_size(self) -> int:
        """How many tokens there are."""
        return len(self.vocabulary)

    @property
    def bos_id(self) -> int | None:
        """The token that begins a text."""
        return self.vocabulary.bos_id

    @property
    def eos_id(self) -> int | None:
        """The token that ends a text."""
        return self.vocabulary.eos_id

    @property
    def end_ids(self) -> frozenset[int]:
        """All tokens that end an answer: end of text, of turn, of message."""
        return self.vocabulary.end_ids

    @property
    def add_bos(self) -> bool:
        """Whether the model wants its texts to begin with BOS."""
        return self.vocabulary.add_bos

    @cached_property
    def marker_texts(self) -> tuple[str, ...]:
        """Texts of the tokens that give a conversation its structure: what nobody may smuggle into a message."""
        vocabulary = self.vocabulary
        return tuple(
            text
            for id_ in vocabulary.special_ids
            if (text := vocabulary.tokens[id_]) and (id_ in vocabulary.control_ids or _MARKER.fullmatch(text))
        )

    def encode(self, text: str, *, add_bos: bool, parse_special: bool) -> list[int]:
        """Token ids of a text.

        add_bos: begin with BOS. parse_special: control tokens written in the text become those tokens; without it
        they are plain text. Bytes that are not UTF-8, as surrogateescape makes them characters, are those bytes where
        the vocabulary has tokens for them beside text, as SentencePiece's have; else U+FFFD, as other lone surrogates.
        """
        return self.encode_parts(self.split(text, parse_special=parse_special), add_bos=add_bos)

    def split(self, text: str, *, parse_special: bool) -> list[str | int]:
        """A text as ids of the special tokens in it and the texts between, the longest token first."""
        vocabulary = self.vocabulary
        parts: list[str | int] = [text] if text else []
        for id_ in vocabulary.special_ids:
            token = vocabulary.tokens[id_]
            if token not in text or (not parse_special and id_ in vocabulary.control_ids):
                continue
            eats_space = id_ in vocabulary.eats_space_ids
            parts = [piece for part in parts for piece in _split_part(part, token, id_, eats_space)]
        return parts

    def encode_parts(self, parts: Iterable[str | int], *, add_bos: bool) -> list[int]:
        """Token ids of parts, in which nothing is looked for any more."""
        ids = [self.bos_id] if add_bos and self.bos_id is not None else []
        after_special = True
        for part in parts:
            if isinstance(part, int):
                ids.append(part)
                after_special = True
            elif part:
                ids.extend(self._encode_text(part, after_special))
                after_special = False
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens included, so that it can be encoded again.

        Incomplete characters become U+FFFD; spaces that encoding puts before texts are taken away.
        Raises EngineError for ids that are not in the vocabulary.
        """
        vocabulary = self.vocabulary
        for id_ in ids:
            if not 0 <= id_ < len(vocabulary):
                raise EngineError(f"There is no token {id_}.", f"This model's ids go from 0 to {len(vocabulary) - 1}.")
        pieces = []
        after_special = True
        for id_ in ids:
            is_special = vocabulary.types[id_] in SPECIAL_TYPES
            piece = vocabulary.tokens[id_].encode() if is_special else self.piece_bytes(id_)
            if self.adds_space_prefix and after_special and not is_special:
                piece = piece.removeprefix(b" ")
            pieces.append(piece)
            after_special = is_special
        return b"".join(pieces).decode("utf-8", "replace")

    def piece_bytes(self, token_id: int) -> bytes:
        """What a generated token adds to the answer: UTF-8, perhaps half a character, nothing for control tokens."""
        kind = self.vocabulary.types[token_id]
        if kind in _SILENT:
            return b""
        if kind == TokenType.USER_DEFINED:
            return self.vocabulary.tokens[token_id].encode()
        return self._token_bytes(token_id)

    def token_text(self, token_id: int) -> str:
        """What a token stands for, of a control token its name; half characters as escapes of their bytes."""
        if self.vocabulary.types[token_id] in _SILENT:
            return self.vocabulary.tokens[token_id]
        return self.piece_bytes(token_id).decode("utf-8", "backslashreplace")

    def piece_text(self, token_id: int) -> str:
        """The same for people to look at: control characters made visible."""
        return visible(self.token_text(token_id))

    @abstractmethod
    def _encode_text(self, text: str, after_special: bool) -> list[int]:
        """Token ids of a text without special tokens, perhaps with lone surrogates.

        after_special: it begins the input or follows a special token.
        """

    @abstractmethod
    def _token_bytes(self, token_id: int) -> bytes:
        """The bytes of a normal or byte token."""


def visible(text: str) -> str:
    """A text in which no character controls the terminal: C0 as control pictures, others by code point."""
    return "".join(char if char.isprintable() or char == " " else _picture(char) for char in text)


def _picture(char: str) -> str:
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    return char if unicodedata.category(char) == "Zs" else f"<U+{code:04X}>"


def _split_part(part: str | int, token: str, token_id: int, eats_space: bool) -> list[str | int]:
    if isinstance(part, int):
        return [part]
    first, *others = part.split(token)
    pieces: list[str | int] = [first] if first else []
    for other in others:
        text = other.lstrip(_C_WHITE_SPACE) if eats_space else other
        pieces += [token_id, text] if text else [token_id]
    return pieces


def without_surrogates(text: str, *, keep_bytes: bool = False) -> str:
    """The text with pairs of surrogates as the characters that they mean, and U+FFFD for lone ones.

    keep_bytes: those that surrogateescape makes of bytes stay.
    """
    if text.isascii():
        return text
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return (_SURROGATE_BUT_BYTES if keep_bytes else _SURROGATE).sub("\ufffd", joined)
