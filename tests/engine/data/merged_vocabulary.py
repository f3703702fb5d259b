"""A vocabulary like Gemma 4's, made of the SentencePiece one: merges in the order of its scores."""

from __future__ import annotations

import json
from pathlib import Path

NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
RENAMED = {"<s>": "<bos>", "</s>": "<eos>"}
ADDED = (
    ("\n", NORMAL),
    ("\n\n", NORMAL),
    ("\n\n\n", NORMAL),
    ("\n\n\n\n", NORMAL),
    ("▁▁▁", NORMAL),
    ("\t", NORMAL),
    ("\t\t", NORMAL),
    ("<|turn>", CONTROL),
    ("<turn|>", CONTROL),
    ("<|think|>", CONTROL),
    ("<|channel>", USER_DEFINED),
    ("<channel|>", USER_DEFINED),
    ("<|tool_response>", USER_DEFINED),
    ('<|"|>', USER_DEFINED),
)
"""Tokens behind the others."""


def pieces() -> list[tuple[str, float, int]]:
    """(text, score, type) of each token."""
    found = json.loads(Path(__file__).with_name("spm_vocabulary.json").read_text("utf-8"))
    renamed = [(RENAMED.get(text, text), score, kind) for text, score, kind in found]
    return [*renamed, *((text, -1000.0, kind) for text, kind in ADDED)]


def plamo_pieces() -> list[tuple[str, float, int]]:
    """The same as PLaMo's have them: spaces as they are, and no score that makes a control token of plain text."""
    scored = {
        text.replace("▁", " "): (score / 500 if kind == NORMAL else -3000.0, kind) for text, score, kind in pieces()
    }
    return [(text, *of_text) for text, of_text in scored.items()]


def merges() -> list[str]:
    """Every pair of tokens that makes a third one, the likeliest first; the longest run of a character first."""
    scores = {text: score for text, score, kind in pieces() if kind == NORMAL}
    found = [
        (score, text[:at], text[at:])
        for text, score in scores.items()
        for at in range(1, len(text))
        if text[:at] in scores and text[at:] in scores
    ]
    return [f"{left} {right}" for _, left, right in sorted(found, key=lambda merge: -merge[0])]
