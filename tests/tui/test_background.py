"""What goes on in the background is heard when it goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import tui
from tests.tui.test_engine_trouble import COUNTING
from tui.paths import user_paths
from tui.services.models import Models
from tui.widgets.answer_body import AnswerBody

if TYPE_CHECKING:
    import pytest

    from tests.tui.conftest import Stage

BADLY = "This should not have happened: RuntimeError: out of order."


def test_tasks_are_begun_where_their_errors_are_heard() -> None:
    folder = Path(tui.__file__).parent
    begun = [
        (file.name, line.strip())
        for part in ("services", "screens", "widgets")
        for file in sorted((folder / part).glob("*.py"))
        for line in file.read_text().splitlines()
        if "create_task(" in line and file.name != "background.py"
    ]
    # Awaited by whoever closes.
    closing = 'self._closing = asyncio.create_task(self._close(), name="close services")'
    assert begun == [("workspace.py", closing)]


async def test_a_model_that_cannot_be_remembered_is_told(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def remember_badly(self: Models, path: Path) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(Models, "remember", remember_badly)
    async with stage.ready() as play:
        await play.until_told(BADLY)
    assert "in remember_badly" in user_paths().app_log.read_text()


async def test_an_answer_that_cannot_be_drawn_is_told_and_drawn_at_its_end(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = AnswerBody._add

    async def add_badly(self: AnswerBody, text: str) -> None:
        await add(self, text[:1])
        raise RuntimeError("out of order")

    monkeypatch.setattr(AnswerBody, "_add", add_badly)
    stage.set_script(answers=[COUNTING], hold_after=3)
    async with stage.ready() as play:
        await play.say("count")
        await play.until_told(BADLY)
        monkeypatch.setattr(AnswerBody, "_add", add)
        play.app.clear_notifications()
        await play.press("escape")
        await play.answered()
        await play.until_shown("number0 number1 number2")
    assert "in add_badly" in user_paths().app_log.read_text()
