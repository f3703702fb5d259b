"""Model files on this machine: which one to open, what there is to choose from, and the starter model's download."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import DownloadError
from engine.protocol import Load
from engine.remote.config import ServerConfig
from tui.messages import StarterAdvanced, StarterEnded
from tui.model_choice import choose_model, model_load, remember_model
from tui.paths import Paths
from tui.services.engine_session import Post
from tui.settings import Settings

if TYPE_CHECKING:
    from engine.catalog import ModelInfo


class Models:
    """Looks on disk and fetches, on threads; posts how a download goes."""

    def __init__(self, post: Post, paths: Paths, settings: Settings) -> None:
        self._post = post
        self._paths = paths
        self._settings = settings
        self._fetching = False

    @property
    def directories(self) -> list[Path]:
        """Where models are looked for."""
        return self._settings.model_directories(self._paths.models_dir)

    @property
    def servers(self) -> dict[str, ServerConfig]:
        """Servers that can answer in the place of this machine, by name."""
        return self._settings.servers

    async def choose(self, wanted: str | None) -> Path:
        """The model to open: the one that is wanted, else the last used, else the starter. Raises ModelChoiceError."""
        return await asyncio.to_thread(choose_model, wanted, self._settings, self._paths)

    async def list(self) -> list[ModelInfo]:
        """The models on this machine."""
        from engine.catalog import list_models

        return await asyncio.to_thread(list_models, self.directories)

    async def remember(self, path: Path) -> None:
        """Open this model next time too."""
        await asyncio.to_thread(remember_model, path, self._paths)

    def load_command(self, path: Path) -> Load:
        """How the settings want a model to be opened."""
        return model_load(path.absolute(), self._settings, self._paths)

    async def fetch_starter(self) -> Path | None:
        """Download the starter model; None when that failed, which is posted, or is under way already."""
        if self._fetching:
            return None
        self._fetching = True
        try:
            path = await asyncio.to_thread(self._fetch)
        except DownloadError as error:
            self._post(StarterEnded(str(error)))
            return None
        finally:
            self._fetching = False
        self._post(StarterEnded())
        return path

    def _fetch(self) -> Path:
        from engine.starter import FetchProgress, fetch

        def report(progress: FetchProgress) -> None:
            self._post(StarterAdvanced(progress.stage, progress.done, progress.total))

        return fetch(self._paths.models_dir, report)
