"""Reading through a session of 2,000 messages: the longest stall of the event loop, in milliseconds; one JSON object.

    .venv/bin/python bench/stalls.py

The app at 120 by 40, driven through Textual's pilot, opens the session at its end, goes up page by page, then to
the end, to the beginning and down page by page. The text is written by the generator of
bench/sessions.py; a scripted engine stands for the model, which has nothing to do here.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path

# A page that glides takes half a second of waiting, a thousand times.
os.environ["TEXTUAL_ANIMATIONS"] = "none"

from sessions import N_LONG_SESSION, Writer, build
from textual import events

from storage.connections import open_database
from storage.sessions import list_sessions
from tui.app import LlmTuiApp
from tui.options import AppOptions
from tui.paths import user_paths
from tui.widgets.transcript import Transcript

ENGINE = Path(__file__).parents[1] / "tests" / "tui" / "scripted_engine.py"
TICK_S = 0.005
KEY_PERIOD_S = 0.033
"""A key that is held down repeats so often."""

PAGING_S = 12.0
"""So long at most; a minute's paging shows no more."""

PATIENCE_S = 30.0


class Stalls:
    """How long the event loop did not come round, at worst, and how often longer than 50 and 100 ms."""

    def __init__(self) -> None:
        self.waits_ms: list[float] = []

    @asynccontextmanager
    async def watched(self):  # type: ignore[no-untyped-def]
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()

    async def _watch(self) -> None:
        while True:
            began_s = time.perf_counter()
            await asyncio.sleep(TICK_S)
            self.waits_ms.append((time.perf_counter() - began_s - TICK_S) * 1000)

    def told(self) -> dict[str, float]:
        return {
            "worst_ms": round(max(self.waits_ms), 1),
            "over_50_ms": sum(wait > 50 for wait in self.waits_ms),
            "over_100_ms": sum(wait > 100 for wait in self.waits_ms),
        }


async def main() -> None:
    """Build the session, read through it, print."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["LLM_TUI_HOME"] = home
        file = user_paths().database
        file.parent.mkdir(parents=True)
        build(file, 101, 2 * N_LONG_SESSION, Writer(1))
        with open_database(file) as db:
            session = max(list_sessions(db, limit=200), key=lambda session: session.n_messages)
            (n_chars,) = next(
                db.execute(
                    "select sum(length(content)) from messages join sessions s on s.key = session_key where s.id = ?",
                    [session.id],
                )
            )
        model, script = Path(home) / "model.gguf", Path(home) / "script.json"
        model.write_bytes(b"GGUF")
        script.write_text("{}")
        app = LlmTuiApp(
            AppOptions(model=str(model), new=True), engine_command=[sys.executable, str(ENGINE), str(script)]
        )
        figures: dict[str, object] = {"messages": session.n_messages, "words": n_chars // 6}
        async with app.run_test(size=(120, 40)) as pilot:
            await until(lambda: app.screen_stack[0].is_furnished and app.workspace.engine.is_ready)
            transcript = app.screen.query_one(Transcript)
            with_time = [
                ("open", lambda: app.workspace.opening.open(session.id)),
                ("pages_up", lambda: pages(transcript, "pageup", lambda: at_top(transcript))),
                ("end", lambda: jump(pilot, transcript, "end", lambda: at_end(transcript))),
                ("home", lambda: jump(pilot, transcript, "home", lambda: transcript.scroll_y == 0)),
                ("pages_down", lambda: pages(transcript, "pagedown", lambda: at_end(transcript))),
            ]
            for name, deed in with_time:
                stalls, began_s = Stalls(), time.perf_counter()
                async with stalls.watched():
                    await deed()
                    await pilot.pause(0.3)
                figures[name] = {**stalls.told(), "took_s": round(time.perf_counter() - began_s, 2)}
                transcript.focus()
    print(json.dumps(figures))


def at_top(transcript: Transcript) -> bool:
    """Whether the first message of the session is on top."""
    return transcript.scroll_y == 0 and transcript._excerpt.first == 0


def at_end(transcript: Transcript) -> bool:
    """Whether the last line of the session is at the bottom."""
    return transcript.scroll_y >= transcript.max_scroll_y and not transcript._excerpt.n_later


async def pages(transcript: Transcript, key: str, done: Callable[[], bool]) -> None:
    """Page until there is no further."""
    began_s = time.perf_counter()
    while not done():
        transcript.app.post_message(events.Key(key, None))
        await asyncio.sleep(KEY_PERIOD_S)
        if time.perf_counter() - began_s > PAGING_S:
            return


async def jump(pilot, transcript: Transcript, key: str, done: Callable[[], bool]) -> None:  # type: ignore[no-untyped-def]
    """Press a key once and wait for where it leads."""
    await pilot.press(key)
    await until(done)


async def until(condition: Callable[[], bool]) -> None:
    """Let the app work until a condition holds."""
    limit_s = time.perf_counter() + PATIENCE_S
    while not condition():
        if time.perf_counter() > limit_s:
            raise SystemExit("The app did not get there in time.")
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main())
