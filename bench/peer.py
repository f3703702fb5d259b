"""llama.cpp as a process that runs one prompt a line; started by compare.py in an environment that has xllamacpp.

    python peer.py MODEL --threads 2 --context 1024 [--server PATH]

With --server, a llama-server that was built on this machine runs the model instead.

Its first line of output tells that it is ready; after that, each line of input {"ids": [...], "gen_tokens": N} gets
one line of figures. Times are the ones that llama.cpp itself measures.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

ANSWER_LIMIT_S = 3600
"""A 65B model on two cores needs minutes for a long prompt; only a server that hangs takes longer."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--context", type=int, required=True)
    parser.add_argument("--server", type=Path)
    options = parser.parse_args()
    wire = take_stdout()
    if options.server is None:
        server = start_package(options.model, options.threads, options.context)
        address, process = server.listening_address, os.getpid()
    else:
        address, process = start_server(options.server, options.model, options.threads, options.context)
    tell(wire, {})
    for line in sys.stdin:
        tell(wire, {**run(address, **json.loads(line)), "peak_rss_mb": peak_rss_mb(process)})


def take_stdout() -> TextIO:
    """Keep the real stdout for figures; llama.cpp's log, which it writes to the file descriptors, goes nowhere."""
    wire = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return wire


def start_server(program: Path, model: str, threads: int, context: int) -> tuple[str, int]:
    """Have a llama-server load the model, which ends with this process; its address and process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sizes = ["-c", context, "-np", 1, "-t", threads, "-tb", threads, "-ngl", 0, "--cache-ram", 0]
    rest = ["--no-warmup", "--fit", "off", "--ctx-checkpoints", 0, "--host", "127.0.0.1", "--port", port]
    server = subprocess.Popen([program, "-m", model, *map(str, sizes), *map(str, rest)], stdin=subprocess.DEVNULL)
    atexit.register(server.kill)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    while server.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
        except OSError:  # not there yet, or still loading
            time.sleep(0.01)
        else:
            return f"http://127.0.0.1:{port}", server.pid
    raise SystemExit(f"{program} ended with status {server.returncode}.")


def start_package(model: str, threads: int, context: int) -> Any:
    """Load the model as a user would who wants one fast answer at a time on the processor."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx = context
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.fit_params = False  # reads the model a second time
    params.warmup = False  # compare.py warms both engines up
    params.cache_ram_mib = 0
    params.n_ctx_checkpoints = 0
    params.port = 0
    return xllamacpp.Server(params)


def run(address: str, *, ids: list[int], gen_tokens: int) -> dict[str, float]:
    """Read a prompt from its first token on, and write gen_tokens greedily."""
    body = {
        "prompt": ids,
        "n_predict": gen_tokens,
        "temperature": 0,
        "samplers": ["temperature"],
        "ignore_eos": True,
        "cache_prompt": False,
    }
    timings = post(f"{address}/completion", body)["timings"]
    ran = (timings["prompt_n"], timings["predicted_n"], timings.get("cache_n", 0))
    if ran != (len(ids), gen_tokens, 0):
        raise SystemExit(f"llama.cpp ran {ran} tokens (prompt, answer, from the cache).")
    # The first token comes from the prompt's own pass, so one pass fewer than tokens is timed.
    return {
        "prompt_tps": timings["prompt_n"] / timings["prompt_ms"] * 1000,
        "gen_tps": (gen_tokens - 1) / timings["predicted_ms"] * 1000,
        "first_token_s": timings["prompt_ms"] / 1000,
    }


def post(url: str, body: Mapping[str, object]) -> Any:
    """Ask the server, past any proxy."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=ANSWER_LIMIT_S) as answer:
        return json.load(answer)


def peak_rss_mb(process: int) -> float:
    """The most memory that a process ever held."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1000 * 1.024


def tell(wire: TextIO, figures: Mapping[str, object]) -> None:
    wire.write(json.dumps(figures) + "\n")
    wire.flush()


if __name__ == "__main__":
    main()
