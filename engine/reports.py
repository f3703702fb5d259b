"""Whom work that takes a while tells how far it is; what a report raises ends the work. Imports nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.protocol import LoadStage

ReportStage = Callable[["LoadStage", int, int, str], None]
"""Called with a stage of loading, how much of it is done, how much there is (as in LoadProgress), and a detail."""

ReportKernels = Callable[[int, int, str], None]
"""Called with how many kernels are ready, how many there are, and the name of the next."""

ReportBytes = Callable[[int, int], None]
"""Called with the bytes that are done and all bytes, 0 where that is not known."""

ReportPause = Callable[[], None]
"""Called again and again during a pause that somebody else wants."""
