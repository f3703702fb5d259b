"""The pictures of the README: the real app with the real starter model, as Textual draws it.

.venv/bin/python bench/screenshots.py [docs/screenshots]
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

CACHE = Path(__file__).parents[1] / ".cache"
PATIENCE_S = 120.0
LOOK_EVERY_S = 0.05

QUESTIONS = (
    "List three rivers, each with one sentence.",
    "What is the capital of France?",
    "Write a Python function that adds two numbers, in a code block.",
)
PICTURES = {
    "wide": ((120, 40), "textual-dark"),
    "light": ((120, 40), "textual-light"),
    "small": ((80, 24), "textual-dark"),
}


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(LOOK_EVERY_S)


async def take(folder: Path, model: Path, homes: Path) -> None:
    from tui.app import LlmTuiApp
    from tui.options import AppOptions

    for name, (size, theme) in PICTURES.items():
        home = homes / name
        home.mkdir()
        (home / "cache").symlink_to(CACHE / "engine", target_is_directory=True)
        os.environ["LLM_TUI_HOME"] = str(home)
        app = LlmTuiApp(AppOptions(model=str(model)))
        async with app.run_test(size=size) as pilot:
            app.theme = theme
            await until(lambda app=app: app.workspace and app.workspace.engine.is_ready and app.workspace.is_open)
            conversation = app.workspace.conversation
            for question in QUESTIONS:
                await app.workspace.opening.new()
                # The empty box comes after the session does, and takes away what is typed before.
                await pilot.pause()
                await pilot.press(*("space" if c == " " else c for c in question), "enter")
                await until(lambda c=conversation: c.path and c.path[-1].message.state == "complete" and not c.answer)
            await pilot.pause(1.0)
            app.save_screenshot(str(folder / f"{name}.svg"))


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as homes:
        from engine.starter import fetch

        model = fetch(CACHE / "models", lambda progress: None)
        asyncio.run(take(folder, model, Path(homes)))


if __name__ == "__main__":
    main()
