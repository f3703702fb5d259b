"""Weights that nothing can be computed with are found where they are packed: scales, or numbers that stand alone."""

from __future__ import annotations

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from gguf.constants import GGML_QUANT_SIZES

from engine.kernels.formats import FORMATS
from engine.kernels.sizes import LANES
from engine.panels.packing import pack_rows

ROWS, COLUMNS = LANES + 3, 512

SCALES = {
    "Q4_1": (0, 2),
    "Q5_1": (0, 2),
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
    "TQ1_0": (52,),
    "TQ2_0": (64,),
}
"""Where a block has its half-precision scales, if it does not begin with one."""

LARGEST = {"F32": 0x7F7FFFFF, "F16": 0x7BFF, "BF16": 0x7F7F, "MXFP4": 0xFE}
WITHOUT_END = {"F32": 0x7F800000, "F16": 0x7C00, "BF16": 0x7F80, "MXFP4": 0xFF}
NO_NUMBER = {"F32": 0x7FC00000, "F16": 0x7E00, "BF16": 0x7FC0, "MXFP4": 0xFF}
"""Bits of scales and numbers by the type; where it is not named, its scales are in half precision."""


def bits_of(name, table):
    """One number's bits, as bytes."""
    size = {"F32": 4, "MXFP4": 1}.get(name, 2)
    return np.frombuffer(table.get(name, table["F16"]).to_bytes(size, "little"), np.uint8)


def places(name):
    """The bytes of a block where its scales lie, or where the number lies that it is."""
    return SCALES.get(name, (0,))


@pytest.fixture
def pack():
    """Pack blocks (rows, blocks, bytes) of a type; tells what pack_rows does."""

    def run(name, blocks):
        fmt = FORMATS[name]
        panel_bytes = fmt.panel_bytes(COLUMNS // 32)
        panels = np.zeros(-(-len(blocks) // LANES) * panel_bytes, np.uint8)
        return pack_rows(fmt, blocks.reshape(len(blocks), -1), panels.ctypes.data, panel_bytes, 0)

    return run


def largest_blocks(name):
    """Blocks with every bit set, but for their scales or numbers, which are the largest."""
    size, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    blocks = np.full((ROWS, COLUMNS // size, block_bytes), 0xFF, np.uint8)
    largest = bits_of(name, LARGEST)
    for at in places(name):
        blocks[..., at : at + largest.size] = largest
    return blocks


@pytest.mark.parametrize("name", FORMATS)
def test_every_bit_but_those_of_scales_may_be_set(pack, name):
    assert pack(name, largest_blocks(name)) is True


@pytest.mark.parametrize("odd", [WITHOUT_END, NO_NUMBER], ids=["infinite", "no number"])
@pytest.mark.parametrize("name", FORMATS)
def test_one_scale_is_seen_wherever_it_stands(pack, name, odd):
    for sign in (0x00, 0x80) if name != "MXFP4" else (0x00,):
        for at in places(name):
            for row, block in ((0, 0), (5, 1), (ROWS - 1, -1)):
                blocks = largest_blocks(name)
                bits = bits_of(name, odd).copy()
                bits[-1] |= sign
                blocks[row, block, at : at + bits.size] = bits
                assert pack(name, blocks) is False
