"""The screen as it should be and as the terminal shows it, and the bytes from the one to the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.segment import Segment

from tui.drawing.cells import cells, is_doubtful
from tui.drawing.pens import Pen, PenCase

BRIDGE_CELLS = 4
"""So many unchanged cells between two changed ones are written again: moving past them takes as many bytes."""

_NARROW = "\u2300"
"""Single characters before this one are one column wide in every terminal."""


class Picture:
    """Cells of width × height; `put` says what should be there, `changes` brings the terminal up to date.

    A terminal starts with contents, cursor and colours that nobody knows.
    """

    def __init__(self, width: int, height: int, case: PenCase) -> None:
        self.width = width
        self.height = height
        self._case = case
        self._texts = [[" "] * width for _ in range(height)]
        self._pens = [[case.plain] * width for _ in range(height)]
        self._shown_texts: list[list[str]] = []
        self._shown_pens: list[list[Pen]] = []
        self._touched: set[int] = set()
        self._pen: Pen | None = None
        self._at: tuple[int, int] | None = None
        self.forget()

    def forget(self) -> None:
        """The terminal may show anything now: the next changes draw the whole."""
        self._shown_texts = [[] for _ in range(self.height)]
        self._shown_pens = [[] for _ in range(self.height)]
        self._touched = set(range(self.height))
        self._pen = self._at = None

    def put(self, x: int, y: int, segments: Iterable[Segment]) -> None:
        """Place a piece of a line; what goes beyond the picture is cut off."""
        if not (0 <= y < self.height and 0 <= x < self.width):
            return
        texts, pens = cells(segments, self._case)
        room = self.width - x
        if len(texts) > room:
            # Half a wide character cannot be shown.
            if not texts[room]:
                texts[room - 1] = " "
            del texts[room:], pens[room:]
        end = x + len(texts)
        row, row_pens = self._texts[y], self._pens[y]
        if row[x:end] == texts and row_pens[x:end] == pens:
            return
        if x and not row[x]:
            row[x - 1] = " "
        row[x:end] = texts
        row_pens[x:end] = pens
        if end < self.width and not row[end]:
            row[end] = " "
        self._touched.add(y)

    def changes(self, cursor: tuple[int, int]) -> str:
        """What to send now; "" where nothing changed. cursor: column and row where it shall stand then."""
        out: list[str] = []
        for y in sorted(self._touched):
            texts, pens = self._texts[y], self._pens[y]
            for start, end in self._runs(y):
                self._write(out, start, y, texts[start:end], pens[start:end])
            self._shown_texts[y] = texts.copy()
            self._shown_pens[y] = pens.copy()
        self._touched.clear()
        self._move(out, *cursor)
        return "".join(out)

    def _runs(self, y: int) -> Iterator[tuple[int, int]]:
        """Columns from … to that have to be written in a row of the terminal."""
        texts, pens = self._texts[y], self._pens[y]
        shown, shown_pens = self._shown_texts[y], self._shown_pens[y]
        if not shown:
            yield 0, self.width
            return
        if texts == shown and pens == shown_pens:
            return
        if any(len(cell) > 1 or (cell >= _NARROW and is_doubtful(cell)) for row in (texts, shown) for cell in row):
            # A terminal that sees another width has the rest of the row elsewhere.
            yield 0, self.width
            return
        old = zip(shown, shown_pens, strict=True)
        new = zip(texts, pens, strict=True)
        changed = [x for x, (before, after) in enumerate(zip(old, new, strict=True)) if before != after]
        start = last = changed[0]
        for x in changed[1:]:
            pen = pens[last]
            if x - last - 1 > BRIDGE_CELLS or any(p is not pen and p is not pen.blank for p in pens[last + 1 : x]):
                yield self._whole_characters(texts, start, last + 1)
                start = x
            last = x
        yield self._whole_characters(texts, start, last + 1)

    @staticmethod
    def _whole_characters(texts: list[str], start: int, end: int) -> tuple[int, int]:
        while start and not texts[start]:
            start -= 1
        while end < len(texts) and not texts[end]:
            end += 1
        return start, end

    def _write(self, out: list[str], x: int, y: int, texts: list[str], pens: list[Pen]) -> None:
        self._move(out, x, y)
        pen = self._pen
        for n, (text, wanted) in enumerate(zip(texts, pens, strict=True)):
            if not text:
                continue
            if pen is not wanted and (text != " " or pen is None or pen.blank is not wanted):
                if text == " " and pen is not None:
                    wanted = self._case.pen_for_blank(pen, wanted)
                out.append(self._case.change(pen, wanted))
                pen = wanted
            if (len(text) > 1 or text >= _NARROW) and is_doubtful(text):
                self._write_doubtful(out, x + n, y, text, is_wide=n + 1 < len(texts) and not texts[n + 1])
            else:
                out.append(text)
        self._pen = pen
        end = x + len(texts)
        # At the right edge, terminals differ in where the cursor stays.
        self._at = (end, y) if end < self.width else None

    def _write_doubtful(self, out: list[str], x: int, y: int, text: str, *, is_wide: bool) -> None:
        """Write a character, however wide the terminal takes it to be, so that its cells and no others change."""
        if is_wide:
            out.append("  ")
            self._at = None
            self._move(out, x, y)
        out.append(text)
        self._at = None
        if x + 1 + is_wide < self.width:
            self._move(out, x + 1 + is_wide, y)

    def _move(self, out: list[str], x: int, y: int) -> None:
        if self._at == (x, y):
            return
        if self._at is not None and self._at[1] == y and x > self._at[0]:
            steps = x - self._at[0]
            out.append(f"\x1b[{steps}C" if steps > 1 else "\x1b[C")
        else:
            out.append(f"\x1b[{y + 1};{x + 1}H" if x else f"\x1b[{y + 1}H")
        self._at = (x, y)
