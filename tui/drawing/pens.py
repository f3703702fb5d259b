"""Colours and attributes as a terminal knows them, and the shortest sequences from one to another."""

from __future__ import annotations

from rich.color import Color, ColorSystem
from rich.style import Style

_CODES = ("1", "2", "3", "4", "5", "6", "7", "8", "9", "21", "51", "52", "53")
"""Rich's attributes, in the order of its bits, as SGR parameters."""

_OFF = {
    "1": "22", "2": "22", "3": "23", "4": "24", "5": "25", "6": "25", "7": "27", "8": "28", "9": "29", "21": "24",
    "51": "54", "52": "54", "53": "55",
}  # fmt: skip

_SEEN_ON_BLANKS = frozenset(("4", "7", "9", "21", "51", "52", "53"))


class Pen:
    """What cells are written with; two of one PenCase that look the same are the same object.

    attributes: SGR parameters. ink, paper: SGR parameters of the colours, "" for the terminal's own. blank: the pen
    with which a space looks the same.
    """

    __slots__ = ("attributes", "blank", "ink", "paper")

    def __init__(self, attributes: frozenset[str], ink: str, paper: str, blank: Pen | None) -> None:
        self.attributes = attributes
        self.ink = ink
        self.paper = paper
        self.blank = self if blank is None else blank

    def whole(self) -> str:
        """The sequence that sets everything, whatever was set before."""
        return f"\x1b[{';'.join(['0', *sorted(self.attributes), *filter(None, (self.ink, self.paper))])}m"

    def after(self, before: Pen) -> str:
        """The shortest sequence that changes another pen into this one."""
        gone = before.attributes - self.attributes
        off = {_OFF[code] for code in gone}
        # What ends one attribute may end another one that stays.
        on = {code for code in self.attributes if code not in before.attributes or _OFF[code] in off}
        parameters = [*sorted(off), *sorted(on)]
        if self.ink != before.ink:
            parameters.append(self.ink or "39")
        if self.paper != before.paper:
            parameters.append(self.paper or "49")
        change, whole = f"\x1b[{';'.join(parameters)}m", self.whole()
        return change if len(change) <= len(whole) else whole


class PenCase:
    """Makes pens of styles, each once, for a terminal of so many colours."""

    def __init__(self, colors: ColorSystem) -> None:
        self._colors = colors
        self._pens: dict[tuple[frozenset[str], str, str], Pen] = {}
        self._of_style: dict[tuple[Color | None, Color | None, int], Pen] = {}
        self._changes: dict[tuple[Pen, Pen], str] = {}
        self.plain = self._pen(frozenset(), "", "")

    def pen(self, style: Style | None) -> Pen:
        """The pen of a style. Links and meta data are not the terminal's business."""
        if style is None:
            return self.plain
        key = (style._color, style._bgcolor, style._attributes & style._set_attributes)
        if (pen := self._of_style.get(key)) is None:
            ink, paper, bits = key
            attributes = frozenset(code for n, code in enumerate(_CODES) if bits & 1 << n)
            pen = self._pen(attributes, self._parameters(ink, is_ink=True), self._parameters(paper, is_ink=False))
            self._of_style[key] = pen
        return pen

    def change(self, before: Pen | None, after: Pen) -> str:
        """The sequence from one pen to another; before: None where nobody knows what is set."""
        if before is None:
            return after.whole()
        if (sequence := self._changes.get((before, after))) is None:
            sequence = self._changes[before, after] = after.after(before)
        return sequence

    def pen_for_blank(self, before: Pen, blank: Pen) -> Pen:
        """A pen with which a space looks as with `blank`, as like the one before as that allows."""
        if blank.blank is not blank or blank.attributes:
            return blank
        return self._pen(before.attributes - _SEEN_ON_BLANKS, before.ink, blank.paper)

    def _pen(self, attributes: frozenset[str], ink: str, paper: str) -> Pen:
        key = (attributes, ink, paper)
        if (pen := self._pens.get(key)) is None:
            shows = attributes & _SEEN_ON_BLANKS
            blank = None if shows or not (attributes or ink) else self._pen(frozenset(), "", paper)
            pen = self._pens[key] = Pen(attributes, ink, paper, blank)
        return pen

    def _parameters(self, color: Color | None, *, is_ink: bool) -> str:
        if color is None or color.is_default:
            return ""
        return ";".join(color.downgrade(self._colors).get_ansi_codes(is_ink))
