"""Superblocks: as near to the weights as llama.cpp's, and the same bytes on every processor."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from gguf.quants import dequantize

K_QUANTS = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")
LLAMA_CPP = json.loads(Path(__file__).with_name("data").joinpath("llama_cpp_errors.json").read_text("utf-8"))
"""Mean squared errors of llama.cpp by type and sample; see data/record_llama_cpp_errors.py."""


def read(rows, kind):
    return dequantize(rows, GGMLQuantizationType[kind])


@pytest.mark.parametrize("kind", K_QUANTS)
def test_errors_are_those_of_llama_cpp(kind, sample_name, convert, sample):
    """Where several fits are all but exact, chance decides which is taken, there as here."""
    rows = sample(sample_name)
    error = np.square(read(convert(rows, kind), kind) - rows, dtype=np.float64).mean()
    assert error <= max(1.015 * LLAMA_CPP[kind][sample_name], 4e-6 * np.square(rows, dtype=np.float64).mean())


@pytest.mark.parametrize("kind", K_QUANTS)
@pytest.mark.parametrize("blocks", [1, 15, 16, 17, 33])
def test_a_superblock_is_the_same_whatever_lies_beside_it(kind, blocks, convert, sample):
    rows = np.stack([sample(name)[:, :256] for name in ("normal", "two values", "few")], axis=1).reshape(-1, 256)
    assert np.array_equal(convert(rows[:blocks], kind), convert(rows, kind)[:blocks])


@pytest.mark.parametrize("kind", K_QUANTS)
def test_zeros_stay_zeros(kind, convert):
    assert not read(convert(np.zeros((2, 512), np.float32), kind), kind).any()


@pytest.mark.parametrize("kind", K_QUANTS)
@pytest.mark.parametrize("value", [0.5, -0.5, 0.03, 60000.0])
def test_equal_weights_stay_equal(kind, value, convert):
    result = read(convert(np.full((1, 256), value, np.float32), kind), kind)
    assert np.all(result == result[0, 0])
    assert result[0, 0] == pytest.approx(value, rel=0.02)


@pytest.mark.parametrize("kind", K_QUANTS)
def test_one_weight_among_zeros_is_kept(kind, convert):
    rows = np.zeros((1, 256), np.float32)
    rows[0, 200] = -0.75
    result = read(convert(rows, kind), kind)
    assert result[0, 200] == pytest.approx(-0.75, rel=0.02)
    assert np.abs(np.delete(result, 200)).max() < 0.01


@pytest.mark.parametrize("kind", K_QUANTS)
def test_weights_too_small_for_the_scales_do_no_harm(kind, convert, sample):
    rows = sample("normal", 4) * np.float32(1e-12)
    result = read(convert(rows, kind), kind)
    assert np.all(np.isfinite(result))
    assert np.abs(result).max() < 1e-5


DIGEST = """
import hashlib, sys
import numpy as np
from engine.checkpoints import TYPE_BY_NAME
from engine.quantize.rows import NotFiniteError, RowConverter
rows = np.fromfile(sys.argv[1], np.float32).reshape(-1, 512).view(np.uint8)
for kind in sys.argv[2:]:
    result = RowConverter().convert(rows, TYPE_BY_NAME["F32"], TYPE_BY_NAME[kind])
    print(kind, hashlib.sha256(result).hexdigest())
    again = RowConverter().convert(result.reshape(len(rows), -1), TYPE_BY_NAME[kind], TYPE_BY_NAME["F32"])
    print(kind, "read", hashlib.sha256(again).hexdigest())
for bad in (np.inf, -np.inf, np.nan):
    try:
        row = np.full((1, 32), bad, np.float16).view(np.uint8)
        RowConverter().convert(row, TYPE_BY_NAME["F16"], TYPE_BY_NAME["F32"])
    except NotFiniteError:
        print(bad, "refused")
"""


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_the_processor(convert, sample, tmp_path):
    rows = sample("laplace")
    rows.tofile(tmp_path / "rows")
    kinds = ("Q8_0", "Q5_1", *K_QUANTS)
    plain = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    ran = subprocess.run(
        [sys.executable, "-P", "-c", DIGEST, tmp_path / "rows", *kinds],
        env=plain,
        capture_output=True,
        text=True,
        check=True,
        timeout=170,
    )
    ours = []
    for kind in kinds:
        stored = convert(rows, kind)
        ours.append(f"{kind} {hashlib.sha256(stored).hexdigest()}")
        ours.append(f"{kind} read {hashlib.sha256(convert(stored, 'F32', kind)).hexdigest()}")
    assert ran.stdout.splitlines() == [*ours, "inf refused", "-inf refused", "nan refused"]
