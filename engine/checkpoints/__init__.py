"""Model files of every format, read into one shape: metadata and named tensors."""

from engine.checkpoints.checkpoint import Checkpoint, TensorInfo, without_leading_ones
from engine.checkpoints.metadata import Metadata
from engine.checkpoints.opening import check_kind, files_of, open_checkpoint, open_with_base
from engine.checkpoints.tensor_types import TYPE_BY_ID, TYPE_BY_NAME, TensorType

__all__ = [
    "TYPE_BY_ID",
    "TYPE_BY_NAME",
    "Checkpoint",
    "Metadata",
    "TensorInfo",
    "TensorType",
    "check_kind",
    "files_of",
    "open_checkpoint",
    "open_with_base",
    "without_leading_ones",
]
