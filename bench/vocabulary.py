"""Open a GGUF with a vocabulary of 128,256 random tokens: milliseconds for its header and vocabulary; one JSON object.

    python bench/vocabulary.py [--rounds 7]

Every round is a fresh process, imports not counted: `open_ms` until the file is checked and described, `vocabulary_ms`
until all tokens are there as text, `tokenizer_ms` until a text can be encoded besides. Medians.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from gguf import GGUFWriter

N_TOKENS = 128_256
DIM = 64

MEASURE = """
import json, sys, time
import tokenizers
from engine.checkpoints import open_checkpoint
from engine.tokenizer import bpe, load_tokenizer
times = [time.perf_counter()]
checkpoint = open_checkpoint(sys.argv[1])
times.append(time.perf_counter())
tokens = list(checkpoint.metadata["tokenizer.ggml.tokens"])
times.append(time.perf_counter())
load_tokenizer(checkpoint.metadata)
times.append(time.perf_counter())
assert len(tokens) == int(sys.argv[2])
print(json.dumps([1000 * (at - times[0]) for at in times[1:]]))
"""


def write_model(path: Path) -> None:
    """Byte-level BPE with merges, as Llama 3 has it, and one small matrix."""
    rng = random.Random(1)
    characters = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 324))]
    tokens = characters[:256]
    known, merges = set(tokens), []
    while len(tokens) < N_TOKENS:
        left, right = rng.choice(tokens[:20_000]), rng.choice(tokens[:2_000])
        if len(left + right) <= 14 and left + right not in known:
            known.add(left + right)
            tokens.append(left + right)
            merges.append(f"{left} {right}")
    writer = GGUFWriter(path, "llama")
    for key, value in (("block_count", 1), ("context_length", 8192), ("embedding_length", DIM)):
        writer.add_uint32(f"llama.{key}", value)
    writer.add_uint32("llama.attention.head_count", 4)
    writer.add_string("tokenizer.ggml.model", "gpt2")
    writer.add_string("tokenizer.ggml.pre", "llama-bpe")
    writer.add_array("tokenizer.ggml.tokens", tokens)
    writer.add_array("tokenizer.ggml.token_type", [1] * N_TOKENS)
    writer.add_array("tokenizer.ggml.merges", merges)
    writer.add_tensor("token_embd.weight", np.zeros((N_TOKENS, DIM), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    """Write the file, open it again and again, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vocabulary.gguf")
        write_model(path)
        command = [sys.executable, "-c", MEASURE, str(path), str(N_TOKENS)]
        runs = [json.loads(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(rounds)]
    opened, read, ready = (round(statistics.median(times), 1) for times in zip(*runs, strict=True))
    print(json.dumps({"tokens": N_TOKENS, "open_ms": opened, "vocabulary_ms": read, "tokenizer_ms": ready}))


if __name__ == "__main__":
    main()
