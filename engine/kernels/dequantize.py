"""Weights of every stored type to float32, block by block, 16 weights at a time.

Each kernel: (address of the stored weights, how many blocks, address of the float32); it returns the largest size, and
NaN where a weight is not finite. A block of plain numbers is LANES of them.

Source of the layouts: ggml-common.h and ggml-quants.c in the llama.cpp repository.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import types

from engine.kernels import lanes
from engine.kernels.emit import F32X16, I8, I8X16, I16, I16X16, I32X16, Emit, splat_constant
from engine.kernels.formats import FP4_CODEBOOK, IQ4_CODEBOOK
from engine.kernels.jit import exported, inner
from engine.kernels.memory import load_f32x16, store_f32x16
from engine.kernels.simd import emitted
from engine.kernels.sizes import LANES
from engine.kernels.static import Static
from engine.kernels.tiles import VECTOR, absolute, constant, load_bf16x16, load_f16x16, maximum

TRITS = 0
"""Bits of a weight where five share a byte."""


@dataclass(frozen=True)
class Bits:
    """Where a block has some bits of each weight.

    at: the first byte; bits: of each weight. Of each `run` bytes first the lowest bits are weights, one to a byte, then
    the next higher ones; with a run of 0, a single bit of each weight lies in the order of the weights. Bits that are
    TRITS are digits of base 3, the highest first: see _trits.
    """

    at: int
    bits: int
    run: int


@dataclass(frozen=True)
class Stored(Static):
    """How a block of a type lies in a file: weight = d · scale · (low + high bits - offset), and perhaps - m · minimum.

    n_bytes, size: of a block, in bytes and weights. d, m: where the half-precision numbers are, m added as it is if
    there are no small scales. scales: how each 16 weights' small ones are packed, from the byte `scales_at` on; with
    "exponent" d is a byte, the exponent of a power of two.
    """

    name: str
    n_bytes: int
    size: int
    d: int
    low: Bits
    high: Bits | None = None
    m: int | None = None
    offset: int = 0
    signed: bool = False
    scales: str = "none"
    scales_at: int = 0
    codebook: tuple[int, ...] = ()


STORED: dict[str, Stored] = {
    stored.name: stored
    for stored in (
        Stored("Q4_0", 18, 32, 0, Bits(2, 4, 16), offset=8),
        Stored("Q4_1", 20, 32, 0, Bits(4, 4, 16), m=2),
        Stored("Q5_0", 22, 32, 0, Bits(6, 4, 16), Bits(2, 1, 0), offset=16),
        Stored("Q5_1", 24, 32, 0, Bits(8, 4, 16), Bits(4, 1, 0), m=2),
        Stored("Q8_0", 34, 32, 0, Bits(2, 8, 32), signed=True),
        Stored("Q2_K", 84, 256, 80, Bits(16, 2, 32), m=82, scales="nibbles"),
        Stored("Q3_K", 110, 256, 108, Bits(32, 2, 32), Bits(0, 1, 32), offset=4, scales="6 bits of 16", scales_at=96),
        Stored("Q4_K", 144, 256, 0, Bits(16, 4, 32), m=2, scales="6 bits of 8", scales_at=4),
        Stored("Q5_K", 176, 256, 0, Bits(48, 4, 32), Bits(16, 1, 32), m=2, scales="6 bits of 8", scales_at=4),
        Stored("Q6_K", 210, 256, 208, Bits(0, 4, 64), Bits(128, 2, 32), offset=32, scales="bytes", scales_at=192),
        Stored("IQ4_NL", 18, 32, 0, Bits(2, 4, 16), signed=True, codebook=IQ4_CODEBOOK),
        Stored("MXFP4", 17, 32, 0, Bits(1, 4, 16), signed=True, scales="exponent", codebook=FP4_CODEBOOK),
        Stored("IQ4_XS", 136, 256, 0, Bits(8, 4, 16), signed=True, scales="6 bits apart", codebook=IQ4_CODEBOOK),
        Stored("TQ1_0", 54, 256, 52, Bits(0, TRITS, 32), offset=1),
        Stored("TQ2_0", 66, 256, 64, Bits(0, 2, 32), offset=1),
    )
}
"""The quantised types by name."""


@emitted(lambda stored, block, target: types.void(stored, types.int64, types.int64))
def _unpack(e: Emit, args: Any, _stored: ir.Value, block: ir.Value, target: ir.Value) -> None:
    """One block to float32."""
    stored: Stored = args[0].value
    scales, addends = _factors(e, stored, block)
    for group in range(stored.size // LANES):
        weights = e.b.fmul(_one(e, scales, group), _levels(e, stored, block, group))
        if addends is not None:
            weights = e.b.fadd(weights, _one(e, addends, group))
        e.store(weights, target, group * VECTOR)


def _one(e: Emit, factors: ir.Value, group: int) -> ir.Value:
    """Lane `group` in every lane."""
    return _picked(e, factors, [group] * LANES)


def _picked(e: Emit, source: ir.Value, which: list[int]) -> ir.Value:
    indices = ir.Constant(ir.VectorType(ir.IntType(32), len(which)), which)
    return e.b.shuffle_vector(source, ir.Constant(source.type, ir.Undefined), indices)


def _levels(e: Emit, stored: Stored, block: ir.Value, group: int) -> ir.Value:
    """The small integers of 16 weights, as float32."""
    levels = _bits(e, stored.low, block, group)
    if stored.high is not None:
        high = e.b.shl(_bits(e, stored.high, block, group), splat_constant(I8X16, stored.low.bits))
        levels = e.b.or_(levels, high)
    if stored.codebook:
        wide = e.lookup(_picked(e, levels, list(range(LANES)) * (64 // LANES)), stored.codebook)
        levels = _picked(e, wide, list(range(LANES)))
    wide = e.b.sext(levels, I32X16) if stored.signed else e.b.zext(levels, I32X16)
    return e.b.sitofp(e.b.sub(wide, splat_constant(I32X16, stored.offset)), F32X16)


def _bits(e: Emit, place: Bits, block: ir.Value, group: int) -> ir.Value:
    """Some bits of 16 weights, a byte each."""
    first = group * LANES
    if place.bits == TRITS:
        return _trits(e, block, first)
    if not place.run:
        bits = e.b.and_(
            e.splat(e.load(block, I16, place.at + first // 8)), ir.Constant(I16X16, [1 << i for i in range(LANES)])
        )
        return e.b.zext(e.b.icmp_unsigned("!=", bits, splat_constant(I16X16, 0)), I8X16)
    together = place.run * (8 // place.bits)
    raw = e.load(block, I8X16, place.at + first // together * place.run + first % place.run)
    shift = first % together // place.run * place.bits
    return e.b.and_(e.b.lshr(raw, splat_constant(I8X16, shift)), splat_constant(I8X16, (1 << place.bits) - 1))


def _trits(e: Emit, block: ir.Value, first: int) -> ir.Value:
    """Digits of base 3 of 16 weights, a byte each: five of each of 32 bytes, then of 16, then four of each of four.

    A byte is the fraction that its digits make, in 256ths: the highest digit is the whole part of three times that.
    """
    digits = [first // 32] * LANES
    if first < 160:
        raw = e.load(block, I8X16, first % 32)
    elif first < 240:
        raw, digits = e.load(block, I8X16, 32), [(first - 160) // LANES] * LANES
    else:
        four = e.load(block, ir.VectorType(I8, 4), 48)
        raw, digits = _picked(e, four, [i % 4 for i in range(LANES)]), [i // 4 for i in range(LANES)]
    powers = ir.Constant(I8X16, [3**digit for digit in digits])
    rest = e.b.zext(e.b.mul(raw, powers), I16X16)
    return e.b.trunc(e.b.lshr(e.b.mul(rest, splat_constant(I16X16, 3)), splat_constant(I16X16, 8)), I8X16)


def _factors(e: Emit, stored: Stored, block: ir.Value) -> tuple[ir.Value, ir.Value | None]:
    """Lane i: what the levels of the i-th 16 weights are multiplied by, and what is added then."""
    if stored.scales == "exponent":
        return e.half_power_of_two(e.splat(e.load(block, I8, stored.d))), None
    d = _half(e, block, stored.d)
    m = None if stored.m is None else _half(e, block, stored.m)
    if stored.scales == "none":
        return d, m
    scales, minima = _SCALES[stored.scales](e, e.at(block, stored.scales_at))
    addends = None if m is None else e.b.fneg(e.b.fmul(m, e.b.sitofp(minima, F32X16)))
    return e.b.fmul(d, e.b.sitofp(scales, F32X16)), addends


def _half(e: Emit, block: ir.Value, at: int) -> ir.Value:
    return e.half_to_float(e.splat(e.load(block, I16, at)))


def _wide(e: Emit, source: ir.Value, which: list[int], shifts: list[int], mask: int) -> ir.Value:
    """Bytes of a vector, each shifted right and masked, as 32-bit lanes."""
    lanes_ = e.b.zext(_picked(e, source, which), I32X16)
    return e.b.and_(e.b.lshr(lanes_, ir.Constant(I32X16, shifts)), splat_constant(I32X16, mask))


def _above(e: Emit, low: ir.Value, high: ir.Value) -> ir.Value:
    """Two bits above four."""
    return e.b.or_(low, e.b.shl(high, splat_constant(I32X16, 4)))


def _nibbles(e: Emit, at: ir.Value) -> tuple[ir.Value, ir.Value]:
    """A byte for each 16 weights: scale below minimum."""
    raw, all_ = e.load(at, I8X16), list(range(LANES))
    return _wide(e, raw, all_, [0] * LANES, 15), _wide(e, raw, all_, [4] * LANES, 15)


def _six_bits_of_16(e: Emit, at: ir.Value) -> tuple[ir.Value, None]:
    """Sixteen scales around 32: eight bytes with four bits of two each, then four with two bits of four each."""
    raw = e.load(at, ir.VectorType(I8, 12))
    low = _wide(e, raw, [i % 8 for i in range(LANES)], [i // 8 * 4 for i in range(LANES)], 15)
    high = _wide(e, raw, [8 + i % 4 for i in range(LANES)], [i // 4 * 2 for i in range(LANES)], 3)
    return e.b.sub(_above(e, low, high), splat_constant(I32X16, 32)), None


def _six_bits_of_8(e: Emit, at: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Scales and minima of eight groups of 32.

    Bytes 0-3 and 4-7 begin the first four scales and minima; their top two bits belong to the last four, whose lower
    bits are the nibbles of bytes 8-11.
    """
    raw = e.load(at, ir.VectorType(I8, 12))
    early = ir.Constant(ir.VectorType(ir.IntType(1), LANES), [i < LANES // 2 for i in range(LANES)])
    which, none = [i // 2 % 4 for i in range(LANES)], [0] * LANES
    found = []
    for kind in range(2):
        own = [4 * kind + i for i in which]
        late = _above(
            e,
            _wide(e, raw, [8 + i for i in which], [4 * kind] * LANES, 15),
            _wide(e, raw, own, [6] * LANES, 3),
        )
        found.append(e.b.select(early, _wide(e, raw, own, none, 63), late))
    return found[0], found[1]


def _six_bits_apart(e: Emit, block: ir.Value) -> tuple[ir.Value, None]:
    """Eight scales around 32 for 32 weights each: two bits in bytes 2 and 3, four in bytes 4 to 7."""
    raw = e.load(block, ir.VectorType(I8, 8))
    which = [i // 2 for i in range(LANES)]
    low = _wide(e, raw, [4 + i // 2 for i in which], [i % 2 * 4 for i in which], 15)
    high = _wide(e, raw, [2 + i // 4 for i in which], [i % 4 * 2 for i in which], 3)
    return e.b.sub(_above(e, low, high), splat_constant(I32X16, 32)), None


def _bytes(e: Emit, at: ir.Value) -> tuple[ir.Value, None]:
    """A signed byte for each 16 weights."""
    return e.b.sext(e.load(at, I8X16), I32X16), None


_SCALES: dict[str, Any] = {
    "nibbles": _nibbles,
    "6 bits of 16": _six_bits_of_16,
    "6 bits of 8": _six_bits_of_8,
    "6 bits apart": _six_bits_apart,
    "bytes": _bytes,
}
"""From where they are, each 16 weights' scale and minimum in a 32-bit lane."""


@inner
def _seen(x, peak, spoiled):
    """The largest size so far, and 0 as long as every number is finite."""
    return maximum(absolute(x), peak), lanes.add(spoiled, lanes.mul(x, constant(0)))


_PLAIN = {"F32": (load_f32x16, VECTOR), "F16": (load_f16x16, VECTOR // 2), "BF16": (load_bf16x16, VECTOR // 2)}
"""How LANES plain numbers of a type are read, and their bytes."""


def widen(name: str) -> Any:
    """The kernel for plain numbers of a type."""
    load, n_bytes = _PLAIN[name]

    @exported
    def widen_numbers(source, n_blocks, target):
        peak = spoiled = constant(0)
        for i in range(n_blocks):
            x = load(source + i * n_bytes)
            store_f32x16(target + i * VECTOR, x)
            peak, spoiled = _seen(x, peak, spoiled)
        return lanes.largest(peak) + lanes.total(spoiled)

    return widen_numbers


def dequantize(name: str) -> Any:
    """The kernel for a quantised type."""
    stored = STORED[name]
    n_bytes, size = stored.n_bytes, stored.size

    @exported
    def dequantize_blocks(source, n_blocks, target):
        peak = spoiled = constant(0)
        for i in range(n_blocks):
            out = target + i * size * 4
            _unpack(stored, source + i * n_bytes, out)
            for group in range(size // LANES):
                peak, spoiled = _seen(load_f32x16(out + group * VECTOR), peak, spoiled)
        return lanes.largest(peak) + lanes.total(spoiled)

    return dequantize_blocks
