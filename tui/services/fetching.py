"""A model's download beside everything else: on a thread that the app does not wait for when it ends."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import EngineError
from tui.language import _
from tui.log import start_log
from tui.messages import FetchAdvanced, FetchEnded, Post
from tui.sentences import reason

if TYPE_CHECKING:
    from engine.starter import FetchProgress


POLL_S = 0.2
"""Between two looks at what has to end first."""


class _StoppedError(Exception):
    """The user does not want it any more."""


class Fetching:
    """One download. What it tells after `stop` is heard by nobody; what came until then is kept on disk.

    before: downloads of the same model that were stopped. Each holds its file until its server says something, at most
    a minute; this one waits for that.
    """

    def __init__(self, name: str, models_dir: Path, post: Post, before: Sequence[Fetching] = ()) -> None:
        self.name = name
        self._before = before
        self._models_dir = models_dir
        self._post = post
        self._ended = threading.Event()
        # A server that says nothing would hold the app up for a minute otherwise.
        self._thread = threading.Thread(target=self._run, name=f"fetch {name}", daemon=True)

    @property
    def is_running(self) -> bool:
        """Whether it is neither done nor stopped."""
        return not self._ended.is_set()

    @property
    def is_alive(self) -> bool:
        """Whether it still does something, wanted or not."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin; how it goes is posted."""
        self._thread.start()

    def stop(self) -> None:
        """Want it no more."""
        self._ended.set()

    def join(self, patience_s: float) -> None:
        """Let it end what it has begun, for so long."""
        if self._thread.is_alive():
            self._thread.join(patience_s)

    def _run(self) -> None:
        from engine.pulling import pull

        try:
            self._wait()
            self._end(FetchEnded(path=pull(self.name, self._models_dir, self._report)))
        except _StoppedError:
            return
        except EngineError as error:
            self._end(FetchEnded(error=reason(error)))
        except Exception as error:  # noqa: BLE001
            start_log().error("A download failed.", exc_info=error)
            sentence = _("This should not have happened: {name}: {error}.", name=type(error).__name__, error=error)
            self._end(FetchEnded(error=sentence))

    def _wait(self) -> None:
        for each in self._before:
            each.join(POLL_S)
            while each.is_alive:
                self._tell("ending", 0, 0, self.name.rpartition("/")[2])
                each.join(POLL_S)
        self._before = ()
        if self._ended.is_set():
            raise _StoppedError

    def _report(self, progress: FetchProgress) -> None:
        self._tell(progress.stage, progress.done, progress.total, progress.name or self.name)

    def _tell(self, stage: str, done: int, total: int, name: str) -> None:
        if self._ended.is_set():
            raise _StoppedError
        self._post(FetchAdvanced(stage, done, total, name))

    def _end(self, event: FetchEnded) -> None:
        if not self._ended.is_set():
            self._ended.set()
            self._post(event)
