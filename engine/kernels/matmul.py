"""Matrix products with weights in panels: one token, a few (guesses) or many (prompts), same sums in the same order.

Source of the layout: the interleaved rows of llama.cpp's repacked Q4_0, widened to 16 rows and to every type.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from engine.kernels import cpu
from engine.kernels.block_products import Together, add_block, store_sums, zero_sums
from engine.kernels.claims import begin_writing, claim_of, finish_writing, hold
from engine.kernels.emit import F32, I32, I64, Emit
from engine.kernels.formats import QuantFormat, panel_format
from engine.kernels.jit import inner, kernel
from engine.kernels.many_tokens import for_many_tokens, unpack_weights
from engine.kernels.memory import field, load_f32, load_f32x16, load_i64, store_f32, store_f32x16
from engine.kernels.number_formats import LINE, PanelFormat
from engine.kernels.records import (
    FEW_TOKENS,
    N_OUT,
    N_TOKENS,
    P0,
    P1,
    P2,
    P3,
    P4,
    P5,
    P6,
    P7,
    SCRATCH,
    SCRATCH_BYTES,
    TOKENS,
)
from engine.kernels.simd import emitted
from engine.kernels.sizes import BLOCK, LANES
from engine.kernels.unpacking import address

AHEAD = 8192
"""How far ahead of the block in work weights are fetched, in bytes."""


@emitted(lambda fmt, together, panel, block: types.void(fmt, together, types.int64, types.int64))
def fetch_ahead(e: Emit, args: Any, _fmt: ir.Value, _together: ir.Value, panel: ir.Value, block: ir.Value) -> None:
    """Ask for the weights of a later block, where that pays."""
    fmt: PanelFormat = args[0].value
    if asks_ahead(args[1].value.tokens):
        at = address(fmt, e, panel, block)
        for line in range(0, fmt.block_bytes, LINE):
            e.prefetch(at, AHEAD + line, into=Emit.SECOND_CACHE)


def asks_ahead(tokens: int) -> bool:
    """Whether it pays to ask for weights ahead.

    Between the reads for several tokens there is much to compute, and no processor looks far enough ahead by itself:
    four took as long as reading and computing one after the other (Zen 4: 83 products a nanosecond and thread, 168 if
    asked). For a single one it depends on the processor.
    """
    return tokens > 1 or cpu.fetches_when_asked()


WEIGHTS, N_BLOCKS, PANEL_BYTES, X, X_STRIDE, Y, Y_STRIDE, ON_OUTPUTS = P0, P1, P2, P3, P4, P5, P6, P7
"""A matrix product's parameters: panels, blocks of a row, bytes of a panel, activations and their row stride, outputs
and theirs (bytes), and whether it runs on the output positions alone."""


@inner
def multiply_one(fmt, one, panel, panel_bytes, n_blocks, x, y, first, last):
    """Panels first to last times one token's activations: LANES float32 outputs a panel."""
    for p in range(first, last):
        at = panel + p * panel_bytes
        sums = zero_sums(one)
        for block in range(n_blocks):
            fetch_ahead(fmt, one, at, block)
            sums = add_block(fmt, sums, at, block, block, x, 0)
        store_sums(sums, y + p * 4 * LANES, 0)


@inner
def multiply_few(fmt, count, weights, panel_bytes, n_blocks, x, x_stride, y, y_stride, first, last):
    """Panels first to last times a few tokens' activations, so many as go together at once."""
    for p in range(first, last):
        at = weights + p * panel_bytes
        sums = zero_sums(count)
        for block in range(n_blocks):
            fetch_ahead(fmt, count, at, block)
            sums = add_block(fmt, sums, at, block, block, x, x_stride)
        store_sums(sums, y + p * 4 * LANES, y_stride)


def for_few_tokens(fmt: PanelFormat) -> Any:
    """The product of this format for up to FEW_TOKENS tokens; it is called as that of `multiplier`, without scratch.

    A row too many costs as much as any other, so there are products for 1, 2, 4, 6 and 8. Where the sums of 8 are more
    than there are registers, 4 are taken twice, from the cache the second time: 0.9 of the time (Zen 3).
    """
    most = FEW_TOKENS if cpu.has_avx512_dot() else FEW_TOKENS // 2
    one, two, four, six, many = (Together(tokens, in_turn=True) for tokens in (1, 2, 4, 6, most))

    @inner
    def multiply(weights, panel_bytes, n_blocks, x, x_stride, y, y_stride, n, first, last):
        if n == 1:
            multiply_one(fmt, one, weights, panel_bytes, n_blocks, x, y, first, last)
        elif n == 2:
            multiply_few(fmt, two, weights, panel_bytes, n_blocks, x, x_stride, y, y_stride, first, last)
        elif n <= 4:
            multiply_few(fmt, four, weights, panel_bytes, n_blocks, x, x_stride, y, y_stride, first, last)
        elif n <= 6:
            multiply_few(fmt, six, weights, panel_bytes, n_blocks, x, x_stride, y, y_stride, first, last)
        else:
            for p in range(first, last):
                for t in range(0, n, most):
                    at, out = x + t * x_stride, y + t * y_stride
                    multiply_few(fmt, many, weights, panel_bytes, n_blocks, at, x_stride, out, y_stride, p, p + 1)

    return multiply


def multiplier(fmt: PanelFormat) -> Any:
    """The product of this format for any number of tokens.

    It takes the panels' address, a panel's bytes and blocks; the activations and their row stride; the outputs and
    theirs; how many tokens, which panels, and a thread's scratch.
    """
    multiply_some, multiply_many = for_few_tokens(fmt), for_many_tokens(fmt)

    @inner
    def multiply(weights, panel_bytes, n_blocks, x, x_stride, y, y_stride, n, first, last, scratch):
        if n <= FEW_TOKENS:
            multiply_some(weights, panel_bytes, n_blocks, x, x_stride, y, y_stride, n, first, last)
        else:
            multiply_many(weights, panel_bytes, n_blocks, x, x_stride, y, y_stride, n, first, last, scratch)

    return multiply


WRITTEN_BYTES, WRITTEN_PANELS = 1 << 16, 16
"""A few tokens' results are written after so many bytes of weights, or so many panels. What is not written yet is
computed twice if another thread takes over."""

WRITTEN_STRIDE = WRITTEN_PANELS * LANES * 4
"""Bytes from one token's results to the next one's, in the scratch memory."""


def matmul(name: str) -> Any:
    """The matrix product for weights of a GGUF type."""
    fmt = panel_format(name)
    multiply_some, multiply_many = for_few_tokens(fmt), for_many_tokens(fmt)

    @kernel
    def product(step, batch, first, last, thread):
        n = field(batch, N_OUT) if field(step, ON_OUTPUTS) else field(batch, N_TOKENS)
        weights, panel_bytes, n_blocks = field(step, WEIGHTS), field(step, PANEL_BYTES), field(step, N_BLOCKS)
        x, x_stride, y, y_stride = field(step, X), field(step, X_STRIDE), field(step, Y), field(step, Y_STRIDE)
        scratch = field(batch, SCRATCH) + thread * field(batch, SCRATCH_BYTES)
        if n > FEW_TOKENS:
            multiply_many(weights, panel_bytes, n_blocks, x, x_stride, y, y_stride, n, first, last, scratch)
            return
        claim = claim_of(batch, thread)
        hold(claim, first, last)
        together = min(max(WRITTEN_BYTES // panel_bytes, 1), WRITTEN_PANELS)
        for p in range(first, last, together):
            end = min(p + together, last)
            out = scratch - p * 4 * LANES
            multiply_some(weights, panel_bytes, n_blocks, x, x_stride, out, WRITTEN_STRIDE, n, p, end)
            if not begin_writing(claim):
                return
            copy_panels(scratch, y + p * 4 * LANES, y_stride, n, end - p)
            finish_writing(claim, end)

    return product


@inner
def copy_panels(results, y, y_stride, n, panels):
    """Copy n tokens' results of some panels."""
    for t in range(n):
        for p in range(panels):
            at = p * 4 * LANES
            store_f32x16(y + t * y_stride + at, load_f32x16(results + t * WRITTEN_STRIDE + at))


EMBED_WEIGHTS, EMBED_BLOCKS, EMBED_PANEL_BYTES, EMBED_X, EMBED_STRIDE, EMBED_SCALE = P0, P1, P2, P3, P4, P5


@emitted(lambda fmt, tile, lane, column: types.float32(fmt, types.int64, types.int64, types.int64))
def tile_weight(e: Emit, args: Any, _fmt: ir.Value, tile: ir.Value, lane: ir.Value, column: ir.Value) -> ir.Value:
    """One weight of an unpacked block as float32."""
    fmt: PanelFormat = args[0].value
    if not isinstance(fmt, QuantFormat):
        place = e.b.add(e.b.mul(column, I64(LANES)), lane)
        return e.load(tile, F32, e.b.mul(place, I64(4)))
    b = e.b
    byte = b.add(b.mul(b.lshr(column, I64(2)), I64(64)), b.add(b.mul(lane, I64(4)), b.and_(column, I64(3))))
    quant = b.sub(b.zext(e.load(tile, ir.IntType(8), byte), I32), I32(fmt.offset))
    group = b.lshr(column, I64(4)) if fmt.groups == 2 else I64(0)
    scale = b.add(I64(512), b.add(b.mul(group, I64(64 * (1 + fmt.has_min))), b.mul(lane, I64(4))))
    weight = b.fmul(b.sitofp(quant, F32), e.load(tile, F32, scale))
    return b.fadd(weight, e.load(tile, F32, b.add(scale, I64(64)))) if fmt.has_min else weight


def embed(name: str) -> Any:
    """Token embeddings: a row of a panelled matrix per token, as float32, times a factor."""
    fmt = panel_format(name)

    @kernel
    def embedding(step, batch, first, last, thread):
        tile = field(batch, SCRATCH) + thread * field(batch, SCRATCH_BYTES)
        scale = load_f32(step + 8 * EMBED_SCALE)
        for t in range(first, last):
            token = load_i64(field(batch, TOKENS) + 8 * t)
            panel = field(step, EMBED_WEIGHTS) + token // LANES * field(step, EMBED_PANEL_BYTES)
            out = field(step, EMBED_X) + t * field(step, EMBED_STRIDE)
            for block in range(field(step, EMBED_BLOCKS)):
                unpack_weights(fmt, panel, block, tile)
                for column in range(BLOCK):
                    value = tile_weight(fmt, tile, token % LANES, column)
                    store_f32(out + 4 * (block * BLOCK + column), value * scale)

    return embedding
