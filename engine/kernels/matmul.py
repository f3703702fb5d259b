"""Matrix products with weights in panels: one token, a few (guesses) or many (prompts), same sums in the same order.

Source of the layout: the interleaved rows of llama.cpp's repacked Q4_0, widened to 16 rows and to every type.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import models, register_model

from engine.kernels import cpu
from engine.kernels.emit import F32, F32X16, I32, I32X16, I64, U8X64, ByteDot, Emit, splat_constant
from engine.kernels.formats import FloatFormat, PanelFormat, QuantFormat, panel_format, tile_of
from engine.kernels.jit import inner, kernel
from engine.kernels.memory import field, load_f32, load_i64, store_f32
from engine.kernels.records import (
    BLOCK_BYTES,
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
    SCALE_AT,
    SCALED_SUM_AT,
    SCRATCH,
    SCRATCH_BYTES,
    SUM_AT,
    TOKENS,
)
from engine.kernels.simd import emitted
from engine.kernels.sizes import BLOCK, LANES, TILE_BLOCKS
from engine.kernels.static import Static

AHEAD = 1024
"""How far ahead of the block in work the next weights are fetched, in bytes."""


class Together(Static):
    """What goes through a kernel's inner loop together: so many tokens, times the rows of so many panels."""

    def __init__(self, tokens: int, panels: int = 1) -> None:
        self.tokens, self.panels = tokens, panels

    def __repr__(self) -> str:
        return f"{self.tokens} tokens by {self.panels} panels"

    def pairs(self) -> list[tuple[int, int]]:
        """Every (panel, token), in the order of their sums."""
        return [(panel, token) for panel in range(self.panels) for token in range(self.tokens)]


class Sums(types.Type):
    """LANES running sums for each pair of panel and token."""

    def __init__(self, together: Together) -> None:
        self.together = together
        super().__init__(name=f"sums({together!r})")


@register_model(Sums)
class _SumsModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, kind: Sums) -> None:
        super().__init__(dmm, kind, ir.ArrayType(F32X16, len(kind.together.pairs())))


def tokens_together() -> int:
    """How many tokens' sums fit the registers beside the weights; one too many spills to the stack."""
    return 4 if cpu.has_avx512_dot() else 2


def panels_together() -> int:
    """How many panels of a tile go together: two read each activation once where there are registers for their sums."""
    return 2 if cpu.has_avx512_dot() else 1


@emitted(lambda together: Sums(together.value)(together))
def zero_sums(e: Emit, args: Any, _together: ir.Value) -> ir.Value:
    """Sums of nothing."""
    n = len(args[0].value.pairs())
    return ir.Constant(ir.ArrayType(F32X16, n), [splat_constant(F32X16, 0.0)] * n)


@emitted(lambda together, y, stride: Sums(together.value)(together, types.int64, types.int64))
def load_sums(e: Emit, args: Any, _together: ir.Value, y: ir.Value, stride: ir.Value) -> ir.Value:
    """Go on from sums that were stored: a row of outputs per token, `stride` bytes apart."""
    pairs = args[0].value.pairs()
    sums = ir.Constant(ir.ArrayType(F32X16, len(pairs)), ir.Undefined)
    for i, (panel, token) in enumerate(pairs):
        at = e.at(y, e.b.mul(stride, I64(token)))
        sums = e.b.insert_value(sums, e.load(at, F32X16, panel * 4 * LANES), i)
    return sums


@emitted(lambda sums, y, stride: types.void(sums, types.int64, types.int64))
def store_sums(e: Emit, args: Any, sums: ir.Value, y: ir.Value, stride: ir.Value) -> None:
    """Store each token's sums to its row of outputs."""
    for i, (panel, token) in enumerate(args[0].together.pairs()):
        e.store(e.b.extract_value(sums, i), e.at(y, e.b.mul(stride, I64(token))), panel * 4 * LANES)


@emitted(lambda fmt, sums, panel, block, x, stride: sums(fmt, sums, types.int64, types.int64, types.int64, types.int64))
def add_block(
    e: Emit, args: Any, _fmt: ir.Value, sums: ir.Value, panel: ir.Value, block: ir.Value, x: ir.Value, stride: ir.Value
) -> ir.Value:
    """Add one block of a panel, times the same block of each token's activations (rows `stride` bytes apart).

    With several panels, these are tiles: their blocks lie in turn.
    """
    together = args[1].together
    first = e.b.mul(block, I64(together.panels))
    places = [(panel, e.b.add(first, I64(p))) for p in range(together.panels)]
    return _add(e, args, sums, places, block, x, stride)


@emitted(
    lambda fmt, sums, panel, apart, block, x, stride: sums(
        fmt, sums, types.int64, types.int64, types.int64, types.int64, types.int64
    )
)
def add_block_of_each(
    e: Emit,
    args: Any,
    _fmt: ir.Value,
    sums: ir.Value,
    panel: ir.Value,
    apart: ir.Value,
    block: ir.Value,
    x: ir.Value,
    stride: ir.Value,
) -> ir.Value:
    """The same with panels that lie `apart` bytes from each other."""
    places = [(e.at(panel, e.b.mul(apart, I64(p))), block) for p in range(args[1].together.panels)]
    return _add(e, args, sums, places, block, x, stride)


def _add(
    e: Emit, args: Any, sums: ir.Value, places: list[Place], block: ir.Value, x: ir.Value, stride: ir.Value
) -> ir.Value:
    fmt = args[0].value
    rows = [e.at(x, e.b.mul(stride, I64(t))) for t in range(args[1].together.tokens)]
    add = _add_quants if isinstance(fmt, QuantFormat) else _add_floats
    return add(e, fmt, sums, places, block, rows)


Place = tuple[ir.Value, ir.Value]
"""A panel, and which of its blocks."""


def _add_quants(
    e: Emit, fmt: QuantFormat, sums: ir.Value, places: list[Place], block: ir.Value, rows: list[ir.Value]
) -> ir.Value:
    rows = [e.at(row, e.b.mul(block, I64(BLOCK_BYTES))) for row in rows]
    for group in range(fmt.groups):
        sum_of = [_group_sum(e, fmt, row, group) for row in rows]
        totals = _dot_group(e, fmt, places, group, rows, sum_of)
        for p, place in enumerate(places):
            d, m = fmt.scales(e, *place, group)
            for t, row in enumerate(rows):
                i = p * len(rows) + t
                scaled = e.b.fmul(e.b.sitofp(totals[i], F32X16), e.splat(e.load(row, F32, SCALE_AT)))
                total = e.fma(d, scaled, e.b.extract_value(sums, i))
                if m is not None:
                    total = e.fma(m, e.splat(_scaled_sum(e, fmt, row, sum_of[t])), total)
                sums = e.b.insert_value(sums, total, i)
    return sums


def _dot_group(
    e: Emit, fmt: QuantFormat, places: list[Place], group: int, rows: list[ir.Value], sum_of: list[ir.Value]
) -> list[ir.Value]:
    """A group's weights times activations as 32-bit lanes, for every panel and token."""
    dot = ByteDot(e)
    steps, offset = dot.steps(fmt.bits), dot.offset(fmt.offset, fmt.bits)
    bias = [e.splat(e.b.mul(s, I32(-offset))) if offset else splat_constant(I32X16, 0) for s in sum_of]
    totals = bias * len(places)
    running, used = (totals if dot.wide() else [dot.zero()] * len(totals)), 0
    for weights in zip(*(fmt.quants(e, *place, group) for place in places), strict=True):
        step = weights[0][0]
        fours = [e.b.bitcast(e.splat(e.load(row, I32, 4 * step)), U8X64) for row in rows]
        pairs = [(vector, four) for _, vector in weights for four in fours]
        running = [dot.add(r, *pair, fmt.bits) for r, pair in zip(running, pairs, strict=True)]
        used += 1
        if used == steps and not dot.wide():
            totals = [e.b.add(total, dot.total(r)) for total, r in zip(totals, running, strict=True)]
            running, used = [dot.zero()] * len(running), 0
    if dot.wide():
        return running
    return [e.b.add(total, dot.total(r)) for total, r in zip(totals, running, strict=True)] if used else totals


def _group_sum(e: Emit, fmt: QuantFormat, row: ir.Value, group: int) -> ir.Value:
    """The sum of a group's quantised activations."""
    if fmt.groups == 2:
        return e.load(row, I32, SUM_AT + 4 * group)
    return e.b.add(e.load(row, I32, SUM_AT), e.load(row, I32, SUM_AT + 4))


def _scaled_sum(e: Emit, fmt: QuantFormat, row: ir.Value, group_sum: ir.Value) -> ir.Value:
    """The sum of a group's activations."""
    if fmt.groups == 1:
        return e.load(row, F32, SCALED_SUM_AT)
    return e.b.fmul(e.b.sitofp(group_sum, F32), e.load(row, F32, SCALE_AT))


def _add_floats(
    e: Emit, fmt: FloatFormat, sums: ir.Value, places: list[Place], block: ir.Value, rows: list[ir.Value]
) -> ir.Value:
    rows = [e.at(row, e.b.mul(block, I64(4 * BLOCK))) for row in rows]
    halves = [[splat_constant(F32X16, 0.0)] * 2 for _ in range(len(places) * len(rows))]
    for column in range(BLOCK):
        weights = [fmt.column(e, *place, column) for place in places]
        for t, row in enumerate(rows):
            x = e.splat(e.load(row, F32, 4 * column))
            for p, vector in enumerate(weights):
                half = halves[p * len(rows) + t]
                half[column & 1] = e.fma(vector, x, half[column & 1])
    for i, (even, odd) in enumerate(halves):
        total = e.b.fadd(e.b.extract_value(sums, i), e.b.fadd(even, odd))
        sums = e.b.insert_value(sums, total, i)
    return sums


@emitted(lambda fmt, panel, block: types.void(fmt, types.int64, types.int64))
def fetch_ahead(e: Emit, args: Any, _fmt: ir.Value, panel: ir.Value, block: ir.Value) -> None:
    """Ask for the weights of a later block."""
    fmt: PanelFormat = args[0].value
    at = fmt.address(e, panel, block)
    for line in range(0, fmt.block_bytes, 64):
        e.prefetch(at, AHEAD + line)


@emitted(lambda fmt, panel, block, tile, index: types.void(fmt, types.int64, types.int64, types.int64, types.int64))
def unpack_block(
    e: Emit, args: Any, _fmt: ir.Value, panel: ir.Value, block: ir.Value, tile: ir.Value, index: ir.Value
) -> None:
    """Write a block of a panel to place `index` of a tile: of its TileFormat, or of float32 columns."""
    fmt: PanelFormat = args[0].value
    if isinstance(fmt, FloatFormat):
        at = e.at(tile, e.b.mul(index, I64(LANES * BLOCK * 4)))
        for column in range(BLOCK):
            e.store(fmt.column(e, panel, block, column), at, column * LANES * 4)
        return
    assert isinstance(fmt, QuantFormat)
    tiled = tile_of(fmt)
    at = tiled.address(e, tile, index)
    for group in range(fmt.groups):
        for step, weights in fmt.quants(e, panel, block, group):
            e.store(weights, at, step * 64)
        for i, scale in enumerate(fmt.scales(e, panel, block, group)):
            if scale is not None:
                e.store(scale, at, 512 + (group * (1 + fmt.has_min) + i) * 64)


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
            fetch_ahead(fmt, at, block)
            sums = add_block(fmt, sums, at, block, x, 0)
        store_sums(sums, y + p * 4 * LANES, 0)


@inner
def multiply_few(fmt, few, count, weights, panel_bytes, n_blocks, x, x_stride, y, y_stride, n, first, last):
    """Panels first to last times up to FEW_TOKENS tokens' activations, `count` at a time while the panel is cached."""
    for p in range(first, last):
        at = weights + p * panel_bytes
        out = y + p * 4 * LANES
        for t in range(0, n, count):
            sums = zero_sums(few)
            for block in range(n_blocks):
                if t == 0:
                    fetch_ahead(fmt, at, block)
                sums = add_block(fmt, sums, at, block, x + t * x_stride, x_stride)
            store_sums(sums, out + t * y_stride, y_stride)


@inner
def multiply_many(
    fmt, tiled, few, pair, count, panels, weights, panel_bytes, n_blocks, x, x_stride, y, y_stride, n, first, last, tile
):
    """Panels first to last times n tokens' activations. Columns go by tiles, so that a tile serves every token.

    `pair`: `panels` panels together, as long as there are so many; then `few`: one. Both take `count` tokens at a time.
    """
    columns = TILE_BLOCKS // panels
    paired = first + (last - first) // panels * panels
    for start in range(0, n_blocks, columns):
        blocks = min(columns, n_blocks - start)
        for p in range(first, paired, panels):
            at = weights + p * panel_bytes
            multiply_tile(
                fmt, tiled, pair, panels, count, at, panel_bytes, start, blocks, x, x_stride, y, y_stride, n, p, tile
            )
        for p in range(paired, last):
            at = weights + p * panel_bytes
            multiply_tile(
                fmt, tiled, few, 1, count, at, panel_bytes, start, blocks, x, x_stride, y, y_stride, n, p, tile
            )


@inner
def multiply_tile(
    fmt, tiled, together, panels, count, weights, panel_bytes, start, blocks, x, x_stride, y, y_stride, n, p, tile
):
    """Some blocks, from `start` on, of panels from p on, unpacked once for all tokens."""
    for i in range(panels):
        for block in range(blocks):
            unpack_block(fmt, weights + i * panel_bytes, start + block, tile, panels * block + i)
    for t in range(0, n, count):
        row = x + t * x_stride + start * x_block_size(fmt)
        out = y + t * y_stride + p * 4 * LANES
        sums = zero_sums(together)
        if start > 0:
            sums = load_sums(together, out, y_stride)
        for block in range(blocks):
            sums = add_block(tiled, sums, tile, block, row, x_stride)
        store_sums(sums, out, y_stride)


@emitted(lambda fmt: types.int64(fmt))
def x_block_size(e: Emit, args: Any, _fmt: ir.Value) -> ir.Value:
    """Bytes of a block of activations, as this format wants them."""
    return I64(BLOCK * 4 if args[0].value.is_float else BLOCK_BYTES)


def matmul(name: str) -> Any:
    """The matrix product for weights of a GGUF type."""
    fmt = panel_format(name)
    tiled = tile_of(fmt) if isinstance(fmt, QuantFormat) else panel_format("F32")
    count, panels = tokens_together(), panels_together()
    one, few, pair = Together(1), Together(count), Together(count, panels)

    @kernel
    def product(step, batch, first, last, thread):
        n = field(batch, N_OUT) if field(step, ON_OUTPUTS) else field(batch, N_TOKENS)
        weights, panel_bytes, n_blocks = field(step, WEIGHTS), field(step, PANEL_BYTES), field(step, N_BLOCKS)
        x, x_stride, y, y_stride = field(step, X), field(step, X_STRIDE), field(step, Y), field(step, Y_STRIDE)
        if n == 1:
            multiply_one(fmt, one, weights, panel_bytes, n_blocks, x, y, first, last)
        elif n <= FEW_TOKENS:
            multiply_few(fmt, few, count, weights, panel_bytes, n_blocks, x, x_stride, y, y_stride, n, first, last)
        else:
            tile = field(batch, SCRATCH) + thread * field(batch, SCRATCH_BYTES)
            multiply_many(
                fmt, tiled, few, pair, count, panels, weights, panel_bytes, n_blocks, x, x_stride, y, y_stride, n,
                first, last, tile,
            )  # fmt: skip

    return product


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
                unpack_block(fmt, panel, block, tile, 0)
                for column in range(BLOCK):
                    value = tile_weight(fmt, tile, token % LANES, column)
                    store_f32(out + 4 * (block * BLOCK + column), value * scale)

    return embedding
