"""Which model to open: the one that is named, else the last one used, else the starter model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from engine import starter
from engine.errors import ModelFileError
from engine.protocol import Load
from engine.typed_path import typed_path
from tui.bases import base_of
from tui.language import _
from tui.paths import Paths
from tui.sentences import reason
from tui.settings import Settings


class ModelChoiceError(Exception):
    """No model can be chosen; the message says why and what to do. wanted: the name that was not found, if any."""

    def __init__(self, message: str, wanted: str = "") -> None:
        super().__init__(message)
        self.wanted = wanted


def choose_model(name: str | None, settings: Settings, paths: Paths, *, named: Sequence[Path] = ()) -> Path:
    """Return the path of the model that is named; without a name the settings' default, the last used or the starter.

    Where there is none of these, it is the only one that there is.
    name: a path, or a name from the catalog. named: folders to look in besides those of the settings.
    Raises ModelChoiceError. The file is not opened.
    """
    name = name or settings.models.default
    directories = [*settings.model_directories(paths.models_dir), *named]
    if name:
        return _named(name, directories, paths)
    last = last_model(paths)
    if last is not None and os.path.exists(last):
        return last
    if starter.is_present(paths.models_dir):
        return paths.models_dir / starter.SMOLLM2.file_name
    from engine.catalog import model_files

    there = list(islice(model_files(directories), 2))
    if len(there) == 1:
        return there[0]
    if there:
        raise ModelChoiceError(
            _("There are several models, and none was opened before: name one. `llm-tui models list` names them.")
        )
    raise ModelChoiceError(
        _(
            "There is no model on this machine yet. Fetch the starter model with `llm-tui models pull smollm2` (93 MB),"
            " or name a model file."
        )
    )


def model_load(
    path: Path,
    settings: Settings,
    paths: Paths,
    *,
    threads: int | None = None,
    context: int | None = None,
    base: Path | None = None,
) -> Load:
    """Make the command that opens a model as the settings say; threads and context go before them.

    base: what an adapter is added to; None for the one that was chosen for it before.
    """
    return Load(
        path=str(path),
        threads=threads or settings.engine.threads or None,
        context=context or settings.engine.context or None,
        cache_dir=str(paths.cache_dir),
        keep_panels=settings.engine.panels == "disk",
        cache_limit_bytes=int(settings.engine.cache_limit_gb * 1e9),
        kv_type=settings.engine.kv_type,
        base=base_of(path, paths) if base is None else str(base.absolute()),
    )


def last_model(paths: Paths) -> Path | None:
    """Return the model that was opened last, which may be gone by now."""
    try:
        line = paths.last_model_file.read_text(encoding="utf-8", errors="surrogateescape").rstrip("\n")
    except OSError:
        return None
    return Path(line) if line else None


def remember_model(path: Path | str, paths: Paths) -> None:
    """Make a model the last one used. A home that cannot be written is no reason not to go on."""
    file = paths.last_model_file
    temporary = file.with_name(f"{file.name}.{os.getpid()}")
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_text(f"{Path(path).absolute()}\n", encoding="utf-8", errors="surrogateescape")
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)


def _named(name: str, directories: Sequence[Path], paths: Paths) -> Path:
    path = typed_path(name)
    # A name that is too long, or in a folder that may not be read, is no file.
    if os.path.exists(path):
        return path
    if name == starter.SMOLLM2.name and starter.is_present(paths.models_dir):
        return paths.models_dir / starter.SMOLLM2.file_name
    from engine.catalog import require_model

    try:
        return require_model(name, directories)
    except ModelFileError as error:
        raise ModelChoiceError(reason(error), wanted=name) from error
