"""Entries of lists: what wraps stays under its beginning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from textual.widgets import OptionList

if TYPE_CHECKING:
    from tests.tui.conftest import Stage


@pytest.mark.parametrize(
    ("keys", "entry", "first_below"),
    [(("alt+p",), "creative", "temperature 1.2"), ((*"/settings", "enter"), "app.theme", "Colours")],
    ids=["presets", "settings"],
)
async def test_what_wraps_is_under_its_beginning(
    stage: Stage, keys: tuple[str, ...], entry: str, first_below: str
) -> None:
    async with stage.ready((44, 40)) as play:
        await play.press(*keys)
        await play.until_shown(entry)
        lines = play.shown(OptionList).split("\n")
        start = next(at for at, line in enumerate(lines) if line.strip().startswith(entry))
        at = lines[start].index(entry)
        below = [line[at:].rstrip() for line in lines[start + 1 :]]
        assert below[0].startswith(f"  {first_below}")
        others = [line for line in below if line]
        assert any(not line.startswith(" ") for line in others), "there are other entries"
        assert {line[:2] for line in others if line.startswith(" ")} == {"  "}
        wrapped = [one for one, two in zip(others[1:], others, strict=False) if one[0] == " " == two[0]]
        assert wrapped, "nothing wraps"
        assert all(line[2] != " " for line in wrapped)
