"""The virtual environment with llama.cpp, apart from the project's own."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

PEER_REQUIREMENT = "xllamacpp==2026.10.11549"
CACHE = Path(__file__).parents[1] / ".cache"


def peer_python() -> Path:
    """Make the environment with llama.cpp once, and return its Python."""
    folder = CACHE / "peer"
    python = folder / "bin" / "python"
    marker = folder / PEER_REQUIREMENT
    if not marker.exists():
        print(f"Installing {PEER_REQUIREMENT} into {folder} …", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", PEER_REQUIREMENT], check=True
        )
        marker.touch()
    return python
