"""What a conversion will do: every check that can be made before anything is written, and the work in pieces."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.chat import choose_format
from engine.checkpoints import Checkpoint, Metadata, TensorInfo, TensorType, open_checkpoint
from engine.checkpoints.bare_names import written_name
from engine.checkpoints.dequantizable import DEQUANTIZABLE
from engine.checkpoints.gguf_writer import Layout, NewTensor, lay_out
from engine.conversion.messages import Conversion
from engine.errors import EngineError, UnsupportedModelError
from engine.quantize.mixes import Mix, choose_types, find_mix

PIECE_WEIGHTS = 1 << 19
"""Weights that a thread takes at a time: with all that it needs for them, about five megabytes."""

QUANTIZATION_VERSION = 2
"""`general.quantization_version`: of the block layouts. Source: GGML_QNT_VERSION in ggml.h."""


class ConversionError(EngineError):
    """A conversion is not possible, or did not come to its end."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of a tensor, the type that they become, and where in the new file they go."""

    tensor: TensorInfo
    first: int
    count: int
    type: TensorType
    offset: int

    @property
    def n_bytes(self) -> int:
        """What the rows take in the source."""
        return self.tensor.n_bytes // self.tensor.n_rows * self.count


@dataclass(frozen=True, slots=True)
class Plan:
    """A conversion, ready to be carried out.

    sources: the files that are read, and which those were when they were opened. requantized: source types that have
    lost precision before.
    """

    sources: dict[Path, tuple[int, ...]]
    target: Path
    force: bool
    layout: Layout
    pieces: Sequence[Piece]
    n_tensors: int
    bytes_in: int
    requantized: tuple[str, ...]

    @property
    def type_pairs(self) -> set[tuple[TensorType, TensorType]]:
        """Which types become which."""
        return {(piece.tensor.type, piece.type) for piece in self.pieces}


def plan_conversion(conversion: Conversion) -> Plan:
    """Open the source and check everything. Raises EngineError."""
    mix = find_mix(conversion.type)
    checkpoint = open_checkpoint(conversion.source, conversion.base)
    sources = {file: _which(file) for file in checkpoint.files}
    target = Path(conversion.target)
    _check_target(target, checkpoint, conversion.force)
    types = choose_types(mix, checkpoint.metadata, checkpoint.tensors)
    _check_types(checkpoint, types)
    arch = checkpoint.metadata.get("general.architecture")
    names = {name: written_name(name, arch) for name in checkpoint.tensors}
    new = [NewTensor(names[name], tensor.shape, types[name]) for name, tensor in checkpoint.tensors.items()]
    layout = lay_out(new_metadata(checkpoint, mix), new)
    _check_room(target, layout.size)
    pieces = [
        piece
        for tensor in checkpoint.tensors.values()
        for piece in _pieces(tensor, types[tensor.name], layout.offsets[names[tensor.name]])
    ]
    return Plan(
        sources=sources,
        target=target,
        force=conversion.force,
        layout=layout,
        pieces=pieces,
        n_tensors=len(new),
        bytes_in=checkpoint.weights_bytes,
        requantized=_requantized(checkpoint.tensors.values(), types),
    )


def check_sources(plan: Plan) -> None:
    """Raise ConversionError where a file is no longer the one that was opened: half of each would be in the new one."""
    for file, which in plan.sources.items():
        if _which(file) != which:
            raise ConversionError(
                f"{file} changed while it was converted; nothing of the new file is left.",
                "Convert it again when nothing writes to it.",
            )


def _which(file: Path) -> tuple[int, ...]:
    """Which file is at a path, with what is in it; nothing where there is none."""
    try:
        status = file.stat()
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def new_metadata(checkpoint: Checkpoint, mix: Mix) -> Metadata:
    """The keys of the new file: those of the old one, with the new type's name, and one part instead of several."""
    kept = Metadata(checkpoint.metadata, checkpoint.metadata.path)
    for key in [key for key in kept if key.startswith("split.")]:
        del kept[key]
    kept["general.file_type"] = mix.file_type
    kept["general.quantization_version"] = QUANTIZATION_VERSION
    if name := _telling_name(kept, checkpoint.path):
        kept["general.name"] = name
    return kept


def _telling_name(metadata: Metadata, path: Path) -> str | None:
    """The file's or the folder's name, if that alone tells how to talk with the model: the new file may lose it."""
    family = choose_format(metadata, path).name
    if choose_format(metadata, "").name == family:
        return None
    names = (path.name if path.is_dir() else path.stem, path.parent.name)
    return next((name for name in names if choose_format({**metadata, "general.name": name}, "").name == family), None)


def _check_target(target: Path, checkpoint: Checkpoint, force: bool) -> None:
    # A name that no file can have is told of when the file is written.
    if not os.path.isdir(target.parent):
        raise ConversionError(f"The folder {target.parent} does not exist.", "Make it first, or write elsewhere.")
    if os.path.isdir(target):
        raise ConversionError(f"{target} is a folder.", "Name the file that is to be written.")
    if not os.path.lexists(target):
        return
    if os.path.exists(target):
        if any(os.path.exists(file) and os.path.samefile(target, file) for file in checkpoint.files):
            raise ConversionError(f"{target} is the model that is to be converted.", "Give the new file another name.")
        if not os.path.isfile(target):
            raise ConversionError(f"{target} is a device or a pipe, not a file.", "Give the new file another name.")
    if not force:
        raise ConversionError(f"{target} exists already.", "Choose another name, or overwrite it with --force.")


def _check_types(checkpoint: Checkpoint, types: dict[str, TensorType]) -> None:
    for tensor in checkpoint.tensors.values():
        if tensor.type != types[tensor.name] and tensor.type.name not in DEQUANTIZABLE:
            raise UnsupportedModelError(
                f"{checkpoint.path}: {tensor.name} is stored as {tensor.type.name}, which cannot be converted.",
                "Convert from the original model, in F16, BF16 or F32.",
            )


def _check_room(target: Path, size: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if free < size:
        raise ConversionError(
            f"The new file needs {size / 1e9:.2f} GB, but {target.parent.resolve()} has {free / 1e9:.2f} GB left.",
            "Make room on the disk, write elsewhere, or choose a smaller type.",
        )


def _requantized(tensors: Iterable[TensorInfo], types: dict[str, TensorType]) -> tuple[str, ...]:
    return tuple(sorted({t.type.name for t in tensors if not t.type.is_float and t.type != types[t.name]}))


def _pieces(tensor: TensorInfo, kind: TensorType, offset: int) -> list[Piece]:
    rows = tensor.n_rows
    weights = tensor.n_elements // rows
    step = max(1, PIECE_WEIGHTS // weights)
    row_bytes = kind.row_bytes(weights)
    return [
        Piece(tensor, first, min(step, rows - first), kind, offset + first * row_bytes)
        for first in range(0, rows, step)
    ]


def write_error(target: Path, error: OSError) -> ConversionError:
    """Why the new file could not be written, in words."""
    if isinstance(error, FileExistsError):
        return ConversionError(f"{target} exists already.", "Choose another name, or overwrite it with --force.")
    reasons = {
        errno.ENOSPC: ("the disk is full", "Make room on it, write elsewhere, or choose a smaller type."),
        errno.EDQUOT: ("your share of the disk is used up", "Delete what you do not need, or write elsewhere."),
        errno.EFBIG: ("a file may not become that large here", "Raise the limit (ulimit -f), or write elsewhere."),
        errno.EROFS: ("the disk can only be read", "Write elsewhere."),
        errno.EACCES: ("its folder may not be written to", "Change its permissions, or write elsewhere."),
    }
    why, hint = reasons.get(error.errno or 0, (error.strerror or str(error), "Write elsewhere."))
    return ConversionError(f"{target} cannot be written: {why}. Nothing of it is left.", hint)
