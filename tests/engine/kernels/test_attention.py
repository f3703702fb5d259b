"""Storing and attending, step by step, against a softmax in NumPy."""

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
from engine.kernels.records import BLOCK_BYTES, FEW_TOKENS, STORED_BEFORE
from engine.kernels.sizes import RANGE, ROWS_BLOCK
from engine.machine_code import step

TOLERANCES = {"f16": 2e-3, "q8_0": 4e-2}
"""Of results near 1 in size."""


class Head:
    """One layer's attention over random tokens, whose positions turn nothing."""

    def __init__(self, run_step, config, kv_name, n_tokens, pos, *, window=0, softcap=0.0, sinks=()) -> None:
        self.run, self.config = run_step, config
        self.window, self.softcap, self.sinks = window, softcap, np.array(sinks, np.float32)
        total = pos + n_tokens
        self.layer = config.attention[0]
        self.cache = KVCache(config, total, 2048, kv_name)
        self.cache.reserve(total)
        self.shape = self.cache.place(0)[0].record.ctypes.data
        self.program = Program(total)
        self.q_rows = query_rows(self.program, self.cache)
        self.rng = np.random.default_rng(total)
        self.qkv = self.rng.standard_normal((total, self.layer.qkv_dim + 16), np.float32)
        self.store(kv_name, 0, pos)
        self.store(kv_name, pos, n_tokens)
        self.out = self.attend(kv_name, pos, n_tokens)
        self.expected = self.oracle()[pos:]

    def store(self, kv_name, pos, n):
        table = np.tile(np.array([1, 0], np.float32), (n, self.layer.rope_dim // 2))
        rows = self.qkv[pos : pos + n].copy()
        where = [rows.ctypes.data, rows.strides[0], table.ctypes.data, self.shape, 0, self.q_rows.address]
        self.run(step("rotary.rotate_and_store", kv_name), [*where, 0, 0, 0, 0], n, n_tokens=n, pos=pos)

    def attend(self, kv_name, pos, n):
        q_dim = self.layer.q_dim
        out = np.zeros((n, q_dim + 16), np.float32)
        self.quant = np.zeros((n, -(-q_dim // 32), BLOCK_BYTES), np.uint8)
        cap = int(np.float32(self.softcap).view(np.int32))
        what = [self.q_rows.address, 0, self.window, self.shape, cap]
        sinks = self.sinks.ctypes.data if self.sinks.size else 0
        results = [out.ctypes.data, out.strides[0], self.quant.ctypes.data, self.quant.strides[0], sinks]
        rows = n * self.layer.n_heads // self.layer.n_kv_heads
        parts = -(-(pos + n) // RANGE) if n <= FEW_TOKENS else -(-rows // ROWS_BLOCK)
        group = str(self.layer.n_heads // self.layer.n_kv_heads)
        self.run(
            step("attention.attend", kv_name, group),
            [*what, *results],
            self.layer.n_kv_heads * parts,
            n_tokens=n,
            pos=pos,
        )
        self.run(step("attention.merge"), [*what, *results], n, n_tokens=n, pos=pos)
        return out[:, :q_dim]

    def oracle(self):
        c, n = self.layer, len(self.qkv)
        ends = np.cumsum([c.q_dim, c.kv_dim, c.kv_dim])
        q, k, v = (part.reshape(n, -1, c.head_dim) for part in np.split(self.qkv, ends, axis=1)[:3])
        group = c.n_heads // c.n_kv_heads
        scores = np.einsum("qhd,khd->hqk", q * self.config.query_scale, np.repeat(k, group, 1))
        if self.softcap:
            scores = self.softcap * np.tanh(scores / self.softcap)
        distance = np.arange(n)[:, None] - np.arange(n)
        seen = (distance >= 0) & (distance < (self.window or n))
        weights = np.where(seen, np.exp(scores - scores.max()), 0)
        weights /= weights.sum(-1, keepdims=True) + (
            np.exp(self.sinks.astype(np.float64) - scores.max())[:, None, None] if self.sinks.size else 0
        )
        return np.einsum("hqk,khd->qhd", weights, np.repeat(v, group, 1)).reshape(n, -1)


@pytest.fixture
def sized(write_model, tmp_path):
    """A configuration with these sizes."""
    checkpoint = open_checkpoint(write_model(tmp_path / "tiny.gguf"))
    config = config_from_gguf(checkpoint.metadata, checkpoint.tensors)

    def make(n_heads=4, n_kv_heads=2, head_dim=64):
        layer = Attention(n_heads, n_kv_heads, head_dim, rope_dim=head_dim)
        return replace(config, attention=(layer,), query_scale=head_dim**-0.5)

    return make


@pytest.mark.parametrize("kv_name", TOLERANCES)
@pytest.mark.parametrize(
    ("n_tokens", "pos", "limits"),
    [
        (1, 0, {}),
        (1, 700, {}),
        (1, 700, {"window": 100}),
        (5, 509, {"window": 255}),
        (8, 300, {"softcap": 1.5}),
        (70, 0, {}),
        (70, 480, {"window": 257, "softcap": 1.5}),
        (1, 700, {"sinks": (6.0, -3.0, 7.5, 100.0)}),
        (5, 509, {"window": 255, "sinks": (6.0, -3.0, 7.5, -200.0)}),
        (70, 480, {"window": 257, "sinks": (6.0, -3.0, 7.5, 100.0)}),
    ],
)
def test_attention_is_a_softmax_over_what_is_seen(run_step, sized, kv_name, n_tokens, pos, limits):
    head = Head(run_step, sized(), kv_name, n_tokens, pos, **limits)
    np.testing.assert_allclose(head.out, head.expected, atol=TOLERANCES[kv_name])


@pytest.mark.parametrize("kv_name", TOLERANCES)
@pytest.mark.parametrize(("n_heads", "n_kv_heads", "head_dim"), [(3, 1, 24), (7, 7, 80), (8, 1, 256), (2, 2, 18)])
def test_heads_of_every_size(run_step, sized, kv_name, n_heads, n_kv_heads, head_dim):
    for n_tokens in (2, 20):
        head = Head(run_step, sized(n_heads, n_kv_heads, head_dim), kv_name, n_tokens, 290)
        np.testing.assert_allclose(head.out, head.expected, atol=TOLERANCES[kv_name])


@pytest.mark.parametrize("kv_name", TOLERANCES)
def test_results_are_quantised_for_the_next_product(run_step, sized, quantize, kv_name):
    head = Head(run_step, sized(), kv_name, 12, 30)
    np.testing.assert_array_equal(head.quant, quantize(np.ascontiguousarray(head.out)))


@pytest.mark.parametrize("kv_name", TOLERANCES)
def test_a_layer_that_shares_stores_nothing_and_reads_what_another_stored(run_step, sized, kv_name):
    config = sized()
    head = Head(run_step, config, kv_name, 3, 300)
    (part,) = head.cache.parts.values()
    stored, wide = part.ranges.copy(), head.layer.q_dim
    head.qkv[:, :wide] = head.rng.standard_normal((303, wide), np.float32)
    table = np.tile(np.array([1, 0], np.float32), (3, head.layer.rope_dim // 2))
    queries = head.qkv[300:, :wide].copy()
    where = [queries.ctypes.data, queries.strides[0], table.ctypes.data, head.shape, STORED_BEFORE]
    run_step(
        step("rotary.rotate_and_store", kv_name), [*where, head.q_rows.address, 0, 0, 0, 0], 3, n_tokens=3, pos=300
    )
    np.testing.assert_array_equal(part.ranges, stored)
    np.testing.assert_allclose(head.attend(kv_name, 300, 3), head.oracle()[300:], atol=TOLERANCES[kv_name])
