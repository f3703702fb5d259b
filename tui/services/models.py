"""Model files on this machine: which one to open, what there is to choose from, and fetching others."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import NEEDS_BASE, EngineError, ModelFileError
from engine.protocol import Load
from engine.remote.config import ServerConfig
from storage.held_files import unheld
from tui.bases import base_of, read_bases, remember_base
from tui.messages import FetchEnded, Post
from tui.model_choice import choose_model, model_load, remember_model
from tui.other_programs import folders_of_others
from tui.paths import Paths
from tui.services.fetching import Fetching
from tui.services.own_thread import on_own_thread
from tui.settings import Settings

if TYPE_CHECKING:
    from engine.catalog import Unreadable
    from engine.model_info import ModelInfo

    Survey = tuple[list[ModelInfo], list[Unreadable]]


STOPPING_S = 0.5
"""How long the app waits at its end for a download to clear up behind itself."""


class Models:
    """Looks on disk and fetches, on threads; posts how a download goes."""

    def __init__(self, post: Post, paths: Paths, settings: Settings) -> None:
        self._post = post
        self._paths = paths
        self._settings = settings
        self._fetching: Fetching | None = None
        self._stopped: list[Fetching] = []
        self._named: list[Path] = []

    @property
    def directories(self) -> list[Path]:
        """Where models are looked for: llm-tui's own folder, those of the settings, those named in this app."""
        return self._settings.model_directories(self._paths.models_dir) + self._named

    async def look_in(self, folder: Path) -> bool:
        """Look in a folder too, as long as this app runs; False where that is one model, or has none to choose from."""
        to_choose_from = await on_own_thread(_is_to_be_looked_in, folder)
        if to_choose_from:
            self.add_folder(folder)
        return to_choose_from

    def add_folder(self, folder: Path) -> None:
        """Look in a folder too, as long as this app runs."""
        if folder not in self._named:
            self._named.append(folder)

    async def folders_of_others(self) -> list[tuple[str, Path]]:
        """Other programs that have models on this machine, and where, but for folders that are looked in."""
        others = await on_own_thread(folders_of_others, os.environ)
        return [(name, folder) for name, folder in others if folder not in self.directories]

    @property
    def servers(self) -> dict[str, ServerConfig]:
        """Servers that can answer in the place of this machine, by name."""
        return self._settings.servers

    async def choose(self, wanted: str | None) -> Path:
        """The model to open: the one that is wanted, else the last used, else the starter. Raises ModelChoiceError."""
        return await on_own_thread(self._choose, wanted)

    def _choose(self, wanted: str | None) -> Path:
        return choose_model(wanted, self._settings, self._paths, named=self._named)

    async def has_any(self) -> bool:
        """Whether there is what looks like a model; none is opened for that, and it is known at once."""
        return await on_own_thread(self._has_any)

    def _has_any(self) -> bool:
        from engine.catalog import model_files

        return any(True for _ in model_files(self.directories))

    async def list(self) -> list[ModelInfo]:
        """The models on this machine."""
        return (await self.survey())[0]

    async def survey(self) -> Survey:
        """The models on this machine, and what could be one that does not open as it is."""
        return await on_own_thread(self._survey)

    def _survey(self) -> Survey:
        from engine.catalog import survey

        return survey(self.directories, read_bases(self._paths))

    async def needs_base(self, path: Path) -> bool:
        """Whether a file is an adapter or a difference, and nobody has named a model yet that it opens on."""
        return await on_own_thread(self._needs_base, path)

    def _needs_base(self, path: Path) -> bool:
        from engine.checkpoints import open_checkpoint, open_with_base

        base = base_of(path, self._paths)
        try:
            _refuse_database(path)
            if base is None:
                open_checkpoint(path)
            else:
                open_with_base(base, path)
        except NEEDS_BASE:
            return True
        except EngineError:
            # Another base than the one that was chosen may do.
            return base is not None
        return False

    async def check(self, path: Path) -> None:
        """Raise EngineError where a file or folder is by its beginning no model of any format."""
        await on_own_thread(_check, path)

    async def choose_base(self, adapter: Path, name: str) -> None:
        """Add the model of this name to this adapter from now on.

        Raises ModelChoiceError where there is none, EngineError where they do not go together.
        """
        await self.remember_base(adapter, await on_own_thread(self._find_base, adapter, name))

    def _find_base(self, adapter: Path, name: str) -> Path:
        from engine.checkpoints import open_with_base

        base = self._choose(name)
        open_with_base(base, adapter)
        return base

    async def remember_base(self, adapter: Path, base: Path) -> None:
        """Add this model to this adapter from now on."""
        await asyncio.to_thread(remember_base, adapter, base, self._paths)

    async def remember(self, path: Path) -> None:
        """Open this model next time too."""
        await asyncio.to_thread(remember_model, path, self._paths)

    async def load_command(self, path: Path) -> Load:
        """How the settings want a model to be opened."""
        return await on_own_thread(model_load, path.absolute(), self._settings, self._paths)

    @property
    def is_fetching(self) -> bool:
        """Whether a download is under way."""
        return self._fetching is not None and self._fetching.is_running

    def fetch(self, name: str) -> bool:
        """Begin to fetch a model: `smollm2`, a URL, or one of the hub; False while another one is being fetched."""
        name = name.strip()
        if self._fetching is not None and self._fetching.is_running:
            return self._fetching.name == name
        self._stopped = [each for each in self._stopped if each.is_alive]
        before = [each for each in self._stopped if each.name == name]
        self._fetching = Fetching(name, self._paths.models_dir, self._post, before)
        self._fetching.start()
        return True

    def stop_fetch(self) -> None:
        """Stop the download; what came is kept, and gone on with the next time."""
        if self._fetching is not None and self._fetching.is_running:
            self._fetching.stop()
            self._stopped.append(self._fetching)
            self._post(FetchEnded())

    async def close(self) -> None:
        """Stop the download for good."""
        if self._fetching is not None:
            self._fetching.stop()
            await asyncio.to_thread(self._fetching.join, STOPPING_S)


def _is_to_be_looked_in(folder: Path) -> bool:
    """Whether there are models in a folder that does not open itself, as one with a single model file does."""
    from engine.checkpoints.finding import is_model_folder, model_paths

    if is_model_folder(folder):
        return False
    found = list(islice(model_paths(folder), 2))
    return len(found) > 1 or any(path.parent != folder for path in found)


def _check(path: Path) -> None:
    from engine.checkpoints import check_kind

    _refuse_database(path)
    check_kind(path)


def _refuse_database(path: Path) -> None:
    """Raise ModelFileError for what must not be opened and closed here."""
    from engine.checkpoints.opening import CHOOSE

    with suppress(OSError), unheld(path) as may_open:
        if not may_open:
            raise ModelFileError(f"{path} is no model file that is known here.", CHOOSE)
