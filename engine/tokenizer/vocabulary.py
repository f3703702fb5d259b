"""A model's tokens: their texts and kinds, and which of them begin and end a text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Final

from engine.checkpoints.metadata import Metadata
from engine.checkpoints.tokenizer_keys import PREFIX, TokenType

MERGES: Final = PREFIX + "merges"


SPECIAL_TYPES: Final = (TokenType.CONTROL, TokenType.UNKNOWN, TokenType.USER_DEFINED)
"""Tokens that are looked for in a text as they are, before it is split into words."""

END_TEXTS: Final = frozenset(
    {
        "<|eot_id|>",
        "<|im_end|>",
        "<|end|>",
        "<|return|>",
        "<|call|>",
        "<|flush|>",
        "<|calls|>",
        "<end_of_turn>",
        "<|endoftext|>",
        "</s>",
        "<|eom_id|>",
        "<EOT>",
        "_<EOT>",
        "[EOT]",
        "[EOS]",
        "<|end_of_text|>",
        "<end_of_utterance>",
        "<eos>",
        "<turn|>",
        "<|tool_response>",
        "<\uff5cend\u2581of\u2581sentence\uff5c>",
        "[e~[",
        "<|fim_pad|>",
        "<fim-pad>",
        "<fim_pad>",
        "<|fim_repo|>",
        "<fim-repo>",
        "<|repo_name|>",
        "<reponame>",
        "<|file_sep|>",
        "<PAD>",
        "[PAD]",
        "<REPO>",
        "<|ifm|im_end|>",
    }
)
"""Tokens that end an answer whatever the metadata says, by their text. Source: llama.cpp, src/llama-vocab.cpp."""

_END_NAMES: Final = ("eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep")
"""Tokens that end an answer by their key in the metadata."""

_NOT_ENDS: Final = (
    ("<|end|>", frozenset({"<|return|>", "<|call|>"})),
    ("<|end|>", frozenset({"<|flush|>", "<|calls|>"})),
    ("</s>", frozenset({"<|tool_response>"})),
)
"""A text that ends nothing in vocabularies that have all of the others: there it only parts messages."""


_BYTE = re.compile("<0x[0-9A-F]{2}>")


class Vocabulary:
    """The tokens of a model file, checked: every special id is inside it.

    default_ids: of special tokens that the file does not name, or names by an id that no token has. has_bytes: whether
    tokens like <0x0A> are bytes, where the file does not say what its tokens are.

    types: one TokenType number a token. special_ids: tokens that are looked for before a text is split into words,
    longest first; control_ids of them only on request.
    eats_space_ids: special tokens that swallow the white space after them.
    """

    def __init__(
        self, metadata: Metadata, *, default_ids: Mapping[str, int], add_bos: bool, has_bytes: bool = False
    ) -> None:
        self.tokens = metadata.texts(PREFIX + "tokens")
        n_tokens = len(self.tokens)
        if not n_tokens:
            raise metadata.error(f"{PREFIX}tokens is empty.")

        def special_id(name: str) -> int | None:
            found = metadata.optional_integer(f"{PREFIX}{name}_token_id", low=0, high=2**64 - 1)
            return next((id_ for id_ in (found, default_ids.get(name)) if id_ is not None and id_ < n_tokens), None)

        self.bos_id = special_id("bos")
        self.eos_id = special_id("eos")
        self.unknown_id = special_id("unknown")
        types = metadata.numbers(PREFIX + "token_type", length=n_tokens, typecodes="iI")
        self.types: list[int] = list(types) if types is not None else self._guess_types(has_bytes)
        self.add_bos = metadata.flag(PREFIX + "add_bos_token", add_bos) and self.bos_id is not None
        self.end_ids = self._find_ends([special_id(name) for name in _END_NAMES])
        self.control_ids = frozenset(
            id_ for id_, kind in enumerate(self.types) if kind in (TokenType.CONTROL, TokenType.UNKNOWN)
        )
        special = [id_ for id_, kind in enumerate(self.types) if kind in SPECIAL_TYPES and self.tokens[id_]]
        self.special_ids = sorted(special, key=lambda id_: -len(self.tokens[id_].encode()))
        self.eats_space_ids = self._find_space_eaters(metadata)

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Text to id, the first where two are alike."""
        ids: dict[str, int] = {}
        for id_, text in enumerate(self.tokens):
            ids.setdefault(text, id_)
        return ids

    def special_ids_of(self, texts: Sequence[str]) -> tuple[int, ...]:
        """The special tokens of these texts, in their order; nothing where one of them is missing."""
        found = {self.tokens[id_]: id_ for id_ in self.special_ids if self.tokens[id_] in texts}
        return tuple(found[text] for text in texts) if len(found) == len(texts) else ()

    def forget_ids(self) -> None:
        """Give the memory of `ids` back: the library that encodes has its own."""
        del self.ids

    @property
    def special_texts(self) -> dict[str, str]:
        """BOS and the like as text, by the names that chat templates use."""
        named = {"bos_token": self.bos_id, "eos_token": self.eos_id, "unk_token": self.unknown_id}
        return {name: self.tokens[id_] for name, id_ in named.items() if id_ is not None}

    def _guess_types(self, has_bytes: bool) -> list[int]:
        """What tokens are, by their text and by what the file calls them."""
        if not has_bytes:
            return [TokenType.NORMAL] * len(self.tokens)
        types: list[int] = [TokenType.BYTE if _BYTE.fullmatch(text) else TokenType.NORMAL for text in self.tokens]
        named = {self.bos_id: TokenType.CONTROL, self.eos_id: TokenType.CONTROL, self.unknown_id: TokenType.UNKNOWN}
        for id_, kind in named.items():
            if id_ is not None:
                types[id_] = kind
        return types

    def _find_space_eaters(self, metadata: Metadata) -> frozenset[int]:
        """Special tokens that swallow the white space after them: no GGUF says so, but Phi-3 was trained that way."""
        if not re.search(r"phi-?3", metadata.text("general.name", "").lower()):
            return frozenset()
        others = {self.ids.get(text) for text in ("<unk>", "<s>", "<|endoftext|>")}
        return frozenset(self.special_ids) - others

    def _find_ends(self, named: list[int | None]) -> frozenset[int]:
        """End tokens by id and by text; the latter count as control tokens, whatever a careless converter wrote."""
        ends = {self.ids[text] for text in END_TEXTS if text in self.ids}
        for text, others in _NOT_ENDS:
            if text in self.ids and all(other in self.ids for other in others):
                ends.discard(self.ids[text])
        for id_ in ends:
            self.types[id_] = TokenType.CONTROL
        return frozenset(ends.union(id_ for id_ in named if id_ is not None))
