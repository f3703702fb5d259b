"""Keys that arrive together act one after the other, wherever each is bound and wherever it moves the focus."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from textual import events

from tests.tui.test_boxes import press_at_once, text_of
from tests.tui.test_history_in_app import make_sessions
from tui import in_order
from tui.screens.command_palette import Palette
from tui.screens.edit_message import EditMessageScreen
from tui.screens.help import HelpScreen
from tui.screens.main.screen import MainScreen
from tui.screens.model_picker import ModelPickerScreen
from tui.screens.rename import RenameScreen
from tui.screens.settings import SettingsScreen
from tui.screens.system_prompt import SystemPromptScreen
from tui.widgets.prompt_box import PromptBox
from tui.widgets.session_list import SearchBox
from tui.widgets.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tui.conftest import Play, Stage
    from tests.tui.terminal import Terminal

EMPTY = ("ctrl+e", "ctrl+u")
THERE_AND_BACK = [
    ("f1", "escape"),
    ("f2", "f2"),
    ("f2", "enter"),
    ("f2", "slash", *"x", "ctrl+u", "f2"),
    ("f3", "f3"),
    ("alt+c", "alt+c"),
    ("f4", "escape"),
    ("f8", "escape"),
    ("f9", *"x", "escape"),
    ("f9", *EMPTY, *"Be brief.", "ctrl+s"),
    ("f10", *EMPTY, *"Mine", "enter"),
    ("alt+p", "enter"),
    ("alt+t", "alt+t"),
    ("ctrl+l",),
    ("ctrl+o", *"x", "escape"),
    ("ctrl+p", "escape"),
    ("ctrl+p", *"keys and what", "enter", "escape"),
    ("ctrl+t",),
    ("shift+tab", "k", "f"),
    (*"/model", "enter", "escape"),
    ("f1", "escape", "f9", "escape", "f2", "slash", "f3", "f3", "alt+p", "escape"),
    ("ctrl+n",),
]
"""The last one leaves the session with messages that others need."""

INTO_A_BOX = [
    (("ctrl+p",), Palette),
    (("f4",), ModelPickerScreen),
    (("f9", *EMPTY), SystemPromptScreen),
    (("f10", *EMPTY), RenameScreen),
    (("ctrl+o", *EMPTY), EditMessageScreen),
    (("shift+tab", "k", "e", *EMPTY), EditMessageScreen),
    (("f2", "slash"), MainScreen),
    (("f2", "r", *EMPTY), RenameScreen),
    (("ctrl+p", *"is told first", "enter", *EMPTY), SystemPromptScreen),
    ((*"/system", "enter", *EMPTY), SystemPromptScreen),
    ((*"/title", "enter", "left", *EMPTY), RenameScreen),
]


async def back_to_prompt(play: Play) -> PromptBox:
    """Close what is open, and empty the prompt box."""
    main, box = play.app.screen_stack[0], play.app.screen_stack[0].query_one(PromptBox)
    while play.app.screen is not main:
        await play.press("escape")
    main.query_one(SearchBox).clear()
    main.remove_class("-show-history", "-show-engine")
    main.set_focus(box)
    box.clear()
    return box


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_letters_behind_keys_that_lead_back_are_typed_in_the_prompt_box(
    stage: Stage, size: tuple[int, int]
) -> None:
    async with stage.ready(size) as play:
        await play.ask("hi")
        for number, keys in enumerate(THERE_AND_BACK):
            box = await back_to_prompt(play)
            press_at_once(play, *keys, *f"then {number}")
            await play.until(lambda: play.app.focused is box and box.text == f"then {number}")  # noqa: B023
        await play.until(lambda: play.open_session.path == [])


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
async def test_letters_behind_keys_that_lead_elsewhere_are_typed_there(stage: Stage, size: tuple[int, int]) -> None:
    async with stage.ready(size) as play:
        await play.ask("hi")
        for number, (keys, screen) in enumerate(INTO_A_BOX):
            box = await back_to_prompt(play)
            press_at_once(play, *keys, *f"then {number}")
            await play.until(lambda: text_of(play.app.focused) == f"then {number}")  # noqa: B023
            assert isinstance(play.app.screen, screen)
            assert play.app.focused is not box
            assert box.text == ""


async def test_what_is_found_is_opened_by_keys_that_came_with_the_search(stage: Stage) -> None:
    make_sessions("Lakes", "Rivers")
    async with stage.ready() as play:
        press_at_once(play, "f2", "slash", *"lakes", "enter", "enter", *"more")
        box = play.app.query_one(PromptBox)
        await play.until(lambda: play.app.focused is box and box.text == "more")
        await play.until(lambda: play.open_session.session is not None)
        assert play.open_session.session.title == "Lakes"


async def test_keys_behind_one_that_opens_a_found_message_are_for_the_message(stage: Stage) -> None:
    make_sessions("Lakes", "Rivers")
    async with stage.ready() as play:
        press_at_once(play, "f2", "slash", *"about rivers", "enter", "enter", "e")
        await play.until(lambda: isinstance(play.app.screen, EditMessageScreen) and play.app.focused is not None)
        assert "about Rivers" in text_of(play.app.focused)
        assert isinstance(play.app.screen_stack[0].focused, Transcript)


async def test_a_paste_behind_a_key_goes_where_that_leads(stage: Stage) -> None:
    async with stage.ready() as play:
        press_at_once(play, "f9", *EMPTY)
        play.app.post_message(events.Paste("Be "))
        press_at_once(play, *"brief.", "ctrl+s", "f2", "slash")
        play.app.post_message(events.Paste("lakes"))
        await play.until(lambda: play.app.query_one(SearchBox).value == "lakes")
        assert play.open_session.system == "Be brief."
        assert play.app.query_one(PromptBox).text == ""


async def test_a_key_that_asks_for_a_change_acts_on_what_the_one_before_has_changed(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.press("ctrl+p", *"settings", "enter")
        await play.until(lambda: isinstance(play.app.screen, SettingsScreen) and play.app.focused is not None)
        dialog = play.app.screen
        press_at_once(play, *["down"] * 3, "enter", "enter", "enter", "down", "enter", "enter")
        press_at_once(play, *["down"] * 3, "enter", "ctrl+u", *"0.5", "enter", "down", "enter")
        await play.until(lambda: dialog._typed_row is not None and dialog._typed_row.name == "sampling.top_k")
        file = (stage.home / "settings.toml").read_text()
        assert "enter_sends = false" in file
        assert "model_titles = false" in file
        assert "temperature = 0.5" in file


async def test_letters_do_not_wait_for_a_session_that_is_being_opened_and_keys_about_it_do(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("hi")
        box = play.app.query_one(PromptBox)
        async with play.session_lock:
            press_at_once(play, "ctrl+n", *"ab", "backspace", *"c")
            await play.until(lambda: box.text == "ac")
            press_at_once(play, "f10", *"d")
            await play.until(lambda: play.app._waiting is not None and not play.app._waiting.done())
            assert isinstance(play.app.screen, MainScreen)
            assert play.open_session.session is not None
        await play.until_told("A session gets its title with its first message.")
        await play.until(lambda: box.text == "acd")


async def test_what_hangs_holds_keys_up_for_a_while_and_not_for_ever(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_order, "DEEDS_LIMIT_S", 0.01)
    async with stage.ready() as play:
        await play.ask("hi")
        async with play.session_lock:
            press_at_once(play, "ctrl+n", "f9", *"brief")
            await play.until(lambda: isinstance(play.app.screen, SystemPromptScreen))
            await play.until(lambda: text_of(play.app.focused).startswith("brief"))
        await play.until(lambda: play.open_session.session is None)


async def test_what_hangs_already_holds_no_key_up(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("DEEDS_LIMIT_S", "ACTING_LIMIT_S"):
        monkeypatch.setattr(in_order, limit, 1000.0)
    async with stage.ready() as play:
        await play.ask("hi")
        async with play.session_lock:
            press_at_once(play, "ctrl+n")
            await play.until(lambda: any(worker.group == in_order.BEFORE_KEYS for worker in play.app.workers))
            for worker in play.app.workers:
                worker._created_time -= 1000.0
            press_at_once(play, "f9")
            await play.until(lambda: isinstance(play.app.screen, SystemPromptScreen))
            press_at_once(play, "escape", "f9", "escape", "f1")
            await play.until(lambda: isinstance(play.app.screen, HelpScreen))


async def test_a_key_that_is_held_down_in_a_box_is_not_drawn_each_time(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage.ready() as play:
        box = play.app.query_one(PromptBox)
        n_drawn = 0
        draw = box.screen._compositor.render_partial_update

        def count() -> object:
            nonlocal n_drawn
            n_drawn += 1
            return draw()

        monkeypatch.setattr(box.screen._compositor, "render_partial_update", count)
        press_at_once(play, *"word " * 20, *["left"] * 60, *["right"] * 10, *["backspace"] * 40, "X")
        await play.until(lambda: box.text == f"{('word ' * 20)[:10]}X{('word ' * 20)[50:]}")
        assert n_drawn < 40


async def test_escape_stops_the_answer_that_the_key_before_it_asked_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_order, "DEEDS_LIMIT_S", 1000.0)
    stage.set_script(answers=["never ending"], hold_after=1)
    async with stage.ready() as play:
        await play.say("hi")
        await play.press("escape")
        await play.answered()
        press_at_once(play, "ctrl+r", "escape", *"then")
        await play.until(lambda: play.app.query_one(PromptBox).text == "then")
        await play.answered()
        assert play.open_session.path[-1].sibling_count == 2
        assert play.open_session.path[-1].message.state == "stopped"


F2, F9 = "\x1bOQ", "\x1b[20~"


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
def test_in_one_read_of_a_terminal(stage: Stage, open_terminal: Callable[..., Terminal], size: tuple[int, int]) -> None:
    terminal = open_terminal(size=size)
    terminal.wait_for("Tiny 135M")
    terminal.do(f"{F9}\x05\x15Be brief.\x13then", "then", "System: Be brief.")
    terminal.do(f"{F2}/lakes", "lakes", "Nothing found.")


EDITOR = """\
import sys
print("EDITING", flush=True)
assert sys.stdin.readline().strip() == "now"
open(sys.argv[1], "a").write(" in lines\\n")
"""


def test_keys_behind_the_one_that_opens_an_editor_wait_for_its_end(
    stage: Stage, open_terminal: Callable[..., Terminal]
) -> None:
    script = stage.home / "editor.py"
    script.write_text(EDITOR)
    terminal = open_terminal(EDITOR=f"{sys.executable} {script}")
    terminal.wait_for("ready")
    terminal.type("typed\x1be of mine")
    terminal.wait_for("EDITING")
    terminal.do("now\r", "typed in lines of mine")


async def test_a_key_that_has_waited_until_the_app_was_left_is_for_nobody(stage: Stage) -> None:
    async with stage.ready() as play:
        app = play.app
        app.hold_keys()
        press_at_once(play, "f1")
        await play.until(lambda: app._came)
    assert app.screen_stack == []
    app.let_keys_go_on()
    await app._go_on(has_waited=True)
    assert not app._came
