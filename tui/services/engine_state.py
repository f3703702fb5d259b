"""An engine as the app knows it: what it is doing, which model is wanted of it, and which is open in it."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

import msgspec

from engine.protocol import AnyEvent, Load, ModelCard
from tui.messages import EngineChanged, EnginePhase, Post

_load_numbers = count(1)

_Look = list[tuple[Path, int, int, int]]
"""Of each file of a model: its inode, size and time."""


class EngineState:
    """The phase, which is posted whenever it changes, and the model.

    is_local: whether models are opened on this machine. card: of the model that is open.
    """

    def __init__(self, post: Post) -> None:
        self._post = post
        self.phase: EnginePhase = "starting"
        self.card: ModelCard | None = None
        self.wanted: Load | None = None
        self._given_up: Load | None = None
        self._given_up_files: _Look | None = None
        self.is_local = True

    def enter(self, phase: EnginePhase, card: ModelCard | None = None, reason: str = "") -> None:
        """Be in another phase from now on. card: of the model that is open in it. reason: for the user."""
        self.phase, self.card = phase, card
        self._post(EngineChanged(phase, card, reason))

    def want(self, load: Load) -> Load:
        """Note which model is to be open; returns its Load, which can be told from the ones before."""
        self._given_up = None
        self.wanted = msgspec.structs.replace(load, request_id=f"load-{next(_load_numbers)}")
        return self.wanted

    def is_about_wanted(self, event: AnyEvent) -> bool:
        """Whether an event is about the model that is wanted, and not about one that was wanted before."""
        return self.wanted is not None and event.request_id == self.wanted.request_id

    def give_up_wanted(self) -> None:
        """It did not open. A file will not do so by itself; a server may be back in a moment, and stays wanted."""
        if self.is_local and self.wanted is not None:
            self._given_up, self._given_up_files = self.wanted, _look_of(self.wanted)
            self.wanted = None

    def want_again(self) -> None:
        """Have the one opened that did not open, where its files are others by now."""
        if self._may_open_by_now and self._given_up is not None:
            self.want(self._given_up)

    @property
    def has_asked_for_model(self) -> bool:
        """Whether there is a model that is wanted, or would be if it were tried again."""
        return self.wanted is not None or self._may_open_by_now

    @property
    def _may_open_by_now(self) -> bool:
        """Whether what did not open was put back, or mended, since."""
        given_up = self._given_up
        return self.wanted is None and given_up is not None and _look_of(given_up) != self._given_up_files

    @property
    def model_file(self) -> Path | None:
        """The file of this machine that is wanted, None where there is none or a server answers."""
        return Path(self.wanted.path) if self.wanted is not None and self.is_local else None


def _look_of(load: Load) -> _Look | None:
    """What tells the files of a model and its base from others in their place; None where some are not there."""
    from engine.checkpoints.finding import files_by_name

    try:
        models = [Path(path) for path in (load.path, load.base) if path is not None]
        stats = [(file, os.stat(file)) for path in models for file in files_by_name(path) or (path,)]
    except OSError:
        return None
    return [(file, found.st_ino, found.st_size, found.st_mtime_ns) for file, found in stats]
