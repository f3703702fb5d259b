"""A model file's key-value pairs, and reading them with a check of type and range."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.errors import ModelFileError


class Metadata(dict[str, object]):
    """Key-value pairs of the file at `path`, with getters that refuse what does not fit.

    Values are int, float, bool, str, `array.array` for numbers, tuples of bool, and sequences of str.
    number_types: how a GGUF had its single numbers (its value type by key), to write them as they were.
    """

    path: Path | None
    number_types: dict[str, int]

    def __init__(self, values: Mapping[str, object] | None = None, path: Path | None = None) -> None:
        super().__init__(values or {})
        self.path = path
        self.number_types = dict(values.number_types) if isinstance(values, Metadata) else {}

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Metadata:
        """The same values with getters, unless they have them already."""
        return values if isinstance(values, cls) else cls(values)

    def error(self, message: str, hint: str | None = None) -> ModelFileError:
        """An error about this file, ready to raise."""
        where = f"{self.path}: " if self.path else ""
        return ModelFileError(where + message, hint or "The file is damaged or was written wrongly: fetch it again.")

    def integer(self, key: str, default: int | None = None, *, low: int, high: int) -> int:
        """An integer within low..high; required without a default."""
        value = self.get(key, default)
        if value is None:
            raise self._missing(key)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(f"{key} should be an integer, it is {_describe(value)}.")
        if not low <= value <= high:
            raise self.error(f"{key} is {value}, it should be between {low} and {high}.")
        return value

    def optional_integer(self, key: str, *, low: int, high: int) -> int | None:
        """An integer within low..high, None if the key is absent."""
        return self.integer(key, low=low, high=high) if key in self else None

    def real(self, key: str, default: float | None = None, *, low: float, high: float) -> float:
        """A finite number within low..high, 0 without a sign, since kernels read it; required without a default."""
        value = self.get(key, default)
        if value is None:
            raise self._missing(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.error(f"{key} should be a number, it is {_describe(value)}.")
        if not (math.isfinite(value) and low <= value <= high):
            raise self.error(f"{key} is {value}, it should be between {low:g} and {high:g}.")
        return float(value) + 0.0

    def flag(self, key: str, default: bool) -> bool:
        """A truth value."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.error(f"{key} should be true or false, it is {_describe(value)}.")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """A text; required without a default."""
        value = self.get(key, default)
        if value is None:
            raise self._missing(key)
        if not isinstance(value, str):
            raise self.error(f"{key} should be a text, it is {_describe(value)}.")
        return value

    def texts(self, key: str) -> Sequence[str]:
        """A required list of texts."""
        value = self.get(key)
        if value is None:
            raise self._missing(key)
        # What is a tuple has truth values.
        if isinstance(value, (str, bytes, array, tuple)) or not isinstance(value, Sequence):
            raise self.error(f"{key} should be a list of texts, it is {_describe(value)}.")
        return value

    def numbers(self, key: str, *, length: int, typecodes: str) -> array[Any] | None:
        """A list of numbers of this length and these `array` type codes, None if the key is absent."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, array) or value.typecode not in typecodes:
            raise self.error(f"{key} has elements of the wrong type: it is {_describe(value)}.")
        if len(value) != length:
            raise self.error(f"{key} has {len(value)} elements, it should have {length}.")
        return value

    def _missing(self, key: str) -> ModelFileError:
        return self.error(f"{key} is missing.", "This is not a whole model: fetch the file again, or another one.")


_ARRAY_NAMES = {"b": "int8", "B": "uint8", "h": "int16", "H": "uint16", "i": "int32", "I": "uint32"}
_ARRAY_NAMES |= {"q": "int64", "Q": "uint64", "f": "float32", "d": "float64"}


def _describe(value: object) -> str:
    if isinstance(value, array):
        return f"a list of {_ARRAY_NAMES.get(value.typecode, 'numbers')}"
    names = {
        bool: "true or false",
        int: "an integer",
        float: "a real number",
        str: "a text",
        tuple: "a list of truth values",
    }
    return names.get(type(value), "a list of texts")
