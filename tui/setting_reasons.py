"""Why a setting does not fit, in words for the person who wrote it: msgspec speaks of types and structs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, get_args

import msgspec

from tui.language import N_, _

_KINDS = {
    "float": N_("a number like 0.5"),
    "int": N_("a whole number like 4"),
    "str": N_("a text in quotes"),
    "bool": N_("true or false"),
    "array": N_("a list in square brackets"),
    "object": N_("a table of its own"),
}
"""What is needed; TOML has no null, so a setting that may be left out needs what else it may be."""

_GIVEN = {
    "float": N_("a number with a fraction"),
    "int": N_("a whole number"),
    "str": N_("a text"),
    "bool": N_("true or false"),
    "array": N_("a list"),
    "object": N_("a table"),
}
"""What stands there."""

_LIMITS = {
    ">=": N_("it must be at least {limit}"),
    "<=": N_("it must be at most {limit}"),
    ">": N_("it must be more than {limit}"),
    "<": N_("it must be less than {limit}"),
}


def reason_of(error: msgspec.ValidationError, kind: Any = None, keys: Sequence[str] = ()) -> str:
    """What does not fit and what would, in the user's language, without where.

    kind, keys: the struct that the setting is in, and its way there, which tell what there is to choose from.
    """
    said = str(error).partition(" - at `")[0]
    if found := re.fullmatch(r"Expected `(.+)`, got `(\w+)`", said):
        wanted = [_(_KINDS.get(each, each)) for each in found[1].split(" | ") if each != "null"]
        given = _(_GIVEN.get(found[2], found[2]))
        return _("{wanted} is needed, not {given}", wanted=" / ".join(wanted), given=given)
    if found := re.fullmatch(r"Expected `\w+(?: \| null)?` (>=|<=|>|<) (\S+)", said):
        return _(_LIMITS[found[1]], limit=found[2])
    if found := re.fullmatch(r"Invalid enum value (.+)", said):
        choices = ", ".join(f'"{choice}"' for choice in get_args(_kind_at(kind, keys)))
        return _("{value} is none of {choices}", value=found[1].replace("'", '"'), choices=choices)
    if found := re.fullmatch(r"Object missing required field `(\w+)`", said):
        return _("{name} is missing", name=found[1])
    return said[:1].lower() + said[1:].replace("`", "")


def _kind_at(kind: Any, keys: Sequence[str]) -> Any:
    """What a setting may be; keys: its way from a struct."""
    for key in keys:
        fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
        kind = fields[key]
    return kind
