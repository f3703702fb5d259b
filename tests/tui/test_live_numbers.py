"""The engine's figures: whose they are, from when on they are known, and when they are no longer true."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine.protocol import Load
from tests.tui.test_engine_trouble import COUNTING
from tui.widgets.live_numbers import LiveNumbers
from tui.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from tests.tui.conftest import Play, Stage


def figure(play: Play, label: str) -> str:
    """What stands behind a label."""
    lines = [line for line in play.shown(LiveNumbers).splitlines() if line.startswith(label)]
    return lines[0].removeprefix(label).strip() if lines else ""


async def test_the_context_is_the_shown_sessions(stage: Stage) -> None:
    async with stage.ready() as play:
        await play.until(lambda: figure(play, "context") == "-")
        assert "context" not in play.shown(StatusLine)
        await play.ask("hello")
        first = play.open_session.session.id
        await play.until(lambda: "context 31 %" in play.shown(StatusLine))
        assert figure(play, "context").endswith(" 31 %")
        await play.conversation.rename("Another title")
        await play.opening.open(first)
        await play.until(lambda: "Another title" in play.shown("ChatHeader"))
        assert figure(play, "context").endswith(" 31 %")
        await play.press("ctrl+n")
        await play.until(lambda: figure(play, "context") == "-")
        assert "context" not in play.shown(StatusLine)
        await play.opening.open(first)
        await play.until(lambda: "Another title" in play.shown("ChatHeader"))
        assert figure(play, "context") == "-"
        await play.ask("and now?")
        await play.until(lambda: "context 31 %" in play.shown(StatusLine))


async def test_the_first_tokens_time_is_the_answers_that_is_written(stage: Stage) -> None:
    stage.set_script(answers=[COUNTING], hold_after=3)
    async with stage.ready() as play:
        assert figure(play, "first token") == "-"
        await play.say("count")
        await play.until_shown("number2")
        await play.until(lambda: figure(play, "first token").endswith(" s"))
        answer, shown = play.writing.answer, figure(play, "first token")
        await play.press("escape")
        await play.answered()
        await play.until(lambda: not play.shown(StatusLine).strip().startswith("Stopping"))
        assert play.open_session.path[-1].message.first_token_ms == answer.first_token_ms
        assert figure(play, "first token") == shown
        stage.set_script(hold_prompt=True)
        await play.app.workspace.engine.restart()
        await play.until(lambda: play.app.workspace.engine.is_ready)
        play.app.screen.query_one(LiveNumbers).show_finished(50.0, 1230.0)
        await play.until(lambda: figure(play, "first token") == "1.23 s")
        await play.say("count again")
        await play.until_shown("4 of 12 tokens")
        assert figure(play, "first token") == "-"
        await play.press("escape")
        Path(f"{stage.script}.chunk").touch()
        await play.answered()
        await play.until(lambda: not play.app.screen.query_one(StatusLine).busy)
        assert figure(play, "first token") == "-"


async def test_another_model_begins_without_the_figures_of_the_one_before(stage: Stage, tmp_path: Path) -> None:
    other, gate = stage.home / "Other 1B Q8_0.gguf", tmp_path / "gate"
    other.write_bytes(b"GGUF")
    gate.touch()
    stage.set_script(gate=str(gate), hold_after=3, answers=[COUNTING])
    async with stage.ready() as play:
        await play.say("count")
        await play.until(lambda: "118 tok/s" in play.shown(LiveNumbers))
        await play.press("escape")
        await play.answered()
        await play.until(lambda: play.shown(LiveNumbers).splitlines()[0].strip() == "● ready")
        gate.unlink()
        await play.press(*f"/model {other}", "enter")
        await play.until(lambda: stage.heard(Load)[-1].path == str(other))
        gate.touch()
        await play.until(lambda: play.app.workspace.engine.is_ready)
        await play.until(lambda: "ready" in play.shown(LiveNumbers))
        assert play.shown(LiveNumbers).splitlines()[1].strip() == "- tok/s"
        assert figure(play, "first token") == "-"
        await play.until(lambda: figure(play, "context") == "-")
        assert "context" not in play.shown(StatusLine)


async def test_another_session_begins_without_the_figures_of_the_one_before(stage: Stage) -> None:
    stage.set_script(hold_after=3, answers=[COUNTING])
    async with stage.ready() as play:
        await play.say("count")
        await play.until(lambda: "118 tok/s" in play.shown(LiveNumbers))
        await play.press("escape")
        await play.answered()
        await play.until(lambda: figure(play, "first token").endswith(" s"))
        assert figure(play, "prompt") == "870 tok/s"
        await play.press("ctrl+n")
        await play.until(lambda: figure(play, "first token") == "-")
        assert play.shown(LiveNumbers).splitlines()[1].strip() == "- tok/s"
        assert figure(play, "prompt") == "-"


async def test_a_stop_is_seen_before_the_engine_gets_to_it(stage: Stage) -> None:
    stage.set_script(hold_prompt=True)
    async with stage.ready() as play:
        await play.say("count")
        await play.until_shown("4 of 12 tokens")
        await play.press("escape")
        await play.until_shown("Stopping …")
        Path(f"{stage.script}.chunk").touch()
        await play.answered()
        await play.until(lambda: not play.app.screen.query_one(StatusLine).busy)
        assert play.open_session.path[-1].message.state == "stopped"
