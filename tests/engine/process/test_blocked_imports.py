"""What the engine leaves out is not there in a real process, and hashes are the same without it."""

from __future__ import annotations

import hashlib
import subprocess
import sys

PROGRAM = """
from engine.process.blocked_imports import block_imports
{before}
block_imports()
import hashlib, sys
import engine.process.serving
print(hashlib.sha256(b"weights").hexdigest(), sys.modules.get("_hashlib") is not None)
"""


def run(before: str = "") -> list[str]:
    command = [sys.executable, "-c", PROGRAM.format(before=before)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()


def test_hashes_without_openssl() -> None:
    assert run() == [hashlib.sha256(b"weights").hexdigest(), "False"]


def test_a_python_with_no_other_hashes_keeps_openssl() -> None:
    missing = "import sys; sys.modules.update(dict.fromkeys(['_sha256', '_sha2']))"
    assert run(missing) == [hashlib.sha256(b"weights").hexdigest(), "True"]
