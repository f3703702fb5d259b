"""The models on this machine: listed, and found by what they are called."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from engine.checkpoints.finding import is_model_folder, model_name, model_paths
from engine.checkpoints.ollama import ollama_names
from engine.errors import NEEDS_BASE, EngineError, ModelFileError
from engine.model_info import ModelInfo, inspect_model
from engine.typed_path import typed_path

MAX_LISTED = 10_000
MAX_NEAR_NAMES = 3

NEAR = 0.6
"""How much alike a name must be to be suggested, from 0 to 1."""


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """A file among the models that does not open, and why; needs_base: it does so on a base model."""

    path: str
    message: str
    hint: str
    needs_base: bool = False

    @property
    def name(self) -> str:
        """Its name, as a model's."""
        return model_name(Path(self.path))


def survey(
    directories: Iterable[str | Path], bases: Mapping[str, str] | None = None
) -> tuple[list[ModelInfo], list[Unreadable]]:
    """Every model in these folders, by name, and every file that looks like one but does not open.

    bases: by the absolute paths of adapters and differences, the models that they are added to.
    """
    models: list[ModelInfo] = []
    unreadable: list[Unreadable] = []
    for path in model_files(directories):
        base = (bases or {}).get(str(path.absolute()))
        try:
            models.append(inspect_model(path, base=base))
        except (EngineError, OSError, RecursionError) as error:
            # Whatever is the matter with one file, the others are listed.
            said = _in_words(path, error)
            needs_base = base is not None or isinstance(error, NEEDS_BASE)
            unreadable.append(Unreadable(path=str(path), message=said.message, hint=said.hint, needs_base=needs_base))
    return models, unreadable


def _in_words(path: Path, error: EngineError | OSError | RecursionError) -> EngineError:
    if isinstance(error, EngineError):
        return error
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        return ModelFileError(f"{path} cannot be read: {reason}.", "Check its permissions and the path.")
    return ModelFileError(f"{path} is nested too deeply to be read.", "Choose another file.")


def find_model(name_or_path: str | Path, directories: Iterable[str | Path]) -> Path | None:
    """The model at a path, else the one of this name in the folders: with or without its ending, in any case.

    A name may have the folders before it that tell it from others. One that begins only one model's name is enough.
    None if there is no such model, or there are several.
    """
    path = typed_path(name_or_path)
    # A name that is too long, or in a folder that may not be read, is no file.
    if os.path.isfile(path) or is_model_folder(path):
        return path
    wanted = str(name_or_path).casefold()
    files = list(model_files(directories))
    if named := _named(files, wanted):
        return named[0]
    begun = [file for file in files if wanted and file.name.casefold().startswith(wanted)]
    return begun[0] if len(begun) == 1 else None


def require_model(name_or_path: str | Path, directories: Iterable[str | Path]) -> Path:
    """The model that find_model finds. Raises ModelFileError, with the names that are near."""
    folders = list(directories)
    found = find_model(name_or_path, folders)
    if found is None:
        raise _no_model(str(name_or_path), folders)
    return found


def require_only_model(name_or_path: str, directories: Iterable[str | Path]) -> Path:
    """The model at a path, else the only one of this whole name: which one is to be deleted is not guessed.

    Raises ModelFileError, with the names that are near, or the paths of all that are called so.
    """
    path = typed_path(name_or_path)
    if name_or_path and os.path.exists(path):
        return path
    folders = list(directories)
    named = _named(model_files(folders), name_or_path.casefold())
    if not named:
        raise _no_model(name_or_path, folders)
    if len(named) > 1:
        paths = ", ".join(map(str, named))
        raise ModelFileError(f"{len(named)} models are called {name_or_path}: {paths}.", "Give the path of one.")
    return named[0]


def file_names(models: Sequence[ModelInfo]) -> list[str]:
    """What to call models on a screen: their files' names, told apart; a checksum's name says nothing."""
    paths = [Path(model.path) for model in models]
    is_named = [path.suffix.lower() in (".gguf", ".bin") for path in paths]
    names = [path.name if named else model.name for named, path, model in zip(is_named, paths, models, strict=True)]
    return told_apart(names, paths)


def told_apart(names: Sequence[str], paths: Sequence[Path]) -> list[str]:
    """These names of models, each with as many of its path's folders before it as no other one has.

    llama.cpp called every model ggml-model-q4_0.bin, in a folder for each.
    """
    told = list(names)
    for depth in range(1, max((len(path.parts) for path in paths), default=0)):
        count = Counter(name.casefold() for name in told)
        alike = [at for at, name in enumerate(told) if count[name.casefold()] > 1]
        if not alike:
            break
        for at in alike:
            told[at] = _with_folders(names[at], paths[at], depth)
    return told


def _with_folders(name: str, path: Path, depth: int) -> str:
    folders = [folder for folder in path.parts[:-1] if folder != path.anchor]
    return "/".join([*folders[-depth:], name]) if depth else name


def _named(files: Iterable[Path], wanted: str) -> list[Path]:
    def names(file: Path) -> Iterator[str]:
        for name in {file.name, model_name(file), *ollama_names(file)}:
            depth = wanted.count("/") - name.count("/")
            yield _with_folders(name, file, max(0, depth)).casefold()

    return [file for file in files if wanted in names(file)]


def _no_model(name_or_path: str, folders: Iterable[str | Path]) -> ModelFileError:
    near = near_names(name_or_path, folders)
    hint = f"Did you mean {' or '.join(near)}?" if near else "`llm-tui models list` names those that are there."
    return ModelFileError(f"There is no model {name_or_path}: no such file, and no such name.", hint)


def near_names(name: str, directories: Iterable[str | Path]) -> list[str]:
    """Names of models that are much like this one or begin so, or contain it; the nearest first."""
    wanted = model_name(Path(name)).casefold()
    names = {model_name(file).casefold(): model_name(file) for file in model_files(directories)}

    def nearness(key: str) -> float:
        whole, beginning = (difflib.SequenceMatcher(None, wanted, text) for text in (key, key[: len(wanted)]))
        return 1.0 if wanted in key else max(whole.ratio(), beginning.ratio())

    near = sorted((key for key in names if wanted and nearness(key) >= NEAR), key=nearness, reverse=True)
    return [names[key] for key in near[:MAX_NEAR_NAMES]]


def model_files(directories: Iterable[str | Path]) -> Iterator[Path]:
    """What looks like a model in these folders and the folders in them, once each, by name."""
    seen: set[str] = set()
    found: list[Path] = []
    for directory in directories:
        for path in model_paths(typed_path(directory)):
            resolved = os.path.realpath(path)
            if resolved not in seen and len(found) < MAX_LISTED:
                seen.add(resolved)
                found.append(path)
    yield from sorted(found, key=lambda path: (model_name(path).casefold(), str(path)))
