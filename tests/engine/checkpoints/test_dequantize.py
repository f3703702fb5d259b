"""Dequantised rows against the reference package, on blocks of random bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from gguf.quants import dequantize

from engine.checkpoints import TensorInfo
from engine.checkpoints.dequantizable import DEQUANTIZABLE
from engine.checkpoints.dequantize import dequantize_rows
from engine.checkpoints.derived import read_floats
from engine.checkpoints.tensor_types import TYPE_BY_NAME
from engine.errors import UnsupportedModelError
from engine.kernels.dequantize import STORED

HALVES = {
    "F16": range(0, 2, 2),
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
    "IQ4_NL": [0],
    "IQ4_XS": [0],
    "MXFP4": [],
    "TQ1_0": [52],
    "TQ2_0": [64],
}
"""Where a block has half-precision numbers, which random bits would make infinite."""


def random_rows(name: str, rows: int, blocks: int) -> np.ndarray:
    kind = TYPE_BY_NAME[name]
    rng = np.random.default_rng(len(name))
    if name in ("F32", "BF16"):
        values = rng.standard_normal((rows, blocks), np.float32).view(np.uint8)
        return values if name == "F32" else values.reshape(rows, blocks, 4)[:, :, 2:].reshape(rows, -1)
    raw = rng.integers(0, 256, (rows, blocks, kind.block_bytes), np.uint8)
    for at in HALVES[name]:
        raw[:, :, at : at + 2] = rng.standard_normal((rows, blocks, 1)).astype(np.float16).view(np.uint8)
    return raw.reshape(rows, -1)


@pytest.mark.parametrize("name", ["F32", "BF16", *HALVES])
def test_as_the_reference(name: str) -> None:
    rows = random_rows(name, 5, 7)
    found = dequantize_rows(rows, TYPE_BY_NAME[name])
    assert found.dtype == np.float32
    assert found.shape == (5, 7 * TYPE_BY_NAME[name].block_size)
    expected = dequantize(np.ascontiguousarray(rows), GGMLQuantizationType[name])
    np.testing.assert_array_equal(found.view(np.uint32), expected.reshape(found.shape).view(np.uint32))


def test_rows_that_are_not_contiguous() -> None:
    rows = random_rows("Q4_1", 6, 4)
    np.testing.assert_array_equal(
        dequantize_rows(rows[::2], TYPE_BY_NAME["Q4_1"]), dequantize_rows(rows, TYPE_BY_NAME["Q4_1"])[::2]
    )


def test_the_source_stays_as_it_is() -> None:
    rows = random_rows("F32", 1, 4)
    before = rows.copy()
    dequantize_rows(rows, TYPE_BY_NAME["F32"])[:] = 0
    np.testing.assert_array_equal(rows, before)


@pytest.mark.parametrize(("name", "n_bytes"), [("IQ2_XS", 74), ("I32", 1024), ("F64", 2048), ("F8_E4M3", 256)])
def test_other_types_are_refused_by_name(tmp_path: Path, name: str, n_bytes: int) -> None:
    (tmp_path / "model").write_bytes(bytes(n_bytes))
    tensor = TensorInfo("blk.0.ssm_a", (256,), TYPE_BY_NAME[name], tmp_path / "model", 0, n_bytes)
    with pytest.raises(UnsupportedModelError, match=rf"model: blk\.0\.ssm_a is stored as {name}"):
        read_floats(tensor, 0, 1)


def test_the_list_for_those_without_numpy_is_the_same_and_so_are_the_sizes() -> None:
    assert set(DEQUANTIZABLE) == {"F32", "F16", "BF16", *STORED}
    for stored in STORED.values():
        kind = TYPE_BY_NAME[stored.name]
        assert (stored.n_bytes, stored.size) == (kind.block_bytes, kind.block_size)


def test_half_a_block_is_refused() -> None:
    with pytest.raises(ValueError, match="not whole blocks of Q4_0"):
        dequantize_rows(np.zeros((1, 17), np.uint8), TYPE_BY_NAME["Q4_0"])
