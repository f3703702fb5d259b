"""Which reader a model file or folder needs: by what is in it, not by its name."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Set
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engine.checkpoints.checkpoint import Checkpoint
from engine.checkpoints.finding import BY_AUTO_GPTQ, COMPANIONS, folders_with_models, models_in
from engine.errors import DifferenceError, ModelFileError, UnsupportedModelError

if TYPE_CHECKING:
    from engine.checkpoints.lora import Adapter

    Reader = Callable[[], Checkpoint | Adapter]

HEAD_BYTES = 64

MAX_NAMED = 5
"""So many of a folder's models are named where one is to be chosen."""

CHOOSE = "Choose a model file (GGUF, ggml) or a model's folder; docs/formats.md lists what opens."

_NOT_MODELS = (
    (b"FUGG", "a GGUF file with its magic reversed"),
    (b"<!DOCTYPE", "a web page that was saved instead of the model"),
    (b"<!doctype", "a web page that was saved instead of the model"),
    (b"<html", "a web page that was saved instead of the model"),
    (b"version https://git-lfs", "a Git LFS pointer: the model itself was not downloaded"),
)
"""How other files begin that are taken for models."""

_HUGGING_FACE_WEIGHTS = re.compile(
    rf"model.*\.safetensors(\.index\.json)?|pytorch_model.*\.bin(\.index\.json)?|{BY_AUTO_GPTQ.pattern}"
)
_META_WEIGHTS = re.compile(r"consolidated\.\d\d\.pth")


def open_checkpoint(path: str | Path, base: str | Path | None = None) -> Checkpoint:
    """Read the headers of a model file or folder, whatever its format; no weight is loaded.

    base: the model that an adapter or a difference is added to; an adapter's own may be beside it. Raises
    ModelFileError for what is damaged or no model, UnsupportedModelError for formats that do not open.
    """
    if base is not None:
        return open_with_base(base, path)
    from engine.checkpoints.deltas import is_delta

    checkpoint = _open(Path(path), with_adapters=True)
    if checkpoint.path.is_dir() and is_delta(checkpoint):
        raise DifferenceError(
            f"{checkpoint.path} is a difference to another model, as Vicuna and Koala were given out, not a model.",
            "Name LLaMA with --base or in the picker, or make the model of both once: "
            "`llm-tui models convert DIFFERENCE TARGET.gguf --base LLAMA`.",
        )
    return checkpoint


def check_kind(path: str | Path) -> None:
    """Raise what open_checkpoint raises for what is by its beginning, or by the names in it, no model of any format."""
    _reader_of(Path(path))


def open_with_base(base: str | Path, addition: str | Path) -> Checkpoint:
    """A base model with what was given out to be added to it: a LoRA adapter or a difference."""
    from engine.checkpoints.deltas import with_delta
    from engine.checkpoints.lora import with_adapter

    found = _open_model_or_adapter(Path(addition))
    whole = _open(Path(base), with_adapters=False)
    return with_delta(whole, found) if isinstance(found, Checkpoint) else with_adapter(whole, found)


def files_of(path: str | Path) -> tuple[Path, ...]:
    """The files of a model, an adapter or a difference, without what others use too, like its base.

    Of a folder, also the small files beside the weights. Raises what open_checkpoint raises, but for a missing base.
    """
    found = _open_model_or_adapter(Path(path))
    files = found.own_files if isinstance(found, Checkpoint) else found.files
    if not found.path.is_dir():
        return files
    beside = sorted(found.path / name for name in _names_in(found.path) if COMPANIONS.fullmatch(name))
    return (*files, *(file for file in beside if file not in files and file.is_file()))


def _open(path: Path, *, with_adapters: bool) -> Checkpoint:
    found = _open_model_or_adapter(path)
    if isinstance(found, Checkpoint):
        return found
    if not with_adapters:
        raise UnsupportedModelError(f"{path} is an adapter, not a model.", "Choose a whole model.")
    from engine.checkpoints.adapters import find_base
    from engine.checkpoints.lora import with_adapter

    return with_adapter(_open(find_base(found), with_adapters=False), found)


def _open_model_or_adapter(path: Path) -> Checkpoint | Adapter:
    return _reader_of(path)()


def _reader_of(path: Path) -> Reader:
    head = _first_bytes(path)
    if head is None:
        return _reader_of_folder(path)
    for begins, opener in _OPENERS:
        if begins(head):
            return partial(opener, path)
    for magic, what in _NOT_MODELS:
        if head.startswith(magic):
            raise UnsupportedModelError(f"{path} is {what}.", CHOOSE)
    raise ModelFileError(f"{path} is no model file that is known here.", CHOOSE)


def _first_bytes(path: Path) -> bytes | None:
    """How a file begins, None for a folder."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            return None
        if not stat.S_ISREG(status.st_mode):
            raise ModelFileError(f"{path} is not a regular file.", CHOOSE)
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError:
        raise ModelFileError(f"{path} does not exist.", "Check the path.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelFileError(f"{path} cannot be read: {reason}.", "Check its permissions and the path.") from error
    if not head:
        raise ModelFileError(f"{path} is empty.", "Fetch the file again.")
    return head


def _names_in(folder: Path) -> Set[str]:
    try:
        return {path.name for path in folder.iterdir()}
    except OSError as error:
        raise ModelFileError(f"{folder} cannot be read: {error.strerror}.", "Check its permissions.") from error


def _reader_of_folder(folder: Path) -> Reader:
    names = _names_in(folder)
    if "adapter_config.json" in names:
        from engine.checkpoints.adapters import read_adapter_folder

        return partial(read_adapter_folder, folder)
    if "config.json" in names and any(map(_HUGGING_FACE_WEIGHTS.fullmatch, names)):
        from engine.checkpoints.huggingface import open_hugging_face

        return partial(open_hugging_face, folder)
    if "params.json" in names and any(map(_META_WEIGHTS.fullmatch, names)):
        from engine.checkpoints.meta import open_meta

        return partial(open_meta, folder)
    models = models_in(folder)
    if len(models) == 1:
        return _reader_of(folder / models[0])
    if choices := models or folders_with_models(folder):
        few = ", ".join(choices[:MAX_NAMED]) + (", …" if len(choices) > MAX_NAMED else "")
        raise UnsupportedModelError(f"{folder} is a folder with models in it: {few}.", "Choose one of them.")
    raise UnsupportedModelError(f"{folder} is a folder without a model: {_what_is_missing(names)}.", CHOOSE)


def _what_is_missing(names: Set[str]) -> str:
    if "config.json" in names:
        return "it has config.json, but no model.safetensors and no pytorch_model.bin"
    if "params.json" in names:
        return "it has params.json, but no consolidated.00.pth"
    return "it has no config.json and no params.json"


def _open_gguf(path: Path) -> Checkpoint | Adapter:
    from engine.checkpoints.gguf import open_gguf

    checkpoint = open_gguf(path)
    if checkpoint.metadata.get("general.type") != "adapter":
        return checkpoint
    from engine.checkpoints.adapters import adapter_of_gguf

    return adapter_of_gguf(checkpoint)


def _open_ggml(path: Path) -> Checkpoint:
    from engine.checkpoints.ggml import open_ggml

    return open_ggml(path)


def _open_ggla(path: Path) -> Adapter:
    from engine.checkpoints.adapters import read_ggla

    return read_ggla(path)


def _open_part_of_folder(path: Path) -> Checkpoint | Adapter:
    """A file of weights alone: what they are is said beside them."""
    if {"config.json", "params.json", "adapter_config.json"} & _names_in(path.parent):
        return _reader_of_folder(path.parent)()
    raise ModelFileError(
        f"{path} has weights only: beside it there is no config.json, params.json or adapter_config.json.",
        "Fetch the whole model into one folder and open that.",
    )


def _open_zip(path: Path) -> Checkpoint | Adapter:
    from engine.checkpoints.torch_zip import is_torch_zip

    if not is_torch_zip(path):
        raise UnsupportedModelError(f"{path} is a zip archive, but no model of PyTorch.", "Unpack it first.")
    return _open_part_of_folder(path)


def _open_pickle(path: Path) -> Checkpoint | Adapter:
    from engine.checkpoints.torch_before_zip import begins_before_zip

    if not begins_before_zip(_first_bytes(path) or b""):
        raise UnsupportedModelError(f"{path} is a pickle, but no model of PyTorch.", CHOOSE)
    return _open_part_of_folder(path)


def _begins_like_ggml(head: bytes) -> bool:
    from engine.checkpoints.ggml import MAGICS, begins_like_bare_ggml

    return head[:4] in MAGICS or begins_like_bare_ggml(head)


def _begins_like_safetensors(head: bytes) -> bool:
    from engine.checkpoints.safetensors import looks_like_safetensors

    return looks_like_safetensors(head)


_OPENERS: tuple[tuple[Callable[[bytes], bool], Callable[[Path], Checkpoint | Adapter]], ...] = (
    (lambda head: head.startswith(b"GGUF"), _open_gguf),
    (lambda head: head.startswith(b"algg"), _open_ggla),
    (lambda head: head.startswith(b"PK\x03\x04"), _open_zip),
    (lambda head: head[:1] == b"\x80" and head[1:2] in b"\2\3\4\5", _open_pickle),
    (_begins_like_safetensors, _open_part_of_folder),
    (_begins_like_ggml, _open_ggml),
)
"""How a file begins, and who reads such files."""
