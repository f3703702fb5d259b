"""What GGUF's tokenizer keys are made of, whichever file a tokenizer comes from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

PREFIX: Final = "tokenizer.ggml."
"""How the keys begin."""

BEGINS_WITH_SPACE: Final = PREFIX + "add_prefix_space"
"""Whether byte-level BPE reads a text as if a space came before it, unless one does. llama.cpp knows no such key; its
own, `add_space_prefix`, is also in files where it says nothing."""

ADDED_SCORE = -1000.0
"""Of tokens that no text becomes by itself."""

MAX_VOCAB = 1 << 22


class TokenType(IntEnum):
    """What a token is for, in the numbers of a GGUF's `token_type`."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


def _byte_chars() -> dict[int, str]:
    """A printable character for every byte: itself where it is one, else one from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return {byte: chr(byte if byte in printable else next(others)) for byte in range(256)}


BYTE_CHARS = _byte_chars()
"""How byte-level BPE writes bytes. Source: bytes_to_unicode in OpenAI's gpt-2 repository, src/encoder.py."""


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A token that was added to a tokenizer. special: it gives a conversation its structure."""

    text: str
    special: bool

    @property
    def type(self) -> TokenType:
        """What it is for."""
        return TokenType.CONTROL if self.special else TokenType.USER_DEFINED
