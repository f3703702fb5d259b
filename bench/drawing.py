"""What drawing an answer costs: the app's processor time, the bytes it sends, and the longest stall of its event loop.

    python bench/drawing.py                     # prose, code and a table at 100 and 400 tokens/s, 120x40
    python bench/drawing.py --ssh --size 100x30 --rates 10,100 --cases prose

A scripted engine writes the answer; the app draws it into a pseudo-terminal. Only the app's own process counts.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
ENGINE = ROOT / "tests" / "tui" / "scripted_engine.py"
END = "finis."
TICK_S = 0.02


def prose(n_words: int) -> str:
    sentence = "the quick brown fox jumps over the **lazy** dog while `rain` falls on a quiet old town and people sleep"
    words = sentence.split()
    ends = {True: ".\n\nThen", False: "."}
    text = [
        words[n % len(words)] + (ends[n % 70 == 69] if n % 17 == 16 or n % 70 == 69 else "") for n in range(n_words)
    ]
    return " ".join(["Once", *text, END])


def code(n_lines: int) -> str:
    lines = [f"    value_{n} = compute(value_{n - 1}, {n}) + {n * 7}  # step {n}" for n in range(1, n_lines)]
    return "Here:\n\n```python\ndef main():\n" + "\n".join(lines) + f"\n```\n\n{END}"


def table(n_words: int) -> str:
    rows = [f"| name {n} | a few words here | {n * 3} and more |" for n in range(n_words // 12)]
    return "Here:\n\n| who | what | how many |\n|---|---|---|\n" + "\n".join(rows) + f"\n\n{END}"


CASES = {"prose": prose(4000), "code": code(500), "table": table(5000)}


def run_app(model: str, script: str, report: str, profile: str) -> None:
    """Be the app, with a watch on its event loop."""
    from tui.app import LlmTuiApp, _run
    from tui.options import AppOptions

    worst = {"wall_ms": 0.0, "cpu_ms": 0.0}

    app = LlmTuiApp(AppOptions(model=model), engine_command=[sys.executable, str(ENGINE), script])

    async def watch_loop() -> None:
        while True:
            wall, cpu = time.perf_counter(), time.thread_time()
            await asyncio.sleep(TICK_S)
            if app.workspace is not None and app.workspace.conversation.is_busy:
                worst["wall_ms"] = max(worst["wall_ms"], (time.perf_counter() - wall - TICK_S) * 1000)
                worst["cpu_ms"] = max(worst["cpu_ms"], (time.thread_time() - cpu) * 1000)

    async def watched() -> None:
        watching = asyncio.create_task(watch_loop())
        await _run(app)
        watching.cancel()

    profiler = cProfile.Profile() if profile else None
    if profiler:
        profiler.enable()
    asyncio.run(watched())
    if profiler:
        profiler.disable()
        profiler.dump_stats(profile)
    Path(report).write_text(json.dumps(worst))


class Screen:
    """The app in a pseudo-terminal, and all that it sent there."""

    def __init__(self, arguments: list[str], size: tuple[int, int], environment: dict[str, str]) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        command = [sys.executable, __file__, "--be-the-app", *arguments]
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, env=environment, cwd=ROOT
        )
        os.close(slave)
        self.output = bytearray()

    def read(self) -> bool:
        """Take what there is; False once the app has ended."""
        if select.select([self.master], [], [], 0.05)[0]:
            try:
                self.output += os.read(self.master, 65536)
            except OSError:
                return False
        return True

    def read_until(self, word: str, limit_s: float = 200) -> None:
        limit = time.monotonic() + limit_s
        start = max(len(self.output) - 100, 0)
        while self.output.find(word.encode(), start) < 0:
            if not self.read() or time.monotonic() > limit:
                raise RuntimeError(f"{word!r} was never drawn: {bytes(self.output[-2000:]).decode()}")

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def close(self) -> None:
        self.type("\x11")
        while self.read() and self.process.poll() is None:
            pass
        self.process.wait(20)
        os.close(self.master)


def measure(text: str, rate: float, size: tuple[int, int], *, ssh: bool, profile: str = "") -> dict[str, Any]:
    """Have one answer drawn and return what that took."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        model, script, report = home / "model.gguf", home / "script.json", home / "report.json"
        model.write_bytes(b"GGUF")
        (home / "settings.toml").write_text("[chat]\nmodel_titles = false\n")
        script.write_text(json.dumps({"answers": [text], "token_delay_s": max(1 / rate - 0.00015, 0)}))
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("SSH_", "TEXTUAL"))}
        environment |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LLM_TUI_HOME": folder}
        if ssh:
            environment["SSH_CONNECTION"] = "192.0.2.1 1 192.0.2.2 22"
        screen = Screen([str(model), str(script), str(report), profile], size, environment)
        screen.read_until("ready")
        screen.type("go")
        screen.read_until("go")
        app = psutil.Process(screen.process.pid)
        before, sent, began_s = app.cpu_times(), len(screen.output), time.monotonic()
        screen.type("\r")
        screen.read_until(END)
        after, took_s = app.cpu_times(), time.monotonic() - began_s
        n_bytes = len(screen.output) - sent
        screen.close()
        cpu_s = after.user + after.system - before.user - before.system
        n_tokens = len(text.split(" "))
        return {
            "tokens_per_s": round(n_tokens / took_s),
            "core": round(cpu_s / took_s, 3),
            "us_per_token": round(cpu_s / n_tokens * 1e6),
            "bytes_per_s": round(n_bytes / took_s),
            "stall": {name: round(value) for name, value in json.loads(report.read_text()).items()},
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="120x40")
    parser.add_argument("--rates", default="100,400")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--words", type=int, help="draw only the first so many words")
    parser.add_argument("--ssh", action="store_true", help="as over an SSH line")
    parser.add_argument("--profile", default="", help="write cProfile statistics of the app to this file")
    options = parser.parse_args()
    columns, lines = map(int, options.size.split("x"))
    for case in options.cases.split(","):
        for rate in map(float, options.rates.split(",")):
            text = CASES[case]
            if options.words:
                text = " ".join([*text.split(" ")[: options.words], f"\n\n{END}"])
            figures = measure(text, rate, (columns, lines), ssh=options.ssh, profile=options.profile)
            print(json.dumps({"case": case, "rate": rate, "size": options.size, "ssh": options.ssh, **figures}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--be-the-app"]:
        run_app(*sys.argv[2:6])
    else:
        main()
