"""What the app's drawing costs the engine: tokens a second of a long answer in the app, of `ask` and of `bench`.

    .venv/bin/python bench/app_cost.py [--rounds 3]

The app runs in a pseudo-terminal of 120 by 40 that is read as fast as it writes; all use the starter model, the same
threads, and no speculation helps: the answer is sampled hot, so that it does not repeat itself. `bench` writes as many
tokens behind a prompt of about the same length, and takes the likeliest each time; it shows what sampling costs too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from pseudo_terminal import read_until, running
from starter_home import new_home, starter_model

from storage.connections import open_database

GEN_TOKENS = 600
PROMPT = "Write a long story about a lighthouse keeper and the sea, with many different events."
PROMPT_TOKENS = 50
"""About as many as the template makes of it."""

OVER = b"again"
"""The key line has the key for another answer once there is one."""

SETTINGS = f"[sampling]\ntemperature = 1.0\ntop_p = 1.0\nmin_p = 0.02\nmax_tokens = {GEN_TOKENS}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    model = starter_model()
    with new_home() as home:
        (home / "settings.toml").write_text(SETTINGS)
        bench, ask, app = [], [], []
        for _ in range(rounds):
            bench.append(bench_speed(model))
            ask.append(ask_speed(model, home))
            app.append(app_speed(model, home))
    result = {
        "bench_tps": round(statistics.median(bench), 1),
        "ask_tps": round(statistics.median(ask), 1),
        "app_tps": round(statistics.median(app), 1),
        "app_to_bench": round(statistics.median(a / b for a, b in zip(app, bench, strict=True)), 3),
        "app_to_ask": round(statistics.median(a / b for a, b in zip(app, ask, strict=True)), 3),
        "runs": [[round(one, 1) for one in three] for three in zip(bench, ask, app, strict=True)],
    }
    print(json.dumps(result))


def bench_speed(model: Path) -> float:
    """The engine alone, in tokens a second."""
    lengths = ["--prompt-tokens", str(PROMPT_TOKENS), "--gen-tokens", str(GEN_TOKENS), "--repeat", "1"]
    command = [sys.executable, "-m", "tui", "bench", str(model), *lengths, "--json"]
    told = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return float(told["gen_tps"])


def ask_speed(model: Path, home: Path) -> float:
    """The same prompt and sampling without a screen, in tokens a second."""
    forget(home)
    command = [sys.executable, "-m", "tui", "ask", PROMPT, "-m", str(model), "--save"]
    subprocess.run(command, check=True, capture_output=True)
    return answer_speed(home)


def app_speed(model: Path, home: Path) -> float:
    """The app in a pseudo-terminal; its database tells how fast the answer was."""
    forget(home)
    with running([sys.executable, "-m", "tui", str(model)]) as terminal:
        read_until(terminal, lambda seen: b"ready" in seen)
        os.write(terminal, PROMPT.encode() + b"\r")
        # Looking into the database while the answer is written would take from the engine too: the screen says when.
        read_until(terminal, lambda seen: OVER in seen)
        return float(read_until(terminal, lambda _: answer_speed(home)))


def forget(home: Path) -> None:
    """Remove the answers of before."""
    for file in (home / "data").glob("*"):
        file.unlink()


def answer_speed(home: Path) -> float:
    """Tokens a second of the finished answer in the database; 0 while there is none."""
    files = list((home / "data").glob("*.db"))
    if not files:
        return 0.0
    with open_database(files[0], read_only=True) as db:
        rows = list(db.query("select tokens_per_second from messages where role = 'assistant' and state = 'complete'"))
    return float(rows[0]["tokens_per_second"] or 0) if rows else 0.0


if __name__ == "__main__":
    main()
