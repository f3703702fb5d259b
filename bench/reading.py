"""How fast this machine's memory can be read, and how much of a model every token reads: the limit of writing answers.

python bench/reading.py [MODEL.gguf …] [--threads 2]
"""

from __future__ import annotations

import argparse
import os
import statistics
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from numba import njit
from numpy.typing import NDArray

from engine.checkpoints import open_checkpoint

BUFFER_BYTES = 1 << 30
"""Far more than any cache holds."""

RUNS = 5


@njit(cache=True, nogil=True)
def read(words: NDArray[np.int64]) -> np.int64:
    """Touch every word once; compiled to vector loads, one after the other, which no prefetcher misses."""
    seen = np.int64(0)
    for i in range(words.size):
        seen ^= words[i]
    return seen


class Memory:
    """A large buffer, read by `threads` threads at once, each a part of its own."""

    def __init__(self, threads: int) -> None:
        self._parts = np.array_split(np.ones(BUFFER_BYTES // 8, np.int64), threads)
        read(self._parts[0][:8])

    def speed(self) -> float:
        """Bytes a second, the median of a few runs."""
        return statistics.median(BUFFER_BYTES / self._run_s() for _ in range(RUNS))

    def _run_s(self) -> float:
        threads = [threading.Thread(target=read, args=(part,)) for part in self._parts]
        started_s = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - started_s


def bytes_a_token(model: Path) -> float:
    """Bytes of weights that writing one token reads: all matrices, of an embedding of its own no more than a row."""
    checkpoint = open_checkpoint(str(model))
    tensors = dict(checkpoint.tensors)
    if "output.weight" in tensors:
        del tensors["token_embd.weight"]
    architecture = checkpoint.metadata.text("general.architecture")
    experts, used = (
        checkpoint.metadata.optional_integer(f"{architecture}.{key}", low=1, high=1 << 16)
        for key in ("expert_count", "expert_used_count")
    )
    share = used / experts if experts and used else 1.0
    return sum(tensor.n_bytes * (share if "_exps" in name else 1.0) for name, tensor in tensors.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or os.cpu_count())
    options = parser.parse_args()
    speed = Memory(options.threads).speed()
    print(f"{speed / 1e9:.1f} GB/s read by {options.threads} threads")
    for model in options.models:
        print(f"{model.name}: at most {speed / bytes_a_token(model):.1f} tokens/s")


if __name__ == "__main__":
    main()
