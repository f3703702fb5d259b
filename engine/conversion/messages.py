"""What a conversion is asked and what it tells, one message a line; imports msgspec alone."""

from __future__ import annotations

from typing import Literal

import msgspec

Stage = Literal["compiling", "converting", "saving"]


class Conversion(msgspec.Struct, frozen=True, kw_only=True):
    """What to do. type: a name of quantize.mixes. force: overwrite the target. threads: None for the physical cores.

    base: the model that the source, an adapter or a difference, is to be added to. cache_dir: where compiled kernels
    are kept; None for the engine's usual place.
    """

    source: str
    target: str
    type: str
    base: str | None = None
    force: bool = False
    threads: int | None = None
    cache_dir: str | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="message"):
    """What a conversion tells."""


class ConversionProgress(Message, frozen=True, tag="progress"):
    """How far it is: bytes of the source. bytes_per_second: over the last seconds; left_s: None while unknown."""

    stage: Stage
    done_bytes: int
    total_bytes: int
    bytes_per_second: float = 0.0
    left_s: float | None = None


class ConversionNote(Message, frozen=True, tag="note"):
    """Something that the user should know."""

    text: str


class Converted(Message, frozen=True, tag="converted"):
    """The new file is there under its name."""

    tensors: int
    bytes_in: int
    bytes_out: int
    seconds: float
    peak_rss_mb: float


class ConversionFailed(Message, frozen=True, tag="failed"):
    """It is not; nothing of it is left. hint: what the user can do."""

    text: str
    hint: str = ""


AnyMessage = ConversionProgress | ConversionNote | Converted | ConversionFailed
