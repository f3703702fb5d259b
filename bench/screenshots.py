"""The pictures of the README: the real app with the real starter model, as Textual draws it.

.venv/bin/python bench/screenshots.py [docs/screenshots]
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from starter_home import new_home, starter_model

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


async def take(file: Path, model: Path, size: tuple[int, int], theme: str) -> None:
    from tui.app import LlmTuiApp
    from tui.options import AppOptions

    app = LlmTuiApp(AppOptions(model=str(model)))
    async with app.run_test(size=size) as pilot:
        app.theme = theme
        await until(lambda: app.workspace and app.workspace.engine.is_ready and app.workspace.is_open)
        open_session, writing = app.workspace.open_session, app.workspace.writing
        for question in QUESTIONS:
            await app.workspace.opening.new()
            # The empty box comes after the session does, and takes away what is typed before.
            await pilot.pause()
            await pilot.press(*("space" if c == " " else c for c in question), "enter")
            await until(
                lambda: open_session.path and open_session.path[-1].message.state == "complete" and not writing.answer
            )
        await pilot.pause(1.0)
        app.save_screenshot(str(file))


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    model = starter_model()
    for name, (size, theme) in PICTURES.items():
        with new_home():
            asyncio.run(take(folder / f"{name}.svg", model, size, theme))


if __name__ == "__main__":
    main()
