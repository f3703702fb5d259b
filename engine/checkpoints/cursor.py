"""A position in a mapped file of little-endian numbers and texts; every read is checked against the file's end."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import ModelFileError

DAMAGED = "The file is damaged or was cut off: fetch it again."

_INT32 = struct.Struct("<i")
_FLOAT32 = struct.Struct("<f")


class Cursor:
    """Reads the file at `path` from `at` on."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self.data = data
        self.path = path
        self.size = len(data)
        self.at = 0

    def error(self, message: str, hint: str = DAMAGED) -> ModelFileError:
        """An error about this file, ready to raise."""
        return ModelFileError(f"{self.path}: {message}", hint)

    def ends_early(self, message: str) -> ModelFileError:
        """An error about what has no room in this file, ready to raise."""
        error = self.error(message)
        error.ends_early = True
        return error

    def need(self, n_bytes: int, what: str) -> None:
        """Raise ModelFileError unless so many bytes are left."""
        if n_bytes > self.size - self.at:
            raise self.ends_early(
                f"{what} needs {n_bytes} bytes at position {self.at}, but the file ends after {self.size} bytes."
            )

    def integer(self, what: str, low: int, high: int) -> int:
        """A 32-bit signed number within low..high."""
        self.need(4, what)
        value: int = _INT32.unpack_from(self.data, self.at)[0]
        if not low <= value <= high:
            raise self.error(f"{what} is {value}, it should be between {low} and {high}.")
        self.at += 4
        return value

    def real(self, what: str) -> float:
        """A 32-bit floating-point number."""
        self.need(4, what)
        value: float = _FLOAT32.unpack_from(self.data, self.at)[0]
        self.at += 4
        return value

    def raw(self, n_bytes: int, what: str) -> bytes:
        """Bytes as they are."""
        self.need(n_bytes, what)
        self.at += n_bytes
        return self.data[self.at - n_bytes : self.at]

    def align(self, alignment: int) -> None:
        """Go on to the next multiple."""
        self.at = -(-self.at // alignment) * alignment


@contextmanager
def open_cursor(path: Path) -> Iterator[Cursor]:
    """A cursor at the beginning of a file. Raises ModelFileError if it cannot be read."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield Cursor(data, path)
    except FileNotFoundError:
        raise ModelFileError(f"{path} does not exist.", "Fetch all files of the model into one folder.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelFileError(f"{path} cannot be read: {reason}.", "Fetch the file again.") from error
