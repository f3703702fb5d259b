"""Time to the first paint of the app against a bare Textual app's, in alternating runs; prints one JSON object.

    .venv/bin/python bench/first_paint.py [--rounds 12]

Both run in a pseudo-terminal of 120 by 40; the time is from the start of the process until the text of the first frame
is written. The app starts in a home of its own, with the starter model named; what comes behind the first frame (side
panes, database, engine) is not in it.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import select
import signal
import statistics
import struct
import sys
import tempfile
import termios
import time
from pathlib import Path

from engine.starter import fetch

CACHE = Path(__file__).parents[1] / ".cache"
ROWS, COLUMNS = 40, 120
PATIENCE_S = 30.0
BARE = """
from textual.app import App
from textual.widgets import Static

class Bare(App):
    def compose(self):
        yield Static("Ask something")

Bare().run()
"""
PAINTED = b"sk something"
"""The first letter may be under the cursor, in a style of its own."""


def main() -> None:
    """Run both in turn, print the medians and the median of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    rounds = parser.parse_args().rounds
    model = fetch(CACHE / "models", lambda progress: None)
    with tempfile.TemporaryDirectory() as home:
        os.environ["LLM_TUI_HOME"] = home
        bare, app = [], []
        for _ in range(rounds + 1):
            bare.append(first_paint_s([sys.executable, "-P", "-c", BARE]))
            app.append(first_paint_s([sys.executable, "-P", "-m", "tui", "--new", str(model)]))
    # The first round reads everything from disk.
    bare, app = bare[1:], app[1:]
    result = {
        "bare_ms": round(1000 * statistics.median(bare), 1),
        "app_ms": round(1000 * statistics.median(app), 1),
        "ratio": round(statistics.median(a / b for a, b in zip(app, bare, strict=True)), 3),
    }
    print(json.dumps(result))


def first_paint_s(command: list[str]) -> float:
    """Start a program, wait for its first frame, end it; seconds."""
    started_s = time.perf_counter()
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    try:
        seen = b""
        while PAINTED not in seen:
            if time.perf_counter() - started_s > PATIENCE_S:
                raise SystemExit("Nothing was painted in time.")
            if select.select([terminal], [], [], 0.1)[0]:
                seen += os.read(terminal, 1 << 16)
        return time.perf_counter() - started_s
    finally:
        end(pid, terminal)


def end(pid: int, terminal: int) -> None:
    """End the program and read what it still writes, so that it can."""
    os.kill(pid, signal.SIGTERM)
    limit_s = time.perf_counter() + PATIENCE_S
    while os.waitpid(pid, os.WNOHANG)[0] != pid:
        if time.perf_counter() > limit_s:
            os.kill(pid, signal.SIGKILL)
        if select.select([terminal], [], [], 0.05)[0]:
            try:
                os.read(terminal, 1 << 16)
            except OSError:
                time.sleep(0.01)
    os.close(terminal)


if __name__ == "__main__":
    main()
