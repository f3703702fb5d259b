"""Which base model an adapter or a difference is added to: as the user once said, for the next time too."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from tui.paths import Paths

MAX_REMEMBERED = 500
"""What was said longest ago is forgotten beyond this."""


def read_bases(paths: Paths) -> dict[str, str]:
    """By the absolute path of an adapter, the path of its base; those that are gone are left out."""
    return {adapter: base for adapter, base in _remembered(paths).items() if os.path.exists(base)}


def base_of(adapter: Path, paths: Paths) -> str | None:
    """The base that was chosen for an adapter, None where none was or it is gone. No other base is looked for."""
    base = _remembered(paths).get(str(adapter.absolute()))
    return base if base is not None and os.path.exists(base) else None


def _remembered(paths: Paths) -> dict[str, str]:
    try:
        return msgspec.json.decode(paths.bases_file.read_bytes(), type=dict[str, str])
    except (OSError, msgspec.MsgspecError):
        return {}


def remember_base(adapter: Path, base: Path, paths: Paths) -> None:
    """Add this base to this adapter from now on. A home that cannot be written is no reason not to go on."""
    bases = _remembered(paths)
    if bases.get(str(adapter.absolute())) == str(base.absolute()):
        return
    bases.pop(str(adapter.absolute()), None)
    bases[str(adapter.absolute())] = str(base.absolute())
    kept = dict(list(bases.items())[-MAX_REMEMBERED:])
    file = paths.bases_file
    temporary = file.with_name(f"{file.name}.{os.getpid()}")
    # A path that is no UTF-8 cannot be kept either.
    with suppress(OSError, UnicodeEncodeError):
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(msgspec.json.encode(kept))
        temporary.replace(file)
