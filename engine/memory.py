"""How much memory this process may still take: the machine's, within the limits of its control groups."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import mmap
import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MEMBERSHIP = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")

CACHE_SHARE = 0.5
"""Of the memory that the weights leave free, so much may become key-value cache when nobody asked for a size."""

LEAST_CONTEXT = 512
"""Positions to provide for when memory is short: less is no conversation."""

LINUX = sys.platform == "linux"
"""Where pages can be given back by address, at once."""


def available_bytes(membership: Path = _MEMBERSHIP, cgroups: Path = _CGROUPS) -> int:
    """Bytes that can be had without swapping. A container's limit counts where it is lower than the machine's."""
    available = int(psutil.virtual_memory().available)
    return max(0, min([available, *_left_in_groups(membership, cgroups)]))


def context_that_fits(limit: int, bytes_per_token: int, free_bytes: int) -> int:
    """The positions to provide for when nobody asked for a number: the model's own limit as far as memory goes.

    bytes_per_token: of the cache, not 0. free_bytes: what the weights leave, perhaps less than nothing.
    """
    fits = int(max(0, free_bytes) * CACHE_SHARE) // bytes_per_token
    return min(limit, max(LEAST_CONTEXT, fits // LEAST_CONTEXT * LEAST_CONTEXT))


def _left_in_groups(membership: Path, cgroups: Path) -> Iterator[int]:
    for folder, limit, used in _groups(membership, cgroups):
        allowed, taken = _number(folder / limit), _number(folder / used)
        if allowed is not None and taken is not None:
            yield allowed - taken + _reclaimable(folder / "memory.stat")


def _groups(membership: Path, cgroups: Path) -> Iterator[tuple[Path, str, str]]:
    """This process's memory groups and all that these are in; with the files that have limit and use."""
    for line in _lines(membership):
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" and not controllers:
            root, files = cgroups, ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            root, files = cgroups / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        inner = PurePosixPath(path.lstrip("/"))
        for group in (inner, *inner.parents):
            yield root / group, *files


def _reclaimable(stat: Path) -> int:
    """Bytes of the file cache that count as used, but are given back when somebody needs them."""
    fields = dict(line.split(" ", 1) for line in _lines(stat) if " " in line)
    names = ("total_inactive_file", "total_active_file") if "total_inactive_file" in fields else _FILE_CACHE
    return sum(int(fields[name]) for name in names if fields.get(name, "").isdecimal())


_FILE_CACHE = ("inactive_file", "active_file")


def _number(file: Path) -> int | None:
    """The number in a file; None if there is none, or it says "max"."""
    text = "".join(_lines(file)).strip()
    return int(text) if text.isdecimal() else None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except (OSError, ValueError):
        return []


def give_memory_back() -> None:
    """Return to the system what Python and, where it can do that (glibc), the C library keep for later.

    A collection also drops the small objects that Python keeps for reuse, each of which holds a page or more.
    """
    gc.collect()
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
    _forget_files()


def _forget_files() -> None:
    """Let go of the libraries: 11 MB of them served imports and loading alone. The rest comes back as it is needed.

    Only what is as the file has it: what was written to, when addresses were filled in, is nowhere else.
    """
    with contextlib.suppress(OSError):
        for begin, end in _UNCHANGED.findall(Path("/proc/self/smaps").read_bytes()):
            _forget(int(begin, 16), int(end, 16))


_UNCHANGED = re.compile(rb"^(\w+)-(\w+) r-[x-]p \w+ \S+ [1-9].*\n(?:\w+:.*\n)*?Anonymous: +0 kB$", re.MULTILINE)
"""Private, read-only memory of a file (its inode is not 0) without pages of its own, in the lines of smaps."""


def forget(array: NDArray[Any]) -> None:
    """Give the pages of an array back that is needed no more, before its owner does; its content is lost."""
    begin = int(array.ctypes.data)
    if LINUX:
        _forget(-(-begin // mmap.PAGESIZE) * mmap.PAGESIZE, (begin + array.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE)


def _forget(begin: int, end: int) -> None:
    """Take whole pages out of this process: those of files are read again when they are needed, others are zeros."""
    if begin < end:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)
