"""Prepared panels: written once, mapped afterwards, never trusted when half written or foreign."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import open_checkpoint
from engine.forward.weight_loading import load_weights
from engine.new_file import part_path
from engine.panels import PanelFolder, header, store, windows
from engine.prepared_files import SUFFIX, list_prepared, make_room, prepared_name
from tests.engine.few_threads import give_threads


@pytest.fixture
def opened(write_model, tmp_path):
    checkpoint = open_checkpoint(write_model(tmp_path / "tiny.gguf", dim=40, hidden_dim=72))
    config = config_from_gguf(checkpoint.metadata, checkpoint.tensors)

    def open_panels(directory, limit_bytes=None):
        progress = []
        folder = None if directory is None else PanelFolder(directory, limit_bytes)
        weights = load_weights(checkpoint, config, folder, 2, lambda done, total: progress.append((done, total)))
        return weights.store, progress

    return open_panels


def content(panels: store.PanelStore) -> bytes:
    """All panel bytes, without the file's header."""
    start = store.ALIGNMENT if panels.path else 0
    return bytes(panels._buffer[start:])


def test_written_once_and_mapped_afterwards(opened, tmp_path):
    first, progress = opened(tmp_path / "cache")
    assert progress[-1][0] == progress[-1][1] > 0
    assert first.path is not None
    stamp = first.path.stat().st_mtime_ns
    second, progress = opened(tmp_path / "cache")
    assert progress == []
    assert second.path == first.path
    assert second.path.stat().st_mtime_ns == stamp
    assert content(first) == content(second)
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [first.path.name]


def test_memory_holds_the_same_panels(opened, tmp_path):
    on_disk, _ = opened(tmp_path / "cache")
    in_memory, _ = opened(None)
    assert in_memory.path is None
    assert content(on_disk) == content(in_memory)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux how the memory is mapped")
@pytest.mark.parametrize("n_threads", [0, 1])
def test_few_threads_or_none_pack_the_same_panels(opened, tmp_path, monkeypatch, n_threads):
    monkeypatch.setattr(windows, "WINDOW_BYTES", 10_000)
    expected = content(opened(None)[0])
    give_threads(monkeypatch, n_threads)
    panels, progress = opened(tmp_path / "cache")
    assert content(panels) == expected
    assert progress[-1][0] == progress[-1][1]


def test_panels_in_memory_can_have_large_pages(opened):
    in_memory, _ = opened(None)
    address = min(matrix.address for matrix in in_memory.matrices.values())
    mappings = (line.split() for line in Path("/proc/self/maps").read_text().splitlines())
    (found,) = (
        fields for fields in mappings if int(fields[0].split("-")[0], 16) <= address < int(fields[0].split("-")[1], 16)
    )
    assert found[1] == "rw-p"  # memory that is shared counts as a file, which has none here


@pytest.mark.parametrize("size", [512, 1000, 4096, 10_000])
def test_panels_on_the_border_of_two_windows_are_whole(opened, monkeypatch, size):
    whole, _ = opened(None)
    monkeypatch.setattr(windows, "WINDOW_BYTES", size)
    in_parts, progress = opened(None)
    assert content(in_parts) == content(whole)
    assert len(progress) == 1 + -(-len(content(whole)) // size)


@pytest.mark.parametrize("damage", ["cut", "foreign", "empty"])
def test_a_damaged_file_is_written_anew(opened, tmp_path, damage):
    whole, _ = opened(tmp_path / "cache")
    expected = content(whole)
    path = whole.path
    whole.close()
    if damage == "cut":
        os.truncate(path, path.stat().st_size - 100)
    elif damage == "foreign":
        path.write_bytes(b"x" * path.stat().st_size)
    else:
        path.write_bytes(b"")
    again, progress = opened(tmp_path / "cache")
    assert progress
    assert content(again) == expected


def lose(path, n_bytes):
    """What a power failure may do: the file is as long as it was, its end is zeros."""
    with path.open("r+b") as file:
        file.seek(-n_bytes, os.SEEK_END)
        file.write(bytes(n_bytes))


def test_what_was_lost_before_the_machine_was_started_again_is_written_anew(opened, tmp_path, monkeypatch):
    whole, _ = opened(tmp_path / "cache")
    expected = content(whole)
    lose(whole.path, 3 * store.ALIGNMENT)
    monkeypatch.setattr(header, "_BOOT", tmp_path / "next boot")
    (tmp_path / "next boot").write_text("2")
    again, progress = opened(tmp_path / "cache")
    assert progress
    assert content(again) == expected


def test_a_file_is_added_up_once_after_the_machine_was_started_again(opened, tmp_path, monkeypatch):
    opened(tmp_path / "cache")
    added_up = []
    monkeypatch.setattr(store, "total_of", lambda *of: added_up.append(1) or header.total_of(*of))
    opened(tmp_path / "cache")
    assert added_up == []
    for boot in "23":
        monkeypatch.setattr(header, "_BOOT", tmp_path / boot)
        (tmp_path / boot).write_text(boot)
        panels, progress = opened(tmp_path / "cache")
        assert all(done == total == panels.n_bytes for done, total in progress)
        assert added_up == [1]


def test_of_a_file_that_is_broken_off_nothing_stays(opened, tmp_path, monkeypatch):
    seen = []

    def interrupted(plans, start, threads, report, put):
        seen.extend((tmp_path / "cache").iterdir())
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(store, "fill", interrupted)
        with pytest.raises(KeyboardInterrupt):
            opened(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    if hasattr(os, "O_TMPFILE"):
        assert seen == [], "what a killed process leaves behind"
    assert opened(tmp_path / "cache")[1]


def test_a_full_disk_falls_back_to_memory(opened, tmp_path, monkeypatch):
    def full(descriptor, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store, "_reserve", full)
    panels, _ = opened(tmp_path / "cache")
    assert panels.path is None
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_folder_that_cannot_be_made_falls_back_to_memory(opened, tmp_path):
    (tmp_path / "file").write_text("in the way")
    panels, _ = opened(tmp_path / "file" / "cache")
    assert panels.path is None


def test_another_source_file_has_another_key(opened, tmp_path):
    first, _ = opened(tmp_path / "cache")
    os.utime(tmp_path / "tiny.gguf", ns=(1, 1))
    second, progress = opened(tmp_path / "cache")
    assert progress
    assert second.path != first.path


def test_another_model_of_the_same_size_and_time_has_another_key(opened, tmp_path):
    first, _ = opened(tmp_path / "cache")
    path = tmp_path / "tiny.gguf"
    stamp, weights = path.stat().st_mtime_ns, path.read_bytes()
    path.write_bytes(weights[:-4096] + weights[-2048:] + weights[-4096:-2048])
    os.utime(path, ns=(stamp, stamp))
    second, progress = opened(tmp_path / "cache")
    assert progress
    assert second.path != first.path


def test_what_is_removed_before_it_is_mapped_stays_in_memory(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "mark_used", lambda path: path.unlink())
    panels, _ = opened(tmp_path / "cache")
    assert panels.path is None
    assert content(panels) == content(opened(None)[0])


def test_a_model_whose_name_has_folders_is_kept_like_any_other():
    assert prepared_name("hf.co/owner/m:Q4_K_M", "0" * 64) == f"hf.co_owner_m:Q4_K_M-{'0' * 16}{SUFFIX}"


@pytest.mark.parametrize("stem", ["x" * 250, "🙂" * 60, "ü" + "🙂" * 59])
def test_names_of_any_length_have_room(stem, tmp_path):
    name = prepared_name(stem, "0" * 64)
    (tmp_path / name).touch()
    assert [stem.startswith(file.model) for file in list_prepared(tmp_path)] == [True]


def test_what_killed_engines_left_makes_room_first(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = part_path(tmp_path / "x", ended.pid)
    left.write_bytes(bytes(100))
    assert make_room(tmp_path, 10, 1000)
    assert not left.exists()


def test_what_was_used_longest_ago_makes_room(opened, tmp_path):
    cache = tmp_path / "cache"
    panels, _ = opened(cache)
    size = panels.path.stat().st_size
    panels.path.unlink()
    for name, used_s in (("old", 1_000), ("new", 2_000)):
        file = cache / f"{name}-0{SUFFIX}"
        file.write_bytes(b"x" * size)
        os.utime(file, (used_s, 3_000))
    again, _ = opened(cache, 2 * size)
    assert again.path.exists()
    assert [file.model for file in list_prepared(cache)] == ["tiny", "new"]


def test_using_a_file_makes_it_the_last_to_go(opened, tmp_path):
    panels, _ = opened(tmp_path / "cache")
    os.utime(panels.path, (1_000, 3_000))
    opened(tmp_path / "cache")
    status = panels.path.stat()
    assert status.st_atime > 1_000_000
    assert status.st_mtime == 3_000


def test_what_is_larger_than_the_limit_stays_in_memory_and_drives_nothing_out(opened, tmp_path):
    cache = tmp_path / "cache"
    panels, _ = opened(cache)
    (tmp_path / "tiny.gguf").touch()
    other, _ = opened(cache, panels.path.stat().st_size - 1)
    assert other.path is None
    assert [file.path for file in list_prepared(cache)] == [panels.path]
