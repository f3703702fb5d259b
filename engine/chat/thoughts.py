"""What a model thinks before it answers, as a marked part of the answer's text."""

from __future__ import annotations

import re

THINK_BEGIN, THINK_END = "<think>\n", "\n</think>\n\n"
"""How most models mark their thinking in their own text; it is put like that for those that do it otherwise."""

_BEGIN = re.compile(rf"\A{THINK_BEGIN}|\n\n{THINK_BEGIN}")
_END = re.compile(rf"{THINK_END}|{THINK_END.rstrip()}\Z")


def split_thoughts(text: str) -> list[tuple[bool, str]]:
    """The parts of a text in their order, each with whether it was thought; at least one.

    Marks count only as they are put here, so that words about them stay words. Without its end, a thought is one only
    where the text begins with it: there it was interrupted. Behind an end there is a part to be said, perhaps empty.
    """
    parts: list[tuple[bool, str]] = []
    at = 0
    while begin := _BEGIN.search(text, at):
        end = _END.search(text, begin.end())
        if begin[0] != THINK_BEGIN:
            if end is None:
                break
            parts.append((False, text[at : begin.start()]))
        if end is None:
            return [(True, text[begin.end() :])]
        parts.append((True, text[begin.end() : end.start()]))
        at = end.end()
    return [*parts, (False, text[at:])]


def without_thoughts(text: str) -> str:
    """What is said in a text."""
    return "\n\n".join(part for is_thought, part in split_thoughts(text) if part and not is_thought)
