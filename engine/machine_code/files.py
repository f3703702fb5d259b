"""Object files on disk: under which key, and whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from engine.kernels import amx_permission

KERNELS = Path(__file__).parents[1] / "kernels"

DIGEST_BYTES = hashlib.sha256().digest_size

PROCESSOR_LINES = ("vendor_id", "cpu family", "model", "flags", "Features", "CPU implementer", "CPU part")
"""What /proc/cpuinfo says of the instructions that there are."""


def folder_name() -> str:
    """A name for what decides how kernels are compiled: sources, compiler, processor and Numba's settings."""
    digest = hashlib.sha256(platform.machine().encode())
    for source in [*_versions(), *sorted(KERNELS.glob("*.py"))]:
        digest.update(source.read_bytes())
    digest.update(f"{_processor()}\nAMX: {amx_permission.granted()}".encode())
    for name in sorted(os.environ):
        if name.startswith("NUMBA_") and name != "NUMBA_CACHE_DIR":
            digest.update(f"{name}={os.environ[name]}".encode())
    return digest.hexdigest()[:16]


def _versions() -> Iterator[Path]:
    """Files that differ from version to version of the compiler; it is not imported."""
    for name in ("numba", "llvmlite"):
        spec = find_spec(name)
        if spec is not None and spec.origin is not None:
            yield Path(spec.origin).with_name("_version.py")


def _processor() -> str:
    with contextlib.suppress(OSError):
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
        return "\n".join(line for line in first.splitlines() if line.startswith(PROCESSOR_LINES))
    return platform.platform() + platform.processor()


def write_object(path: str | Path, code: bytes) -> None:
    """Write an object file under its name when it is whole."""
    path = Path(path)
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        part.write_bytes(hashlib.sha256(code).digest() + code)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_object(path: Path) -> bytes | None:
    """An object file's content; None if it is missing or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, code = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    return code if hashlib.sha256(code).digest() == digest else None
