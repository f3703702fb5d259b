"""Which files and folders below a folder are models: by what lies in them, before any is opened."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Set
from contextlib import suppress
from pathlib import Path

from engine.checkpoints.ollama import BLOBS, MANIFESTS, ollama_models, ollama_names

ADAPTER_CONFIG = "adapter_config.json"

UNFINISHED = ".part"
"""The ending of a folder that a model is being fetched into."""

COMPANIONS = re.compile(
    r"(config|quantize_config|hf_quant_config|adapter_config|params|generation_config|tokenizer|tokenizer_config"
    r"|special_tokens_map|added_tokens|chat_template|vocab|(model\.safetensors|pytorch_model\.bin)\.index)\.json"
    r"|tokenizer\.model|merges\.txt|(tiktoken\.model|.*\.tiktoken)|chat_template\.jinja"
)
"""The small files beside weights that say what these are and how they speak."""

BY_AUTO_GPTQ = re.compile(r"gptq_model-.*\.safetensors")
"""Weights that have the settings of their quantization in their name: the whole model, whatever lies beside it."""

SNAPSHOTS = "snapshots"
"""The folder of a repository in Hugging Face's cache that has a folder of links for each version."""

OF_ANY_MODEL = "ggml-model"
"""What llama.cpp's scripts of 2023 called every model, in a folder that had its name."""

PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE | re.DOTALL)
"""What the files of a split model are called."""

LATER_PART = re.compile(r"-(?!00001)\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)
"""How the names of a split model's files end, but for the first one's."""

_PARTS_OF_FOLDERS = re.compile(r"(consolidated\..*\.pth|.*\.safetensors|pytorch_model.*\.bin)", re.IGNORECASE)
_REPOSITORY = re.compile(r"models(?:--.+)?--(.+)")
_OLD_MAGICS = frozenset({b"lmgg", b"fmgg", b"tjgg", b"algg"})


def model_paths(directory: Path) -> Iterator[Path]:
    """Everything below a folder that looks like a model, of a split one the first part that is there.

    Folders that may not be read or are not whole yet are passed over; links to folders are not followed, so that there
    is an end.
    """
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if not name.endswith(UNFINISHED)]
        if _are_of_a_model(set(names)):
            yield Path(folder)
        if {BLOBS, MANIFESTS} <= set(folders):
            yield from ollama_models(Path(folder))
        if ADAPTER_CONFIG in names:
            folders.clear()
            continue
        there = set(names)
        for name in names:
            path = Path(folder, name)
            if is_model_file(path) and not (LATER_PART.search(name) and _has_earlier_part(name, there)):
                yield path


def model_name(path: Path) -> str:
    """A model file's name without its ending and its part number; in others' folders, what it is called there.

    That is the repository's name in Hugging Face's cache, and Ollama's own.
    """
    if named := ollama_names(path):
        return named[0]
    repository = _REPOSITORY.fullmatch(path.parent.parent.name)
    if repository is not None and path.parent.name == SNAPSHOTS:
        return repository[1]
    return re.sub(r"(-\d{5}-of-\d{5})?\.gguf$|\.bin$", "", path.name, flags=re.IGNORECASE)


def kept_by(path: Path) -> str:
    """The program in whose folder a file lies and is counted, so that it is for that program to delete; else empty."""
    if ollama_names(path):
        return "Ollama"
    hubs = (folder for folder in path.parents if folder.name == SNAPSHOTS and _REPOSITORY.fullmatch(folder.parent.name))
    return "Hugging Face" if any(hubs) else ""


def is_model_folder(path: Path) -> bool:
    """Whether a path is a folder that is a model as a whole."""
    try:
        return path.is_dir() and _are_of_a_model({child.name for child in path.iterdir()})
    except OSError:
        return False


def files_by_name(path: Path) -> tuple[Path, ...]:
    """The files of a model that need not open, as their names tell: all parts of a split one that are there.

    None of what does not look like a model. Raises OSError.
    """
    if path.is_dir():
        names = sorted(os.listdir(path))
        if not _are_of_a_model(set(names)):
            return ()
        of_it = [name for name in names if COMPANIONS.fullmatch(name) or _PARTS_OF_FOLDERS.fullmatch(name)]
        return tuple(file for name in of_it if (file := path / name).is_file())
    if not is_model_file(path):
        return ()
    if (part := PART.fullmatch(path.name)) is None:
        return (path,)
    beside = sorted(os.listdir(path.parent))
    return tuple(path.with_name(name) for name in beside if _number_of(name, part["stem"], part["count"]) is not None)


def _has_earlier_part(name: str, names: Set[str]) -> bool:
    part = PART.fullmatch(name)
    if part is None:
        return False
    numbers = (_number_of(other, part["stem"], part["count"]) for other in names)
    return any(number is not None and number < int(part["number"]) for number in numbers)


def _number_of(name: str, stem: str, count: str) -> int | None:
    """Which part of a split model a file is, None if of no such one."""
    part = PART.fullmatch(name)
    return int(part["number"]) if part is not None and (part["stem"], part["count"]) == (stem, count) else None


def _are_of_a_model(names: Set[str]) -> bool:
    """Whether weights lie together with what says what they are."""
    if ADAPTER_CONFIG in names:
        return True
    return not names.isdisjoint({"config.json", "params.json"}) and any(map(_PARTS_OF_FOLDERS.fullmatch, names))


def models_in(folder: Path) -> list[str]:
    """The names of the files in a folder that are a model each, of a split one its first part's. Raises OSError."""
    return sorted(path.name for path in folder.iterdir() if is_model_file(path) and not LATER_PART.search(path.name))


def folders_with_models(folder: Path) -> list[str]:
    """The names of the folders in a folder that are a model, or have some. Raises OSError."""
    found = []
    for path in folder.iterdir():
        with suppress(OSError):
            if path.is_dir() and (is_model_folder(path) or models_in(path)):
                found.append(path.name)
    return sorted(found)


def is_model_file(path: Path) -> bool:
    """Whether a file is a GGUF file by its name, or a ggml file by its name and its beginning."""
    suffix = path.suffix.lower()
    if suffix == ".gguf":
        return os.path.isfile(path)
    if suffix != ".bin" or not os.path.isfile(path):
        return False
    try:
        with path.open("rb") as file:
            return file.read(4) in _OLD_MAGICS
    except OSError:
        return False
