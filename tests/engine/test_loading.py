"""Loading that is stopped, or fails, leaves nothing running."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine import loading
from engine.errors import EngineError
from engine.loading import load
from engine.machine_code import compilers
from engine.machine_code.functions import Function, prepare
from engine.memory import CACHE_SHARE
from engine.protocol import Load, ModelCard
from engine.reports import ReportKernels
from tests.engine import tiny_models


class StoppedError(Exception):
    """What a stop raises."""


class Idle:
    """A compiler that waits for more."""

    ended = False

    def end(self) -> None:
        self.ended = True


@pytest.mark.parametrize("stage", ["reading", "preparing", "warming"])
def test_nothing_goes_on_after_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", "llama")
    load(Load(path=str(path)), lambda *_: None).close()  # all is compiled by now: the compiler that waits has no work
    idle = Idle()
    monkeypatch.setattr(compilers, "_idle", [idle])
    before = set(threading.enumerate())

    def report(now: str, done: int, total: int, detail: str) -> None:
        if now == stage:
            raise StoppedError

    with pytest.raises(StoppedError):
        load(Load(path=str(path), threads=3), report)
    assert idle.ended
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("wish", [{"context": 10**9}, {"context": 0}, {"threads": -1}])
def test_what_is_impossible_is_refused_before_any_work(tmp_path: Path, wish: dict[str, int]) -> None:
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", "llama")
    stages: list[str] = []
    with pytest.raises(EngineError, match=r"is not possible|cannot compute"):
        load(Load(path=str(path), cache_dir=str(tmp_path / "cache"), **wish), lambda stage, *_: stages.append(stage))
    assert set(stages) == {"reading"}
    assert not (tmp_path / "cache").exists()


def test_weights_leave_no_less_room_where_they_are_kept_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", "llama", context_length=4096)

    def opened(cache_dir: str | None) -> ModelCard:
        model = load(Load(path=str(path), cache_dir=cache_dir), lambda *_: None)
        model.close()
        return model.card

    left = int(1024 * opened(None).kv_bytes_per_token / CACHE_SHARE)
    monkeypatch.setattr(loading, "available_bytes", lambda: left)
    assert opened(None).context == 1024
    # Mapped from a file, they are still counted as memory that can be had.
    mapped = opened(str(tmp_path / "cache"))
    assert 0 < mapped.weights_bytes < left
    assert mapped.context == 512


def test_a_model_file_that_goes_away_at_the_end_leaves_no_thread(tmp_path: Path) -> None:
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", "llama")
    before = set(threading.enumerate())

    def remove(stage: str, done: int, total: int, detail: str) -> None:
        if stage == "warming":
            path.unlink(missing_ok=True)

    with pytest.raises(FileNotFoundError):
        load(Load(path=str(path), cache_dir=str(tmp_path / "cache"), threads=3), remove)
    assert set(threading.enumerate()) <= before


def test_threads_that_the_system_refuses_are_told_and_none_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", "llama")
    before = set(threading.enumerate())
    start = threading.Thread.start

    def start_few(thread: threading.Thread) -> None:
        """As in a container that may have few processes."""
        if thread.name == "team-3":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_few)
    with pytest.raises(EngineError, match="refuses to start 5 threads"):
        load(Load(path=str(path), threads=5), lambda *_: None)
    assert set(threading.enumerate()) <= before


def test_what_is_compiled_in_two_rounds_is_told_as_two_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare_missing(functions: Sequence[Function], report: ReportKernels) -> None:
        report(0, 1, "one of them")
        prepare(functions, report)
        report(1, 1, "done")

    for user in ("loading", "forward.program"):
        monkeypatch.setattr(f"engine.{user}.prepare", prepare_missing)
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", "llama")
    told: list[tuple[str, int, int]] = []
    load(Load(path=str(path), threads=1), lambda stage, done, total, _: told.append((stage, done, total))).close()
    stages = [stage for stage, _ in itertools.groupby(stage for stage, _, _ in told)]
    assert stages == ["reading", "compiling", "preparing", "building", "warming"]
    for stage in stages:
        parts = [done / total for now, done, total in told if now == stage]
        assert parts == sorted(parts)


@pytest.mark.parametrize(("file", "name"), [("30B/ggml-model-q4_0.gguf", "30B"), ("30B/vicuna-q4_0.gguf", "vicuna")])
def test_what_llamacpp_called_every_model_is_called_as_its_folder(tmp_path: Path, file: str, name: str) -> None:
    path = tmp_path / file
    path.parent.mkdir()
    tiny_models.write_tiny(path, "llama")
    assert load(Load(path=str(path), vocab_only=True), lambda *_: None).card.name == name
