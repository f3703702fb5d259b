"""llama.cpp as a process that runs one prompt a line; started by compare.py in an environment that has xllamacpp.

    python peer.py MODEL --threads 2 --context 1024

Its first line of output tells that it is ready; after that, each line of input {"ids": [...], "gen_tokens": N} gets
one line of figures. Times are the ones that llama.cpp itself measures.
"""

from __future__ import annotations

import argparse
import json
import os
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
    options = parser.parse_args()
    wire = take_stdout()

    import xllamacpp

    server, load_s = start_server(options.model, options.threads, options.context)
    tell(wire, {"load_s": load_s, "version": xllamacpp.__version__, "system": xllamacpp.get_system_info()})
    for line in sys.stdin:
        tell(wire, {**run(server.listening_address, **json.loads(line)), "peak_rss_mb": peak_rss_mb()})


def take_stdout() -> TextIO:
    """Keep the real stdout for figures; llama.cpp's log, which it writes to the file descriptors, goes nowhere."""
    wire = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return wire


def start_server(model: str, threads: int, context: int) -> tuple[Any, float]:
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
    started_s = time.perf_counter()
    server = xllamacpp.Server(params)
    return server, time.perf_counter() - started_s


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


def peak_rss_mb() -> float:
    """The most memory that this process ever held."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1000 * 1.024


def tell(wire: TextIO, figures: Mapping[str, object]) -> None:
    wire.write(json.dumps(figures) + "\n")
    wire.flush()


if __name__ == "__main__":
    main()
