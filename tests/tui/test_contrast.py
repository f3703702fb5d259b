"""Text can be read: what the pictures of the main screen show has a contrast with its background."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.color import Color

from tests.tui.scenes import SCENES
from tests.tui.written_screen import Look, read_looks, runs_of
from tui.screens.main.screen import MainScreen

PICTURES = Path(__file__).with_name("pictures")
LEAST = 3.5
"""Half of what black on mid-grey has; what a dialog covers is fainter on purpose, so dialogs are not looked at."""


def contrast(one: str, other: str) -> float:
    """The ratio of two colours' luminance, from 1 to 21. Source: WCAG 2, relative luminance."""
    light, dark = sorted((_luminance(Color.parse(one)), _luminance(Color.parse(other))), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: Color) -> float:
    parts = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color.normalized)
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))


def pale(look: Look) -> Iterator[str]:
    """Words that can hardly be read."""
    for text, style in runs_of(look):
        colors = re.findall(r"#[0-9a-f]{6}", style)
        if re.search(r"\w", text) and len(colors) == 2 and contrast(*colors) < LEAST:
            yield f"{text.strip()!r}: {style}"


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light"])
def test_all_words_of_the_main_screen_can_be_read(theme: str) -> None:
    looks = [
        look
        for name, scene in SCENES.items()
        if scene.screen is MainScreen
        for key, look in read_looks(PICTURES / f"{name}.txt").items()
        if key[1] == theme
    ]
    assert looks
    assert {words for look in looks for words in pale(look)} == set()
