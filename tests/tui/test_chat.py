"""Chatting: sending, streaming, stopping, going on, other versions, and what the engine is told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest
from textual.widgets import Label

from engine.protocol import Failed, Generate, Sampling, Stop, Tune
from tui.widgets.code_fence import PIECE_LINES, CodeFence
from tui.widgets.prompt_box import PromptBox
from tui.widgets.slider import Slider

if TYPE_CHECKING:
    from tests.tui.conftest import Stage

COUNTING = " ".join(f"number{n}" for n in range(400))


async def test_a_question_is_answered_on_screen(stage: Stage) -> None:
    async with stage.ready() as play:
        assert await play.ask("Capital of France?") == "Paris is the capital of France."
        await play.until_shown("118 tok/s")
        text = play.text()
        assert "Capital of France?" in text
        assert "Paris is the capital of France." in text
        assert "Tiny 135M Q4_1" in text
        assert stage.last_prompt() == [
            ("system", "You are a helpful assistant."),
            ("user", "Capital of France?"),
        ]


async def test_the_speed_of_an_answer_does_not_count_the_token_that_reading_the_prompt_gives(stage: Stage) -> None:
    stage.set_script(answers=["one two three", "one"])
    async with stage.ready() as play:
        await play.ask("count")
        # In the script, each token but the first takes 8.5 ms.
        assert play.open_session.path[-1].message.tokens_per_second == pytest.approx(1 / 0.0085)
        await play.ask("less")
        assert play.open_session.path[-1].message.tokens_per_second is None


async def test_the_next_question_carries_the_whole_conversation(stage: Stage) -> None:
    stage.set_script(answers=["One.", "Two."])
    async with stage.ready() as play:
        await play.ask("first")
        await play.ask("second")
        assert stage.last_prompt()[1:] == [("user", "first"), ("assistant", "One."), ("user", "second")]


async def test_what_an_answer_was_written_without_is_said_at_it(stage: Stage) -> None:
    stage.set_script(dropped_turns=3, note="The model's chat template failed: never.")
    async with stage.ready() as play:
        await play.ask("first")
        await play.until_shown("without the oldest 3 turns")
        await play.until_told("chat template failed: never.")
        session = play.open_session.session
        await play.press("ctrl+n")
        await play.until(lambda: "without the oldest" not in play.text())
        assert session is not None
        await play.opening.open(session.id)
        await play.until_shown("without the oldest 3 turns")


async def test_on_narrow_screens_the_name_gives_way_to_what_is_said_of_an_answer(stage: Stage) -> None:
    stage.set_script(dropped_turns=3)
    async with stage.ready(size=(40, 24)) as play:
        await play.ask("first")
        await play.until_shown("Tiny 135… without the oldest 3 turns")


async def test_an_answer_that_meets_the_end_of_the_context_can_go_on(stage: Stage) -> None:
    stage.set_script(answers=["one two"], reason="length")
    async with stage.ready() as play:
        await play.ask("count")
        await play.until_told("The context is full: ctrl+g goes on")
        assert play.open_session.path[-1].message.state == "stopped"
        await play.press("ctrl+g")
        await play.until(lambda: len(stage.heard(Generate)) == 2)
        assert stage.heard(Generate)[-1].prompt.answer_ids == [0, 1]


async def test_an_answer_of_so_many_tokens_as_were_asked_for_is_complete(stage: Stage) -> None:
    stage.set_script(answers=["one two"], reason="length")
    async with stage.ready() as play:
        play.conversation.set_sampling(msgspec.structs.replace(play.open_session.sampling, max_new_tokens=2))
        await play.ask("count")
        assert play.open_session.path[-1].message.state == "complete"


async def test_what_is_held_back_until_the_end_belongs_to_the_answer(stage: Stage) -> None:
    stage.set_script(answers=["one two"], text_tail=" <three")
    async with stage.ready() as play:
        await play.ask("count")
        await play.until_shown("one two <three")
        assert play.open_session.path[-1].message.content == "one two <three"


async def test_text_streams_before_the_answer_ends(stage: Stage) -> None:
    stage.set_script(answers=[COUNTING], hold_after=3)
    async with stage.ready() as play:
        await play.say("count")
        await play.until_shown("number2")
        assert play.writing.is_busy
        assert "number3" not in play.text()


async def test_an_answer_that_is_over_is_tended_no_more(stage: Stage) -> None:
    def tends() -> bool:
        return any(task.get_name() in ("show answer", "checkpoint answer") for task in asyncio.all_tasks())

    stage.set_script(hold_after=2)
    async with stage.ready() as play:
        await play.say("hello")
        await play.until_shown("Paris is")
        assert tends()
        await play.press("escape")
        await play.answered()
        await play.until(lambda: not tends())


async def test_escape_stops_and_keeps_what_came(stage: Stage) -> None:
    stage.set_script(answers=[COUNTING], hold_after=3)
    async with stage.ready() as play:
        await play.say("count")
        await play.until_shown("number2")
        await play.press("escape")
        await play.answered()
        message = play.open_session.path[-1].message
        assert (message.content, message.state) == ("number0 number1 number2", "stopped")
        assert len(stage.heard(Stop)) == 1
        assert "number2" in play.text()


async def test_a_stopped_answer_goes_on_with_the_same_tokens(stage: Stage) -> None:
    stage.set_script(answers=["one two three four"], hold_after=2)
    async with stage.ready() as play:
        await play.say("count")
        await play.until_shown("one two")
        await play.press("escape")
        await play.answered()
        stage.set_script(answers=["one two three four"])
        await play.press("ctrl+g")
        await play.until(lambda: len(stage.heard(Generate)) == 2)
        assert stage.heard(Generate)[-1].prompt.answer_ids == [0, 1]
        assert len(play.open_session.path) == 2


@pytest.mark.parametrize("stopped_at", [2, 5 * PIECE_LINES, 7 * PIECE_LINES + 3])
async def test_an_answer_stopped_in_a_long_block_of_code_goes_on_in_it(stage: Stage, stopped_at: int) -> None:
    # A token is a word with the space before it: two a line.
    code = "\n".join(f"line_{n} = {n}" for n in range(6 * PIECE_LINES))
    stage.set_script(answers=[f"```python\n{code}\n```\n\nThat is all."], hold_after=stopped_at)
    async with stage.ready() as play:
        await play.say("code")
        await play.until(lambda: play.writing.answer and len(play.writing.answer.new_ids) == stopped_at)
        await play.press("escape")
        await play.answered()
        await play.press("ctrl+g")
        await play.until(lambda: play.writing.answer)
        # It waits there again, for a move of a slider.
        await play.press("f3", "home")
        await play.until_shown("That is all.")
        await play.answered()
        [fence] = play.app.screen.query(CodeFence)
        assert "\n".join(str(piece.render()) for piece in fence.query(Label)) == code


async def test_a_slider_moved_while_writing_reaches_the_engine_and_is_kept_with_the_answer(stage: Stage) -> None:
    stage.set_script(answers=[COUNTING], hold_after=3)
    async with stage.ready() as play:
        await play.say("count")
        await play.until_shown("number2")
        await play.press("f3")
        assert isinstance(play.app.focused, Slider)
        await play.press("home")
        await play.answered()
        assert [tune.sampling.temperature for tune in stage.heard(Tune)] == [0.0]
        assert stage.heard(Tune)[0].request_id == stage.heard(Generate)[-1].request_id
        answer = play.open_session.path[-1].message
        assert (answer.content, answer.settings["temperature"]) == (COUNTING, 0.0)


async def test_many_moves_are_few_tunes_and_the_last_one_counts(stage: Stage) -> None:
    stage.set_script(answers=[COUNTING], hold_after=3)
    async with stage.ready() as play:
        await play.say("count")
        await play.until_shown("number2")
        slider = play.app.query_one("#temperature", Slider)
        for ticks in range(81, 181):
            slider._choose(ticks)
        await play.until(lambda: stage.heard(Tune) and stage.heard(Tune)[-1].sampling.temperature == 1.8)
        assert len(stage.heard(Tune)) < 10
        await play.answered()


async def test_settings_are_kept_with_the_session(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("hello")
        await play.press("f3", "end", "down", "home")
        session_id = play.open_session.session.id
    async with stage.ready(resume=session_id) as play:
        await play.until_shown("2.00")
        assert play.open_session.sampling.temperature == 2.0
        assert play.open_session.sampling.top_k == 0


async def test_another_answer_stands_beside_the_first(stage: Stage) -> None:
    stage.set_script(answers=["First.", "Second."])
    async with stage.ready() as play:
        await play.ask("say")
        await play.press("ctrl+r")
        await play.until_shown("Second.")
        await play.answered()
        assert "2/2" in play.text()
        assert "First." not in play.text()
        assert stage.last_prompt()[1:] == [("user", "say")]
        await play.press("alt+left")
        await play.until_shown("First.")
        await play.until_shown("1/2")
        assert "Second." not in play.text()


async def test_nothing_is_sent_while_an_answer_is_written(stage: Stage) -> None:
    stage.set_script(answers=[COUNTING], hold_after=3)
    async with stage.ready() as play:
        await play.say("count")
        await play.until_shown("number2")
        await play.press(*"more", "enter")
        await play.until_shown("esc stops it")
        assert play.app.query_one(PromptBox).text == "more"
        assert len(stage.heard(Generate)) == 1


async def test_a_refused_answer_says_why_and_can_be_tried_again(stage: Stage) -> None:
    stage.set_script(answer_error="The template wrote without end.")
    async with stage.ready() as play:
        await play.say("hello")
        await play.until_shown("The template wrote without end.")
        assert play.open_session.path[-1].message.state == "failed"
        assert play.app.screen.check_action("again", ())
        # It stays where the answer would be, also when the session is left and opened again, until there is another.
        play.app.clear_notifications()
        await play.until_shown("The template wrote without end.")
        session = play.open_session.session
        await play.press("ctrl+n")
        await play.until(lambda: "The template" not in play.text())
        await play.opening.open(session.id)
        await play.until_shown("The template wrote without end.")
        stage.set_script()
        await play.app.workspace.engine.restart()
        await play.until(lambda: play.app.workspace.engine.is_ready)
        await play.press("ctrl+r")
        await play.answered()
        await play.until_shown("Paris is the capital of France.")
        assert "The template" not in play.text()


async def test_why_an_answer_failed_is_not_said_once_it_has_gone_on(stage: Stage) -> None:
    stage.set_script(answers=[COUNTING], hold_after=3)
    async with stage.ready() as play:
        await play.say("count")
        await play.until_shown("number2")
        answer = play.writing.answer
        failed = Failed(request_id=answer.request_id, kind="", message="Out of order.")
        await play.app.workspace.engine.on_answer(failed)
        await play.answered()
        ended = play.open_session.path[-1].message
        assert ended.tokens_per_second and ended.first_token_ms == answer.first_token_ms
        play.app.clear_notifications()
        await play.until_shown("Out of order.")
        await play.press("ctrl+g")
        await play.until(lambda: len(stage.heard(Generate)) == 2)
        await play.until(lambda: "Out of order." not in play.text())
        assert "number3" not in play.text()
        # The engine goes on with other settings.
        play.conversation.set_sampling(Sampling(temperature=0.5))
        await play.answered()
        assert play.open_session.path[-1].message.content == COUNTING


async def test_the_system_prompt_is_shown_and_changed(stage: Stage) -> None:
    async with stage.ready() as play:
        assert "You are a helpful assistant." in play.text()
        await play.press(*"/system Answer in French.", "enter")
        await play.until_shown("System: Answer in French.")
        await play.ask("hello")
        assert stage.last_prompt()[0] == ("system", "Answer in French.")
        assert play.open_session.session.system == "Answer in French."
        await play.press("f9")
        await play.until_shown("System prompt of this session")
        await play.press("ctrl+a", *"Be brief.", "ctrl+s")
        await play.until(lambda: play.open_session.system.startswith("Be brief."))
