"""The screen at every size: panes beside the chat where there is room, over it where there is not, never a crash."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from textual.widgets._toast import Toast

from engine.protocol import EngineStats, PromptProgress
from tui.messages import PromptAdvanced, StatsArrived
from tui.widgets.chat_header import ChatHeader
from tui.widgets.completion_menu import CompletionMenu
from tui.widgets.excerpt import MOST
from tui.widgets.prompt_box import PromptBox
from tui.widgets.session_list import SessionList
from tui.widgets.slider import Slider
from tui.widgets.status_line import StatusLine
from tui.widgets.transcript import Transcript

if TYPE_CHECKING:
    from tests.tui.conftest import Stage


async def test_wide_screens_show_three_panes(stage: Stage) -> None:
    async with stage.ready(size=(120, 40)) as play:
        text = play.text()
        for title in ("History", "Engine", "Sampling", "Candidates"):
            assert title in text
        assert "memory" in text
        assert "top-k" in text


async def test_narrow_screens_fold_the_side_panes_away_and_bring_them_back_on_a_key(stage: Stage) -> None:
    async with stage.ready(size=(80, 24)) as play:
        assert "History" not in play.text()
        assert "Sampling" not in play.text()
        await play.press("f2")
        await play.until_shown("History")
        assert isinstance(play.app.focused, SessionList)
        await play.press("f3")
        await play.until_shown("Sampling")
        assert "History" not in play.text()
        assert isinstance(play.app.focused, Slider)
        await play.press("escape")
        await play.until(lambda: "Sampling" not in play.text())
        assert isinstance(play.app.focused, PromptBox)


@pytest.mark.parametrize(("key", "pane"), [("f2", "#history"), ("f3", "#engine")])
async def test_on_narrow_screens_what_is_told_is_beside_the_pane_over_the_chat(
    stage: Stage, key: str, pane: str
) -> None:
    async with stage.ready(size=(80, 24)) as play:
        await play.press(key)
        play.app.notify("What is told " * 20)
        await play.until(lambda: play.app.screen.query(Toast))
        await play.until(lambda: play.app.screen.query_one(Toast).region.area)
        covered = play.app.screen.query_one(Toast).region.intersection(play.app.screen.query_one(pane).region)
        assert covered.area == 0


async def test_what_goes_on_and_is_cut_off_ends_in_one_ellipsis(stage: Stage) -> None:
    async with stage.ready(size=(100, 30)) as play:
        status = play.app.screen.query_one(StatusLine)
        for told in ("Compiling what this model needs, once … 78 %", "Reading a file of more words than fit … 7 %"):
            status.show_busy("model", told)
            await play.until_shown(told[:20])
            assert play.shown(StatusLine).strip() == told.partition(" …")[0] + "…"


async def test_on_wide_screens_the_same_keys_go_there_and_fold_away(stage: Stage) -> None:
    async with stage.ready(size=(120, 40)) as play:
        await play.press("f2")
        assert isinstance(play.app.focused, SessionList)
        await play.press("f2")
        await play.until(lambda: "History" not in play.text())
        assert isinstance(play.app.focused, PromptBox)
        await play.press("f2")
        await play.until_shown("History")


async def test_what_has_the_focus_stays_in_sight_on_a_screen_that_becomes_narrow(stage: Stage) -> None:
    async with stage.ready(size=(120, 40)) as play:
        await play.press("tab")
        slider = play.app.focused
        assert isinstance(slider, Slider)
        await play.pilot.resize_terminal(80, 24)
        await play.until_shown("Sampling")
        assert play.app.focused is slider
        await play.press("escape")
        await play.until(lambda: "Sampling" not in play.text())
        await play.pilot.resize_terminal(120, 40)
        await play.press("alt+c", "shift+tab")
        last_slider = play.app.focused
        assert isinstance(last_slider, Slider)
        await play.pilot.resize_terminal(80, 12)
        await play.until(lambda: last_slider.region in play.app.screen.region)


async def test_a_pane_that_lost_the_focus_does_not_lie_over_a_screen_that_becomes_narrow(stage: Stage) -> None:
    async with stage.ready(size=(120, 40)) as play:
        await play.press("f3", "shift+tab")
        assert isinstance(play.app.focused, PromptBox)
        await play.pilot.resize_terminal(80, 24)
        await play.until(lambda: "Sampling" not in play.text())
        await play.press("x")
        assert play.app.focused.text == "x"


async def test_the_footer_tells_the_keys_at_80_columns(stage: Stage) -> None:
    async with stage.ready(size=(80, 24)) as play:
        await play.ask("hello")
        footer = play.text().splitlines()[-1]
        for key in ("enter send", "ctrl+j line", "ctrl+r again", "f2 history", "f3 engine", "f1 help"):
            assert key in footer


async def test_any_size_is_survived(stage: Stage) -> None:
    async with stage.ready(size=(120, 40)) as play:
        await play.ask("hello")
        for size in [(1, 1), (200, 60), (2, 50), (80, 3), (300, 1), (10, 10), (99, 24), (100, 24), (120, 40)]:
            await play.pilot.resize_terminal(*size)
            await play.press("f2", "f3", "escape")
        await play.until_shown("Paris is the capital of France.")
        assert "Sampling" in play.text()


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_help_lists_the_keys(stage: Stage, size: tuple[int, int]) -> None:
    async with stage.ready(size=size) as play:
        await play.press("f1")
        await play.until_shown("Everything works from the keyboard")
        await play.until_shown("Send the message")
        await play.press("end")
        await play.until_shown("Delete line")
        await play.press("escape")
        await play.until(lambda: isinstance(play.app.focused, PromptBox))


async def test_the_palette_has_every_key_of_the_main_screen(stage: Stage) -> None:
    async with stage.ready() as play:
        screen = play.app.screen
        offered = {command.title for command in play.app.get_system_commands(screen)}
        for binding in screen.BINDINGS:
            if screen.check_action(binding.action, ()):
                assert binding.tooltip in offered
        await play.press("ctrl+p", *"begin a session", "enter")
        await play.until(lambda: play.app.screen is screen)


def test_every_binding_has_an_id_and_says_what_it_does(stage: Stage) -> None:
    from tui.screens.main.screen import MainScreen

    for kind in (MainScreen, PromptBox, Slider, SessionList, Transcript):
        for binding in kind.BINDINGS:
            assert binding.id, binding
            assert binding.tooltip, binding


async def test_the_reader_who_scrolled_up_is_left_alone(stage: Stage) -> None:
    stage.set_script(answers=["\n\n".join(f"line{n} more" for n in range(80))], hold_after=40)
    async with stage.ready(size=(100, 30)) as play:
        transcript = play.app.query_one(Transcript)
        await play.say("go")
        await play.until_shown("line39")
        await play.until(lambda: transcript.max_scroll_y > 0 and transcript.scroll_y >= transcript.max_scroll_y)
        transcript.focus()
        await play.press("home")
        await play.until(lambda: transcript.scroll_y == 0)
        assert play.writing.is_busy
        play.conversation.set_sampling(play.open_session.sampling)
        await play.answered()
        await play.pilot.pause()
        assert transcript.scroll_y == 0
        await play.press("end")
        await play.until_shown("line79")


async def test_a_long_session_opens_with_its_end_and_brings_the_rest_when_asked(stage: Stage) -> None:
    from storage import sessions, tree
    from storage.database import Database
    from tui.paths import user_paths

    database = await Database.open(user_paths().database)
    session = await database.call(sessions.create_session, model="m", system="s", settings={}, title="long")
    parent = None
    for number in range(100):
        message = await database.call(tree.append_message, session.id, parent, "user", f"message {number}.")
        parent = message.id
    await database.close()
    async with stage.ready(resume=session.id) as play:
        transcript = play.app.query_one(Transcript)
        await play.until_shown("message 99.")
        assert len(transcript.views) < 50
        transcript.focus()

        play.app.animation_level = "none"

        def place() -> tuple[int, float]:
            return transcript._excerpt.first, transcript.scroll_y

        def settled() -> bool:
            return not transcript._is_moving and not any(worker.is_running for worker in transcript.workers)

        seen = set(re.findall(r"message \d+\.", play.text()))
        while "message 0." not in seen:
            before = place()
            await play.press("pageup")
            # A busy screen moves a little later.
            await play.until(lambda before=before: place() != before and settled())
            seen |= set(re.findall(r"message \d+\.", play.text()))
            assert len(transcript.views) <= MOST
        assert len(seen) == 100
        await play.press("end")
        await play.until_shown("message 99.")
        await play.press("home")
        await play.until_shown("message 0.")
        seen = set(re.findall(r"message \d+\.", play.text()))
        while "message 99." not in seen:
            before = place()
            await play.press("pagedown")
            await play.until(lambda before=before: place() != before and settled())
            seen |= set(re.findall(r"message \d+\.", play.text()))
            assert len(transcript.views) <= MOST
        assert len(seen) == 100


@pytest.mark.parametrize("keys", [[], ["f1"]], ids=["bare", "under a dialog"])
async def test_the_line_of_figures_stays_one_line_where_the_panes_take_its_room(stage: Stage, keys: list[str]) -> None:
    async with stage.ready(size=(99, 24)) as play:
        await play.ask("hello")
        await play.until_shown("context 31 %")
        await play.press(*keys)
        status = play.app.screen_stack[0].query_one(StatusLine)
        for width in (120, 60, 200, 40):
            await play.pilot.resize_terminal(width, 24)
            assert status.size.height == 1, width


@pytest.mark.parametrize(("speed", "figures"), [(0.0, "context 50 %"), (7.2, "7 tok/s · context 50 %")])
async def test_a_speed_is_told_once_there_is_one(stage: Stage, speed: float, figures: str) -> None:
    stats = EngineStats(
        state="writing",
        tokens_per_second=speed,
        prompt_tokens_per_second=0.0,
        context_used=50,
        context=100,
        rss_bytes=1,
        cpu_percent=0.0,
    )
    async with stage.ready() as play:
        status = play.app.screen.query_one(StatusLine)
        play.app.screen.parts.answer_shown.show_prompt(PromptAdvanced(PromptProgress(done=50, total=50, reused=0)))
        play.app.screen.parts.engine_shown.show_stats(StatsArrived(stats))
        assert status.figures == figures


async def test_completions_take_a_line_each_where_the_panes_take_their_room(stage: Stage) -> None:
    async with stage.ready(size=(99, 30)) as play:
        await play.press(*"/t")
        menu = play.app.screen.query_one(CompletionMenu)
        await play.until(lambda: menu.is_open)
        for width in (120, 60, 200, 40):
            await play.pilot.resize_terminal(width, 30)
            assert menu.size.height == len(menu.choices), width


async def test_a_very_wide_screen_gives_the_side_panes_more_room(stage: Stage) -> None:
    async with stage.ready(size=(120, 40)) as play:
        history = play.app.screen.query_one("#history")
        narrow = history.size.width
        await play.pilot.resize_terminal(200, 60)
        assert history.size.width > narrow
        await play.press("f2", "f2")
        await play.until(lambda: not history.display)


async def test_the_header_shows_that_keys_go_to_the_messages(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("hello")
        header = play.app.screen.query_one(ChatHeader)
        await play.press("shift+tab")
        await play.until(lambda: isinstance(play.app.focused, Transcript))
        await play.until(lambda: header.is_reading)
        await play.press("escape")
        await play.until(lambda: not header.is_reading)


async def test_the_chosen_completion_is_marked_without_colours_too(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.press(*"/t")
        menu = play.app.screen.query_one(CompletionMenu)
        await play.until(lambda: menu.is_open)
        marked = [segment.text.strip() for segment in menu.render_line(0) if segment.style and segment.style.reverse]
        assert marked == ["/template [NAME]"]


@pytest.mark.parametrize(
    ("keys", "hint"),
    [
        (["f4"], "enter open"),
        (["alt+p"], "enter choose"),
        (["f10"], "enter keep"),
        ([*"/settings", "enter"], "enter change"),
        (["f2"], "enter open"),
        (["f2", "slash"], "enter results"),
        (["f3"], "← less  → more"),
    ],
)
async def test_the_last_line_tells_what_enter_and_arrows_do(stage: Stage, keys: list[str], hint: str) -> None:
    async with stage.ready(size=(80, 24)) as play:
        await play.ask("hello")
        await play.press(*keys)
        await play.until(lambda: hint in play.text().rpartition("\n")[2])


@pytest.mark.parametrize("n_words", [200, 250])
async def test_the_end_is_followed_again_after_a_time_in_which_all_was_seen(stage: Stage, n_words: int) -> None:
    stage.set_script(answers=[" ".join(f"word{n}" for n in range(n_words))])
    async with stage.ready(size=(60, 20)) as play:
        await play.ask("hello")
        transcript = play.app.screen.query_one(Transcript)
        for width, height in [(20, 6), (100, 40), (60, 14)]:
            await play.pilot.resize_terminal(width, height)
            await play.until(lambda size=(width, height): play.app.size == size)
        await play.until(lambda: transcript.max_scroll_y and transcript.scroll_y == transcript.max_scroll_y)
