"""A model is fetched inside the app: from the picker, by a command, with a bar, and stopped by a key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import engine.pulling
from engine.protocol import EngineStats, Load
from tui.messages import StatsArrived
from tui.screens.main.palette_commands import main_commands
from tui.screens.main.screen import MainScreen
from tui.screens.model_picker import ModelPickerScreen
from tui.widgets.key_line import KeyLine
from tui.widgets.prompt_box import PromptBox
from tui.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from tests.tui.conftest import Play, Stage

CONTENT = b"GGUF" * 500_000
STOP = "Stop the download; what came is kept"


@pytest.fixture(autouse=True)
def _every_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.pulling, "REPORT_PERIOD_S", 0.0)


def palette_of(play: Play) -> list[str]:
    screen = play.app.screen_stack[0]
    assert isinstance(screen, MainScreen)
    return [command.title for command in main_commands(screen)]


async def open_picker(play: Play) -> None:
    await play.press("f4")
    await play.until(lambda: isinstance(play.app.screen, ModelPickerScreen))
    await play.until_shown("None here yet")


async def test_the_picker_fetches_shows_how_far_it_is_and_opens_what_came(stage: Stage, hub: Any) -> None:
    hub.repos["o/m"] = {"m-Q4_0.gguf": CONTENT}
    hub.gate.clear()
    async with stage.ready(size=(100, 30)) as play:
        await open_picker(play)
        await play.press(*"hf:o/m", "enter")
        await play.until_shown("Downloading m-Q4_0.gguf · 1.0 MB of 2.0 MB")
        assert "50%" in play.text()
        assert "f7 stop" in play.text()
        hub.gate.set()
        await play.until(lambda: isinstance(play.app.screen, MainScreen))
        await play.until(lambda: stage.heard(Load)[-1].path == str(stage.home / "models" / "m-Q4_0.gguf"))
        await play.until(lambda: play.app.workspace.engine.is_ready)
        await play.ask("hello")
    assert (stage.home / "models" / "m-Q4_0.gguf").read_bytes() == CONTENT


async def test_a_download_is_stopped_by_a_key_and_gone_on_with_later(stage: Stage, hub: Any) -> None:
    hub.repos["o/m"] = {"m.gguf": CONTENT}
    hub.gate.clear()
    async with stage.ready(size=(100, 30)) as play:
        assert STOP not in palette_of(play)
        await open_picker(play)
        await play.press(*"hf:o/m", "enter")
        await play.until_shown("1.0 MB of 2.0 MB")
        assert STOP in palette_of(play)
        await play.press("f7")
        await play.until(lambda: "Downloading" not in play.text())
        assert STOP not in palette_of(play)
        assert "f7" not in play.text()
        hub.gate.set()
        fetching = play.app.workspace.models._fetching
        await play.until(lambda: not fetching._thread.is_alive())
        part = stage.home / "models" / "m.gguf.part"
        assert 0 < part.stat().st_size < len(CONTENT)
        await play.press("enter")
        await play.until(lambda: isinstance(play.app.screen, MainScreen))
        assert hub.of("store")[-1].range is not None
        assert not part.exists()


async def test_a_command_fetches_beside_the_conversation(stage: Stage, hub: Any) -> None:
    hub.repos["o/m"] = {"m.gguf": CONTENT}
    hub.gate.clear()
    async with stage.ready(size=(100, 30)) as play:
        await play.press(*"/model hf:o/m", "enter")
        await play.until_shown("1.0 MB of 2.0 MB")
        await play.press("escape")
        await play.until(lambda: isinstance(play.app.screen, MainScreen))
        await play.ask("hello meanwhile")
        hub.gate.set()
        await play.until_shown("m.gguf is here: f4 opens it.")
        assert [Path(load.path).name for load in stage.heard(Load)] == [stage.model.name]


async def test_what_cannot_be_fetched_is_told_where_it_was_asked_for(stage: Stage, hub: Any) -> None:
    hub.repos["o/m"] = {"a-Q4_0.gguf": CONTENT, "b-Q4_0.gguf": CONTENT}
    async with stage.ready(size=(100, 30)) as play:
        await open_picker(play)
        await play.press(*"hf:o/m", "enter")
        await play.until_shown("o/m has 2 models. There is a-Q4_0.gguf, b-Q4_0.gguf.")
        await play.press("home", "shift+end", "delete", *f"{hub.endpoint}/o/m/blob/main/b-Q4_0.gguf", "enter")
        await play.until(lambda: isinstance(play.app.screen, MainScreen))
        await play.until(lambda: stage.heard(Load)[-1].path.endswith("b-Q4_0.gguf"))


async def test_one_download_at_a_time(stage: Stage, hub: Any) -> None:
    hub.repos["o/m"] = {"m.gguf": CONTENT}
    hub.gate.clear()
    async with stage.ready(size=(100, 30)) as play:
        await open_picker(play)
        await play.press(*"hf:o/m", "enter")
        await play.until_shown("1.0 MB of 2.0 MB")
        await play.press(*"2", "enter")
        await play.until_shown("Another download is under way: f7 stops it.")


async def test_nobody_waits_for_a_silent_server_when_leaving(stage: Stage, hub: Any) -> None:
    hub.repos["o/m"] = {"m.gguf": CONTENT}
    hub.gate.clear()
    async with stage.ready(size=(100, 30)) as play:
        await open_picker(play)
        await play.press(*"hf:o/m", "enter")
        await play.until_shown("1.0 MB of 2.0 MB")
        thread = play.app.workspace.models._fetching._thread
        await play.app.close()
    assert thread.is_alive()
    assert not hub.gate.is_set()


async def test_why_a_download_failed_stays_and_is_no_trouble_of_the_engine(stage: Stage, hub: Any) -> None:
    hub.repos["o/m"] = {"a-Q4_0.gguf": CONTENT, "b-Q4_0.gguf": CONTENT}
    async with stage.ready(size=(100, 30)) as play:
        play.app.workspace.models.fetch("hf:o/m")
        await play.until_shown("o/m has 2 models")
        assert "f5" not in play.shown(KeyLine)
        main = play.app.screen
        main.post_message(StatsArrived(EngineStats("ready", 0, 0, 0, 0, 0, 0)))
        await play.pilot.pause()
        assert "o/m has 2 models" in play.shown(StatusLine)
        await open_picker(play)
        await play.press("escape")
        await play.until(lambda: isinstance(play.app.screen, MainScreen))
        assert "o/m has 2 models" not in play.shown(StatusLine)


async def test_a_download_is_stopped_from_the_prompt_box(stage: Stage, hub: Any) -> None:
    hub.repos["o/m"] = {"m.gguf": CONTENT}
    hub.gate.clear()
    async with stage.ready(size=(100, 30)) as play:
        play.app.workspace.models.fetch("hf:o/m")
        await play.until_shown("Downloading")
        assert isinstance(play.app.focused, PromptBox)
        await play.press("f7")
        await play.until(lambda: not play.app.workspace.models.is_fetching)
        hub.gate.set()
