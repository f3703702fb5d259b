"""What tests of several packages share: the starter model, and a home folder of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]


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
    return starter.fetch(CHECKOUT / ".cache" / "models", lambda progress: None)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty LLM_TUI_HOME, for this test and the processes that it starts."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("LLM_TUI_HOME", str(folder))
    return folder
