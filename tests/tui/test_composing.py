"""Frames made of what changed alone show the same as Textual's own."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest
from textual import events
from textual._compositor import ChopsUpdate, Compositor
from textual.app import App
from textual.geometry import Region
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from tui.drawing.composing import FrugalCompositor
from tui.widgets.prompt_box import PromptBox

if TYPE_CHECKING:
    from tests.tui.conftest import Play, Stage

ANSWER = """# Title

Some *words*, 日本語 and `code`.

- one
- two

```python
x = 1
```

| a | b |
|---|---|
| 1 | 2 |
"""


def drawn(update: ChopsUpdate | None) -> dict[tuple[int, int], Strip]:
    """The pieces of a frame that reach into what changed, by line and column."""
    assert update is not None
    return {
        (y, x): strip
        for y, left, right in update.spans
        for end, (x, strip) in zip(update.chop_ends[y], update.chops[y].items(), strict=True)
        if strip is not None and x < right and end > left
    }


def compositor_of(play: Play) -> FrugalCompositor:
    """The main screen's."""
    compositor = play.app.screen._compositor
    assert isinstance(compositor, FrugalCompositor)
    return compositor


async def test_any_part_of_the_screen_is_drawn_as_textual_draws_it(stage: Stage) -> None:
    stage.set_script(answers=[ANSWER])
    dice = random.Random(1)
    async with stage.ready() as play:
        await play.ask("show me")
        compositor = compositor_of(play)
        width, height = compositor.size
        for _ in range(60):
            regions = {
                Region(dice.randrange(width), dice.randrange(height), dice.randint(1, width), dice.randint(1, 6))
                for _ in range(dice.randint(1, 4))
            }
            regions = {region.intersection(compositor.size.region) for region in regions}
            compositor._dirty_regions = set(regions)
            ours = drawn(compositor.render_partial_update())
            compositor._dirty_regions = set(regions)
            theirs = drawn(Compositor.render_partial_update(compositor))
            assert {place: list(strip) for place, strip in ours.items()} == {
                place: list(strip) for place, strip in theirs.items()
            }


async def test_only_what_lies_uppermost_is_asked_for_lines(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Widget, Region]] = []
    render_lines = Widget.render_lines

    def noted(widget: Widget, crop: Region) -> list[Strip]:
        asked.append((widget, crop))
        return render_lines(widget, crop)

    async with stage.ready() as play:
        compositor, prompt = compositor_of(play), play.app.screen.query_one(PromptBox)
        monkeypatch.setattr(Widget, "render_lines", noted)
        compositor._dirty_regions = {Region(prompt.region.x + 2, prompt.region.y + 1, 5, 1)}
        compositor.render_partial_update()
        monkeypatch.undo()
        assert asked == [(prompt, Region(0, 1, prompt.region.width, 1))]


async def test_nothing_is_drawn_where_nothing_changed(stage: Stage) -> None:
    async with stage.ready() as play:
        compositor = compositor_of(play)
        compositor._dirty_regions.clear()
        assert compositor.render_update() is None


async def test_a_key_shows_without_a_frame_and_while_others_change_together(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    def display(app: App[int], screen: object, update: object) -> None:
        if isinstance(update, ChopsUpdate) and not app._batch_count:
            sent.append("".join(strip.text for strip in drawn(update).values()))

    async with stage.ready() as play:
        monkeypatch.setattr(Screen, "_on_timer_update", lambda _: None)
        monkeypatch.setattr(App, "_display", display)
        with play.app.batch_update():
            play.app.post_message(events.Key("x", "x"))
            async with asyncio.timeout(20):
                while not sent:
                    await asyncio.sleep(0)
        monkeypatch.undo()
    assert len(sent) == 1
    assert "x" in sent[0]
