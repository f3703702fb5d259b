"""An answer that grows: what is drawn piece by piece is what the whole looks like, and no piece holds the app up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from textual.app import App, ComposeResult
from textual.containers import VerticalScroll
from textual.pilot import Pilot

from tui.widgets.answer_body import AnswerBody
from tui.widgets.answer_table import column_widths

pytestmark = pytest.mark.slow

CODE = "Code:\n\n```python\n" + "".join(f"value_{n} = {n}  # 値\n\n" for n in range(120)) + "```\n\nThe end."
TABLE = "| a | **b** |\n|---|---|\n" + "".join(f"| {n} | {'word ' * (n % 20)} |\n" for n in range(70)) + "\nThe end."
WIDE = f"|{'head|' * 9}\n|{'---|' * 9}\n" + "".join(f"|{f'{n}|' * 9}\n" for n in range(0, 10**7, 3 * 10**5)) + "\nEnd."
MIXED = "# Title\n\n- one\n- two\n\n" + TABLE + "\n\n" + CODE + "\n\n> quoted\n\n| x |\n|---|\n| 1 |\n"
OPEN = "~~~\n" + "line\n" * 95
MATH = "where $a*b*c$ is\n\\[\nx_1 * y_1\n= 2\n+ z \\\\\n\\]\n\n$$\n1\n- a\n# b\n\n- c\n$$ *d* $$\n\nEnd.\n\n" * 3
LONG = "```go\n" + "".join(f"\tf({'long, ' * (n % 40)}{n})\n" for n in range(90)) + "```\n\n- a\n  ```\n\t\tx\n  ```\n"
LISTS = (
    "1. one\n\n   more\n\n2. two\n\n   ```sh\n   x\n   ```\n\n3. three\n\n9\n\n10 words\n\n8. eight\n\n9\n"
    "\n- a\n\n  ---\n\n  b\n- c\n\n> quoted\n> ***\n> on\n\n* d\n\n**e**\n"
    "\n| l | r |\n|---|--:|\n| long | long |\n| x | y |\n\nThe end."
)
BRACKETS = "9) nine\n10) ten\n    1. in it\n\nand\n\n1. other\n"
PROSE = "\n\n".join(" ".join(f"word{n}" for n in range(40)) for _ in range(20))


class Page(App[None]):
    """One answer, as tall as it gets."""

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield AnswerBody("")

    @property
    def body(self) -> AnswerBody:
        return self.query_one(AnswerBody)

    def drawn(self) -> list[str]:
        return [strip.text.rstrip() for strip in self.screen._compositor.render_strips()]


@asynccontextmanager
async def page() -> AsyncIterator[tuple[Page, Pilot[None]]]:
    app = Page()
    async with app.run_test(size=(50, 600)) as pilot:
        yield app, pilot


async def drawn_in_pieces(text: str, cuts: list[int]) -> tuple[list[str], list[str]]:
    async with page() as (app, pilot):
        places = sorted({0, len(text), *(cut % len(text) for cut in cuts)})
        for start, end in pairwise(places):
            await app.body._add(text[start:end])
        await pilot.pause()
        growing = app.drawn()
        await app.body.update(text)
        await pilot.pause()
        return growing, app.drawn()


@pytest.mark.parametrize(
    "text",
    [CODE, LONG, TABLE, WIDE, MATH, MIXED, OPEN, PROSE],
    ids=["code", "long", "table", "wide", "math", "mixed", "open", "prose"],
)
async def test_pieces_look_like_the_whole(text: str) -> None:
    growing, whole = await drawn_in_pieces(text, list(range(0, len(text), 37)))
    assert growing == whole
    assert len([line for line in whole if line]) > 20


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(cuts=st.lists(st.integers(0, 10_000), max_size=30))
async def test_wherever_it_is_cut(cuts: list[int]) -> None:
    growing, whole = await drawn_in_pieces(MIXED, cuts)
    assert growing == whole


async def test_letter_by_letter() -> None:
    growing, whole = await drawn_in_pieces(LISTS, list(range(len(LISTS))))
    assert growing == whole
    assert next(line for line in whole if "a" in line or "──" in line) == "• a"


async def test_fragments_are_drawn_together_and_none_is_lost() -> None:
    async with page() as (app, pilot):
        for word in PROSE.split(" "):
            await app.body.grow(f"{word} ")
        limit = time.monotonic() + 20
        while "word39" not in "".join(app.drawn()) or app.body._waiting:
            assert time.monotonic() < limit
            await pilot.pause(0.01)
        assert app.body.source == PROSE + " "


@pytest.mark.parametrize(
    ("grown", "final", "stays"),
    [
        (PROSE, PROSE, True),
        (PROSE, PROSE + "\n\nOne more.", True),
        (PROSE, "Another text.", False),
        ("See [it].", "See [it].\n\n[it]: https://example.org", False),
        (OPEN, OPEN, False),
    ],
    ids=["all of it", "a rest", "another", "a link", "pieces"],
)
async def test_the_end_draws_anew_only_what_may_look_otherwise(grown: str, final: str, stays: bool) -> None:
    async with page() as (app, pilot):
        await app.body._add(grown)
        before = app.body.children[0]
        await app.body.settle(final)
        await pilot.pause()
        settled = app.drawn()
        assert (app.body.children[0] is before) == stays
        assert app.body.source == final
        await app.body.update(final)
        await pilot.pause()
        assert settled == app.drawn()


async def test_an_answer_that_goes_on_after_its_end_grows_there() -> None:
    async with page() as (app, pilot):
        await app.body._add("One\n\ntwo")
        await app.body.settle("One\n\ntwo three")
        await app.body._add(" four\n\nfive")
        await pilot.pause()
        assert [line for line in app.drawn() if line] == ["One", "two three four", "five"]


async def test_columns_are_aligned_as_the_table_says() -> None:
    async with page() as (app, pilot):
        await app.body.settle("| left | mid | right |\n|:--|:-:|--:|\n| longer | middle | 1,234.00 |\n| a | b | 漢 |\n")
        await pilot.pause()
        assert [line for line in app.drawn() if line] == [
            "left   │  mid   │    right",
            "───────┼────────┼─────────",
            "longer │ middle │ 1,234.00",
            "a      │   b    │       漢",
        ]


def test_column_widths() -> None:
    assert column_widths([3, 5], 80) == [3, 5]
    assert column_widths([3, 100, 200], 80) == [3, 35, 36]
    assert column_widths([0, 2], 80) == [1, 2]
    assert column_widths([3] * 4, 21) == [3] * 4
    assert column_widths([3] * 4, 20) == []
    assert column_widths([50] * 3, 24) == [6] * 3
    assert column_widths([50] * 3, 23) == []


@pytest.mark.parametrize("n_columns", [2, 5, 7, 9, 20])
async def test_every_cell_of_a_table_is_readable(n_columns: int) -> None:
    cells = [f"value{n}" for n in range(n_columns)]
    head = "|".join(f"head{n}" for n in range(n_columns))
    text = f"|{head}|\n|{'---|' * n_columns}\n|{'|'.join(cells)}|\n\nEnd."
    async with page() as (app, pilot):
        await app.body.settle(text)
        await pilot.pause()
        lines = app.drawn()
        assert all(any(cell in line for line in lines) for cell in cells)
        assert any("End." in line for line in lines)


async def test_a_screen_that_draws_no_more_holds_no_answer_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.widgets.answer_body.LONGEST_S", 3600.0)
    async with page() as (app, _):
        asked = asyncio.Event()
        monkeypatch.setattr(app.body, "call_after_refresh", lambda _: asked.set())
        await app.body.grow("never drawn")
        async with asyncio.timeout(20):
            await asked.wait()
            await app.body.settle("the whole")
        assert app.body.source == "the whole"


async def test_numbers_have_the_mark_behind_them_that_was_written() -> None:
    growing, whole = await drawn_in_pieces(BRACKETS, [3, 10, 20, 30])
    assert growing == whole
    assert [line.strip() for line in whole if line] == ["9) nine", "10) ten", "1. in it", "and", "1. other"]
    assert whole[0].index(")") == whole[1].index(")")


async def test_headings_begin_where_the_text_does_and_quotes_end_with_theirs() -> None:
    _, whole = await drawn_in_pieces("# Title\n\n> one\n>\n> two\n> > three\n\nabove\n\n---\n\nbelow", [])
    quote = ["▌ one", "▌", "▌ two", "▌", "▌ ▌ three"]
    lines = ["Title", "", *quote, "", "above", "", "─" * 50, "", "below"]
    assert whole[: len(lines)] == lines
