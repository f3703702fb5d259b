"""The tokens of answers: which they were, what text each added and how likely it was, in about three bytes a token.

They are in a table of their own, which nothing reads but who asks for the tokens of one answer.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from .rows import message_keys
from .transactions import reads

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase

_FORMAT = 1
_STEPS = 254
_UNKNOWN_CHANCE = 255
# Ids have 31 bits: what goes on behind so many is no number of ours.
_MOST_BITS = 35
MOST_BYTES = 1 << 24
"""Unpacked; far beyond any context. What claims to be more was not packed here."""


class AnswerTokens(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of an answer, three lists of one length.

    ids: the model's numbers, -1 where a server gave none. lengths: characters of the text that each added. chances:
    their probability in the model, 0 to 1 in steps of about 1 % (finer near 0); None where it is not known.
    """

    ids: Sequence[int]
    lengths: Sequence[int]
    chances: Sequence[float | None]


def pack_tokens(tokens: AnswerTokens) -> bytes:
    """Write tokens as a blob: a number for its form, then, compressed, how many, ids + 1, lengths and chances."""
    ids = (token_id + 1 for token_id in tokens.ids)
    numbers = b"".join(_varint(number) for number in (len(tokens.ids), *ids, *tokens.lengths))
    return bytes([_FORMAT]) + zlib.compress(numbers + bytes(_level(chance) for chance in tokens.chances), 9)


def unpack_tokens(blob: bytes) -> AnswerTokens | None:
    """Read what pack_tokens wrote; None where a blob is something else."""
    if not blob or blob[0] != _FORMAT:
        return None
    reading = zlib.decompressobj()
    try:
        data = reading.decompress(blob[1:], MOST_BYTES)
        if not reading.eof:
            return None
        numbers = _varints(data)
        n_tokens = next(numbers)
        if n_tokens > len(data):
            return None
        ids = [next(numbers) - 1 for _ in range(n_tokens)]
        lengths = [next(numbers) for _ in range(n_tokens)]
    except (zlib.error, StopIteration):
        return None
    levels = data[len(data) - n_tokens :]
    chances = [None if level == _UNKNOWN_CHANCE else (level / _STEPS) ** 2 for level in levels]
    return AnswerTokens(ids=ids, lengths=lengths, chances=chances)


@reads
def answer_tokens(db: SqliteDatabase, message_id: str) -> AnswerTokens | None:
    """The tokens of an answer; None where they were not kept. Raises NoSuchMessageError."""
    key, _ = message_keys(db, message_id)
    row = db.execute("SELECT tokens FROM answer_tokens WHERE message_key = ?", [key]).fetchone()
    return None if row is None else unpack_tokens(row[0])


def keep_tokens(db: SqliteDatabase, key: int, blob: bytes | None) -> None:
    """Keep an answer's tokens in place of those before. Belongs in a transaction."""
    if blob:
        db.execute("INSERT OR REPLACE INTO answer_tokens (message_key, tokens) VALUES (?, ?)", [key, blob])
    else:
        db.execute("DELETE FROM answer_tokens WHERE message_key = ?", [key])


def copy_tokens(db: SqliteDatabase, message_id: str, key: int) -> None:
    """Give a copy of a message the same tokens. Belongs in a transaction."""
    db.execute(
        "INSERT INTO answer_tokens (message_key, tokens) SELECT ?, t.tokens FROM answer_tokens t"
        " JOIN messages m ON m.key = t.message_key WHERE m.id = ?",
        [key, message_id],
    )


def _level(chance: float | None) -> int:
    return _UNKNOWN_CHANCE if chance is None else round(min(max(chance, 0.0), 1.0) ** 0.5 * _STEPS)


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the highest bit says that more follow."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _varints(data: Iterable[int]) -> Iterator[int]:
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0
        elif shift > _MOST_BITS:
            return
