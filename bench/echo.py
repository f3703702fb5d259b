"""How soon a typed key shows while the engine writes at full speed, and how many bytes that answer and idling take.

    python bench/echo.py               # 120x40, on this machine
    python bench/echo.py --ssh --size 100x30

The starter model writes a long story on all cores; meanwhile keys are typed into the prompt box at odd times.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import sys
import time
from pathlib import Path

from emulated import EmulatedTerminal, terminal_environment
from starter_home import new_home, starter_model

PROMPT = "Tell a very long story of the sea."
SETTINGS = "[sampling]\ntemperature = 1.0\nmin_p = 0.02\nmax_tokens = {}\n[chat]\nmodel_titles = false\n"
PAUSES_S = (0.03, 0.25)
"""Between two keys."""

LINE = 20
"""Keys in the prompt box before it is emptied again: no more than fit on its line."""

BACKSPACE, STOP, AGAIN = "\x7f", "\x1b", "\x12"
WRITING_S = 10.0
SETTLING_S = 6.0
IDLE_S = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="120x40")
    parser.add_argument("--ssh", action="store_true", help="as over an SSH line")
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--model", type=Path, help="a model file; otherwise the starter model")
    options = parser.parse_args()
    columns, rows = map(int, options.size.split("x"))
    model = options.model or starter_model()
    with new_home() as home:
        (home / "settings.toml").write_text(SETTINGS.format(4000))
        command = [sys.executable, "-m", "tui", str(model)]
        terminal = EmulatedTerminal(command, (columns, rows), terminal_environment(home, ssh=options.ssh))
        try:
            figures = measure(terminal, options.keys)
        finally:
            terminal.close()
    print(json.dumps({"size": options.size, "ssh": options.ssh, **figures}))


def measure(terminal: EmulatedTerminal, n_keys: int) -> dict[str, object]:
    """Have answers written, type beside them, then do nothing."""
    terminal.read_until_shown("ready")
    terminal.type(PROMPT)
    terminal.read_until_shown(PROMPT[-4:])
    terminal.type("\r")
    terminal.read_until(is_writing)
    sent, began_s = terminal.n_bytes, time.monotonic()
    speeds = []
    while time.monotonic() - began_s < WRITING_S and is_writing(terminal.lines):
        terminal.read()
        speeds += [int(figure) for line in terminal.lines for figure in re.findall(r"(\d+) tok/s \u00b7", line)]
    bytes_per_s = (terminal.n_bytes - sent) / (time.monotonic() - began_s)
    echoes_ms = sorted(echo_times(terminal, n_keys))
    terminal.type(STOP)
    terminal.read_until(lambda lines: not is_writing(lines))
    terminal.read_for(SETTLING_S)
    sent = terminal.n_bytes
    terminal.read_for(IDLE_S)
    return {
        "tokens_per_s": statistics.median(speeds) if speeds else None,
        "bytes_per_s": round(bytes_per_s),
        "idle_bytes": terminal.n_bytes - sent,
        "echo_ms": {
            "median": round(statistics.median(echoes_ms), 1),
            "p99": round(echoes_ms[int(len(echoes_ms) * 0.99)], 1),
            "worst": round(echoes_ms[-1], 1),
        },
    }


def is_writing(lines: list[str]) -> bool:
    """Whether the status line says so."""
    return any("Writing \u2026" in line for line in lines)


def echo_times(terminal: EmulatedTerminal, n_keys: int) -> list[float]:
    """Milliseconds from key to screen."""
    pauses = random.Random(7)
    times_ms: list[float] = []
    typed = ""
    for n in range(n_keys):
        if not is_writing(terminal.lines):
            terminal.type(AGAIN)
            terminal.read_until(is_writing)
            terminal.read_for(1.0)
        terminal.read_for(pauses.uniform(*PAUSES_S))
        if len(typed) == LINE:
            terminal.type(BACKSPACE * LINE)
            terminal.read_until(lambda lines: not any("0#" in line for line in lines))
            typed = ""
            terminal.read_for(pauses.uniform(*PAUSES_S))
        typed += "#" if typed.endswith("0") else str(n % 10) if typed else "0"
        began_s = time.monotonic()
        terminal.type(typed[-1])
        times_ms.append((terminal.read_until_shown(typed) - began_s) * 1000)
    return times_ms


if __name__ == "__main__":
    main()
