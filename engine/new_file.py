"""A file that has its name only when it is whole: whatever happens before, nothing of it is left.

On Linux it has no name at all until then, so that not even the end of the process leaves it behind. Elsewhere it lies
beside its place under a name of its own (`part_path`), which whoever started the process can clear away.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from pathlib import Path
from typing import Self

_NAMELESS = getattr(os, "O_TMPFILE", 0)
_DESCRIPTORS = Path("/proc/self/fd")


_PART = re.compile(r"\.llm-tui-(\d{1,9})\.part")


def part_path(target: Path, pid: int) -> Path:
    """Where the process `pid` keeps the unfinished file, if it needs a name."""
    return target.with_name(f".llm-tui-{pid}.part")


def clear_parts(folder: Path) -> int:
    """Remove the unfinished files of processes that are gone; returns the bytes that they took."""
    freed = 0
    # Another process may clear up in the meantime; what cannot be removed is in nobody's way.
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            part = _PART.fullmatch(path.name)
            if part is not None and not _is_running(int(part[1])):
                with contextlib.suppress(OSError):
                    size = path.stat().st_size
                    path.unlink()
                    freed += size
    return freed


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        # Another user's.
        return True
    return True


class NewFile:
    """Used as `with NewFile(target) as file: … file.keep()`; without `keep`, nothing stays.

    replace: an existing file at the target gives way; otherwise `keep` raises FileExistsError. mode: who may do what
    with the file, as far as the process's mask lets it.
    Everything raises OSError where the system does not comply.
    """

    def __init__(self, target: Path, *, replace: bool, mode: int = 0o666) -> None:
        self.target = target
        self._replace = replace
        self._mode = mode
        self._part = part_path(target, os.getpid())
        self._nameless = False

    def __enter__(self) -> Self:
        # One of this process's number can only be from before: numbers come round again.
        self._part.unlink(missing_ok=True)
        self._descriptor = self._open()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            os.close(self._descriptor)
        with contextlib.suppress(OSError):
            self._part.unlink()

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Write all of `data` at a position; several threads may at once."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            view, offset = view[written:], offset + written

    def fileno(self) -> int:
        """The open file's descriptor, for whoever writes to it in another way."""
        return self._descriptor

    def end_at(self, size: int) -> None:
        """Make the file this long."""
        os.ftruncate(self._descriptor, size)

    def sync(self) -> None:
        """Write everything to the disk itself, so that not even a power failure leaves half a file under the name."""
        os.fsync(self._descriptor)

    def keep(self) -> None:
        """Give the file its name."""
        if self._nameless:
            _link(self._descriptor, self._part if self._replace else self.target)
        elif not self._replace and os.path.lexists(self.target):
            raise FileExistsError(f"{self.target} exists")
        if self._replace or not self._nameless:
            self._part.replace(self.target)
        self._sync_folder()

    def _open(self) -> int:
        if self._can_be_nameless():
            self._nameless = True
            return _open_nameless(self.target.parent, self._mode)
        return os.open(self._part, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, self._mode)

    def _can_be_nameless(self) -> bool:
        """Try it with an empty file: it would be a pity to learn after hours that the name cannot be given."""
        try:
            trial = _open_nameless(self.target.parent, self._mode)
        except OSError:
            return False
        try:
            _link(trial, self._part)
            self._part.unlink()
        except OSError:
            return False
        finally:
            os.close(trial)
        return True

    def _sync_folder(self) -> None:
        """Write the name to the disk, where folders can be."""
        with contextlib.suppress(OSError):
            folder = os.open(self.target.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _open_nameless(folder: Path, mode: int) -> int:
    if not _NAMELESS:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    return os.open(folder, _NAMELESS | os.O_RDWR | os.O_CLOEXEC, mode)


def _link(descriptor: int, name: Path) -> None:
    """Give an open file its first name."""
    folder = os.open(name.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Only with a folder given does Python make the call that follows /proc's link to the open file.
        os.link(_DESCRIPTORS / str(descriptor), name.name, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)
