"""A block of weights times the same block of some tokens' activations: what matrix products and attention are made of.

Whatever goes through together, each pair of panel and token has sums of its own, added in the order of the blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import models, register_model

from engine.kernels.dots import ByteDot, add_word_products
from engine.kernels.emit import (
    F32,
    F32X16,
    I16X32,
    I32,
    I32X16,
    I64,
    U8X64,
    Emit,
    splat_constant,
)
from engine.kernels.formats import QuantFormat
from engine.kernels.number_formats import PAIRS, FloatFormat, PanelFormat, Words
from engine.kernels.records import FLOAT_SUM_AT, SCALE_AT, SUM_AT, WORD_SCALE_AT, X_BLOCK_BYTES
from engine.kernels.simd import emitted
from engine.kernels.sizes import BLOCK, LANES
from engine.kernels.static import Static
from engine.kernels.unpacking import fetch_pair, float_column, quant_bytes, quant_scales, word_pair, word_scale


class Together(Static):
    """What goes through a kernel's inner loop together: so many tokens, times the rows of so many panels.

    in_turn: whether weights must be read in the order in which they lie, as they come from memory. ahead: with each
    line of words, that which lies so many bytes further is asked for; 0 for none.
    """

    def __init__(self, tokens: int, panels: int = 1, *, in_turn: bool = False, ahead: int = 0) -> None:
        self.tokens, self.panels, self.in_turn, self.ahead = tokens, panels, in_turn, ahead

    def __repr__(self) -> str:
        order = f" in turn, {self.ahead} ahead" if self.in_turn else ""
        return f"{self.tokens} tokens by {self.panels} panels{order}"

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


TOKENS_TOGETHER, PANELS_TOGETHER = 4, 2
"""How many tokens go together, with the panels of a tile: eight vectors of sums, so that every load serves two products
or four. Where registers are few, that is worth what spills."""


@emitted(lambda together: Sums(together.value)(together))
def zero_sums(e: Emit, args: Any, _together: ir.Value) -> ir.Value:
    """Sums of nothing."""
    e.align_spills()  # whoever has sums may run out of registers
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


@emitted(lambda together, y, stride: types.void(together, types.int64, types.int64))
def claim_outputs(e: Emit, args: Any, _together: ir.Value, y: ir.Value, stride: ir.Value) -> None:
    """Ask for the lines that some tokens' sums will be stored to."""
    for panel, token in args[0].value.pairs():
        e.prefetch(e.at(y, e.b.mul(stride, I64(token))), panel * 4 * LANES, to_write=True)


@emitted(
    lambda fmt, sums, panel, index, block, x, stride: sums(
        fmt, sums, types.int64, types.int64, types.int64, types.int64, types.int64
    )
)
def add_block(
    e: Emit,
    args: Any,
    _fmt: ir.Value,
    sums: ir.Value,
    panel: ir.Value,
    index: ir.Value,
    block: ir.Value,
    x: ir.Value,
    stride: ir.Value,
) -> ir.Value:
    """Add the block at place `index`, times block `block` of each token's activations (rows `stride` bytes apart).

    With several panels, their blocks lie in turn, from there on.
    """
    places = [(panel, e.b.add(index, I64(p))) for p in range(args[1].together.panels)]
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
    fmt: PanelFormat = args[0].value
    at = e.at(x, e.b.mul(block, I64(X_BLOCK_BYTES[fmt.reads])))
    together: Together = args[1].together
    rows, in_turn = [e.at(at, e.b.mul(stride, I64(t))) for t in range(together.tokens)], together.in_turn
    if isinstance(fmt, QuantFormat):
        return _add_quants(e, fmt, sums, places, rows, in_turn=in_turn)
    if isinstance(fmt, Words):
        return add_scaled_words(e, fmt, sums, places, rows, in_turn=in_turn, ahead=together.ahead)
    assert isinstance(fmt, FloatFormat)
    return _add_floats(e, fmt, sums, places, rows)


Place = tuple[ir.Value, ir.Value]
"""A panel, and which of its blocks."""


def _add_quants(
    e: Emit, fmt: QuantFormat, sums: ir.Value, places: list[Place], rows: list[ir.Value], *, in_turn: bool
) -> ir.Value:
    def totals(group: int, sum_of: list[ir.Value]) -> list[ir.Value]:
        return _dot_group(e, fmt, places, group, rows, sum_of, in_turn=in_turn)

    return add_scaled_quants(e, fmt, sums, places, rows, totals)


def add_scaled_quants(
    e: Emit,
    fmt: QuantFormat,
    sums: ir.Value,
    places: list[Place],
    rows: list[ir.Value],
    totals_of: Callable[[int, list[ir.Value]], list[ir.Value]],
) -> ir.Value:
    """Add a block's whole numbers, times their scales, to the sums.

    totals_of: for a group, and the sums of the tokens' quantised activations in it, the products as 32-bit lanes, one
    vector for every panel and token.
    """
    inner: list[ir.Value | None] = [None] * (len(places) * len(rows))
    for group in range(fmt.groups):
        sum_of = [_group_sum(e, fmt, row, group) for row in rows]
        totals = totals_of(group, sum_of)
        for p, place in enumerate(places):
            d, m = quant_scales(fmt, e, *place, group)
            for t, row in enumerate(rows):
                i = p * len(rows) + t
                number, before = e.b.sitofp(totals[i], F32X16), inner[i]
                here = e.b.fmul(d, number) if before is None else e.fma(d, number, before)
                inner[i] = here if m is None else e.fma(m, e.splat(_float_sum(e, fmt, row, sum_of[t])), here)
    scales = [e.splat(e.load(row, F32, SCALE_AT)) for row in rows]
    for i, value in enumerate(inner):
        total = e.fma(value, scales[i % len(rows)], e.b.extract_value(sums, i))
        sums = e.b.insert_value(sums, total, i)
    return sums


def _dot_group(
    e: Emit,
    fmt: QuantFormat,
    places: list[Place],
    group: int,
    rows: list[ir.Value],
    sum_of: list[ir.Value],
    *,
    in_turn: bool,
) -> list[ir.Value]:
    """A group's weights times activations as 32-bit lanes, for every panel and token."""
    dot = ByteDot(e)
    steps, offset, wide = dot.steps(fmt.bits), dot.offset(fmt.offset, fmt.bits), dot.wide()
    count = len(places) * len(rows)
    running, used = (_biases(e, offset, sum_of) * len(places) if wide else [dot.zero()] * count), 0
    parts: list[list[ir.Value]] = []
    for weights in zip(*(quant_bytes(fmt, e, *place, group) for place in places), strict=True):
        step = weights[0][0]
        fours = [e.b.bitcast(e.splat(e.load(row, I32, 4 * step)), U8X64) for row in rows]
        pairs = [(vector, four) for _, vector in weights for four in fours]
        if used == steps and not wide:
            parts.append([dot.total(r) for r in running])
            running, used = [dot.zero()] * count, 0
        running = [dot.add(r, *pair, fmt.bits) for r, pair in zip(running, pairs, strict=True)]
        if in_turn:
            running = [e.compute_here(r) for r in running]
        used += 1
    if wide:
        return running
    # Biases come last: where registers are few, they would be in the way of the products.
    parts.append([dot.total(r) for r in running])
    if offset:
        parts.append(_biases(e, offset, sum_of) * len(places))
    return [reduce(e.b.add, part) for part in zip(*parts, strict=True)]


def _biases(e: Emit, offset: int, sum_of: list[ir.Value]) -> list[ir.Value]:
    """What the weights' offset adds to each token's products, with the sign that takes it away."""
    if not offset:
        return [splat_constant(I32X16, 0)] * len(sum_of)
    return [e.splat(e.b.mul(s, I32(-offset))) for s in sum_of]


def _group_sum(e: Emit, fmt: QuantFormat, row: ir.Value, group: int) -> ir.Value:
    """The sum of a group's quantised activations."""
    if fmt.groups == 2:
        return e.load(row, I32, SUM_AT + 4 * group)
    return e.b.add(e.load(row, I32, SUM_AT), e.load(row, I32, SUM_AT + 4))


def _float_sum(e: Emit, fmt: QuantFormat, row: ir.Value, group_sum: ir.Value) -> ir.Value:
    """The same as float32."""
    return e.load(row, F32, FLOAT_SUM_AT) if fmt.groups == 1 else e.b.sitofp(group_sum, F32)


def add_scaled_words(
    e: Emit,
    fmt: Words,
    sums: ir.Value,
    places: list[Place],
    rows: list[ir.Value],
    *,
    in_turn: bool,
    ahead: int = 0,
) -> ir.Value:
    """Add a block of words, times their scales, to the sums. in_turn, ahead: see `Together`."""
    scales = [word_scale(fmt, e, *place) for place in places]
    totals = [splat_constant(I32X16, 0)] * (len(places) * len(rows))
    for index in range(PAIRS):
        weights = [word_pair(fmt, e, *place, index) for place in places]
        if ahead:
            for place in places:
                fetch_pair(fmt, e, *place, index, ahead)
        twos = [e.b.bitcast(e.splat(e.load(row, I32, 4 * index)), I16X32) for row in rows]
        pairs = [(vector, two) for vector in weights for two in twos]
        totals = [add_word_products(e, total, *pair) for total, pair in zip(totals, pairs, strict=True)]
        if in_turn and index % 2:
            totals = [e.compute_here(total) for total in totals]
    for i, total in enumerate(totals):
        d, before = scales[i // len(rows)], e.b.extract_value(sums, i)
        pair = (e.b.sitofp(total, F32X16), e.splat(e.load(rows[i % len(rows)], F32, WORD_SCALE_AT)))
        after = e.fma(*pair, before) if d is None else e.add_times_power_of_two(e.b.fmul(*pair), d, before)
        sums = e.b.insert_value(sums, after, i)
    return sums


def _add_floats(e: Emit, fmt: FloatFormat, sums: ir.Value, places: list[Place], rows: list[ir.Value]) -> ir.Value:
    halves = [[splat_constant(F32X16, 0.0)] * 2 for _ in range(len(places) * len(rows))]
    for column in range(BLOCK):
        weights = [float_column(fmt, e, *place, column) for place in places]
        for t, row in enumerate(rows):
            x = e.splat(e.load(row, F32, 4 * column))
            for p, vector in enumerate(weights):
                half = halves[p * len(rows) + t]
                half[column & 1] = e.fma(vector, x, half[column & 1])
    for i, (even, odd) in enumerate(halves):
        total = e.b.fadd(e.b.extract_value(sums, i), e.b.fadd(even, odd))
        sums = e.b.insert_value(sums, total, i)
    return sums
