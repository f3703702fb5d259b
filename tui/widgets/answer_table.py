"""A table of an answer: drawn by a few widgets rather than one a cell, so that long ones stay cheap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markdown_it.token import Token
from rich.cells import cell_len
from textual.app import ComposeResult, RenderResult
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget
from textual.widgets import Markdown
from textual.widgets._markdown import MarkdownBlock  # not exported; Textual is pinned

PIECE_ROWS = 20
TABLE = "answer_table"
_ALIGNED = "aligned"
_BETWEEN = " │ "
_NARROWEST = 6
"""A column that has more in it needs so many cells to be read as one."""

Row = list[Content]


def gather_tables(tokens: Iterable[Token]) -> Iterable[Token]:
    """Make one token of each table's: its children are the rows, whose children are the cells' inline tokens."""
    table: Token | None = None
    for token in tokens:
        if token.type == "table_open":
            table = Token(TABLE, "", 0, map=token.map, level=token.level, children=[], meta={_ALIGNED: []})
        elif token.type == "table_close" and table is not None:
            yield table
            table = None
        elif table is None:
            yield token
        elif token.type == "tr_open":
            _children(table).append(Token("row", "", 0, children=[]))
        elif token.type == "th_open":
            table.meta[_ALIGNED].append(str(token.attrs.get("style", "")).removeprefix("text-align:"))
        elif token.type == "inline":
            _children(_children(table)[-1]).append(token)


def _children(token: Token) -> list[Token]:
    assert token.children is not None
    return token.children


def column_widths(natural: Sequence[int], width: int) -> list[int]:
    """The widths of a table's columns within `width` cells: narrow ones as they are, wide ones share the rest.

    Empty where there is no room for columns.
    """
    room = width - len(_BETWEEN) * (len(natural) - 1)
    widths = [0] * len(natural)
    left = len(natural)
    for at in sorted(range(len(natural)), key=natural.__getitem__):
        wanted = max(natural[at], 1)
        widths[at] = min(wanted, room // left)
        if widths[at] < min(wanted, _NARROWEST):
            return []
        room -= widths[at]
        left -= 1
    return widths


class TableRows(Widget):
    """Some rows of a table, with a rule below where they are its head.

    Where there is no room for columns, every cell has lines of its own, and every row a rule below.
    """

    DEFAULT_CSS = """
    TableRows { width: 1fr; height: auto; }
    TableRows.-head { color: $primary; text-style: bold; }
    """

    def __init__(self, table: AnswerTable, rows: list[Row], *, is_head: bool = False) -> None:
        super().__init__(classes="-head" if is_head else "")
        self._table = table
        self._is_head = is_head
        self._drawn: tuple[int, list[int], Content] | None = None
        self.rows = rows

    def show_rows(self, rows: list[Row]) -> None:
        """Draw other rows."""
        self.rows = rows
        self.redraw()

    def redraw(self) -> None:
        """Draw anew; rows or columns are others."""
        self._drawn = None
        self.refresh(layout=True)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Count the lines."""
        return self._draw(width).plain.count("\n") + 1

    def render(self) -> RenderResult:
        """All rows."""
        return self._draw(self.content_size.width)

    def _draw(self, width: int) -> Content:
        widths = self._table.widths(width)
        if self._drawn is None or self._drawn[:2] != (width, widths):
            lines = self._in_columns(widths) if widths else self._without_columns(max(width, _NARROWEST))
            self._drawn = width, widths, Content("\n").join(lines)
        return self._drawn[2]

    def _in_columns(self, widths: Sequence[int]) -> list[Content]:
        lines = [line for row in self.rows for line in _row_lines(row, widths, self._table.aligned)]
        if self._is_head:
            lines.append(Content("─┼─".join("─" * width for width in widths)))
        return lines

    def _without_columns(self, width: int) -> list[Content]:
        lines: list[Content] = []
        for row in self.rows:
            cells = [Content(_BETWEEN).join(row)] if self._is_head else _named(row, self._table.head)
            lines += [line for cell in cells for line in _wrapped(cell, width)]
            lines.append(Content("─" * width))
        return lines


def _named(row: Row, head: Row) -> list[Content]:
    return [
        Content.assemble(name.stylize("bold"), ": " if name else "", cell)
        for name, cell in zip(head, row, strict=False)
    ]


def _row_lines(row: Row, widths: Sequence[int], aligned: Sequence[str]) -> list[Content]:
    cells = [_wrapped(cell, width) for cell, width in zip(row, widths, strict=False)]
    cells += [[Content("")]] * (len(widths) - len(cells))
    lines = []
    for at in range(max(map(len, cells))):
        parts = [
            _padded(cell[at] if at < len(cell) else Content(""), width, side)
            for cell, width, side in zip(cells, widths, aligned, strict=True)
        ]
        lines.append(Content(_BETWEEN).join(parts))
    return lines


def _wrapped(cell: Content, width: int) -> list[Content]:
    return [cell] if cell.cell_length <= width and "\n" not in cell.plain else cell.wrap(width) or [cell]


def _padded(cell: Content, width: int, side: str) -> Content:
    cell = cell.rstrip()
    if cell.cell_length > width:
        cell = cell.truncate(width)
    gap = width - cell.cell_length
    before = {"right": gap, "center": gap // 2}.get(side, 0)
    return cell.pad(before, gap - before)


class AnswerTable(MarkdownBlock):
    """A table; `kept` rows are final, an update brings the rows behind them."""

    DEFAULT_CSS = """
    AnswerTable { margin: 0 0 1 0; }
    """

    def __init__(self, markdown: Markdown, token: Token) -> None:
        super().__init__(markdown, token)
        head, *rows = [[self._token_to_content(cell) for cell in _children(row)] for row in _children(token)]
        self.head: Row = head
        self.aligned: list[str] = token.meta[_ALIGNED]
        self._rows: list[Row] = rows
        self._natural = [0] * len(head)
        self._measure([head, *rows])
        self._pieces: list[TableRows] = []
        self.kept = 0

    @property
    def n_rows(self) -> int:
        """How many rows there are below the head."""
        return len(self._rows)

    def widths(self, width: int) -> list[int]:
        """The widths of the columns where the whole may take so much; none where that is too little for columns."""
        return column_widths(self._natural, width)

    def _measure(self, rows: Iterable[Row]) -> bool:
        """Take in the widths of more rows; True where a column became wider."""
        before = list(self._natural)
        for row in rows:
            for at, cell in enumerate(row[: len(self._natural)]):
                self._natural[at] = max(self._natural[at], *map(cell_len, cell.plain.split("\n")))
        return before != self._natural

    def compose(self) -> ComposeResult:
        """The head and the pieces there are."""
        yield TableRows(self, [self.head], is_head=True)
        self._pieces = [TableRows(self, rows) for rows in self._cut(0)]
        yield from self._pieces

    def _cut(self, first: int) -> list[list[Row]]:
        return [self._rows[at : at + PIECE_ROWS] for at in range(first, len(self._rows), PIECE_ROWS)]

    def keep(self, n_rows: int) -> None:
        """Take so many of the rows behind the final ones as final too."""
        self.kept += n_rows

    async def _update_from_block(self, block: MarkdownBlock) -> None:
        if not isinstance(block, AnswerTable) or len(block.head) != len(self.head):
            await super()._update_from_block(block)
            return
        self._rows[self.kept :] = block._rows
        # The line below the head may have come in pieces.
        other_columns = self._measure([block.head, *block._rows]) or self.aligned != block.aligned
        self.aligned = block.aligned
        first = self.kept // PIECE_ROWS
        new: list[TableRows] = []
        for at, rows in enumerate(self._cut(first * PIECE_ROWS), start=first):
            if at < len(self._pieces):
                self._pieces[at].show_rows(rows)
            else:
                new.append(TableRows(self, rows))
        self._pieces += new
        if other_columns:
            for piece in self.query_children(TableRows):
                piece.redraw()
        if new:
            await self.mount_all(new)
