"""An emitter of LLVM vector instructions that suits every processor.

Values are as wide as the arithmetic needs (64 bytes); LLVM splits them over the registers that there are. Where a
processor has an instruction of its own for the job (a byte dot product, half precision), `Emit` uses it; elsewhere
the same method emits portable code with the same result, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from engine.kernels import cpu
from engine.kernels.sizes import LANES

I1, I8, I16, I32, I64 = (ir.IntType(n) for n in (1, 8, 16, 32, 64))
F16, F32 = ir.HalfType(), ir.FloatType()
U8X64 = ir.VectorType(I8, 64)
I8X16 = ir.VectorType(I8, LANES)
I16X16 = ir.VectorType(I16, LANES)
I16X32 = ir.VectorType(I16, 32)
I32X16 = ir.VectorType(I32, LANES)
F32X16 = ir.VectorType(F32, LANES)


def splat_constant(kind: ir.VectorType, value: float) -> ir.Constant:
    """A constant with the same value in every lane."""
    return ir.Constant(kind, [value] * kind.count)


class Emit:
    """Emits instructions through one LLVM builder; addresses are int64 values."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.b = builder

    def call(self, name: str, result: ir.Type, args: Sequence[ir.Value]) -> ir.Value:
        """Call an LLVM intrinsic by its full name."""
        module = self.b.module
        function = module.globals.get(name)
        if function is None:
            function = ir.Function(module, ir.FunctionType(result, [a.type for a in args]), name)
        return self.b.call(function, args)

    def at(self, address: ir.Value, offset: int | ir.Value = 0) -> ir.Value:
        """Address plus a byte offset."""
        if isinstance(offset, int):
            return self.b.add(address, I64(offset)) if offset else address
        return self.b.add(address, offset)

    def load(self, address: ir.Value, kind: ir.Type, offset: int | ir.Value = 0) -> ir.Value:
        """Load a value of any type from an address of any alignment."""
        value = self.b.load(self.b.inttoptr(self.at(address, offset), kind.as_pointer()))
        value.align = 1
        return value

    def store(self, value: ir.Value, address: ir.Value, offset: int | ir.Value = 0) -> None:
        """Store a value of any type to an address of any alignment."""
        done = self.b.store(value, self.b.inttoptr(self.at(address, offset), value.type.as_pointer()))
        done.align = 1

    def splat(self, value: ir.Value, count: int = LANES) -> ir.Value:
        """The same scalar in every lane."""
        kind = ir.VectorType(value.type, count)
        one = self.b.insert_element(ir.Constant(kind, ir.Undefined), value, I32(0))
        return self.b.shuffle_vector(
            one, ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(I32, count), [0] * count)
        )

    FIRST_CACHE, SECOND_CACHE = 3, 2

    def prefetch(self, address: ir.Value, offset: int = 0, *, into: int = FIRST_CACHE, to_write: bool = False) -> None:
        """Ask for a cache line ahead of its use."""
        pointer = self.b.inttoptr(self.at(address, offset), I8.as_pointer())
        self.call("llvm.prefetch.p0", ir.VoidType(), [pointer, I32(int(to_write)), I32(into), I32(1)])

    def align_spills(self) -> None:
        """Have registers that this function puts aside lie within cache lines, where registers are few.

        The stack is aligned to 16 bytes, and LLVM leaves it at that: whether a register of 32 bytes then lies across
        two lines is chance, and products of words were anything from 40 to 65 a nanosecond. A variable that wants a
        line for itself has the whole stack aligned.
        """
        if not cpu.has_avx2() or cpu.has_avx512_dot():
            return
        with self.b.goto_entry_block():
            line = self.b.alloca(U8X64)
            line.align = U8X64.count
        self.b.asm(ir.FunctionType(ir.VoidType(), [line.type]), "", "r", [line], side_effect=True)

    def compute_here(self, v: ir.Value) -> ir.Value:
        """The same vector, computed before whatever this is asked for after it.

        LLVM takes sums of products apart and computes some to their end before others. Weights that lie in turn in
        memory are then read in several passes, which no processor looks ahead in: attention for one token took as long
        as reading and computing one after the other (Zen 3: 9.6 ms, 6.8 in turn; BF16 for four tokens 177 and 129).
        Where a dot product adds to its sum by itself, they stay in turn anyway.
        """
        if not cpu.adds_apart():
            return v
        kept = []
        for half in self.halves(v):
            same = ir.FunctionType(half.type, [half.type])
            kept.append(self.b.asm(same, "", "=x,0", [half], side_effect=True))
        return self.join(*kept)

    def fma(self, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
        """The sum x * y + z, rounded once.

        Where the processor cannot, through float64: the product is exact there, so the result is the same but for
        ties of two roundings, one in some hundred millions.
        """
        if _has_fma():
            return self.call(f"llvm.fma.v{LANES}f32", F32X16, [x, y, z])
        wide = ir.VectorType(ir.DoubleType(), LANES)
        a, b, c = (self.b.fpext(v, wide) for v in (x, y, z))
        return self.b.fptrunc(self.b.fadd(self.b.fmul(a, b), c), F32X16)

    def add_times_power_of_two(self, x: ir.Value, power: ir.Value, y: ir.Value) -> ir.Value:
        """The sum x * power + y, where every lane of `power` is a power of two."""
        if not cpu.scales_beside_products():
            return self.fma(power, x, y)
        all_lanes, as_set = ir.Constant(I16, -1), I32(4)
        exponent = self.call("llvm.x86.avx512.mask.getexp.ps.512", F32X16, [power, power, all_lanes, as_set])
        scaled = self.call("llvm.x86.avx512.mask.scalef.ps.512", F32X16, [x, exponent, x, all_lanes, as_set])
        return self.b.fadd(scaled, y)

    def half_power_of_two(self, exponents: ir.Value) -> ir.Value:
        """Half of 2**(exponent - 127), for lanes of bytes. Source: OCP Microscaling Formats 1.0 (E8M0)."""
        bits = self.b.zext(exponents, I32X16)
        small = self.b.icmp_unsigned("<", bits, splat_constant(I32X16, 2))
        normal = self.b.shl(self.b.sub(bits, splat_constant(I32X16, 1)), splat_constant(I32X16, 23))
        # The two smallest are below what has an exponent of its own.
        subnormal = self.b.shl(self.b.add(bits, splat_constant(I32X16, 1)), splat_constant(I32X16, 21))
        return self.b.bitcast(self.b.select(small, subnormal, normal), F32X16)

    def whole(self, x: ir.Value, factor: ir.Value) -> ir.Value:
        """The products x * factor, rounded to int32; for results below 2**22."""
        magic = splat_constant(F32X16, 12582912.0)
        shifted = self.b.fadd(self.b.fmul(x, factor), magic)
        return self.b.sub(self.b.bitcast(shifted, I32X16), splat_constant(I32X16, 0x4B400000))

    def larger(self, x: ir.Value, y: ir.Value) -> ir.Value:
        """The larger of two numbers, or of each pair of lanes; y where one is no number."""
        return self.b.select(self.b.fcmp_ordered(">", x, y), x, y)

    def size_and_factor(self, parts: Sequence[ir.Value], most: int) -> tuple[ir.Value, ir.Value]:
        """The largest size in two vectors, and the factor that makes `most` of it; 0 where all numbers are 0."""
        sizes = [self.call(f"llvm.fabs.v{LANES}f32", F32X16, [part]) for part in parts]
        size = self.reduce(self.larger(*sizes), self.larger)
        is_some = self.b.fcmp_ordered(">", size, F32(0.0))
        return size, self.b.select(is_some, self.b.fdiv(F32(float(most)), size), F32(0.0))

    def reduce(self, v: ir.Value, combine: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
        """One number from all lanes: halves onto each other, always in the same order."""
        while v.type.count > 2:
            v = combine(*self.halves(v))
        return combine(*(self.b.extract_element(v, I32(i)) for i in (0, 1)))

    def halves(self, v: ir.Value) -> tuple[ir.Value, ir.Value]:
        """The lower and the upper half of a vector."""
        n = v.type.count // 2
        none = ir.Constant(v.type, ir.Undefined)
        mask = [ir.Constant(ir.VectorType(I32, n), list(range(s, s + n))) for s in (0, n)]
        return self.b.shuffle_vector(v, none, mask[0]), self.b.shuffle_vector(v, none, mask[1])

    def join(self, low: ir.Value, high: ir.Value) -> ir.Value:
        """Two vectors end to end."""
        n = low.type.count * 2
        return self.b.shuffle_vector(low, high, ir.Constant(ir.VectorType(I32, n), list(range(n))))

    def by_halves(self, name: str, result: ir.VectorType, *args: ir.Value) -> ir.Value:
        """Call a 256-bit intrinsic on both halves of 512-bit arguments."""
        parts = [self.halves(a) for a in args]
        half = ir.VectorType(result.element, result.count // 2)
        return self.join(*(self.call(name, half, [p[i] for p in parts]) for i in (0, 1)))

    def shifted_bits(self, v: ir.Value, source: int, target: int, mask: int) -> ir.Value:
        """The bits `mask << source` of every byte, moved to `mask << target`, all others 0."""
        wide = ir.VectorType(I16, v.type.count // 2)
        if source != target:
            v16 = self.b.bitcast(v, wide)
            by = splat_constant(wide, abs(source - target))
            v = self.b.bitcast(self.b.lshr(v16, by) if source > target else self.b.shl(v16, by), v.type)
        return self.b.and_(v, splat_constant(v.type, mask << target))

    def lookup(self, index: ir.Value, table: Sequence[int]) -> ir.Value:
        """table[index] for every byte of 64; 16 unsigned entries."""
        entries = [value if value < 128 else value - 256 for value in table]
        if cpu.has_avx512_dot():
            return self.call("llvm.x86.avx512.pshuf.b.512", U8X64, [ir.Constant(U8X64, entries * 4), index])
        if cpu.has_avx2():
            return self.by_halves("llvm.x86.avx2.pshuf.b", U8X64, ir.Constant(U8X64, entries * 4), index)
        found = splat_constant(U8X64, entries[0])
        for i, entry in enumerate(entries[1:], start=1):
            here = self.b.icmp_unsigned("==", index, splat_constant(U8X64, i))
            found = self.b.select(here, splat_constant(U8X64, entry), found)
        return found

    def half_to_float(self, v: ir.Value) -> ir.Value:
        """Lanes of float16, given as int16, to float32."""
        n = v.type.count
        if cpu.has_f16c() or cpu.has_neon_dot():
            return self.b.fpext(self.b.bitcast(v, ir.VectorType(F16, n)), ir.VectorType(F32, n))
        wide = ir.VectorType(I32, n)
        bits = self.b.zext(v, wide)
        magnitude = self.b.shl(self.b.and_(bits, splat_constant(wide, 0x7FFF)), splat_constant(wide, 13))
        scaled = self.b.fmul(
            self.b.bitcast(magnitude, ir.VectorType(F32, n)), splat_constant(ir.VectorType(F32, n), float(2**112))
        )
        sign = self.b.shl(self.b.and_(bits, splat_constant(wide, 0x8000)), splat_constant(wide, 16))
        endless = self.b.icmp_unsigned(">=", magnitude, splat_constant(wide, 0x7C00 << 13))
        exponent = self.b.select(endless, splat_constant(wide, 0xFF << 23), splat_constant(wide, 0))
        found = self.b.or_(self.b.or_(self.b.bitcast(scaled, wide), exponent), sign)
        return self.b.bitcast(found, ir.VectorType(F32, n))

    def bfloat_to_float(self, v: ir.Value) -> ir.Value:
        """Lanes of bfloat16, given as int16, to float32."""
        wide = ir.VectorType(I32, v.type.count)
        bits = self.b.shl(self.b.zext(v, wide), splat_constant(wide, 16))
        return self.b.bitcast(bits, ir.VectorType(F32, v.type.count))

    def float_to_half(self, v: ir.Value) -> ir.Value:
        """Lanes of float32 to float16, as int16, rounded to nearest even; beyond the range becomes infinity."""
        n = v.type.count
        if cpu.has_f16c() or cpu.has_neon_dot():
            return self.b.bitcast(self.b.fptrunc(v, ir.VectorType(F16, n)), ir.VectorType(I16, n))
        wide, real = ir.VectorType(I32, n), ir.VectorType(F32, n)
        bits = self.b.bitcast(v, wide)
        sign = self.b.lshr(self.b.and_(bits, splat_constant(wide, 0x80000000)), splat_constant(wide, 16))
        size = self.b.and_(bits, splat_constant(wide, 0x7FFFFFFF))
        odd = self.b.and_(self.b.lshr(size, splat_constant(wide, 13)), splat_constant(wide, 1))
        rounded = self.b.add(size, self.b.add(odd, splat_constant(wide, 0xFFF)))
        normal = self.b.sub(self.b.lshr(rounded, splat_constant(wide, 13)), splat_constant(wide, 112 << 10))
        tiny = self.b.sub(
            self.b.bitcast(self.b.fadd(self.b.bitcast(size, real), splat_constant(real, 0.5)), wide),
            splat_constant(wide, 0x3F000000),
        )
        small = self.b.icmp_unsigned("<", size, splat_constant(wide, 113 << 23))
        big = self.b.icmp_unsigned(">=", size, splat_constant(wide, 0x47800000))
        half = self.b.select(big, splat_constant(wide, 0x7C00), self.b.select(small, tiny, normal))
        return self.b.trunc(self.b.or_(half, sign), ir.VectorType(I16, n))

    def exp(self, x: ir.Value) -> ir.Value:
        """The exponential of float32 lanes to about 1e-7; below -87 it is 0, above 88 it stays finite.

        Source: the range reduction and polynomial of Cephes' expf.
        """

        def constant(value: float) -> ir.Constant:
            return splat_constant(F32X16, value)

        low = self.b.fcmp_ordered("<", x, constant(-87.0))
        x = self.call(f"llvm.minnum.v{LANES}f32", F32X16, [x, constant(88.0)])
        x = self.call(f"llvm.maxnum.v{LANES}f32", F32X16, [x, constant(-88.0)])
        n = self.fma(x, constant(1.4426950408889634), constant(12582912.0))
        whole = self.b.sub(self.b.bitcast(n, I32X16), splat_constant(I32X16, 0x4B400000))
        n = self.b.fsub(n, constant(12582912.0))
        r = self.fma(n, constant(-0.693359375), x)
        r = self.fma(n, constant(2.12194440e-4), r)
        y = constant(1.9875691500e-4)
        for c in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
            y = self.fma(y, r, constant(c))
        y = self.b.fadd(self.fma(y, self.b.fmul(r, r), r), constant(1.0))
        power = self.b.shl(self.b.add(whole, splat_constant(I32X16, 127)), splat_constant(I32X16, 23))
        return self.b.select(low, constant(0.0), self.b.fmul(y, self.b.bitcast(power, F32X16)))


def _has_fma() -> bool:
    return bool(cpu.features() & {"fma", "fullfp16", "neon"})
