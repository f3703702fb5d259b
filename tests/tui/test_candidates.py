"""The candidates pane while nothing is written: it follows the sliders, goes through the answer, and branches."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from textual.app import App, ComposeResult

from engine.protocol import Abilities, Candidate, Generate, Look, Sampling
from tests.tui.test_engine_trouble import engine_pids
from tui.messages import Place, Weighed
from tui.widgets.candidates_pane import CandidatesPane, visible_token

if TYPE_CHECKING:
    from tests.tui.conftest import Play, Stage


def lines(play: Play) -> list[str]:
    return [line.rstrip() for line in play.shown(CandidatesPane).splitlines()]


def reversed_lines(play: Play) -> list[int]:
    """Where the cursor stands."""
    pane = play.app.screen.query_one(CandidatesPane)
    strips = [pane.render_line(y) for y in range(pane.size.height)]
    return [y for y, strip in enumerate(strips) if any(s.style and s.style.reverse for s in strip if s.text.strip())]


def at_place(play: Play, place: str) -> bool:
    return f"· {place} " in play.text()


async def test_the_end_of_an_answer_is_looked_at_and_the_sliders_move_it(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("hello")
        await play.until(lambda: at_place(play, "6/6"))
        assert lines(play)[0] == "s the capital of France.▏"
        assert lines(play)[1].split() == ["<|im_end|>", "████", "60→90"]
        play.app.screen.query_one("#temperature").focus()
        await play.press("2", "enter")
        await play.until(lambda: lines(play)[1].endswith("60→50"))
        looks = stage.heard(Look)
        assert looks[0].prompt.messages[-1].content == "hello"
        assert looks[0].prompt.answer_text == "Paris is the capital of France."
        assert looks[0].prompt.answer_ids == list(range(6))
        assert looks[-1].prompt is None
        assert looks[-1].sampling.temperature == 2
        assert not any(look.read for look in looks)


async def test_going_back_shows_what_else_was_likely_and_enter_branches(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("hello")
        await play.until(lambda: at_place(play, "6/6"))
        await play.press("alt+c", "left", "left", "left")
        await play.until(lambda: at_place(play, "3/6"))
        assert lines(play)[0] == "Paris is the capital of F"
        assert lines(play)[1].startswith("•␣capital")
        assert reversed_lines(play) == [1]
        await play.press("enter")
        await play.until_shown("That is what followed here")
        await play.press("down", "enter")
        await play.until(lambda: play.open_session.path[-1].sibling_count == 2)
        await play.answered()
        answer = play.open_session.path[-1]
        assert answer.message.content == "Paris is the Lyon of France."
        assert (answer.sibling_index, answer.message.state) == (1, "complete")
        asked = stage.heard(Generate)[-1]
        assert (asked.prompt.answer_ids, asked.prompt.answer_text, asked.first_ids) == ([0, 1, 2], "Paris is the", [90])
        await play.until_shown("Paris is the Lyon of France.")
        await play.until(lambda: at_place(play, "6/6"))
        await play.press("alt+left")
        await play.until(lambda: play.open_session.path[-1].message.content == "Paris is the capital of France.")
        await play.until(lambda: stage.heard(Look)[-1].prompt is not None)


LIST = "1. The Danube is long.\n2. The Rhine is shorter, and flows to the north.\n3. The Loire stays in one country."


async def test_a_branch_in_a_list_shows_what_stands_before_it_also_while_it_is_written(stage: Stage) -> None:
    n_tokens = len(LIST.split(" "))
    stage.set_script(answers=[LIST], hold_after=n_tokens - 1)
    async with stage.ready() as play:
        await play.say("rivers?")
        await play.until_shown("one")
        play.conversation.set_sampling(Sampling(temperature=0.5))
        await play.answered()
        await play.until(lambda: at_place(play, f"{n_tokens}/{n_tokens}"))
        await play.press("alt+c", "left", "left", "left")
        await play.until(lambda: at_place(play, f"{n_tokens - 3}/{n_tokens}"))
        await play.press("down", "enter")
        await play.until_shown("stays Lyon one")
        assert play.writing.is_busy
        assert "1. The Danube is long." in play.text()
        play.conversation.set_sampling(Sampling(temperature=0.6))
        await play.answered()
        await play.until_shown("stays Lyon one country.")
        assert "1. The Danube is long." in play.text()


async def test_home_end_and_pages(stage: Stage) -> None:
    stage.set_script(answers=[" ".join(f"word{n}" for n in range(40))])
    async with stage.ready() as play:
        await play.ask("hello")
        await play.until(lambda: at_place(play, "40/40"))
        await play.press("alt+c", "home")
        await play.until(lambda: at_place(play, "0/40"))
        await play.press("pagedown", "pagedown", "left")
        await play.until(lambda: at_place(play, "19/40"))
        await play.press("end")
        await play.until(lambda: at_place(play, "40/40"))
        await play.press("right")
        await play.press("pageup")
        await play.until(lambda: at_place(play, "30/40"))


async def test_a_session_that_the_engine_has_not_read_is_read_when_asked_for(stage: Stage) -> None:
    stage.set_script(unread=1234)
    async with stage.ready() as play:
        await play.ask("hello")
        await play.until(lambda: "1234 tokens" in " ".join(lines(play)))
        await play.press("alt+c")
        await play.until(lambda: "enter read" in play.text().splitlines()[-1])
        await play.press("enter")
        await play.until(lambda: at_place(play, "6/6") and "60→90" in play.text())
        await play.until(lambda: "enter branch" in play.text().splitlines()[-1])
        assert [look.read for look in stage.heard(Look)] == [False] * (len(stage.heard(Look)) - 1) + [True]


async def test_nobody_is_asked_to_have_read_what_an_engine_that_is_gone_had_not(stage: Stage) -> None:
    stage.set_script(unread=1234)
    async with stage.ready() as play:
        await play.ask("hello")
        await play.until(lambda: "1234 tokens" in " ".join(lines(play)))
        for pid in engine_pids():
            os.kill(pid, signal.SIGKILL)
        await play.until(lambda: play.app.workspace.engine.phase == "dead")
        await play.until(lambda: "1234" not in " ".join(lines(play)) and not at_place(play, "6/6"))


async def test_an_opened_session_is_looked_at_once_the_model_is_ready(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("hello")
    gate = stage.home / "gate"
    stage.set_script(gate=str(gate))
    async with stage.running(continue_last=True) as play:
        await play.until(lambda: play.open_session.path)
        n_before = len(stage.heard(Look))
        await play.press("alt+c", "left", "enter")
        gate.touch()
        await play.until(lambda: at_place(play, "6/6"))
        assert len(stage.heard(Look)) > n_before


async def test_nothing_is_asked_while_the_pane_is_not_seen(stage: Stage) -> None:
    async with stage.ready(size=(80, 24)) as play:
        await play.ask("hello")
        await play.press("f3")
        await play.until(lambda: stage.heard(Look))
        assert len(stage.heard(Look)) == 1
        await play.press("escape")
        await play.until(lambda: not play.app.screen.query_one("#engine").display)
        await play.press("alt+c")
        await play.until(lambda: play.app.focused is play.app.screen.query_one(CandidatesPane))
        await play.until(lambda: "France.▏" in play.text())
        await play.press("alt+c")
        await play.until(lambda: not play.app.screen.query_one("#engine").display)


async def test_an_error_is_said_in_the_pane(stage: Stage) -> None:
    stage.set_script(look_error="The context is full.")
    async with stage.ready() as play:
        await play.ask("hello")
        await play.until(lambda: "The context is full." in " ".join(lines(play)))


async def test_while_an_answer_is_written_its_own_candidates_are_shown(stage: Stage) -> None:
    stage.set_script(hold_after=3)
    async with stage.ready() as play:
        await play.say("hello")
        await play.until(lambda: any("61→72" in line for line in lines(play)))
        await play.press("alt+c", "left", "enter")
        assert not stage.heard(Look)
        await play.press("escape")
        await play.answered()
        await play.until(lambda: at_place(play, "3/3"))


async def test_a_mouse_chooses_and_takes(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("hello")
        await play.until(lambda: at_place(play, "6/6"))
        await play.pilot.click(CandidatesPane, offset=(2, 0))
        await play.until(lambda: at_place(play, "5/6"))
        await play.pilot.click(CandidatesPane, offset=(20, 0))
        await play.until(lambda: at_place(play, "6/6"))
        await play.pilot.click(CandidatesPane, offset=(2, 0))
        await play.until(lambda: at_place(play, "5/6"))
        await play.pilot.click(CandidatesPane, offset=(4, 2), times=2)
        await play.until(lambda: play.open_session.path[-1].sibling_count == 2)
        await play.answered()
        assert play.open_session.path[-1].message.content == "Paris is the capital of Lyon"


@pytest.mark.parametrize("width", [1, 3, 9, 14])
async def test_hardly_any_room_is_no_reason_to_fail(stage: Stage, width: int) -> None:
    async with stage.ready() as play:
        await play.ask("hello")
        play.app.screen.query_one("#engine").styles.width = width
        await play.press("alt+c", "left", "down")
        await play.until(lambda: play.app.screen.query_one(CandidatesPane).place)


class PaneApp(App[None]):
    """The pane alone, and what it asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[CandidatesPane.Taken] = []

    def compose(self) -> ComposeResult:
        yield CandidatesPane()

    def on_candidates_pane_taken(self, event: CandidatesPane.Taken) -> None:
        self.taken.append(event)


async def test_what_is_taken_is_taken_at_the_place_that_was_seen() -> None:
    app = PaneApp()
    async with app.run_test(size=(30, 8)) as pilot:
        place = Place(at=3, n_tokens=9, before="a b c", token=" d", after=" e", followed_by=7)
        found = [Candidate(5, " x", 0.6, 0.6), Candidate(7, " d", 0.3, 0.4), Candidate(8, "\x1b[31m", 0.1, 0.0)]
        app.query_one(CandidatesPane).show_weighed(Weighed(place, found))
        await pilot.press("left", "up", "enter", "down", "down", "down", "enter")
        await pilot.pause()
        assert [(event.place.at, event.token_id) for event in app.taken] == [(3, 5), (3, 8)]
        assert "\x1b" not in "".join(app.query_one(CandidatesPane).render_line(y).text for y in range(8))


@pytest.mark.parametrize(
    ("abilities", "said"),
    [
        (Abilities(), "and afterwards."),
        (Abilities(look=False), "does not tell them afterwards."),
        (Abilities(look=False, logprobs=False), "does not tell how likely"),
    ],
)
async def test_the_pane_says_what_a_server_does_not_tell(abilities: Abilities, said: str) -> None:
    app = PaneApp()
    async with app.run_test(size=(90, 8)) as pilot:
        app.query_one(CandidatesPane).show_abilities(abilities)
        await pilot.pause()
        words = " ".join(app.query_one(CandidatesPane).render_line(y).text.strip() for y in range(8))
        assert said in words


@pytest.mark.parametrize(
    ("told", "shown"), [("␊", "⏎"), ("\n", "⏎"), (" the", "␣the"), ("␉x", "⇥x"), ("", "∅"), ("\x1b", "␛")]
)
def test_a_token_looks_the_same_in_the_list_and_above_it(told: str, shown: str) -> None:
    assert visible_token(told) == shown
