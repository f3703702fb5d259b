"""Products of small integers, summed up in 32-bit lanes: by the instruction that a processor has for that, if any."""

from __future__ import annotations

from llvmlite import ir

from engine.kernels import cpu
from engine.kernels.emit import I1, I16X32, I32, I32X16, U8X64, Emit, splat_constant
from engine.kernels.sizes import LANES


class ByteDot:
    """Sums of products of unsigned by signed bytes, four to a 32-bit lane.

    `add` adds one product vector to a running sum, `total` gives the sum as 32-bit lanes. `steps(bits)`: how many
    `add` fit before `total` must be taken, for weights of so many bits. With 8-bit weights the running sum
    stands for weights that are `offset(8)` too large.
    """

    def __init__(self, emit: Emit) -> None:
        self.e = emit

    @staticmethod
    def steps(bits: int) -> int:
        """How many products a running sum holds."""
        if cpu.adds_apart():
            return 1 if bits >= 7 else min(8, 1 << (7 - bits))
        return 8

    @staticmethod
    def offset(offset: int, bits: int) -> int:
        """By how much the weights that `add` sees exceed the real ones; 8-bit weights may be taken as signed."""
        signed = bits == 8 and not (cpu.has_avx512_dot() or cpu.has_avx_vnni())
        return offset - 128 if signed else offset

    def zero(self) -> ir.Value:
        """An empty running sum."""
        return splat_constant(I32X16 if self.wide() else I16X32, 0)

    @staticmethod
    def wide() -> bool:
        """Whether running sums are 32 bits wide."""
        return not cpu.adds_apart()

    def add(self, total: ir.Value, weights: ir.Value, activations: ir.Value, bits: int) -> ir.Value:
        """Add products of weights (unsigned bytes) and activations (signed bytes) to a running sum."""
        e = self.e
        if cpu.has_avx512_dot() or cpu.has_avx_vnni():
            kind = U8X64 if _takes_parts() else I32X16
            pair = [e.b.bitcast(v, kind) for v in (weights, activations)]
            if cpu.has_avx512_dot():
                return e.call("llvm.x86.avx512.vpdpbusd.512", I32X16, [total, *pair])
            return e.by_halves("llvm.x86.avx512.vpdpbusd.256", I32X16, total, *pair)
        if cpu.has_avx2():
            if bits == 8:
                signed = e.b.xor(weights, splat_constant(U8X64, 0x80))
                weights = e.call("llvm.abs.v64i8", U8X64, [signed, I1(0)])
                activations = e.by_halves("llvm.x86.avx2.psign.b", U8X64, activations, signed)
            return e.b.add(total, e.by_halves("llvm.x86.avx2.pmadd.ub.sw", I16X32, weights, activations))
        if cpu.has_neon_dot():
            return self._neon(total, weights, activations, bits)
        return self._portable(total, weights, activations, bits)

    def total(self, running: ir.Value) -> ir.Value:
        """The running sum as 32-bit lanes."""
        if self.wide():
            return running
        return self.e.by_halves("llvm.x86.avx2.pmadd.wd", I32X16, running, splat_constant(I16X32, 1))

    def _signed(self, weights: ir.Value, bits: int) -> ir.Value:
        return self.e.b.xor(weights, splat_constant(U8X64, 0x80)) if bits == 8 else weights

    def _neon(self, total: ir.Value, weights: ir.Value, activations: ir.Value, bits: int) -> ir.Value:
        e = self.e
        quarters = [
            [q for half in e.halves(v) for q in e.halves(half)]
            for v in (total, self._signed(weights, bits), activations)
        ]
        kind = ir.VectorType(I32, 4)
        done = [e.call("llvm.aarch64.neon.sdot.v4i32.v16i8", kind, [q[i] for q in quarters]) for i in range(4)]
        return e.join(e.join(done[0], done[1]), e.join(done[2], done[3]))

    def _portable(self, total: ir.Value, weights: ir.Value, activations: ir.Value, bits: int) -> ir.Value:
        b = self.e.b
        for i in range(4):
            mask = ir.Constant(ir.VectorType(I32, LANES), list(range(i, 64, 4)))
            lanes = [
                b.sext(b.shuffle_vector(v, ir.Constant(U8X64, ir.Undefined), mask), I32X16)
                for v in (self._signed(weights, bits), activations)
            ]
            total = b.add(total, b.mul(*lanes))
        return total


def add_word_products(e: Emit, total: ir.Value, weights: ir.Value, activations: ir.Value) -> ir.Value:
    """Add products of signed 16-bit integers, two to a 32-bit lane; whoever calls keeps the sum below 2**31."""
    b = e.b
    if cpu.has_avx512_dot() or cpu.has_avx_vnni():
        kind = I16X32 if _takes_parts() else I32X16
        pair = [b.bitcast(v, kind) for v in (weights, activations)]
        if cpu.has_avx512_dot():
            return e.call("llvm.x86.avx512.vpdpwssd.512", I32X16, [total, *pair])
        return e.by_halves("llvm.x86.avx512.vpdpwssd.256", I32X16, total, *pair)
    if cpu.has_avx2():
        return b.add(total, e.by_halves("llvm.x86.avx2.pmadd.wd", I32X16, weights, activations))
    for i in (0, 1):
        lanes = ir.Constant(ir.VectorType(I32, LANES), list(range(i, 2 * LANES, 2)))
        parts = [
            b.sext(b.shuffle_vector(v, ir.Constant(I16X32, ir.Undefined), lanes), I32X16)
            for v in (weights, activations)
        ]
        total = b.add(total, b.mul(*parts))
    return total


def _takes_parts() -> bool:
    """Whether this LLVM's dot product intrinsics take vectors of bytes or words; older ones take 32-bit lanes."""
    from llvmlite.binding import llvm_version_info

    return bool(llvm_version_info >= (22,))
