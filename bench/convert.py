"""How fast models are converted here and in how much memory, beside llama.cpp's quantiser in the same minutes.

    .venv/bin/python bench/convert.py MODEL [MODEL …] --types q4_0 q4_k_m --threads 2

MODEL is any model that opens. New files go beside the first model and are deleted. The package xllamacpp has the
quantiser of llama.cpp, but no command that converts a file: it is called on weights in memory, on as many threads and
for the same types of tensors. Ours reads, writes and waits for the disk as well: the ratio is that much too small.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from compare import warn_if_busy
from peer_environment import peer_python

from engine.checkpoints import TYPE_BY_NAME, TensorType, open_checkpoint
from engine.conversion.client import convert
from engine.conversion.messages import Conversion
from engine.quantize.mixes import choose_types, find_mix
from tui.paths import user_paths

SAMPLE_WEIGHTS = 1 << 23
"""Weights that llama.cpp's quantiser is timed on, for each type."""

COLUMNS = 4096


@dataclass(frozen=True)
class Row:
    """One conversion. peer_s: what llama.cpp's quantiser alone would take."""

    model: str
    kind: str
    gigabytes: float
    seconds: float
    peak_rss_mb: float
    peer_s: float

    def __str__(self) -> str:
        speeds = (self.gigabytes * 1000 / seconds for seconds in (self.seconds, self.peer_s))
        ratio = self.peer_s / self.seconds
        figures = "{:.0f} MB/s | {:.0f} MB/s | {:.1f} × |".format(*speeds, ratio)
        return f"| {self.model} | {self.kind} | {self.gigabytes:.1f} GB | {figures} {self.peak_rss_mb:.0f} MB |"


class Peer:
    """llama.cpp's quantiser on several threads."""

    def __init__(self, threads: int) -> None:
        library = next((peer_python().parents[1] / "lib").glob("python3*/site-packages/xllamacpp/*.so"))
        self._quantize = ctypes.CDLL(str(library)).ggml_quantize_chunk
        self._quantize.restype = ctypes.c_size_t
        self._quantize.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3, ctypes.c_void_p]
        self._threads = threads
        generator = np.random.default_rng(1)
        self._weights = generator.standard_normal((SAMPLE_WEIGHTS // COLUMNS, COLUMNS), np.float32) * np.float32(0.02)
        self._per_weight_s: dict[str, float] = {}

    def seconds(self, weights: Counter[str]) -> float:
        """For so many weights of each type; plain numbers count as nothing."""
        return sum(n * self._time(TYPE_BY_NAME[name]) for name, n in weights.items() if not TYPE_BY_NAME[name].is_float)

    def _time(self, kind: TensorType) -> float:
        if kind.name not in self._per_weight_s:
            out = np.zeros((len(self._weights), kind.row_bytes(COLUMNS)), np.uint8)
            parts = np.array_split(np.arange(len(out)), 16 * self._threads)

            def work(rows: np.ndarray) -> None:
                part = slice(rows[0], rows[-1] + 1)
                pointers = self._weights[part].ctypes.data, out[part].ctypes.data
                self._quantize(kind.id, *pointers, 0, len(rows), COLUMNS, None)

            work(parts[0])
            with ThreadPoolExecutor(self._threads) as pool:
                started_s = time.perf_counter()
                list(pool.map(work, parts))
            self._per_weight_s[kind.name] = (time.perf_counter() - started_s) / SAMPLE_WEIGHTS
        return self._per_weight_s[kind.name]


def measure(model: Path, kind: str, threads: int, folder: Path, peer: Peer) -> Row:
    checkpoint = open_checkpoint(model)
    types = choose_types(find_mix(kind), checkpoint.metadata, checkpoint.tensors)
    weights: Counter[str] = Counter()
    for name, tensor in checkpoint.tensors.items():
        weights[types[name].name] += tensor.n_elements
    target = folder / "new.gguf"
    conversion = Conversion(
        source=str(model), target=str(target), type=kind, threads=threads, cache_dir=str(user_paths().cache_dir)
    )
    done = convert(conversion, user_paths().engine_log, lambda _: None)
    target.unlink()
    gigabytes = done.bytes_in / 1e9
    return Row(model.name, find_mix(kind).name, gigabytes, done.seconds, done.peak_rss_mb, peer.seconds(weights))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--types", nargs="+", default=["q4_0", "q8_0", "q4_k_m", "q6_k"], metavar="TYPE")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    warn_if_busy()
    peer = Peer(options.threads)
    print("| model | to | source | llm-tui | llama.cpp, in memory | ratio | memory at most |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=options.models[0].absolute().parent, prefix="bench-convert-") as folder:
        for model in options.models:
            for kind in options.types:
                print(f"{model.name} to {kind} …", file=sys.stderr)
                print(measure(model, kind, options.threads, Path(folder), peer), flush=True)


if __name__ == "__main__":
    main()
