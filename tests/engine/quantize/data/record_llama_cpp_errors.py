"""Record how far llama.cpp's K-quants are from the weights, as the measure for ours.

    python record_llama_cpp_errors.py PATH/TO/xllamacpp.abi3.so

The library is part of the package xllamacpp, which exports ggml_quantize_chunk.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import dequantize

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import COLUMNS, SAMPLES, weights

TYPES = {"Q2_K": 84, "Q3_K": 110, "Q4_K": 144, "Q5_K": 176, "Q6_K": 210}


def main() -> None:
    quantize = ctypes.CDLL(sys.argv[1]).ggml_quantize_chunk
    quantize.restype = ctypes.c_size_t
    quantize.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    errors: dict[str, dict[str, float]] = {}
    for kind, block_bytes in TYPES.items():
        number = GGMLQuantizationType[kind]
        errors[kind] = {}
        for name in SAMPLES:
            given = weights(name)
            rows = np.zeros((len(given), COLUMNS // 256 * block_bytes), np.uint8)
            quantize(number, given.ctypes.data, rows.ctypes.data, 0, *given.shape, None)
            errors[kind][name] = float(np.square(dequantize(rows, number) - given, dtype=np.float64).mean())
    Path(__file__).with_name("llama_cpp_errors.json").write_text(json.dumps(errors, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
