"""How model output becomes Markdown: a parser under which text from a stranger stays text."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, blockquote, list_block, reference, table
from markdown_it.rules_block.table import escapedSplit, getLine
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from tui.formulas import enable_formulas, goes_on, push_as_written
from tui.text import safe_text

DEEPEST = 16
"""A list in a list is two levels deeper, a quote in a quote one. What would be deeper is text: it had no width left,
and the parser leaves away whatever follows a limit of its own."""

BlockRule = Callable[[StateBlock, int, int, bool], bool]


@lru_cache(maxsize=1)
def markdown_parser() -> MarkdownIt:
    """The parser: CommonMark with tables and strikethrough, no HTML, line breaks and formulas kept.

    HTML would vanish from the screen, so it is text here. Links become their text and their address: nothing to
    click that was not written out, and the reader's terminal finds addresses by itself.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    # What they end stays as the parser has it.
    ends = ["paragraph", "reference"]
    parser.block.ruler.at("table", _whole_table, {"alt": ends})
    parser.block.ruler.at("blockquote", _not_too_deep(blockquote), {"alt": [*ends, "blockquote", "list"]})
    parser.block.ruler.at("list", _not_too_deep(list_block), {"alt": [*ends, "blockquote"]})
    parser.block.ruler.at("reference", _shown_reference)
    enable_formulas(parser)
    parser.core.ruler.push("plain", _make_plain)
    return parser


def code_blocks(text: str) -> list[str]:
    """The contents of a Markdown text's code blocks, in their order."""
    return [token.content for token in markdown_parser().parse(text) if token.type in ("fence", "code_block")]


def _not_too_deep(rule: BlockRule) -> BlockRule:
    def limited(state: StateBlock, start: int, end: int, silent: bool) -> bool:
        return state.level < DEEPEST and rule(state, start, end, silent)

    return limited


def _whole_table(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Keep what a row has beyond the last column, as where code with a bar was cut: it goes on in the last cell."""
    n_before = len(state.tokens)
    if not table(state, start, end, silent):
        return False
    new = state.tokens[n_before:]
    n_columns = sum(token.type == "th_open" for token in new)
    cells = [token for token in new if token.type == "inline"]
    for last in cells[2 * n_columns - 1 :: n_columns] if n_columns else []:
        assert last.map is not None
        row = escapedSplit(getLine(state, last.map[0]).strip().removeprefix("|"))
        last.content = " | ".join([last.content, *map(str.strip, row[n_columns:])]).removesuffix(" | ")
    return True


def _shown_reference(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Take addresses from where they stand below the text, and show them there too: some are named nowhere else."""
    line = start
    # It ends no other block, so that nobody asks silently.
    while goes_on(state, line, end) and reference(state, line, end, silent):
        line = state.line
    if line > start:
        push_as_written(state, start, line)
    return line > start


def _make_plain(state: StateCore) -> None:
    for token in state.tokens:
        token.content = safe_text(token.content)
        token.info = safe_text(token.info)
        if token.children is not None:
            token.children = _plain_children(token.children)


def _plain_children(children: list[Token]) -> list[Token]:
    """Inline tokens without links and images; entities were decoded by now, so text is made safe again."""
    plain: list[Token] = []
    addresses: list[tuple[str, int]] = []
    for token in children:
        token.content = safe_text(token.content)
        if token.type == "link_open":
            addresses.append((str(token.attrs.get("href", "")), len(plain)))
        elif token.type == "link_close" and addresses:
            address, start = addresses.pop()
            shown = "".join(part.content for part in plain[start:])
            if address and address != shown and address != f"mailto:{shown}":
                plain.append(_text(f" ({safe_text(address)})"))
        elif token.type == "image":
            plain.append(_text(f"[{token.content}] ({safe_text(str(token.attrs.get('src', '')))})"))
        elif token.type == "softbreak":
            token.type = "hardbreak"
            plain.append(token)
        else:
            plain.append(token)
    return plain


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)
