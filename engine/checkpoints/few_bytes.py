"""The first bytes of a tensor, for what must be known before any weight is loaded."""

from __future__ import annotations

from engine.checkpoints.checkpoint import TensorInfo
from engine.errors import ModelFileError


def first_bytes(tensor: TensorInfo, limit: int) -> bytes:
    """The bytes that a file has of a tensor, as many as `limit` of them. Raises ModelFileError.

    The tensor is one as its file has it, without another order of its rows.
    """
    try:
        with tensor.path.open("rb") as file:
            file.seek(tensor.offset)
            return file.read(min(limit, tensor.n_bytes))
    except OSError as error:
        raise ModelFileError(f"{tensor.path} cannot be read: {error.strerror}.", "Check its permissions.") from error
