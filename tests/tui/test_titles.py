"""Titles by the model: when idle, only sane ones, never the user's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from engine.protocol import Generate, Stop
from tui.services.titles import sane_title

if TYPE_CHECKING:
    from tests.tui.conftest import Stage


@pytest.fixture
def eager(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Titles are wanted, as soon as nobody waits."""
    (stage.home / "settings.toml").write_text("[chat]\nmodel_titles = true\n")
    monkeypatch.setattr("tui.services.housekeeping.TITLE_AFTER_S", 0.0)


@pytest.fixture
def titles(eager: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripted engine's model is large enough to make them."""
    monkeypatch.setattr("tui.services.titles.MIN_PARAMETERS", 135_000_000)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Rivers of Europe", "Rivers of Europe"),
        (' "Title: Rivers of Europe."\n', "Rivers of Europe"),
        ("**Fleuves d'Europe**", "Fleuves d'Europe"),
        ("Sure! Here is a title:\n\nRivers", None),
        ("", None),
        ("…", None),
        ("This conversation is about three rivers that flow through the whole of Europe", None),
        ("\x1b]0;owned\x07", "␛]0;owned␇"),
    ],
)
def test_sane_titles(text: str, title: str | None) -> None:
    assert sane_title(text) == title


async def test_the_model_makes_the_title_of_the_first_exchange(stage: Stage, titles: None) -> None:
    stage.set_script(answers=["The Danube.", "Rivers of Europe", "The Rhine."])
    async with stage.ready() as play:
        await play.ask("name a river")
        await play.until(lambda: "Rivers of Europe" in play.shown("#sessions"))
        assert "Rivers of Europe" in play.shown("ChatHeader")
        assert len(play.open_session.path) == 2
        asked = stage.heard(Generate)[-1]
        assert asked.sampling.temperature == 0
        assert asked.sampling.max_new_tokens <= 32
        # What the engine has read comes first, so that it need not be read again.
        assert [message.content for message in asked.prompt.messages[1:3]] == ["name a river", "The Danube."]
        assert await play.ask("another") == "The Rhine."


async def test_a_model_that_is_too_small_is_not_asked(
    stage: Stage, eager: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.set_script(answers=["The Danube.", "Rivers of Europe"])
    async with stage.ready() as play:
        await play.ask("name a river")
        found = play.app.workspace.housekeeping._titles
        assert (found.wanted, play.open_session.session.title) == (None, "name a river")
        # Nothing else was missing.
        monkeypatch.setattr("tui.services.titles.MIN_PARAMETERS", 135_000_000)
        await play.until(lambda: "Rivers of Europe" in play.shown("#sessions"))


async def test_a_model_that_thinks_is_past_it_for_the_title(stage: Stage, titles: None) -> None:
    stage.set_script(answers=["<think>\nHm.\n</think>\n\nThe Danube.", "Rivers of Europe"])
    async with stage.ready() as play:
        await play.ask("name a river")
        await play.until(lambda: "Rivers of Europe" in play.shown("#sessions"))
        assert stage.heard(Generate)[-1].prompt.answer_text == "<think>\n\n</think>\n\n"


async def test_thoughts_are_no_part_of_a_title(stage: Stage, titles: None) -> None:
    stage.set_script(answers=["The Danube.", "<think>\nHm.\n</think>\n\nRivers of Europe"])
    async with stage.ready() as play:
        await play.ask("name a river")
        await play.until(lambda: "Rivers of Europe" in play.shown("#sessions"))
        assert stage.heard(Generate)[-1].prompt.answer_text == ""


@pytest.mark.parametrize("text", ["<think>\n", "<think>\nRivers of Europe"])
async def test_thoughts_alone_are_no_title(stage: Stage, titles: None, text: str) -> None:
    stage.set_script(answers=["The Danube.", text])
    async with stage.ready() as play:
        await play.ask("name a river")
        await play.until(lambda: len(stage.heard(Generate)) == 2)
        await play.until(lambda: play.app.workspace.housekeeping._title.done())
        assert play.open_session.session.title == "name a river"


async def test_the_users_title_stays(stage: Stage, titles: None) -> None:
    stage.set_script(answers=["The Danube.", "Rivers of Europe"], hold_after=1)
    async with stage.ready() as play:
        await play.say("name a river")
        await play.conversation.rename("Mine")
        await play.press("escape")
        await play.answered()
        assert play.app.workspace.housekeeping._titles.wanted is None
        assert "Mine" in play.shown("ChatHeader")


async def test_nobody_waits_for_a_title(stage: Stage, titles: None) -> None:
    stage.set_script(answers=["Yes.", "A title that is held up"], hold_after=3)
    async with stage.ready() as play:
        await play.ask("first")
        await play.until(lambda: len(stage.heard(Generate)) == 2)
        await play.say("second")
        await play.until(lambda: stage.heard(Stop))
        assert stage.heard(Stop)[-1].request_id == stage.heard(Generate)[1].request_id
        await play.answered()
        assert play.open_session.session.title == "first"
