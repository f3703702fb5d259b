"""Models in several files: which files belong together."""

from __future__ import annotations

from pathlib import Path

from engine.checkpoints.finding import PART
from engine.checkpoints.metadata import Metadata
from engine.errors import ModelFileError

MAX_PARTS = 99_999


def part_paths(path: Path, metadata: Metadata) -> list[Path]:
    """All files of a split GGUF in order, or the one file; `metadata` is of the part at `path`."""
    count = metadata.integer("split.count", 0, low=0, high=MAX_PARTS)
    if count <= 1:
        return [path]
    name = PART.fullmatch(path.name)
    number = metadata.integer("split.no", low=0, high=count - 1)
    if name is None or int(name["count"]) != count or int(name["number"]) != number + 1:
        raise metadata.error(
            f"this is part {number + 1} of {count}, but its name does not say so.",
            f"Name the parts as they were: NAME-{number + 1:05d}-of-{count:05d}.gguf.",
        )
    parts = [path.with_name(f"{name['stem']}-{part:05d}-of-{count:05d}.gguf") for part in range(1, count + 1)]
    for part in parts:
        if not part.is_file():
            raise ModelFileError(
                f"{path.name} is one of {count} parts, and {part} is missing.",
                "Fetch all parts of the model into one folder.",
            )
    return parts
