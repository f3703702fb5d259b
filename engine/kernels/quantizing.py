"""What all kernels that quantise have in common: they take one tile of blocks after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.kernels.jit import exported, inner
from engine.kernels.sizes import LANES
from engine.kernels.tiles import load_tile, store_tile


def by_tiles(size: int, n_bytes: int, bytes_at: int) -> Callable[[Callable[..., Any]], Any]:
    """Make a kernel of a function that quantises one tile: (tile of floats, where the tile of bytes goes).

    size: weights of a block. n_bytes: of its result. bytes_at: where the tile of bytes lies in the scratch memory,
    behind the tile of floats and what else the function has there.
    The kernel: (address of float32, how many blocks, address of the result, address of scratch memory of
    QUANTIZE_SCRATCH_BYTES); the weights are finite, and behind the last block there is room to read up to a whole tile.
    """

    def make(quantize_tile: Callable[..., Any]) -> Any:
        quantize_one = inner(quantize_tile)

        @exported
        def quantize(source, n_blocks, target, scratch):
            out = scratch + bytes_at
            for first in range(0, n_blocks, LANES):
                load_tile(source + first * size * 4, size, scratch)
                quantize_one(scratch, out)
                store_tile(out, n_bytes, min(LANES, n_blocks - first), target + first * n_bytes)

        return quantize

    return make
