"""Turning by position, in place, against the angles' own arithmetic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.architecture.config import Attention
from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import open_checkpoint
from engine.forward.kv_cache import KVCache
from engine.forward.program import Program
from engine.forward.steps import query_rows
from engine.kernels.records import HALF_APART
from engine.machine_code import step


@pytest.mark.parametrize("half_apart", [False, True])
@pytest.mark.parametrize("pairs", [3, 8, 12, 16, 20, 32])
def test_pairs_turn_in_vectors_and_what_is_left_of_them(run_step, write_model, tmp_path, pairs, half_apart):
    checkpoint = open_checkpoint(write_model(tmp_path / "tiny.gguf"))
    layer = Attention(n_heads=2, n_kv_heads=1, head_dim=64, rope_dim=2 * pairs)
    config = replace(config_from_gguf(checkpoint.metadata, checkpoint.tensors), attention=(layer,))
    program, cache = Program(8), KVCache(config, 8, 512, "f16")
    cache.reserve(8)
    shape = cache.place(0)[0].record
    shape[HALF_APART] = half_apart
    rng = np.random.default_rng(pairs)
    rows = rng.standard_normal((3, layer.qkv_dim), np.float32)
    angles = rng.uniform(0, 7, (3, 1, pairs)).astype(np.float32)
    table = np.stack([np.cos(angles), np.sin(angles)], -1)
    expected = rows.copy()
    heads = expected[:, : 3 * 64].reshape(3, 3, 64)
    second = slice(pairs, 2 * pairs) if half_apart else slice(1, 2 * pairs, 2)
    first = slice(0, pairs) if half_apart else slice(0, 2 * pairs, 2)
    u, v = heads[..., first].copy(), heads[..., second].copy()
    heads[..., first] = u * table[..., 0] - v * table[..., 1]
    heads[..., second] = u * table[..., 1] + v * table[..., 0]

    where = [rows.ctypes.data, rows.strides[0], table.ctypes.data, shape.ctypes.data, 0]
    queries = query_rows(program, cache)
    run_step(step("rotary.rotate_and_store", "f16"), [*where, queries.address, 0, 0, 0, 0], 3, n_tokens=3)
    np.testing.assert_array_equal(rows, expected)
