"""When the engine dies, refuses or keeps silent: said plainly, nothing lost, and a key to go on."""

from __future__ import annotations

import os
import re
import signal
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from engine.protocol import Generate, Load
from storage import deletion, sessions
from storage.connections import open_database
from tui.bases import remember_base
from tui.model_choice import remember_model
from tui.paths import user_paths
from tui.priority import TYPING_NICENESS
from tui.widgets.prompt_box import PromptBox
from tui.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from tests.tui.conftest import Stage

COUNTING = " ".join(f"number{n}" for n in range(400))


def engine_pids() -> list[int]:
    """The engine processes of this test's process."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "scripted_engine.py" in " ".join(child.cmdline()):
                found.append(child.pid)
    return found


async def test_an_engine_killed_midway_loses_nothing_and_comes_back_on_a_key(stage: Stage) -> None:
    stage.set_script(answers=[COUNTING], hold_after=3)
    async with stage.ready() as play:
        await play.say("count")
        await play.until_shown("number2")
        (pid,) = engine_pids()
        os.kill(pid, signal.SIGKILL)
        await play.answered()
        message = play.open_session.path[-1].message
        assert (message.content, message.state) == ("number0 number1 number2", "interrupted")
        await play.until_shown("f5 starts it again")
        assert "number2" in play.text()
        stage.set_script(answers=[COUNTING])
        await play.press("f5")
        await play.until(lambda: play.app.workspace.engine.is_ready)
        assert len(stage.heard(Load)) == 2
        await play.press("ctrl+g")
        await play.until(lambda: len(stage.heard(Generate)) == 2)
        await play.answered()
        assert stage.heard(Generate)[-1].prompt.answer_ids == [0, 1, 2]
        assert play.open_session.path[-1].message.content == COUNTING
        assert play.open_session.path[-1].message.state == "complete"


async def test_the_engines_last_words_are_a_key_away(stage: Stage) -> None:
    stage.set_script(die_after=1, last_words="out of luck")
    async with stage.ready() as play:
        await play.say("hello")
        await play.until_shown("f5 starts it again")
        await play.press("f8")
        await play.until_shown("out of luck")
        # A long path goes on in the next line.
        assert "engine.log" in re.sub(r"[\s│]", "", play.text())


async def test_an_engine_that_does_not_start_leaves_the_app_usable(stage: Stage) -> None:
    stage.set_script(no_greeting=True)
    async with stage.running() as play:
        await play.until(lambda: play.app.workspace.engine.phase == "dead")
        await play.until_shown("The engine did not start")
        await play.press(*"typed")
        assert play.app.query_one(PromptBox).text == "typed"
        stage.set_script()
        await play.press("f5")
        await play.until(lambda: play.app.workspace.engine.is_ready)
        assert "did not start" not in play.shown(StatusLine)


@pytest.mark.parametrize("is_named", [True, False])
async def test_a_model_whose_file_was_put_back_opens_on_a_key(stage: Stage, is_named: bool) -> None:
    away = stage.model.with_name("away")
    remember_model(stage.model, user_paths())
    stage.model.rename(away)
    async with stage.running(model=str(stage.model) if is_named else None) as play:
        await play.until(lambda: len(play.app.screen_stack) > 1)
        await play.press("escape")
        await play.until_shown("f5 restart")
        away.rename(stage.model)
        await play.press("f5")
        await play.until(lambda: play.app.workspace.engine.is_ready)
        assert [load.path for load in stage.heard(Load)] == [str(stage.model)]
        assert len(engine_pids()) == 1
        await play.until(lambda: not play.app.screen.query_one(StatusLine).trouble)


async def test_a_model_that_did_not_open_is_opened_on_a_key_once_its_file_is_another_one(stage: Stage) -> None:
    stage.set_script(load_error="The file ends too early.")
    async with stage.running() as play:
        await play.until_shown("The file ends too early.")
        await play.until(lambda: play.app.workspace.engine.phase == "empty")
        await play.press("f5")
        stage.set_script()
        stage.model.write_bytes(b"GGUF, and the rest of it")
        await play.press("f5")
        await play.until(lambda: play.app.workspace.engine.is_ready)
        assert [load.path for load in stage.heard(Load)] == [str(stage.model)] * 2


@pytest.mark.parametrize(
    ("opened", "mended"),
    [("big-00001-of-00002.gguf", "big-00002-of-00002.gguf"), ("Folder", "Folder/config.json")],
    ids=["a part is put back", "a file of a folder is mended"],
)
async def test_a_model_of_several_files_is_opened_on_a_key_once_one_of_them_is_another(
    stage: Stage, opened: str, mended: str
) -> None:
    models = stage.model.parent
    (models / "big-00001-of-00002.gguf").write_bytes(b"GGUF")
    (models / "Folder").mkdir()
    for name in ("config.json", "model.safetensors"):
        (models / "Folder" / name).write_bytes(b"{")
    stage.set_script(load_error="It is not whole.")
    async with stage.running(model=str(models / opened)) as play:
        await play.until_shown("It is not whole.")
        await play.until(lambda: play.app.workspace.engine.phase == "empty")
        assert not play.app.workspace.engine.has_asked_for_model
        stage.set_script()
        (models / mended).write_bytes(b"{}")
        await play.press("f5")
        await play.until(lambda: play.app.workspace.engine.is_ready)
        assert [load.path for load in stage.heard(Load)] == [str(models / opened)] * 2


async def test_an_adapter_is_opened_on_a_key_once_its_base_model_was_mended(stage: Stage) -> None:
    adapter = stage.model.with_name("adapter.gguf")
    adapter.write_bytes(b"GGUF")
    remember_base(adapter, stage.model, user_paths())
    stage.set_script(load_error="Its base is not whole.")
    async with stage.running(model=str(adapter)) as play:
        await play.until_shown("Its base is not whole.")
        await play.until(lambda: play.app.workspace.engine.phase == "empty")
        assert not play.app.workspace.engine.has_asked_for_model
        stage.set_script()
        stage.model.write_bytes(b"GGUF and more")
        await play.press("f5")
        await play.until(lambda: play.app.workspace.engine.is_ready)
        asked = [(load.path, load.base) for load in stage.heard(Load)]
        assert asked == [(str(adapter), str(stage.model))] * 2


async def test_a_model_that_is_chosen_starts_an_engine_that_died(stage: Stage) -> None:
    async with stage.ready() as play:
        (pid,) = engine_pids()
        os.kill(pid, signal.SIGKILL)
        await play.until_shown("f5 starts it again")
        play.app.screen.parts.model_opening.open(stage.model)
        await play.until(lambda: play.app.workspace.engine.is_ready)
        await play.ask("still there?")


async def test_an_answer_that_was_cut_short_is_told_in_its_session_alone(stage: Stage) -> None:
    stage.set_script(answers=[COUNTING], hold_after=3)
    async with stage.ready() as play:
        await play.say("count")
        await play.until_shown("number2")
        await play.press("escape")
        await play.until_shown("Cut short")
        await play.press("ctrl+n")
        await play.until(lambda: play.open_session.session is None)
        await play.until(lambda: "Cut short" not in play.text())


async def test_a_model_that_cannot_be_opened_is_told(stage: Stage) -> None:
    stage.set_script(load_error="The file ends in the middle of a tensor.")
    async with stage.running() as play:
        await play.until_shown("ends in the middle of a tensor")
        assert play.app.workspace.engine.phase == "empty"


async def test_one_can_type_and_send_while_the_model_loads(stage: Stage, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    stage.set_script(gate=str(gate))
    async with stage.running() as play:
        await play.until_shown("Preparing the weights")
        await play.until_shown("45 %")
        await play.say("early bird")
        await play.until_shown("as soon as the model is ready")
        assert [item.message.content for item in play.open_session.path] == ["early bird"]
        assert stage.heard(Generate) == []
        gate.touch()
        await play.answered()
        await play.until_shown("Paris is the capital of France.")
        assert "as soon as the model is ready" not in play.text()
        session = play.open_session.session
        stored = await play.app.workspace.store.call(sessions.get_session, session.id)
        assert stored.model == "Tiny 135M Q4_1"


async def test_what_waits_for_the_model_can_be_called_off(stage: Stage, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    stage.set_script(gate=str(gate))
    async with stage.running() as play:
        await play.until(lambda: play.app.workspace.is_open)
        await play.say("early bird")
        await play.press("escape")
        await play.until(lambda: not play.writing.waiting)
        gate.touch()
        await play.until(lambda: play.app.workspace.engine.is_ready)
        assert stage.heard(Generate) == []
        await play.press("ctrl+r")
        await play.until(lambda: stage.heard(Generate))
        await play.answered()


async def test_what_waits_for_the_model_in_a_session_that_is_deleted_elsewhere_is_told(
    stage: Stage, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    stage.set_script(gate=str(gate))
    async with stage.running() as play:
        await play.until(lambda: play.app.workspace.is_open)
        await play.say("early bird")
        with closing(open_database(user_paths().database)) as db:
            deletion.delete_session(db, play.open_session.session.id)
        gate.touch()
        await play.until_told("There is no session")
        await play.until(lambda: not play.writing.is_busy and play.open_session.session is None)
        assert await play.ask("once more") == "Paris is the capital of France."


async def test_no_engine_is_left_behind(stage: Stage) -> None:
    stage.set_script(answers=[COUNTING], hold_after=3)
    async with stage.ready() as play:
        await play.say("count")
        await play.until_shown("number2")
        assert len(engine_pids()) == 1
    assert engine_pids() == []


async def test_the_engine_stands_back_while_keys_come(stage: Stage) -> None:
    async with stage.ready() as play:
        (pid,) = engine_pids()
        autogroup = Path(f"/proc/{pid}/autogroup")
        if not autogroup.exists():
            pytest.skip("This system does not share its cores among sessions.")
        assert autogroup.read_text().endswith(" nice 0\n")
        await play.press("a")
        assert autogroup.read_text().endswith(f" nice {TYPING_NICENESS}\n")
        await play.until(lambda: autogroup.read_text().endswith(" nice 0\n"))
