"""Open a session of 2,000 messages in the app: milliseconds until its end is on screen; prints one JSON object.

    .venv/bin/python bench/opening.py [--rounds 7]

The real app with the starter model's engine, driven through Textual's pilot at 120 by 40; it goes back and forth
between a short session and the long one, whose text is written by the generator of bench/sessions.py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time

from sessions import N_LONG_SESSION, Writer, build
from starter_home import new_home, starter_model

from storage.connections import open_database
from storage.sessions import list_sessions
from storage.tree import path
from tui.app import LlmTuiApp
from tui.options import AppOptions
from tui.paths import user_paths

PATIENCE_S = 60.0


async def main() -> None:
    """Build the sessions, go back and forth, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    model = starter_model()
    with new_home():
        file = user_paths().database
        file.parent.mkdir(parents=True)
        build(file, 101, 2 * N_LONG_SESSION, Writer(1))
        db = open_database(file)
        short, long = sorted(list_sessions(db, limit=200), key=lambda session: session.n_messages)[::100]
        ends = {session.id: path(db, session.id)[-1].message.content[-20:] for session in (short, long)}
        db.close()
        app = LlmTuiApp(AppOptions(model=str(model), new=True))
        times = []
        async with app.run_test(size=(120, 40)) as pilot:
            await until(pilot.pause, lambda: app.screen_stack[0].is_furnished and app.workspace.engine.is_ready)
            for _ in range(rounds):
                await opened(app, short.id, ends[short.id])
                await pilot.pause(0.5)
                times.append(await opened(app, long.id, ends[long.id]))
                await pilot.pause(0.5)
    figures = {"messages": long.n_messages, "first_ms": times[0], "median_ms": statistics.median(times)}
    print(json.dumps({name: round(value, 1) for name, value in figures.items()}))


async def opened(app: LlmTuiApp, session_id: str, end: str) -> float:
    """Open a session; milliseconds until the end of its last message is painted."""
    started_s = time.perf_counter()
    await app.workspace.opening.open(session_id)
    await until(lambda: asyncio.sleep(0.01), lambda: end in painted(app))
    return 1000 * (time.perf_counter() - started_s)


def painted(app: LlmTuiApp) -> str:
    """The text on screen, with the line breaks of the pane as spaces."""
    lines = (strip.text[27:89].strip() for strip in app.screen._compositor.render_strips())
    return " ".join(lines)


async def until(rest, condition) -> None:  # type: ignore[no-untyped-def]
    """Let the app work until a condition holds."""
    limit_s = time.perf_counter() + PATIENCE_S
    while not condition():
        if time.perf_counter() > limit_s:
            raise SystemExit("The app did not get there in time.")
        await rest()


if __name__ == "__main__":
    asyncio.run(main())
