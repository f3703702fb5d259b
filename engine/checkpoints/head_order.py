"""Tensors whose rows or columns belong to heads, with the heads in another order, or only some of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.checkpoints.checkpoint import TensorInfo
from engine.checkpoints.derived import as_floats, derived

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def rows_of_heads(tensor: TensorInfo, begin: int, width: int, order: Sequence[int]) -> TensorInfo:
    """The rows before `begin` as they are, then heads of `width` rows from there on, in this order."""

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        from engine.checkpoints.rows import read_rows

        pieces, row = [], first
        while row < first + count:
            head, inside = divmod(row - begin, width)
            n = min(first + count, begin if row < begin else row + width - inside) - row
            source = row if row < begin else begin + order[head] * width + inside
            pieces.append(np.asarray(read_rows(tensor, source, n)))
            row += n
        return np.concatenate(pieces)

    shape = (begin + len(order) * width, *tensor.shape[1:])
    return derived(tensor, make_rows, shape=shape, kind=tensor.type)


def columns_of_heads(tensor: TensorInfo, n_heads: int, order: Sequence[int]) -> TensorInfo:
    """Of n_heads heads, each some columns, these in this order; as F16 where heads are no whole blocks."""
    width = tensor.shape[-1] // n_heads
    if width % tensor.type.block_size:
        tensor = as_floats(tensor, "F16")

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        from engine.checkpoints.rows import read_rows

        rows = np.asarray(read_rows(tensor, first, count))
        return np.ascontiguousarray(rows.reshape(len(rows), n_heads, -1)[:, list(order)]).reshape(len(rows), -1)

    shape = (*tensor.shape[:-1], len(order) * width)
    return derived(tensor, make_rows, shape=shape, kind=tensor.type)
