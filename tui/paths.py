"""Where llm-tui keeps its files: the platform's own folders, or all of them under $LLM_TUI_HOME."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import platformdirs

HOME_VARIABLE = "LLM_TUI_HOME"


class NoHomeError(Exception):
    """Nobody knows where the user's home folder is; the message says what to do."""


class Paths(msgspec.Struct, frozen=True):
    """The folders and files of one user; nothing is created by naming it."""

    settings_file: Path
    data_dir: Path
    cache_dir: Path
    models_dir: Path
    log_dir: Path

    @property
    def database(self) -> Path:
        """Sessions and all that was said in them."""
        return self.data_dir / "sessions.db"

    @property
    def last_model_file(self) -> Path:
        """One line: the model that was opened last."""
        return self.data_dir / "last-model"

    @property
    def bases_file(self) -> Path:
        """The base models that were chosen for adapters."""
        return self.data_dir / "bases.json"

    @property
    def app_log(self) -> Path:
        """What the app and the commands have to say about errors, with tracebacks."""
        return self.log_dir / "llm-tui.log"

    @property
    def engine_log(self) -> Path:
        """The engine's standard error."""
        return self.log_dir / "engine.log"


def user_paths() -> Paths:
    """The paths for the environment as it is now. Raises NoHomeError."""
    home = os.environ.get(HOME_VARIABLE)
    try:
        return _under(Path(home).expanduser().absolute()) if home else _of_the_platform()
    except RuntimeError:
        raise NoHomeError(
            f"There is no home folder for {home or '~'}."
            f" Set HOME, or set {HOME_VARIABLE} to the folder to keep everything in."
        ) from None
    except FileNotFoundError:
        raise NoHomeError(
            f"The current folder is gone, and {HOME_VARIABLE} is relative to it. Change to another folder."
        ) from None


def _under(root: Path) -> Paths:
    return Paths(
        settings_file=root / "settings.toml",
        data_dir=root / "data",
        cache_dir=root / "cache",
        models_dir=root / "models",
        log_dir=root / "log",
    )


def _of_the_platform() -> Paths:
    platform = platformdirs.PlatformDirs("llm-tui", appauthor=False)
    return Paths(
        settings_file=platform.user_config_path / "settings.toml",
        data_dir=platform.user_data_path,
        cache_dir=platform.user_cache_path,
        models_dir=platform.user_data_path / "models",
        log_dir=platform.user_log_path,
    )
