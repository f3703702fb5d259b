"""Colours for terminals that have 256 or 16: the one that looks most alike, where the nearest by numbers would not.

Of 256, Rich takes the nearest corner of a coarse cube: dark greys with a hint of blue become a deep blue there. Of 16,
it takes a bright red for orange, which looks like an error.
"""

from __future__ import annotations

import math
from functools import lru_cache

from rich.color import Color, ColorSystem, ColorType
from rich.segment import Segment
from rich.style import Style
from textual.color import Color as ScreenColor
from textual.filter import LineFilter

GREY_CHROMA = 0.035
"""What has less colour than this is shown as a grey, and nothing else is: the cube has no colours between."""

HUE_WEIGHT = 3.0
"""How much worse another hue is than another brightness: blue must not become green."""

ORANGE = (math.radians(38), math.radians(100))
"""From which hue to which the reds end and the yellows have not begun: no colour of 16 is between them."""

_RED, _YELLOW, _BRIGHT_RED = 1, 3, 9

_LEVELS = (0, 95, 135, 175, 215, 255)

Look = tuple[float, float, float]
"""Lightness, and how green to red, blue to yellow; distances are those that people see."""


class FewColors(LineFilter):
    """Puts colours of the terminal's palette in place of those that it would have to guess. n_colors: 256 or 16."""

    def __init__(self, n_colors: int = 256) -> None:
        super().__init__()
        self._n_colors = n_colors

    def apply(self, segments: list[Segment], background: ScreenColor) -> list[Segment]:
        """The same line; colours that the terminal has are left alone."""
        return [
            Segment(text, style if style is None else _in_palette(style, self._n_colors), control)
            for text, style, control in segments
        ]


@lru_cache(maxsize=4096)
def _in_palette(style: Style, n_colors: int) -> Style:
    ink, paper = style.color, style.bgcolor
    return style + Style(color=ink and _known(ink, n_colors), bgcolor=paper and _known(paper, n_colors))


@lru_cache(maxsize=4096)
def _known(color: Color, n_colors: int) -> Color:
    if color.type is not ColorType.TRUECOLOR or color.triplet is None:
        return color
    return Color.from_ansi((nearest if n_colors == 256 else nearest_of_16)(*color.triplet))


def nearest(red: int, green: int, blue: int) -> int:
    """The number of the colour that looks most alike, of the cube or of the greys."""
    look = _look(red, green, blue)
    is_grey = _chroma(look) < GREY_CHROMA
    numbers = (number for number, other in _palette().items() if (_chroma(other) < GREY_CHROMA) == is_grey)
    return min(numbers, key=lambda number: _distance(look, _palette()[number]))


def nearest_of_16(red: int, green: int, blue: int) -> int:
    """The number of one of the first 16 colours, which differ from terminal to terminal; orange is yellow, not red."""
    number = Color.from_rgb(red, green, blue).downgrade(ColorSystem.STANDARD).number
    assert number is not None
    look = _look(red, green, blue)
    is_orange = ORANGE[0] < math.atan2(look[2], look[1]) < ORANGE[1]
    # The dark one: it is brown or orange on consoles, and what is called bright is a grey in some themes of terminals.
    return _YELLOW if is_orange and number in (_RED, _BRIGHT_RED) else number


@lru_cache(maxsize=1)
def _palette() -> dict[int, Look]:
    """The looks of the colours that are the same in every terminal, by their numbers."""
    cube = [(red, green, blue) for red in _LEVELS for green in _LEVELS for blue in _LEVELS]
    greys = [(level, level, level) for level in range(8, 248, 10)]
    return {number: _look(*rgb) for number, rgb in enumerate(cube + greys, start=16)}


def _look(red: int, green: int, blue: int) -> Look:
    """A colour in OKLab. Source: Ottosson 2020, "A perceptual color space for image processing"."""
    r, g, b = (_linear(value / 255) for value in (red, green, blue))
    long = math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b)
    medium = math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b)
    short = math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else math.pow((value + 0.055) / 1.055, 2.4)


def _chroma(look: Look) -> float:
    return math.hypot(look[1], look[2])


def _distance(one: Look, other: Look) -> float:
    """Squared, with what differs in the hue weighted."""
    chroma = (_chroma(one) - _chroma(other)) ** 2
    hue = max((one[1] - other[1]) ** 2 + (one[2] - other[2]) ** 2 - chroma, 0.0)
    return (one[0] - other[0]) ** 2 + chroma + HUE_WEIGHT * hue
