"""Fetch a model by whatever a user calls it: the starter model's name, a file's URL, or a model of the hub."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

from engine import starter
from engine.errors import DownloadError
from engine.hub.choosing import Choice
from engine.hub.reference import PREFIX, HubReference, read_reference
from engine.starter import FetchProgress, ReportFetch

REPORT_PERIOD_S = 0.2
"""Between two reports of a download: data comes in many more pieces than anybody can see."""


def is_fetchable(name: str) -> bool:
    """Whether a text is meant for `pull`, and not a file on this machine."""
    name = name.strip().casefold()
    return name == starter.SMOLLM2.name or name.startswith((PREFIX, "http://", "https://"))


def pull(name: str, models_dir: Path, report: ReportFetch, *, sha256: str | None = None) -> Path:
    """Put a model into models_dir and return its path. sha256: what a file from a URL must have.

    What `report` raises ends the fetch; what came of a download stays for the next time. Raises DownloadError.
    """
    name = name.strip()
    if name.casefold() == starter.SMOLLM2.name:
        return starter.fetch(models_dir, report)
    reference = read_reference(name)
    if reference is not None and not _is_plain(name, sha256):
        return _pull_from_hub(reference, models_dir, report, sha256)
    if "://" in name:
        from engine.download import download, file_name_of

        steady = _Steady(report, file_name_of(name))
        return download(name, models_dir, steady.advance, checking=steady.check, pausing=steady.pause, sha256=sha256)
    raise DownloadError(
        f"There is no model {name} to fetch.",
        f"What can be: {starter.SMOLLM2.name}, the URL of a model file, or hf:OWNER/NAME of the Hugging Face hub.",
    )


def _is_plain(name: str, sha256: str | None) -> bool:
    """Whether an address of the hub is fetched as any other: it is a file's own, and nobody is needed to find it."""
    return "/resolve/" in name and (sha256 is not None or importlib.util.find_spec("huggingface_hub") is None)


def _pull_from_hub(reference: HubReference, models_dir: Path, report: ReportFetch, sha256: str | None) -> Path:
    from engine.hub import fetch

    steady = _Steady(report, reference.repo)
    report(FetchProgress("asking", 0, 0, reference.repo))

    def chosen(choice: Choice) -> None:
        steady.name = choice.folder or choice.files[0].name

    return fetch(reference, models_dir, steady.advance, chosen, steady.check, steady.pause, sha256)


class _Steady:
    """Passes reports on, but not more often than somebody can read them; the last one of a download always."""

    def __init__(self, report: ReportFetch, name: str) -> None:
        self.name = name
        self._report = report
        self._reported_s = 0.0

    def advance(self, done: int, total: int) -> None:
        self._tell(FetchProgress("downloading", done, total, self.name), always=done == total)

    def check(self, done: int, total: int) -> None:
        self._tell(FetchProgress("checking", done, total, self.name))

    def pause(self) -> None:
        self._tell(FetchProgress("pausing", 0, 0, self.name))

    def _tell(self, progress: FetchProgress, *, always: bool = False) -> None:
        now_s = time.monotonic()
        if always or now_s - self._reported_s >= REPORT_PERIOD_S:
            self._reported_s = now_s
            self._report(progress)
