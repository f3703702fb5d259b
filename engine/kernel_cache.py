"""Where compiled kernels are kept, so that only the first start on a machine waits for the compiler."""

from __future__ import annotations

import atexit
import fcntl
import logging
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

import platformdirs

from engine.typed_path import typed_path

log = logging.getLogger(__name__)

CHOSEN = os.environ.get("NUMBA_CACHE_DIR")
"""Where the user wants compiled kernels."""

ROOM_BYTES = 16 << 20
"""Free space that compiled kernels may need, with some to spare."""

_chosen: list[Path] = []
"""Where this process keeps compiled kernels, once that is decided."""

_temporary: dict[Path, Path] = {}
"""Folders until the end of the process, by the one that each stands in for."""

_held: list[IO[str]] = []
"""The locks of those folders; the system lets go of them when the process ends, however that is."""

_PREFIX = "llm-tui-kernels-"
_LOCK = ".in-use"

MEMORY = Path("/dev/shm")
"""A folder in memory, where the system has one."""


def use_kernel_cache(cache_dir: str | None) -> None:
    """Keep compiled kernels on disk, also where panels are not; where there is no room for them, for this time only."""
    folder = _folder(cache_dir)
    _clear_left()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free >= ROOM_BYTES and os.access(folder, os.W_OK):
            _chosen[:] = [folder]
            return
        reason = "there is no room, or it may not be written"
    except OSError as error:
        reason = str(error)
    log.warning("Compiled kernels cannot be kept in %s: %s", folder, reason)
    _chosen[:] = [_temporary_copy(folder)]


def kernel_folder() -> Path:
    """Where this process keeps compiled kernels."""
    if not _chosen:
        use_kernel_cache(None)
    return _chosen[0]


@atexit.register
def clear_temporary() -> None:
    """Remove what is only for this time; for a process that ends without Python's own farewell."""
    while _temporary:
        shutil.rmtree(_temporary.popitem()[1], ignore_errors=True)
    while _held:
        _held.pop().close()


def _folder(cache_dir: str | None) -> Path:
    home = os.environ.get("LLM_TUI_HOME")
    if CHOSEN is not None:
        return Path(CHOSEN)
    if cache_dir is not None:
        return Path(cache_dir) / "kernels"
    if home is not None:
        return typed_path(home) / "cache" / "kernels"
    return platformdirs.user_cache_path("llm-tui", appauthor=False) / "kernels"


def _temporary_copy(folder: Path) -> Path:
    """A folder until the end of the process, with the kernels that were compiled before."""
    if folder in _temporary:
        return _temporary[folder]
    temporary = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_parent()))
    _temporary[folder] = temporary
    try:
        _hold(temporary)
        shutil.copytree(folder, temporary, dirs_exist_ok=True)
    except (OSError, shutil.Error) as error:
        log.info("Not all compiled kernels could be taken over: %s", error)
    return temporary


def _parent() -> Path:
    return MEMORY if MEMORY.is_dir() else Path(tempfile.gettempdir())


def _hold(temporary: Path) -> None:
    """Say that a folder is in use as long as this process lives."""
    lock = (temporary / _LOCK).open("x", encoding="utf-8")
    _held.append(lock)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # Until then it is not taken for one that was left.
    lock.write("in use")
    lock.flush()


def _clear_left() -> None:
    """Remove the folders of processes that were killed: our own user's alone, and nothing that a link leads to."""
    for path in _parent().glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError):
            if path.parent.is_symlink() or path.parent.stat().st_uid != os.getuid():
                continue
            with open(path, encoding="utf-8", opener=_not_through_links) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if lock.read(1):
                    shutil.rmtree(path.parent, ignore_errors=True)


def _not_through_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
