"""Time to the first paint of the app against a bare Textual app's, in alternating runs; prints one JSON object.

    .venv/bin/python bench/first_paint.py [--rounds 12]

Both run in a pseudo-terminal of 120 by 40; the time is from the start of the process until the text of the first frame
is written. The app starts in a home of its own, with the starter model named; what comes behind the first frame (side
panes, database, engine) is not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time

from pseudo_terminal import read_until, running
from starter_home import starter_model

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
    model = starter_model()
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
    with running(command) as terminal:
        read_until(terminal, lambda seen: PAINTED in seen)
        return time.perf_counter() - started_s


if __name__ == "__main__":
    main()
