"""Guesses what follows a text from the text itself: the tokens that followed where its latest ones occurred before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

LEAST_MATCH, LONGEST_MATCH = 2, 12
"""Tokens that make a match, and how many are compared at most to find where most of them have occurred."""

PLACES, PLACES_OF_ONE = 16, 32
"""Occurrences of the last LEAST_MATCH tokens that are looked at, and of the last one alone, the latest ones: text that
says the same over and over must not take longer and longer."""

LONG_COPY, LONG_CHANGE = 8, 2
"""Tokens in a row that make a copy, and tokens that may differ without its end."""


class Guess(NamedTuple):
    """Tokens that may follow; match: how many before them are as they were there, 0 for what follows a change."""

    ids: list[int]
    match: int


class Lookup:
    """Finds where most of a sequence's last tokens have occurred before; of several such places, the latest.

    In a long copy, a token or two that differ are taken for a change in their place: the copy goes on behind them,
    where nothing has occurred before. Where nothing but the last token has, what followed it most often may again.
    """

    def __init__(self) -> None:
        self._after: dict[tuple[int, ...], list[int]] = {}
        self._n_indexed = LEAST_MATCH
        self._back = 0

    def guess(self, ids: Sequence[int], most: int) -> Guess:
        """Up to `most` tokens that may follow ids; ids must begin as at the last call."""
        for end in range(self._n_indexed, len(ids)):
            for n_tokens in (1, LEAST_MATCH):
                self._after.setdefault(tuple(ids[end - n_tokens : end]), []).append(end)
        self._n_indexed = max(self._n_indexed, len(ids))
        start, match = self._longest(ids)
        if match >= LONG_COPY:
            self._back = len(ids) - start
        elif match <= LEAST_MATCH and self._is_changed_copy(ids):
            start, match = len(ids) - self._back, 0
        elif not match:
            start, match = self._commonest(ids)
        return Guess(list(ids[start : start + most]), match)

    def _longest(self, ids: Sequence[int]) -> tuple[int, int]:
        """The place behind the longest match, and its length; the end and 0 where there is none."""
        start, longest = len(ids), 0
        for place in reversed(self._after.get(tuple(ids[-LEAST_MATCH:]), ())[-PLACES:]):
            match = LEAST_MATCH
            while match < min(LONGEST_MATCH, place) and ids[place - 1 - match] == ids[-1 - match]:
                match += 1
            if match > longest:
                start, longest = place, match
        return start, longest

    def _commonest(self, ids: Sequence[int]) -> tuple[int, int]:
        """The latest place behind the last token where that goes on as it mostly does, and 1."""
        places = self._after.get(tuple(ids[-1:]), ())[-PLACES_OF_ONE:]
        if not places:
            return len(ids), 0
        follower = Counter(ids[place] for place in places).most_common(1)[0][0]
        return max(place for place in places if ids[place] == follower), 1

    def _is_changed_copy(self, ids: Sequence[int]) -> bool:
        """Whether the last long match went on until a token or two before the end."""
        if not self._back:
            return False
        ends = range(len(ids) - LONG_CHANGE, len(ids))
        return any(self._agree(ids[end - LONG_COPY : end], ids[end - LONG_COPY - self._back :]) for end in ends)

    @staticmethod
    def _agree(here: Sequence[int], there: Sequence[int]) -> bool:
        return list(here) == list(there[: len(here)])
