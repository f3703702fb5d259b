"""Fetch a model from the hub into the model folder: whole under its name, or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from engine.checkpoints.finding import UNFINISHED
from engine.download import check_room, download, file_name_of, sha256_of
from engine.errors import DownloadError
from engine.hub.choosing import Choice, HubFile, choose
from engine.hub.listing import GATED, Listing, list_files, refusal, url_of
from engine.hub.reference import HubReference
from engine.reports import ReportBytes, ReportPause
from engine.served import RefusedError

Announce = Callable[[Choice], None]
"""Called with what is going to be fetched, before it is."""


def fetch(
    wanted: HubReference,
    models_dir: Path,
    report: ReportBytes,
    announce: Announce = lambda choice: None,
    checking: ReportBytes = lambda done, total: None,
    pausing: ReportPause = lambda: None,
    sha256: str | None = None,
) -> Path:
    """Put the model into models_dir and return its path: a file, of a split one the first, or a folder.

    report: how much of the whole model is there; checking: how much of one file was compared with its checksum;
    pausing: the server wants to be left alone for a while. sha256: what the model's one file must have.
    Files that are there already with the hub's checksum stay. What came before an error stays too and is gone on with
    the next time. Raises DownloadError, and what `report` and `checking` raise.
    """
    listing = list_files(wanted)
    choice = choose(listing.files, wanted)
    if sha256 is not None:
        choice = _with_sum(choice, sha256.lower(), wanted)
    announce(choice)
    try:
        return _Fetch(wanted, listing, choice, _Tell(report, checking, pausing)).into(models_dir)
    except RefusedError as error:
        if error.status in (401, 403):
            # The hub tells what gated models hold, and only then who may have it.
            raise refusal(wanted, error.status, GATED) from error
        raise
    except OSError as error:
        raise DownloadError(
            f"{wanted} could not be stored in {models_dir}: {error.strerror or error}.", "Check the disk."
        ) from error


def _with_sum(choice: Choice, sha256: str, wanted: HubReference) -> Choice:
    """The choice, if it is one file that may have this checksum."""
    if choice.folder or len(choice.files) != 1:
        raise DownloadError(
            f"{wanted} is {len(choice.files)} files, and a SHA-256 is of one.",
            "Leave it out: what comes is compared with the hub's own checksums.",
        )
    file = choice.files[0]
    if file.sha256 not in ("", sha256):
        raise DownloadError(
            f"{file.name} is not the wanted file: its SHA-256 on the hub is {file.sha256}.",
            "Check the address and the checksum.",
        )
    return replace(choice, files=(replace(file, sha256=sha256),))


@dataclass(frozen=True)
class _Tell:
    """Whom to tell what."""

    report: ReportBytes
    checking: ReportBytes
    pausing: ReportPause


class _Fetch:
    """One model on its way."""

    def __init__(self, wanted: HubReference, listing: Listing, choice: Choice, tell: _Tell) -> None:
        self._wanted = wanted
        self._listing = listing
        self._choice = choice
        self._tell = tell
        self._total = sum(max(0, file.size) for file in choice.files)
        self._before = 0

    def into(self, models_dir: Path) -> Path:
        if not self._choice.folder:
            # A split model is listed by its first part: that one comes last.
            *later, first = (*self._choice.files[1:], self._choice.files[0])
            self._check_room(models_dir)
            for file in later:
                self._bring(file, models_dir, is_ours=False)
            return self._bring(first, models_dir, is_ours=False)
        target = models_dir / file_name_of(f"https://hub/{self._choice.folder}")
        if target.exists():
            if all(self._is_same(target / file.name, file) for file in self._choice.files):
                return target
            raise DownloadError(
                f"{target} is there already, and is not the same.", "Remove or rename it, or open it as it is."
            )
        unfinished = target.with_name(f"{target.name}{UNFINISHED}")
        if unfinished.exists():
            self._clear(unfinished)
        self._check_room(unfinished)
        for file in self._choice.files:
            self._bring(file, unfinished, is_ours=True)
        unfinished.replace(target)
        return target

    def _clear(self, unfinished: Path) -> None:
        """Remove what came of another commit, or of another model of the same name, and is no part of this one."""
        names = {f"{file.name}{ending}" for file in self._choice.files for ending in ("", ".part", ".part.json")}
        for path in unfinished.iterdir():
            if path.name not in names and path.is_file():
                path.unlink()

    def _check_room(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        missing = 0
        for file in self._choice.files:
            for there in (folder / file.name, folder / f"{file.name}.part"):
                if there.is_file():
                    missing -= there.stat().st_size
            missing += max(0, file.size)
        check_room(folder, max(0, missing))

    def _bring(self, file: HubFile, folder: Path, *, is_ours: bool) -> Path:
        """Fetch one file, unless it is there. is_ours: another one of its name came before, and gives way."""
        url = url_of(file, self._wanted, self._listing.commit)
        path = folder / file_name_of(url)
        if path.exists() and not self._is_same(path, file):
            if not is_ours:
                raise DownloadError(f"{path} is there already, and is another file.", "Remove or rename it first.")
            path.unlink()
        if not path.exists():

            def advanced(done: int, total: int) -> None:
                self._tell.report(self._before + done, self._total or total)

            download(
                url,
                folder,
                advanced,
                checking=self._tell.checking,
                pausing=self._tell.pausing,
                sha256=file.sha256 or None,
                headers=self._listing.headers,
            )
        self._before += max(0, file.size)
        self._tell.report(self._before, self._total)
        return path

    def _is_same(self, path: Path, file: HubFile) -> bool:
        """Whether a file is what the hub has, as far as that can be told."""
        if not path.is_file() or file.size not in (-1, path.stat().st_size):
            return False
        if file.sha256:
            return sha256_of(path, self._tell.checking) == file.sha256
        return not file.blob or _blob_of(path) == file.blob


def _blob_of(path: Path) -> str:
    """What git calls a file with this content."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
