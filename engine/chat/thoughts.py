"""What a model thinks before it answers, as a marked part of the answer's text."""

from __future__ import annotations

import re

THINK_BEGIN, THINK_END = "<think>\n", "\n</think>\n\n"
"""How most models mark their thinking in their own text; it is put like that for those that do it otherwise."""

_THOUGHTS = re.compile(r"\s*<think>\n?(?P<thoughts>.*?)(?:(?P<end>\n?</think>\s*)|\Z)", re.S)


def split_thoughts(text: str) -> tuple[str | None, str | None]:
    """The thoughts that a text begins with, and what is said after them; None for what there is nothing of."""
    found = _THOUGHTS.match(text)
    if found is None:
        return None, text
    return found["thoughts"], text[found.end() :] if found["end"] else None
