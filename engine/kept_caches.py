"""Key-value caches on disk, a file a session: who comes back to a session does not wait for it to be read again.

A file holds the tokens and, bit for bit, what the cache held for them, so an answer that goes on from it is the same.
It is only taken for the same model file in the same cache layout, and if its sum is right: the system may have lost
parts of a file when the power failed. The oldest files go when all take too much room.
A session that is deleted is forgotten by the app, while an engine may still hold its cache in memory: an empty file
beside its place tells every engine not to write it again.
Importing this costs nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from engine.new_file import NewFile, clear_parts
from engine.shared_prefix import LEAST_GAIN_TOKENS, common_prefix_length

if TYPE_CHECKING:
    from engine.checkpoints import Checkpoint
    from engine.forward.text_memory import TextMemory

log = logging.getLogger(__name__)

KEPT = "sessions"
"""The folder of the files, in the cache directory."""

MAGIC = b"llm-tui kept cache 2\n"
HEADER_BYTES = 4096
LEAST_TOKENS = 256
"""Shorter sessions are read faster than a file is worth."""

LIMIT_BYTES = 4 << 30
"""All files together; the oldest are removed beyond."""

FORGOTTEN_S = 24 * 3600.0
"""For so long engines are told that a session is forgotten; they write a cache about a second after the answer."""


def kept_file(directory: Path, key: str) -> Path:
    """Where the cache of a session lies; its id does not show in the name."""
    return directory / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.kv"


def forget(directory: Path, key: str) -> None:
    """Remove what is kept of a session, and have no engine keep it any more."""
    path = kept_file(directory, key)
    # On a full disk there may be no room for the mark, but for no cache either.
    with contextlib.suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        _mark(path).touch(mode=0o600)
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        _remove_old_marks(directory)


def _mark(path: Path) -> Path:
    """The file that says that a session's cache is not to be kept."""
    return path.with_suffix(".forgotten")


def _remove_old_marks(directory: Path) -> None:
    limit = time.time() - FORGOTTEN_S
    for mark in directory.glob(_mark(Path("*")).name):
        if mark.stat().st_mtime < limit:
            mark.unlink(missing_ok=True)


def fingerprint(checkpoint: Checkpoint, layout: str) -> str:
    """What a kept cache is good for: these model files as they are now, in this layout of the cache."""
    from engine.checkpoints.identity import identity

    return hashlib.sha256(layout.encode() + identity(checkpoint.files)).hexdigest()


class KeptCaches:
    """The files of one model, and which session its cache in memory belongs to."""

    def __init__(self, directory: Path, model: str, memory: TextMemory, limit_bytes: int = LIMIT_BYTES) -> None:
        self._directory, self._model, self._memory, self._limit_bytes = directory, model, memory, limit_bytes
        self._key = ""
        self._kept_ids: list[int] = []

    def enter(self, key: str, ids: Sequence[int], held: list[int]) -> None:
        """Begin to read `ids` for a session: take its file if that spares more than what the cache holds.

        held: the tokens in the cache; changed along with it.
        """
        if key != self._key:
            self.keep(held)
            self._key, self._kept_ids = key, []
        if not key:
            return
        with contextlib.suppress(OSError), kept_file(self._directory, key).open("rb") as file:
            kept, n_states, total = self._read_head(file)
            if len(kept) > self._memory.max_seq_len:
                return
            offset, shared = file.tell(), common_prefix_length(kept, ids)
            spared = self._memory.saved_reach(file, offset, len(kept), n_states, shared)
            if spared >= self._memory.reach(common_prefix_length(held, ids)) + LEAST_GAIN_TOKENS:
                held.clear()
                if not self._memory.restore(file, offset, kept, n_states, total):
                    log.warning("A kept cache is damaged; the session is read anew.")
                    return
                held[:] = kept
                self._kept_ids = list(kept)
                os.utime(file.name)

    def keep(self, held: Sequence[int]) -> None:
        """Write the session's cache, unless that or more of it is written already, it is too short or forgotten.

        A full disk, or no memory for a copy, is no error.
        """
        if not self._key or len(held) < LEAST_TOKENS or list(held) == self._kept_ids[: len(held)]:
            return
        states = self._memory.worth_saving()
        if states is None:
            return
        path = kept_file(self._directory, self._key)
        if _mark(path).exists():
            return
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            with NewFile(path, replace=True, mode=0o600) as new:
                with open(new.fileno(), "wb", closefd=False) as file:
                    file.seek(HEADER_BYTES)
                    file.write(array("i", held).tobytes())
                    total = self._memory.save(file, len(held), states)
                    file.seek(0)
                    file.write(self._header(len(held), len(states), total))
                new.keep()
            if _mark(path).exists():
                # It was forgotten while it was written.
                path.unlink(missing_ok=True)
                return
            self._kept_ids = list(held)
            self._make_room(path)
        except (OSError, MemoryError) as error:
            log.warning("The cache of a session could not be kept: %r", error)

    def _header(self, n_tokens: int, n_states: int, total: int) -> bytes:
        head = json.dumps({"model": self._model, "n_tokens": n_tokens, "n_states": n_states, "sum": total})
        return (MAGIC + head.encode()).ljust(HEADER_BYTES)

    def _read_head(self, file: BinaryIO) -> tuple[list[int], int, int]:
        """The tokens of a file of this model, the states and the sum of what follows; none of any other file."""
        header = file.read(HEADER_BYTES)
        with contextlib.suppress(ValueError, KeyError, TypeError, OverflowError, RecursionError):
            head = json.loads(header.removeprefix(MAGIC)) if header.startswith(MAGIC) else {}
            n_tokens, n_states = int(head["n_tokens"]), int(head["n_states"])
            whole = HEADER_BYTES + 4 * n_tokens + self._memory.saved_bytes(n_tokens, n_states)
            if head["model"] == self._model and n_states >= 0 and os.fstat(file.fileno()).st_size == whole:
                return array("i", file.read(4 * n_tokens)).tolist(), n_states, int(head["sum"])
        return [], 0, 0

    def _make_room(self, newest: Path) -> None:
        clear_parts(self._directory)
        files = sorted(self._directory.glob("*.kv"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
        room = self._limit_bytes - newest.stat().st_size
        for file in files:
            if file == newest:
                continue
            room -= file.stat().st_size
            if room < 0:
                file.unlink(missing_ok=True)
