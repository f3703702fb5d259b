"""Reading and writing memory by address inside kernels: records, scalars, vectors of LANES floats."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from engine.kernels.emit import F32, F32X16, I8, I16, I32, I64, Emit
from engine.kernels.jit import inner
from engine.kernels.simd import emitted, f32x16
from engine.kernels.sizes import LANES


def _loader(kind: ir.Type, result: types.Type, convert: Any = None) -> Any:
    @emitted(lambda address: result(types.int64))
    def load(e: Emit, _types: Any, address: ir.Value) -> ir.Value:
        value = e.load(address, kind)
        return convert(e, value) if convert else value

    return load


load_i64 = _loader(I64, types.int64)
load_i32 = _loader(I32, types.int32)
load_u8 = _loader(I8, types.uint8)
load_f32 = _loader(F32, types.float32)
load_f64 = _loader(ir.DoubleType(), types.float64)
load_f32x16 = _loader(F32X16, f32x16)
load_f16x16 = _loader(ir.VectorType(I16, LANES), f32x16, lambda e, value: e.half_to_float(value))


@emitted(lambda address, value: types.void(types.int64, types.float32))
def store_f32(e: Emit, _types: Any, address: ir.Value, value: ir.Value) -> None:
    """Write one float32."""
    e.store(value, address)


@emitted(lambda address, value: types.void(types.int64, types.int64))
def store_i64(e: Emit, _types: Any, address: ir.Value, value: ir.Value) -> None:
    """Write one int64."""
    e.store(value, address)


@emitted(lambda address, value: types.void(types.int64, types.int32))
def store_i32(e: Emit, _types: Any, address: ir.Value, value: ir.Value) -> None:
    """Write one int32."""
    e.store(value, address)


@emitted(lambda address, value: types.void(types.int64, types.float32))
def store_f16(e: Emit, _types: Any, address: ir.Value, value: ir.Value) -> None:
    """Write one float32 as half precision."""
    kind = ir.VectorType(F32, 8)
    lanes = e.b.insert_element(ir.Constant(kind, [0.0] * 8), value, I32(0))
    e.store(e.b.extract_element(e.float_to_half(lanes), I32(0)), address)


@emitted(lambda address, value: types.void(types.int64, f32x16))
def store_f32x16(e: Emit, _types: Any, address: ir.Value, value: ir.Value) -> None:
    """Write LANES float32."""
    e.store(value, address)


@emitted(lambda address, value: types.void(types.int64, f32x16))
def store_f16x16(e: Emit, _types: Any, address: ir.Value, value: ir.Value) -> None:
    """Write LANES float32 as half precision."""
    e.store(e.float_to_half(value), address)


@emitted(lambda address: types.void(types.int64))
def _fetch_line(e: Emit, _types: Any, address: ir.Value) -> None:
    e.prefetch(address)


@inner
def fetch(address, n_bytes):
    """Ask for memory that will be read soon."""
    for at in range(0, n_bytes, 64):
        _fetch_line(address + at)


def _pointer(kind: ir.Type, result: types.Type) -> Any:
    @emitted(lambda address: types.CPointer(result)(types.int64))
    def numbers_at(e: Emit, _types: Any, address: ir.Value) -> ir.Value:
        return e.b.inttoptr(address, kind.as_pointer())

    return numbers_at


floats_at = _pointer(F32, types.float32)
doubles_at = _pointer(ir.DoubleType(), types.float64)
integers_at = _pointer(I32, types.int32)
"""Numbers one after the other, to be read and written by their index, which nobody checks."""


@inner
def field(record, index):
    """Field `index` of a record of int64."""
    return load_i64(record + 8 * index)
