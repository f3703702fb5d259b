r"""Formulas in an answer's Markdown stay as they were written: their stars and backslashes are no marks.

Those are `$…$` within a line, `$$…$$`, `\(…\)` and `\[…\]`.
"""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

_INLINE = re.compile(
    r"""
      \$\$ (?!\$) (?: [^$\\] | \\. | \$(?!\$) )+ \$\$
    | \$ (?![\s$]) (?: [^$\\\n] | \\[^\n] )+ (?<!\s) \$ (?!\d)  # not in "$5 and $6"
    | \\\( (?: [^\\] | \\[^()] )+ \\\)
    | \\\[ (?: [^\\] | \\[^][] )+ \\\]
    """,
    re.VERBOSE | re.DOTALL,
)
_OPENING = re.compile(r"\$\$(?!\$)|\\\[")
_CLOSING = {"$$": "$$", r"\[": r"\]"}
_MARK = re.compile(r"\\.|\$\$")
_NAME = "formula"


def enable_formulas(parser: MarkdownIt) -> None:
    """Have a parser leave formulas alone."""
    parser.inline.ruler.before("escape", _NAME, _inline)
    parser.block.ruler.before("fence", _NAME, _block, {"alt": ["paragraph", "reference", "blockquote", "list"]})
    parser.core.ruler.after("inline", _NAME, _as_text)


def _inline(state: StateInline, silent: bool) -> bool:
    found = _INLINE.match(state.src, state.pos, state.posMax)
    if found is None:
        return False
    state.pos = found.end()
    if not silent:
        for token in _lines(found[0]):
            state.push(token.type, token.tag, 0).content = token.content
    return True


def _block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A formula that has its lines to itself, up to its end or an empty line; it may look like a list or a heading.

    One without an end counts too: more of it may be on its way.
    """
    opening = _OPENING.match(state.src, state.bMarks[start] + state.tShift[start])
    if opening is None or state.is_code_block(start):
        return False
    line, at = start, opening.end()
    while True:
        marks = _MARK.finditer(state.src, at, state.eMarks[line])
        closing = next((mark for mark in marks if mark[0] == _CLOSING[opening[0]]), None)
        if closing is not None and state.src[closing.end() : state.eMarks[line]].strip(" \t.,;"):
            return False
        line += 1
        if closing is not None or not goes_on(state, line, end):
            break
        at = state.bMarks[line] + state.tShift[line]
    if not silent:
        push_as_written(state, start, line)
    return True


def goes_on(state: StateBlock, line: int, end: int) -> bool:
    """Whether a line has text of the same block."""
    return line < end and not state.isEmpty(line) and state.sCount[line] >= state.blkIndent


def push_as_written(state: StateBlock, start: int, end: int) -> None:
    """Make a paragraph of lines in which no mark counts."""
    state.line = end
    state.push("paragraph_open", "p", 1).map = [start, end]
    state.push(_NAME, "", 0).content = state.getLines(start, end, state.blkIndent, False)
    state.push("paragraph_close", "p", -1)


def _as_text(state: StateCore) -> None:
    for token in state.tokens:
        if token.type == _NAME:
            token.type, token.children = "inline", _lines(token.content)


def _lines(formula: str) -> list[Token]:
    tokens: list[Token] = []
    for line in formula.strip().split("\n"):
        if tokens:
            tokens.append(Token("softbreak", "br", 0))
        tokens.append(Token("text", "", 0, content=line.strip()))
    return tokens
