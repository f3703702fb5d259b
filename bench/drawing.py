"""What drawing an answer costs: the app's processor time, the bytes it sends, and the longest stall of its event loop.

    python bench/drawing.py                     # prose, code and a table at 100 and 400 tokens/s, 120x40
    python bench/drawing.py --ssh --size 100x30 --rates 10,100 --cases prose

A scripted engine writes the answer; the app draws it into a pseudo-terminal. Only the app's own process counts.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from emulated import EmulatedTerminal, terminal_environment

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
    from tui import output
    from tui.app import LlmTuiApp, _run
    from tui.options import AppOptions

    output.install()
    worst = {"wall_ms": 0.0, "cpu_ms": 0.0}

    app = LlmTuiApp(AppOptions(model=model), engine_command=[sys.executable, str(ENGINE), script])

    async def watch_loop() -> None:
        while True:
            wall, cpu = time.perf_counter(), time.thread_time()
            await asyncio.sleep(TICK_S)
            if app.workspace is not None and app.workspace.writing.is_busy:
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


def measure(text: str, rate: float, size: tuple[int, int], *, ssh: bool, profile: str = "") -> dict[str, Any]:
    """Have one answer drawn and return what that took."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        model, script, report = home / "model.gguf", home / "script.json", home / "report.json"
        model.write_bytes(b"GGUF")
        (home / "settings.toml").write_text("[chat]\nmodel_titles = false\n")
        script.write_text(json.dumps({"answers": [text], "token_delay_s": max(1 / rate - 0.00015, 0)}))
        command = [sys.executable, __file__, "--be-the-app", str(model), str(script), str(report), profile]
        terminal = EmulatedTerminal(command, size, terminal_environment(home, ssh=ssh))
        terminal.read_until_shown("ready")
        terminal.type("go")
        terminal.read_until_shown("go")
        app = psutil.Process(terminal.process.pid)
        before, sent, began_s = app.cpu_times(), terminal.n_bytes, time.monotonic()
        terminal.type("\r")
        took_s = terminal.read_until_shown(END) - began_s
        after, n_bytes = app.cpu_times(), terminal.n_bytes - sent
        terminal.close()
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
