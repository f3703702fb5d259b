"""What in a settings file fits no setting, and where in the file it stands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from tui.language import _
from tui.setting_reasons import reason_of


def unknown_keys(table: Mapping[str, Any], struct: type[msgspec.Struct]) -> list[tuple[str, ...]]:
    """The keys, with their tables' names, that no field is for."""
    fields = {info.name: info.type for info in msgspec.structs.fields(struct)}
    unknown: list[tuple[str, ...]] = []
    for key, value in table.items():
        kind = fields.get(key)
        if kind is None:
            unknown.append((key,))
        elif isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            unknown += [(key, *rest) for rest in unknown_keys(value, kind)]
        elif isinstance(value, dict) and (named := _struct_of_entries(kind)) is not None:
            entries = [(name, entry) for name, entry in value.items() if isinstance(entry, dict)]
            unknown += [(key, name, *rest) for name, entry in entries for rest in unknown_keys(entry, named)]
    return unknown


def _struct_of_entries(kind: Any) -> type[msgspec.Struct] | None:
    """What the tables of a table like `[servers.NAME]` are."""
    entry = get_args(kind)[-1:]
    return entry[0] if entry and isinstance(entry[0], type) and issubclass(entry[0], msgspec.Struct) else None


def bad_entries(table: Any, kind: type[msgspec.Struct]) -> list[tuple[str, str]]:
    """The servers or presets with a mistake, and which.

    None is used in part: a server might be talked to without its key or its CA.
    """
    bad: list[tuple[str, str]] = []
    for name, entry in table.items() if isinstance(table, dict) else ():
        try:
            msgspec.convert(entry, kind)
        except msgspec.ValidationError as error:
            reason, keys = reason_and_keys(error, entry if isinstance(entry, dict) else {}, kind)
            bad.append((name, ": ".join([*keys, reason])))
    return bad


def reason_and_keys(
    error: msgspec.ValidationError, table: Mapping[str, Any], kind: type[msgspec.Struct]
) -> tuple[str, tuple[str, ...]]:
    """Split msgspec's "Expected `float` … - at `$.sampling.temperature`" into the reason and the keys."""
    where = str(error).partition(" - at `")[2]
    keys: list[str] = []
    inner: Any = table
    for key in re.findall(r"\w+|\[\.{3}\]|\[\d+\]", where.removeprefix("$").rstrip("`")):
        if not isinstance(inner, dict) or key not in inner:
            break
        keys.append(key)
        inner = inner[key]
    return reason_of(error, kind, keys), tuple(keys)


def drop(table: dict[str, Any], keys: tuple[str, ...]) -> None:
    """Take a setting out."""
    *parents, last = keys
    for key in parents:
        table = table[key]
    del table[last]


def at_line(text: str, keys: tuple[str, ...]) -> str:
    """Say in which line a key stands, or nothing where it is not spelled as `[table]` and `key =`."""
    current: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line):
            current = tuple(part.strip(" \"'") for part in header[1].split("."))
            found = current == keys
        else:
            name = tuple(part.strip(" \"'") for part in line.partition("=")[0].split("."))
            found = "=" in line and (*current, *name) == keys
        if found:
            return _(", line {number}", number=number)
    return ""
