"""Room for what is found, shared out: a session in which much is found does not hide the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from operator import itemgetter

from .newest import Place
from .records import SearchHit

SHARE = 3
"""Of each session so many messages come first, and the others where there is room left."""

Hits = Iterator[tuple[Place, SearchHit]]


def titles_and_messages(
    titled: Hits, places: Iterator[Place], look: Callable[[Iterable[Place]], Hits], limit: int
) -> list[SearchHit]:
    """Up to so many titles and then messages that a search finds, either the newest first.

    places: where messages are to be looked at, the newest first. look: yields the hits at some places.
    """
    titles = [hit for _, hit in islice(titled, limit)]
    # However many titles match, messages get their half.
    messages = _take_turns(places, look, limit - min(len(titles), limit // 2))
    return titles[: limit - len(messages)] + messages


def _take_turns(places: Iterator[Place], look: Callable[[Iterable[Place]], Hits], limit: int) -> list[SearchHit]:
    n_found: Counter[int] = Counter()
    waiting: list[Place] = []

    def in_turn() -> Iterator[Place]:
        for place in places:
            if n_found[place.session_key] < SHARE:
                yield place
            else:
                waiting.append(place)

    def first() -> Hits:
        for place, hit in look(in_turn()):
            n_found[place.session_key] += 1
            # Places are looked at several at a time.
            if n_found[place.session_key] > SHARE:
                waiting.append(place)
            else:
                yield place, hit

    hits = list(islice(first(), limit))
    if len(hits) < limit:
        hits += islice(look(sorted(waiting, reverse=True)), limit - len(hits))
    return [hit for _, hit in sorted(hits, key=itemgetter(0), reverse=True)]
