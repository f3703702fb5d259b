"""The tokenizer of PLaMo 2 and 3: of all ways to cut a text into pieces, the one whose scores add up to the most.

Characters that are no piece are bytes. PLaMo 3 first cuts out its own markers and runs of one character.
Source: llm_tokenizer_plamo2 in llama.cpp's src/llama-vocab.cpp.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator

from engine.checkpoints.metadata import Metadata
from engine.checkpoints.tokenizer_keys import PREFIX, TokenType
from engine.tokenizer.base import Tokenizer, without_surrogates
from engine.tokenizer.vocabulary import Vocabulary

_PRECISION, _LEAST_SCORE, _UNKNOWN = 1e4, -20_000_000, 10_000_000
"""Costs are whole numbers: so many to a score of -1. Pieces of this score or less are none. What an unknown character
costs."""

_BYTE = re.compile("<0x([0-9A-F]{2})>")
_BYTE_ORDER_MARK = "\ufeff"
_BOUNDARY = "\uee00"
"""Cuts PLaMo 3's texts, and is dropped."""

_OWN_MARKER = re.compile(r"(<\|plamo:[^\s|]{0,64}\|>)")
_RUN = re.compile(r"(([^\n])\2{3,}| {2,})")


class PlamoTokenizer(Tokenizer):
    """Pieces with scores, and bytes, from a model file's own vocabulary.

    cuts_first: as PLaMo 3 does it. Raises ModelFileError where a byte has no token.
    """

    def __init__(self, metadata: Metadata, *, cuts_first: bool) -> None:
        default_ids = {"bos": 1, "eos": 2, "unknown": 0}
        super().__init__(Vocabulary(metadata, default_ids=default_ids, add_bos=False, has_bytes=True))
        self._cuts_first = cuts_first
        vocabulary = self.vocabulary
        self._byte_of = {
            id_: int(byte[1], 16)
            for id_, text in enumerate(vocabulary.tokens)
            if vocabulary.types[id_] == TokenType.BYTE and (byte := _BYTE.fullmatch(text))
        }
        self._id_of_byte = {byte: id_ for id_, byte in self._byte_of.items()}
        if missing := sorted(set(range(256)) - self._id_of_byte.keys()):
            raise metadata.error(f"{PREFIX}tokens has no token for the byte {missing[0]:#04x}.")
        self._pieces = self._costs(metadata)
        self._lengths: dict[str, list[int]] = defaultdict(list)
        for first, length in {(piece[0], len(piece)) for piece in self._pieces}:
            self._lengths[first].append(length)
        for lengths in self._lengths.values():
            lengths.sort(reverse=True)

    def _costs(self, metadata: Metadata) -> dict[str, tuple[int, int]]:
        """What each piece costs, and its id. No piece is a marker of a conversation."""
        vocabulary = self.vocabulary
        scores = metadata.numbers(PREFIX + "scores", length=len(vocabulary), typecodes="fi")
        markers, costs = set(self.marker_texts), {}
        for id_, text in enumerate(vocabulary.tokens):
            score = scores[id_] * _PRECISION if scores is not None else 0.0
            if not text or text in markers or vocabulary.types[id_] == TokenType.BYTE or not math.isfinite(score):
                continue
            if score > _LEAST_SCORE:
                costs[text] = (-math.floor(abs(score) + 0.5) if score > 0 else math.floor(abs(score) + 0.5), id_)
        return costs

    def _encode_text(self, text: str, after_special: bool) -> list[int]:
        text = without_surrogates(text, keep_bytes=True)
        if not self._cuts_first:
            return self._encode_segment(text.removeprefix(_BYTE_ORDER_MARK))
        return [id_ for segment in _segments(text) for id_ in self._encode_segment(segment)]

    def _encode_segment(self, text: str) -> list[int]:
        """The cheapest pieces; of equals, the longest first one."""
        least, best = [0] * (len(text) + 1), [(0, -1)] * len(text)
        for at in range(len(text) - 1, -1, -1):
            least[at], best[at] = least[at + 1] + _UNKNOWN, (1, -1)
            for length in reversed(self._lengths.get(text[at], ())):
                end = at + length
                piece = self._pieces.get(text[at:end]) if end <= len(text) else None
                if piece is not None and least[end] + piece[0] <= least[at]:
                    least[at], best[at] = least[end] + piece[0], (length, piece[1])
        ids: list[int] = []
        at = 0
        while at < len(text):
            length, id_ = best[at]
            ids += [id_] if id_ >= 0 else [self._id_of_byte[byte] for byte in _bytes_of(text[at])]
            at += length
        return ids

    def _token_bytes(self, token_id: int) -> bytes:
        byte = self._byte_of.get(token_id)
        return self.vocabulary.tokens[token_id].encode() if byte is None else bytes([byte])


def _segments(text: str) -> Iterator[str]:
    """What PLaMo 3 takes apart before it looks for pieces."""
    for part in _OWN_MARKER.split(text):
        at = 0
        for run in _RUN.finditer(part):
            yield from part[at : run.start()].split(_BOUNDARY)
            yield from run[0].split(_BOUNDARY)
            at = run.end()
        yield from part[at:].split(_BOUNDARY)


def _bytes_of(character: str) -> bytes:
    """UTF-8, or the byte that surrogateescape has made a character."""
    return character.encode("utf-8", "surrogateescape")
