"""The first frame waits for nothing that it does not show."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref
from typing import TYPE_CHECKING

import pytest

from tui.__main__ import plain_start
from tui.options import AppOptions
from tui.widgets.message_view import MessageView

if TYPE_CHECKING:
    from tests.tui.conftest import Stage

LATER = (
    "engine.client",
    "engine.starter",
    "jinja2",
    "markdown_it",
    "numba",
    "numpy",
    "psutil",
    "pygments",
    "sqlite3",
    "sqlite_utils",
    "tokenizers",
    "tui.services",
)


def test_the_app_imports_nothing_that_the_first_frame_does_not_show() -> None:
    code = "import sys, tui.app; print(*sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "textual.app" in modules
    assert [name for name in modules if name.startswith(LATER)] == []


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], AppOptions()),
        (["--new"], AppOptions(new=True)),
        (["--continue", "./model.gguf"], AppOptions(model="./model.gguf", continue_last=True)),
        (["model.gguf"], AppOptions(model="model.gguf")),
        (["missing.gguf"], AppOptions(model="missing.gguf")),
        (["--new", "/away/model"], AppOptions(model="/away/model", new=True)),
        (["ask"], None),
        (["ask", "model.gguf"], None),
        (["--new", "--continue"], None),
        (["--help"], None),
        (["--resume", "model.gguf"], None),
        (["tiny"], None),
    ],
)
def test_a_plain_start_needs_no_command_line_parser(arguments: list[str], options: AppOptions | None) -> None:
    assert plain_start(arguments) == options


def test_a_plain_start_imports_no_command_line_parser() -> None:
    code = "import sys, tui.__main__, tui.app; print(*sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"click", "tui.cli"} & set(modules)


def test_over_ssh_textual_animates_nothing() -> None:
    code = "import tui.app, textual.constants as c; print(c.MAX_FPS, c.TEXTUAL_ANIMATIONS, c.SMOOTH_SCROLL)"

    def constants(**environment: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PATH": "", **environment}
        ).stdout.strip()

    assert constants(SSH_CONNECTION="10.0.0.1 5 10.0.0.2 22") == "60 none False"
    assert constants(SSH_CONNECTION="10.0.0.1 5 10.0.0.2 22", TEXTUAL_FPS="30") == "30 none False"
    assert constants() == "60 full True"


def test_an_app_that_has_ended_leaves_memory_to_whoever_goes_on(stage: Stage) -> None:
    async def use() -> list[weakref.ref[object]]:
        async with stage.ready() as play:
            await play.ask("capital?")
            assert gc.get_freeze_count()
            return [weakref.ref(play.app), weakref.ref(play.app.query_one(MessageView))]

    # A loop of its own: its threads know where the app has redirected what is printed.
    left = asyncio.run(use())
    assert not gc.get_freeze_count()
    gc.collect()
    assert [ref() for ref in left] == [None, None]


async def test_garbage_is_looked_for_between_answers(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.services.housekeeping.TIDY_AFTER_S", 0.01)
    collected: list[int] = []
    monkeypatch.setattr("tui.before_textual.gc.collect", lambda: collected.append(1))
    async with stage.ready() as play:
        before = len(collected)
        await play.ask("capital?")
        await play.until(lambda: len(collected) > before)
