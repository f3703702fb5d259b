"""What tests of several packages share: the starter model, a home folder of their own, and the command line."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
SHARED_CACHE = CHECKOUT / ".cache"


@pytest.fixture(scope="session")
def starter_model() -> Path:
    """SmolLM2-135M-Instruct: $LLM_TUI_TEST_MODEL, else the user's own copy, else fetched once into the checkout."""
    from engine import starter
    from tui.paths import user_paths

    if named := os.environ.get("LLM_TUI_TEST_MODEL"):
        return Path(named)
    own = user_paths().models_dir
    if starter.is_present(own):
        return own / starter.SMOLLM2.file_name
    return starter.fetch(SHARED_CACHE / "models", lambda progress: None)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty LLM_TUI_HOME, for this test and the processes that it starts."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("LLM_TUI_HOME", str(folder))
    return folder


@pytest.fixture
def warm_home(home: Path) -> Path:
    """The same with the checkout's own cache of kernels and panels: a real engine compiles once for all tests."""
    warm = SHARED_CACHE / "engine"
    warm.mkdir(parents=True, exist_ok=True)
    (home / "cache").symlink_to(warm, target_is_directory=True)
    return home


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


Cli = Callable[..., Ran]


@pytest.fixture
def cli(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run `llm-tui` with these arguments in this process; stdin: what is piped into it."""
    from tui.cli import run

    def call(*arguments: str | Path, stdin: str | bytes = b"") -> Ran:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
        capfdbinary.readouterr()
        code = run([str(argument) for argument in arguments])
        sys.stdout.flush()
        sys.stderr.flush()
        out, err = capfdbinary.readouterr()
        return Ran(code, out.decode(), err.decode())

    return call
