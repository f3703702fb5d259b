"""The completions above the prompt box: where there are more than fit, marks say in which direction."""

from __future__ import annotations

import pytest
from rich.cells import cell_len
from textual.app import App, ComposeResult

from tui.widgets.completion_menu import Completion, CompletionMenu


class Menu(App[None]):
    """The menu alone, 40 columns wide."""

    def compose(self) -> ComposeResult:
        yield CompletionMenu()

    def lines(self) -> list[str]:
        menu = self.query_one(CompletionMenu)
        return [menu.render_line(y).text.strip() for y in range(menu.size.height)]


def completions(count: int) -> list[Completion]:
    return [Completion(f"/{n}", f"/{n}", "what it does, in more words than there is room for") for n in range(count)]


async def test_marks_say_where_more_is() -> None:
    app = Menu()
    async with app.run_test(size=(40, 12)) as pilot:
        menu = app.query_one(CompletionMenu)
        menu.show(completions(10))
        await pilot.pause()
        first, *_, last = app.lines()
        assert last.endswith("… ▾")
        assert "▴" not in first
        for _ in range(5):
            menu.move(1)
        await pilot.pause()
        first, *_, last = app.lines()
        assert (first[-1], last[-1]) == ("▴", "▾")
        menu.move(4)
        await pilot.pause()
        first, *_, last = app.lines()
        assert (first[-1], last[-1]) == ("▴", "…")
        assert all(cell_len(line) <= 36 for line in app.lines())


@pytest.mark.parametrize("count", [1, 6])
async def test_where_all_are_seen_there_are_none(count: int) -> None:
    app = Menu()
    async with app.run_test(size=(40, 12)) as pilot:
        app.query_one(CompletionMenu).show(completions(count))
        await pilot.pause()
        assert len(app.lines()) == count
        assert not {"▴", "▾"} & set("".join(app.lines()))


async def test_what_says_something_by_itself_is_sent_though_it_could_go_on() -> None:
    app = Menu()
    async with app.run_test(size=(40, 12)):
        menu = app.query_one(CompletionMenu)
        # As they were found while "mod" was typed.
        menu.show([Completion("/model models/", "models/", whole="/model models")])
        assert not menu.is_wanted("/model models")
        assert menu.is_wanted("/model mod")
        menu.move(1)
        assert menu.is_wanted("/model models")
