"""Where the files go."""

from __future__ import annotations

from pathlib import Path

import pytest

from tui.paths import user_paths


def test_home_variable_puts_everything_under_one_folder(home: Path) -> None:
    paths = user_paths()
    named = [paths.settings_file, paths.database, paths.cache_dir, paths.models_dir, paths.app_log, paths.engine_log]
    assert [str(path.relative_to(home)) for path in named] == [
        "settings.toml",
        "data/sessions.db",
        "cache",
        "models",
        "log/llm-tui.log",
        "log/engine.log",
    ]
    assert list(home.iterdir()) == []


def test_relative_home_does_not_move_with_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLM_TUI_HOME", "here")
    assert user_paths().data_dir == tmp_path / "here" / "data"


def test_platform_folders_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLM_TUI_HOME", raising=False)
    for name in ("DATA", "CONFIG", "CACHE", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    paths = user_paths()
    assert {path.name for path in (paths.data_dir, paths.cache_dir)} == {"llm-tui"}
    assert paths.models_dir.parent == paths.data_dir
