"""A session of the README as an asciinema cast: the real app with the real starter model, keys typed as people type.

    .venv/bin/python bench/recording.py [docs/session.cast]

Play it with `asciinema play docs/session.cast`. What the app writes to its pseudo-terminal is kept with its
times; waits of more than LONGEST_PAUSE_S are shortened in the recording. The app takes its
terminal for one behind an SSH line and sends little, which keeps the file small.
"""

from __future__ import annotations

import codecs
import json
import os
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pseudo_terminal import COLUMNS, ROWS, running
from starter_home import new_home, starter_model

LONGEST_PAUSE_S = 1.2
KEY_PERIOD_S = 0.06
PATIENCE_S = 30.0

OVER = "ctrl+r"
"""The key line has the key for another answer once there is one."""

LEFT, RIGHT, DOWN, ESCAPE, F1, F3 = "\x1b[D", "\x1b[C", "\x1b[B", "\x1b", "\x1bOP", "\x1bOR"
CANDIDATES, TINT = "\x1bc", "\x1bt"


class Recording:
    """What a terminal was sent, and when."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._now_s = 0.0
        self._last_s = time.monotonic()
        self.seen = ""
        self.events: list[tuple[float, str, str]] = []

    def listen(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Take what comes for some time, or until something holds; whether it did."""
        ends_s = time.monotonic() + seconds
        while not until():
            left_s = ends_s - time.monotonic()
            if left_s <= 0:
                return False
            if select.select([self._terminal], [], [], min(left_s, 0.1))[0]:
                self._take(os.read(self._terminal, 1 << 16))
        return True

    def _take(self, data: bytes) -> None:
        now_s, text = time.monotonic(), self._decode(data)
        self._now_s += min(now_s - self._last_s, LONGEST_PAUSE_S)
        self._last_s = now_s
        self.seen += text
        self.events.append((round(self._now_s, 3), "o", text))

    def wait_for(self, text: str, since: int = 0) -> None:
        """Record until a text has come after so many characters."""
        if not self.listen(PATIENCE_S, lambda: text in self.seen[since:]):
            raise SystemExit(f"{text!r} never came.")

    def ask(self, question: str) -> int:
        """Type and send a question; how much was seen before."""
        self.type(*question)
        before = len(self.seen)
        self.type("\r")
        return before

    def type(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            os.write(self._terminal, key.encode())
            self.listen(KEY_PERIOD_S)


def play(recording: Recording) -> None:
    """Ask; see how likely each token was, and take another one; move a slider while it writes; look at the help."""
    recording.wait_for("ready")
    recording.listen(1.0)
    recording.wait_for(OVER, since=recording.ask("List three rivers, each with one sentence."))
    recording.listen(1.0)
    recording.type(TINT)
    recording.listen(1.5)
    recording.type(CANDIDATES)
    recording.listen(1.0)
    for key in [LEFT] * 8 + [DOWN]:
        recording.type(key)
        recording.listen(0.25)
    recording.listen(1.0)
    before = len(recording.seen)
    recording.type("\r")
    recording.wait_for("2/2", before)
    recording.listen(2.5)
    recording.type(TINT, ESCAPE)
    recording.listen(1.0)
    before = recording.ask("Tell a long story of a lighthouse keeper and the sea.")
    recording.listen(0.5)
    recording.type(F3, *[RIGHT] * 20)
    recording.wait_for(OVER, before)
    recording.listen(1.0)
    recording.type(DOWN, *[RIGHT] * 6)
    recording.listen(1.0)
    recording.type(ESCAPE)
    recording.listen(0.5)
    recording.type(F1)
    recording.listen(1.5)
    recording.type(ESCAPE)
    recording.listen(1.0)


def main() -> None:
    """Play and write the cast."""
    file = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/session.cast")
    model = starter_model()
    os.environ |= {
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22",
    }
    with new_home() as home:
        (home / "settings.toml").write_text(
            "[sampling]\ntemperature = 0.6\nmin_p = 0.1\nmax_tokens = 400\n[chat]\nmodel_titles = false\n"
        )
        with running([sys.executable, "-m", "tui", str(model)]) as terminal:
            recording = Recording(terminal)
            play(recording)
    header = {"version": 2, "width": COLUMNS, "height": ROWS, "title": "llm-tui", "env": {"TERM": "xterm-256color"}}
    lines = [header, *recording.events]
    file.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    print(f"{file}: {file.stat().st_size // 1000} kB, {recording.events[-1][0]:.0f} s")


if __name__ == "__main__":
    main()
