"""Weights that come from memory are read in the order in which they lie, in spite of what LLVM would make of sums."""

from __future__ import annotations

import platform
import re

import llvmlite.binding as llvm
import pytest
from llvmlite import ir

from engine.kernels import cpu
from engine.kernels.block_products import add_scaled_words
from engine.kernels.emit import F32X16, I64, Emit, splat_constant
from engine.kernels.kv_types import kv_type
from engine.kernels.number_formats import LINE, PAIRS

TOKENS, PANELS = 3, 2


def assembly(*, in_turn: bool) -> str:
    """Blocks of two panels of keys times three rows, compiled for a processor with 16 registers of 256 bits."""
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * 4), "product")
    panel, x, out, n_blocks = function.args
    before, loop, after = (function.append_basic_block(name) for name in ("before", "loop", "after"))
    e = Emit(ir.IRBuilder(before))
    e.b.branch(loop)
    e.b.position_at_end(loop)
    kind = ir.ArrayType(F32X16, TOKENS * PANELS)
    block, sums = e.b.phi(I64), e.b.phi(kind)
    places = [(e.at(panel, LINE * p), block) for p in range(PANELS)]
    rows = [e.at(x, e.b.add(e.b.mul(block, I64(128)), I64(256 * t))) for t in range(TOKENS)]
    added = add_scaled_words(e, kv_type("f16").keys, sums, places, rows, in_turn=in_turn)
    next_block = e.b.add(block, I64(1))
    for phi, first, later in (
        (block, I64(0), next_block),
        (sums, ir.Constant(kind, [splat_constant(F32X16, 0.0)] * kind.count), added),
    ):
        phi.add_incoming(first, before)
        phi.add_incoming(later, loop)
    e.b.cbranch(e.b.icmp_signed("<", next_block, n_blocks), loop, after)
    e.b.position_at_end(after)
    for i in range(kind.count):
        e.store(e.b.extract_value(added, i), out, LINE * i)
    e.b.ret_void()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_triple("x86_64-unknown-linux-gnu").create_target_machine(
        cpu="haswell", features="+avx,+avx2,+fma,+f16c", opt=3
    )
    compiled = llvm.parse_assembly(str(module))
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(compiled, builder)
    return machine.emit_assembly(compiled)


@pytest.mark.skipif(platform.machine().lower() not in {"x86_64", "amd64"}, reason="x86-64's registers and instructions")
@pytest.mark.parametrize("in_turn", [True, False])
def test_keys_are_read_in_turn(monkeypatch, in_turn):
    monkeypatch.setattr(cpu, "features", lambda: frozenset({"avx", "avx2", "fma", "f16c"}))
    code = assembly(in_turn=in_turn)
    lines = [int(offset) // LINE for offset in re.findall(r"\b(\d+)\(%\w+,%\w+\)", code)]
    first_reads = list(dict.fromkeys(line for line in lines if line >= PANELS))  # the lines before hold exponents
    assert sorted(first_reads) == list(range(PANELS, 2 * PAIRS + PANELS))
    strays = [line for place, line in enumerate(first_reads, PANELS) if abs(line - place) > 4]
    assert bool(strays) is not in_turn
