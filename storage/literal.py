"""Texts compared as they are written, but for case and accents: what the search index cuts away is found by that."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# Accents, as the index's tokenizer drops them; what makes an emoji of a sign, or a sign of an emoji.
_DROPPED = dict.fromkeys((*range(0x300, 0x370), 0xFE0E, 0xFE0F))
_SYMBOLS = {"So", "Sm", "Sc"}
_MARKS = {"Mn", "Mc"}
_BEFORE_CHARS = 40
_AFTER_CHARS = 80


def fold(text: str) -> str:
    """Write a text so that case and accents do not matter."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKD", text).translate(_DROPPED).casefold()


def is_symbol(char: str) -> bool:
    """Tell whether a character, one of no word, is what somebody may look for: an emoji, a plus sign."""
    return char == "#" or unicodedata.category(char) in _SYMBOLS


def says_more_than_words(piece: str) -> bool:
    """Tell whether words are not all that counts in a piece between spaces: C++, an emoji, vowel signs of Hindi."""
    kinds = {unicodedata.category(char) for char in piece if ord(char) not in _DROPPED}
    has_symbol = any(map(is_symbol, piece))
    return "So" in kinds or bool(kinds & _MARKS) or (has_symbol and any(map(str.isalnum, piece)))


def pattern(piece: str) -> re.Pattern[str]:
    """What finds a piece in folded text, from the beginning of a word where it begins with one."""
    folded = fold(piece)
    return re.compile((r"(?<!\w)" if folded[:1].isalnum() else "") + re.escape(folded))


def snippet(text: str, pieces: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Cut the text around the first match, on one line, and tell where the matches are."""
    found = re.compile("|".join(re.escape(folded) for piece in pieces if (folded := fold(piece))))
    first = next(iter(_matches(found, text)), (0, 0))
    at = first[0]
    line = " ".join(text[max(0, at - _BEFORE_CHARS) : at + _AFTER_CHARS].split())
    line = f"{'…' if at > _BEFORE_CHARS else ''}{line}{'…' if at + _AFTER_CHARS < len(text) else ''}"
    return line, _matches(found, line)


def shortened(line: str, matches: list[tuple[int, int]], n_chars: int) -> tuple[str, list[tuple[int, int]]]:
    """Cut a line that is too long, because a word in it is, around its first match."""
    if len(line) <= n_chars:
        return line, matches
    start = max(0, matches[0][0] - _BEFORE_CHARS) if matches else 0
    end = start + n_chars
    cut = f"{'…' if start else ''}{line[start:end]}{'…' if end < len(line) else ''}"
    shift = (1 if start else 0) - start
    return cut, [(first + shift, min(last, end) + shift) for first, last in matches if start <= first < end]


def _matches(found: re.Pattern[str], text: str) -> list[tuple[int, int]]:
    """Tell where in a text, not in the folded one, matches are; an accent behind a letter belongs to it."""
    if text.isascii():
        return [match.span() for match in found.finditer(text.lower())]
    folded = [fold(char) for char in text]
    places = [place for place, chars in enumerate(folded) for _ in chars] + [len(text)]
    return [
        (places[match.start()], max(places[match.end() - 1] + 1, places[match.end()]))
        for match in found.finditer("".join(folded))
    ]
