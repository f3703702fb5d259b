"""Composing only what changed: Textual has every widget draw itself that lies anywhere near a change."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import Any

from rich.console import RenderableType
from textual._compositor import ChopsUpdate, Compositor
from textual.geometry import Region
from textual.screen import Screen
from textual.strip import Strip

Pieces = dict[int, Strip | None]
"""A line in pieces, by the column where each begins; None where nothing is drawn."""


class FrugalCompositor(Compositor):
    """Asks widgets only for the lines in which something of theirs changed and is not covered.

    What a widget wants drawn anew comes with the next frame, whatever that is for, and not with one of its own.
    """

    def render_update(
        self, full: bool = False, screen_stack: list[Screen[Any]] | None = None, simplify: bool = False
    ) -> RenderableType | None:
        """The next frame; None where nothing changed."""
        waiting = {widget for widget in self.visible_widgets if widget._repaint_required}
        for widget in waiting:
            widget._repaint_required = False
        self.update_widgets(waiting)
        return super().render_update(full, screen_stack, simplify)

    def render_partial_update(self) -> ChopsUpdate | None:
        """What changed since the last time; None where nothing did."""
        screen = self.size.region
        regions = [region.intersection(screen) for region in self._dirty_regions]
        self._dirty_regions.clear()
        spans = list(self._regions_to_spans(region for region in regions if region))
        if not spans:
            return None
        return ChopsUpdate(self._chops(spans), spans, [cuts[1:] for cuts in self.cuts])

    def _chops(self, spans: Iterable[tuple[int, int, int]]) -> list[Pieces]:
        """The pieces of all lines, those drawn that have a part in a span: line, columns from … to."""
        chops: list[Pieces] = [dict.fromkeys(cuts[:-1]) for cuts in self.cuts]
        missing: dict[int, list[int]] = {}
        for y, left, right in spans:
            cuts = self.cuts[y]
            missing.setdefault(y, []).extend(cuts[bisect_right(cuts, left) - 1 : bisect_left(cuts, right)])
        # The uppermost comes first, and what it fills is done.
        for widget, (region, clip) in self.visible_widgets.items():
            x, y, width, height = region.intersection(clip)
            end_x, end_y = x + width, y + height
            lines = [line for line, cuts in missing.items() if y <= line < end_y and _is_any(cuts, x, end_x)]
            if not lines:
                continue
            strips = widget.render_lines(Region(x - region.x, lines[0] - region.y, width, lines[-1] + 1 - lines[0]))
            for line in lines:
                self._place(strips[line - lines[0]], x, line, missing, chops[line])
            if not missing:
                break
        return chops

    def _place(self, strip: Strip, x: int, y: int, missing: dict[int, list[int]], pieces: Pieces) -> None:
        """Cut what is missing from a strip that begins at a column."""
        cuts, end_x = self.cuts[y], x + strip.cell_length
        rest = []
        for cut in missing[y]:
            if x <= cut < end_x:
                pieces[cut] = strip.crop(cut - x, cuts[bisect_right(cuts, cut)] - x)
            else:
                rest.append(cut)
        if rest:
            missing[y] = rest
        else:
            del missing[y]


def _is_any(cuts: list[int], x: int, end_x: int) -> bool:
    """Whether one of the ascending columns is in a range."""
    at = bisect_left(cuts, x)
    return at < len(cuts) and cuts[at] < end_x
