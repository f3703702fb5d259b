"""llm-tui and llama.cpp side by side: same file, same threads, same prompts, in turn; medians and their ratios.

    make bench                                        the starter model
    make bench ARGS="MODEL.gguf … --threads 2"        others
    make bench ARGS="--busy 1"                        with another program busy on a core
    make bench ARGS="--server PATH"                   against a llama-server built on this machine

Without --server, llama.cpp comes as the package xllamacpp, in a virtual environment of its own under .cache. Its wheel
is made for any processor with AVX2, and slower than a build for this one.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import psutil
from peer_environment import PEER_REQUIREMENT, peer_python
from reading import Memory, bytes_a_token

from engine.client import EngineClient
from engine.process.peak_memory import peak_rss_bytes
from engine.protocol import Load, ModelCard
from engine.starter import fetch
from tui.commands.bench import SPARE_POSITIONS, random_ids, run_once
from tui.paths import user_paths

QUIET_LOAD = 0.5
"""A load average over a minute above this comes from more than a clock and a few daemons."""

COLUMNS = (
    ("prompt_tps", "prompt, tokens/s", "{:.0f}", True),
    ("gen_tps", "answer, tokens/s", "{:.1f}", True),
    ("read_share", "of the memory's speed", "{:.0%}", True),
    ("load_s", "ready after, s", "{:.2f}", False),
    ("peak_rss_mb", "memory at most, MB", "{:.0f}", False),
)
"""Figure, what the table calls it, its format, and whether more of it is better."""


@dataclass
class Comparison:
    """The medians for one model. A ratio above 1 is in favour of llm-tui, whichever way the figure counts."""

    model: str
    quantization: str
    ours: dict[str, float] = field(default_factory=dict)
    peer: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    runs: list[dict[str, dict[str, float]]] = field(default_factory=list)


class Peer:
    """llama.cpp in a process of its own."""

    def __init__(self, server: Path | None, model: Path, threads: int, context: int) -> None:
        python = sys.executable if server else peer_python()
        command = [python, Path(__file__).with_name("peer.py"), model, "--threads", threads, "--context", context]
        if server:
            command += ["--server", server]
        started_s = time.perf_counter()
        self._process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self._read()
        self.load_s = time.perf_counter() - started_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def run(self, ids: list[int], gen_tokens: int) -> dict[str, float]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"ids": ids, "gen_tokens": gen_tokens}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("llama.cpp ended; run bench/peer.py by hand to see why.")
        answer: dict[str, Any] = json.loads(line)
        return answer


async def start_ours(load: Load) -> tuple[EngineClient, ModelCard, float]:
    started_s = time.perf_counter()
    client = await EngineClient.start(log_path=user_paths().engine_log)
    card = await client.load(load)
    return client, card, time.perf_counter() - started_s


async def compare(model: Path, options: argparse.Namespace) -> Comparison:
    """Run both in turn, so that whatever else the machine does meets both alike."""
    context = options.prompt_tokens + options.gen_tokens + SPARE_POSITIONS
    load = Load(path=str(model), threads=options.threads, context=context, cache_dir=str(user_paths().cache_dir))
    print(f"{model.name}: preparing …", file=sys.stderr)
    client, card, _ = await start_ours(load)
    await run_once(client, random_ids(card, options.prompt_tokens, random.Random(0)), options.gen_tokens)
    await client.close()

    client, card, load_s = await start_ours(load)
    with ExitStack() as stack:
        peer = stack.enter_context(Peer(options.server, model, options.threads, context))
        stack.enter_context(busy_cores(options.busy))
        result = Comparison(card.name, card.quantization)
        generator = random.Random(1)
        memory, token_bytes = Memory(options.threads), bytes_a_token(model)
        for number in range(options.repeat + 1):
            print(f"{model.name}: run {number} of {options.repeat} …", file=sys.stderr)
            ids = random_ids(card, options.prompt_tokens, generator)
            run = await run_once(client, ids, options.gen_tokens)
            ours = {"prompt_tps": run.prompt_tps, "gen_tps": run.gen_tps, "first_token_s": run.first_token_s}
            speed = memory.speed()
            sides = {"ours": ours, "peer": peer.run(ids, options.gen_tokens)}
            for figures in sides.values():
                figures["read_share"] = figures["gen_tps"] * token_bytes / speed
            result.runs.append(sides)
        result.ours = medians(result, "ours") | {"load_s": load_s, "peak_rss_mb": peak_rss_bytes(client.pid) / 1e6}
        result.peer = medians(result, "peer") | {
            "load_s": peer.load_s,
            "peak_rss_mb": result.runs[-1]["peer"]["peak_rss_mb"],
        }
    await client.close()
    for figure, _, _, more_is_better in COLUMNS:
        ratio = result.ours[figure] / result.peer[figure]
        result.ratios[figure] = ratio if more_is_better else 1 / ratio
    return result


def medians(result: Comparison, side: str) -> dict[str, float]:
    """The middle of all runs but the first, which warmed up."""
    measured = [run[side] for run in result.runs[1:]]
    return {name: statistics.median(run[name] for run in measured) for name in measured[0] if name != "peak_rss_mb"}


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """Keep so many cores busy with something else."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def conditions(options: argparse.Namespace) -> dict[str, Any]:
    """What has to be known to read the figures."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": processor or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "llm_tui": version("llm-tui"),
        "numba": version("numba"),
        "peer": f"llama-server {native_version(options.server)}" if options.server else PEER_REQUIREMENT,
        "threads": options.threads,
        "prompt_tokens": options.prompt_tokens,
        "gen_tokens": options.gen_tokens,
        "repeat": options.repeat,
        "busy_cores": options.busy,
    }


def native_version(server: Path) -> str:
    """What a llama-server says of itself."""
    said = subprocess.run([server, "--version"], capture_output=True, text=True, check=True)
    return " ".join((said.stdout + said.stderr).split()) + ", built here"


def warn_if_busy() -> float:
    """Tell of other programs: threads that wait for each other suffer most from them, so ratios mean little then."""
    load = os.getloadavg()[0]
    if load > QUIET_LOAD:
        print(f"This machine is not quiet: its load is {load:.1f}. Measure again when it is.", file=sys.stderr)
    return round(load, 2)


def markdown(results: list[Comparison], at: dict[str, Any]) -> str:
    """Write the table that the README quotes; each cell has our figure / llama.cpp's, most the ratio too."""
    lines = ["| model | " + " | ".join(title for _, title, _, _ in COLUMNS) + " |", "|---|" + "---:|" * len(COLUMNS)]
    for result in results:
        cells = [result.model if result.quantization in result.model else f"{result.model} {result.quantization}"]
        for figure, _, form, _ in COLUMNS:
            cell = f"{form.format(result.ours[figure])} / {form.format(result.peer[figure])}"
            cells.append(cell if figure == "read_share" else f"{cell} = **{result.ratios[figure]:.2f}**")
        lines.append(f"| {' | '.join(cells)} |")
    busy = f", {at['busy_cores']} cores busy with something else" if at["busy_cores"] else ""
    lines += [
        "",
        f"{at['date']}; {at['processor']}, {at['cores']} cores, {at['memory_gb']} GB, {at['system']}; "
        f"{at['threads']} threads, {at['prompt_tokens']} tokens of prompt, {at['gen_tokens']} of answer{busy}; "
        f"medians of {at['repeat']} runs in turn after one to warm up. Each cell: llm-tui / llama.cpp = ratio, "
        "above 1 in favour of llm-tui; the memory's speed: the fastest plain read by as many threads, between runs. "
        f"llm-tui {at['llm_tui']}, Python {at['python']}, Numba {at['numba']}; {at['peer'].replace('==', ' ')}.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL", help="GGUF files; else the starter model")
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or os.cpu_count())
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--gen-tokens", type=int, default=128)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--busy", type=int, default=0, metavar="N", help="keep N cores busy with something else")
    parser.add_argument("--server", type=Path, metavar="PATH", help="a llama-server that was built on this machine")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE as well")
    options = parser.parse_args()
    models = options.models or [fetch(user_paths().models_dir, lambda progress: None)]
    at = conditions(options) | {"load_before": warn_if_busy()}
    results = [asyncio.run(compare(model, options)) for model in models]
    if options.json:
        written = {"conditions": at, "results": [asdict(result) for result in results]}
        options.json.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    print(markdown(results, at))


if __name__ == "__main__":
    main()
