"""An empty chat names a few keys; with the first message they go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.widgets.chat_header import ChatHeader

if TYPE_CHECKING:
    from tests.tui.conftest import Stage

HINT = "what else the model might say"


async def test_keys_stand_in_an_empty_chat_until_something_is_said(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.until_shown(HINT)
        await play.ask("hi")
        await play.until(lambda: HINT not in play.text())
        await play.press("ctrl+n")
        await play.until_shown(HINT)


async def test_a_session_that_goes_on_has_no_hints(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.ask("hi")
    async with stage.ready(continue_last=True) as play:
        await play.until_shown("Paris is the capital of France.")
        assert HINT not in play.text()


async def test_the_keys_are_those_of_the_settings(stage: Stage) -> None:
    (stage.home / "settings.toml").write_text('[chat]\nmodel_titles = false\n[keys]\n"pane.candidates" = "f11"\n')
    async with stage.ready() as play:
        await play.until(lambda: any("f11" in line and HINT in line for line in play.text().splitlines()))


async def test_the_header_does_not_say_that_there_is_no_model_while_one_is_being_opened(stage: Stage) -> None:
    gate = stage.home / "gate"
    stage.set_script(gate=str(gate))
    async with stage.running() as play:
        await play.until(lambda: "opening …" in play.shown(ChatHeader))
        gate.touch()
        await play.until(lambda: "Tiny 135M" in play.shown(ChatHeader))
