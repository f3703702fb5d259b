"""Tinted answers: each token by how likely it was, on a key, in every palette of colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from engine.protocol import Failed, Generate
from storage.answer_tokens import AnswerTokens
from tui.widgets.answer_body import AnswerBody
from tui.widgets.tinted_text import TintedText, TintLegend, band_of, can_tint

if TYPE_CHECKING:
    from rich.style import Style

    from tests.tui.conftest import Play, Stage


def tints(play: Play) -> list[TintedText]:
    return list(play.app.screen.query(TintedText))


def chat(play: Play) -> str:
    """The middle of the screen."""
    return "\n".join(line[26:91] for line in play.text().splitlines())


def test_the_tint_says_how_likely() -> None:
    assert [band_of(p) for p in (1.0, 0.7, 0.5, 0.2, 0.01, 0.0, None)] == [
        "sure", "sure", "likely", "unlikely", "rare", "rare", "sure",
    ]  # fmt: skip
    assert not can_tint(AnswerTokens(ids=[1], lengths=[2], chances=[None]))


async def test_a_key_tints_answers_and_takes_the_tint_away(stage: Stage) -> None:
    # The scripted engine's tokens have a probability of 0.61.
    stage.set_script(answers=["**Paris** is\n\n- big", "Two."])
    async with stage.ready() as play:
        await play.ask("hello")
        await play.until(lambda: "Paris is" in chat(play) and "**" not in chat(play))
        assert not play.app.screen.query(TintLegend)
        await play.press("alt+t")
        await play.until(lambda: "**Paris** is" in chat(play))
        await play.until_shown("Tokens that the model gave")
        [tinted] = tints(play)
        assert tinted.parts == [("**Paris** is\n\n- big", "likely")]
        assert not play.app.screen.query(AnswerBody).first().display
        await play.ask("more")
        await play.until(lambda: len(tints(play)) == 2)
        await play.press("alt+t")
        await play.until(lambda: not tints(play))
        await play.until(lambda: "**" not in chat(play) and "Tokens that" not in chat(play))


async def test_answers_of_old_and_of_an_opened_session(stage: Stage) -> None:
    stage.set_script(answers=["One.", "Two."])
    async with stage.ready() as play:
        await play.ask("first")
        await play.ask("second")
        await play.press("ctrl+n", "alt+t")
        store, path = play.app.workspace.store, await play.app.workspace.history.last()
        await store.call(
            lambda db: db.execute("DELETE FROM answer_tokens WHERE rowid = (SELECT min(rowid) FROM answer_tokens)")
        )
        await play.opening.open(path)
        await play.until(lambda: [tinted.parts for tinted in tints(play)] == [[("Two.", "likely")]])


async def test_an_answer_that_goes_on_is_written_as_always(stage: Stage) -> None:
    stage.set_script(answers=["One two three four."], hold_after=2)
    async with stage.ready() as play:
        await play.press("alt+t")
        await play.say("hello")
        await play.until(lambda: "One two" in chat(play))
        await play.press("escape")
        await play.answered()
        await play.until(lambda: tints(play))
        await play.press("ctrl+g")
        await play.until(lambda: play.writing.is_busy and len(stage.heard(Generate)) == 2)
        play.conversation.set_sampling(play.open_session.sampling)
        await play.answered()
        await play.until(lambda: [t.parts for t in tints(play)] == [[("One two three four.", "likely")]])


async def test_why_an_answer_failed_stays_below_its_tinted_text(stage: Stage) -> None:
    stage.set_script(answers=["One two three four."], hold_after=2)
    async with stage.ready() as play:
        await play.press("alt+t")
        await play.say("hello")
        await play.until(lambda: "One two" in chat(play))
        failed = Failed(request_id=play.writing.answer.request_id, kind="", message="Out of order.")
        await play.app.workspace.engine.on_answer(failed)
        await play.until(lambda: tints(play) and play.app.screen.query(".failure"))
        assert tints(play)[0].parent.children[-1].has_class("failure")


def legend_styles(play: Play) -> list[Style]:
    """The styles of the four tints as they are drawn."""
    strip = play.app.screen.query_one(TintLegend).render_line(0)
    return [segment.style for segment in strip if segment.style and ("%" in segment.text or "less" in segment.text)]


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "ansi-dark", "ansi-light"])
async def test_each_tint_is_its_own_in_every_theme(stage: Stage, theme: str) -> None:
    async with stage.ready() as play:
        play.app.theme = theme
        await play.press("alt+t")
        await play.until_shown("Tokens that the model gave")
        styles = legend_styles(play)
        assert len({(style.color, style.bgcolor) for style in styles}) == 4
        marks = [(bool(style.bold), bool(style.underline)) for style in styles]
        assert marks == [(False, False), (False, False), (False, True), (True, True)]


async def test_without_colours_the_tints_are_other_marks(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with stage.ready() as play:
        await play.press("alt+t")
        await play.until_shown("Tokens that the model gave")
        marks = [(bool(s.bold), bool(s.underline), bool(s.reverse)) for s in legend_styles(play)]
        assert marks == [(False, False, False), (True, False, False), (False, True, False), (False, False, True)]


async def test_a_slash_command_does_the_same(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("hello")
        await play.press(*"/tint", "enter")
        await play.until(lambda: tints(play))
