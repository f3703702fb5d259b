"""Tensors made of other tensors' rows, when they are read: joined shards, parts, other orders, other types."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.checkpoints.checkpoint import MakeRows, TensorInfo
from engine.checkpoints.dequantizable import DEQUANTIZABLE
from engine.checkpoints.tensor_types import TYPE_BY_NAME, TensorType
from engine.errors import ModelFileError, UnsupportedModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ALIGNMENT = 32
"""What kernels that read a mapped tensor may rely on."""


def derived(source: TensorInfo, make_rows: MakeRows, *, shape: tuple[int, ...], kind: TensorType) -> TensorInfo:
    """A tensor in the place of `source`, with rows that are made."""
    info = replace(source, shape=shape, type=kind, make_rows=make_rows)
    return replace(info, n_bytes=info.n_rows * kind.row_bytes(shape[-1]))


def aligned(tensor: TensorInfo) -> TensorInfo:
    """The same tensor; if it lies crookedly in its file, its rows are copied when they are read."""
    if tensor.make_rows is not None or tensor.offset % ALIGNMENT == 0:
        return tensor

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        from engine.checkpoints.rows import read_rows

        return np.array(read_rows(tensor, first, count))

    return derived(tensor, make_rows, shape=tensor.shape, kind=tensor.type)


def joined_rows(name: str, parts: Sequence[TensorInfo]) -> TensorInfo:
    """Matrices of one width, one below the other."""
    _check_alike(name, parts, {part.shape[1:] for part in parts})
    starts = [0]
    for part in parts:
        starts.append(starts[-1] + part.shape[0])

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        from engine.checkpoints.rows import read_rows

        pieces = []
        for part, start in zip(parts, starts, strict=False):
            begin, end = max(first - start, 0), min(first + count - start, part.shape[0])
            if begin < end:
                pieces.append(read_rows(part, begin, end - begin))
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    shape = (starts[-1], *parts[0].shape[1:])
    return derived(replace(parts[0], name=name), make_rows, shape=shape, kind=parts[0].type)


def joined_columns(name: str, parts: Sequence[TensorInfo]) -> TensorInfo:
    """Matrices of one height, one beside the other."""
    _check_alike(name, parts, {part.shape[:-1] for part in parts})

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        from engine.checkpoints.rows import read_rows

        return np.concatenate([read_rows(part, first, count) for part in parts], axis=1)

    shape = (*parts[0].shape[:-1], sum(part.shape[-1] for part in parts))
    return derived(replace(parts[0], name=name), make_rows, shape=shape, kind=parts[0].type)


def rows_of_each(stack: TensorInfo, name: str, rows: range, axis: int = -2) -> TensorInfo:
    """Of every matrix of a stack some of its rows; with axis -1, of every row some of its plain numbers."""
    shape = list(stack.shape)
    height, shape[axis] = shape[axis], len(rows)

    def some_rows(first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        from engine.checkpoints.rows import read_rows

        matrix, row = np.divmod(np.arange(first, first + count), len(rows))
        wanted = matrix * height + rows.start + row * rows.step
        begin = int(wanted[0])
        rows_between = np.asarray(read_rows(stack, begin, int(wanted[-1]) + 1 - begin))
        return np.ascontiguousarray(rows_between[wanted - begin])

    def some_columns(first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        from engine.checkpoints.rows import read_rows

        numbers = np.asarray(read_rows(stack, first, count)).reshape(count, height, -1)
        return np.ascontiguousarray(numbers[:, rows.start : rows.stop : rows.step]).reshape(count, -1)

    make_rows = some_rows if axis == -2 else some_columns
    return derived(replace(stack, name=name), make_rows, shape=tuple(shape), kind=stack.type)


def columns_as_rows(stack: TensorInfo) -> TensorInfo:
    """Every matrix of a stack of plain numbers with its columns as rows."""
    count_in, height, width = stack.shape

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        from engine.checkpoints.rows import read_rows

        pieces = []
        for matrix in range(first // width, -(-(first + count) // width)):
            begin, end = max(first - matrix * width, 0), min(first + count - matrix * width, width)
            numbers = np.asarray(read_rows(stack, matrix * height, height)).reshape(height, width, -1)
            pieces.append(numbers[:, begin:end].swapaxes(0, 1).reshape(end - begin, -1))
        return np.concatenate(pieces)

    return derived(stack, make_rows, shape=(count_in, width, height), kind=stack.type)


def turned_over(tensor: TensorInfo) -> TensorInfo:
    """A matrix of plain numbers with its columns as rows."""
    turned = columns_as_rows(replace(tensor, shape=(1, *tensor.shape)))
    return replace(turned, shape=turned.shape[1:])


def unit_rows(tensor: TensorInfo) -> TensorInfo:
    """A matrix with each row divided by its length, as F16, which has more digits for that than BF16."""
    kind = TYPE_BY_NAME["F16"]

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        values = read_floats(tensor, first, count)
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
        return float_bytes(values / np.maximum(lengths, np.float32(1e-12)), kind)

    return derived(tensor, make_rows, shape=tensor.shape, kind=kind)


def rotary_order(tensor: TensorInfo, n_heads: int) -> TensorInfo:
    """The rows of a query or key matrix, or its biases, as GGUF wants them: the two halves of each head interleaved.

    Hugging Face keeps the two numbers that are turned together half a head apart, Meta and GGUF side by side.
    """
    n_rows = tensor.shape[0]
    if n_heads < 1 or n_rows % (2 * n_heads):
        raise ModelFileError(
            f"{tensor.path}: {tensor.name} has {n_rows} rows, which {n_heads} heads do not share evenly.",
            "The configuration and the weights disagree: fetch both again.",
        )
    head_dim = n_rows // n_heads

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        from engine.checkpoints.rows import read_rows

        if len(tensor.shape) == 1:
            vector = np.asarray(read_rows(tensor, first, count))
            return vector.reshape(n_heads, 2, head_dim // 2, -1).swapaxes(1, 2).reshape(vector.shape)
        head, last_head = first // head_dim, -(-(first + count) // head_dim)
        rows = np.asarray(read_rows(tensor, head * head_dim, (last_head - head) * head_dim))
        interleaved = rows.reshape(-1, 2, head_dim // 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)
        begin = first - head * head_dim
        return interleaved[begin : begin + count]

    return derived(tensor, make_rows, shape=tensor.shape, kind=tensor.type)


def as_floats(tensor: TensorInfo, type_name: str, *, plus: float = 0.0) -> TensorInfo:
    """The tensor as F32 or F16, with a constant added to each weight."""
    kind = TYPE_BY_NAME[type_name]

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        return float_bytes(read_floats(tensor, first, count) + plus, kind)

    return derived(tensor, make_rows, shape=tensor.shape, kind=kind)


def constant_vector(name: str, values: list[float], path: Path) -> TensorInfo:
    """A vector that is in no file."""
    raw = struct.pack(f"<{len(values)}f", *values)

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        return np.frombuffer(raw, np.uint8).reshape(1, -1)[first : first + count]

    info = TensorInfo(name, (len(values),), TYPE_BY_NAME["F32"], path, 0, len(raw))
    return derived(info, make_rows, shape=info.shape, kind=info.type)


def read_floats(tensor: TensorInfo, first: int, count: int) -> NDArray[np.float32]:
    """Rows of a tensor as numbers: float32 (count, columns). Raises UnsupportedModelError for types that are none."""
    import numpy as np

    from engine.checkpoints.dequantize import dequantize_rows
    from engine.checkpoints.rows import read_rows

    if tensor.type.name not in DEQUANTIZABLE:
        raise UnsupportedModelError(
            f"{tensor.path}: {tensor.name} is stored as {tensor.type.name}, which cannot be turned into numbers here.",
            f"These can: {', '.join(DEQUANTIZABLE)}.",
        )
    return dequantize_rows(np.asarray(read_rows(tensor, first, count)), tensor.type)


def float_bytes(values: NDArray[np.float32], kind: TensorType) -> NDArray[np.uint8]:
    """Numbers as the bytes of F16 or F32; what is too large for F16 becomes its largest number."""
    import numpy as np

    if kind.name == "F16":
        limit = np.float32(np.finfo(np.float16).max)
        return np.clip(values, -limit, limit).astype(np.float16).view(np.uint8)
    return np.ascontiguousarray(values, np.float32).view(np.uint8)


def _check_alike(name: str, parts: Sequence[TensorInfo], sizes: set[tuple[int, ...]]) -> None:
    if len(sizes) != 1 or len({part.type for part in parts}) != 1:
        described = ", ".join(dict.fromkeys(f"{part.shape} {part.type.name}" for part in parts))
        raise ModelFileError(
            f"{parts[0].path}: the parts of {name} do not fit together: {described}.",
            "The parts are of different models or damaged: fetch them again.",
        )
