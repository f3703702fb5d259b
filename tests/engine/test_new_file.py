"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from engine import new_file
from engine.new_file import NewFile, clear_parts, part_path


@pytest.fixture(params=["as the system can", "under a name", "without /proc"])
def way(request, monkeypatch):
    """The ways to keep a file that is not whole yet."""
    if request.param == "under a name":
        monkeypatch.setattr(new_file, "_NAMELESS", 0)
    if request.param == "without /proc":
        monkeypatch.setattr(new_file, "_DESCRIPTORS", Path("/nowhere"))
    return request.param


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_it_appears_when_it_is_kept(way, tmp_path):
    target = tmp_path / "model"
    with NewFile(target, replace=False) as file:
        file.write_at(3, b"def")
        file.write_at(0, memoryview(b"abc"))
        file.end_at(8)
        assert not target.exists()
        file.sync()
        file.keep()
    assert target.read_bytes() == b"abcdef\0\0"
    assert names(tmp_path) == ["model"]


def test_others_may_read_it_as_the_umask_says(way, tmp_path):
    before = os.umask(0o027)
    try:
        with NewFile(tmp_path / "model", replace=False) as file:
            file.keep()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model").stat().st_mode) == 0o640


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_when_something_happens(way, error, tmp_path):
    with pytest.raises(error), NewFile(tmp_path / "model", replace=False) as file:
        file.write_at(0, b"abc")
        raise error
    assert names(tmp_path) == []


def test_an_existing_file_is_replaced_where_asked(way, tmp_path):
    target = tmp_path / "model"
    target.write_bytes(b"old")
    with NewFile(target, replace=True) as file:
        file.write_at(0, b"new")
        assert target.read_bytes() == b"old"
        file.keep()
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["model"]


def test_a_file_that_appeared_meanwhile_is_not_overwritten(way, tmp_path):
    target = tmp_path / "model"
    with pytest.raises(FileExistsError), NewFile(target, replace=False) as file:
        target.write_bytes(b"another's")
        file.keep()
    assert target.read_bytes() == b"another's"
    assert names(tmp_path) == ["model"]


def test_a_link_is_replaced_not_what_it_leads_to(way, tmp_path):
    (tmp_path / "precious").write_bytes(b"old")
    (tmp_path / "model").symlink_to("precious")
    with NewFile(tmp_path / "model", replace=True) as file:
        file.write_at(0, b"new")
        file.keep()
    assert (tmp_path / "precious").read_bytes() == b"old"
    assert (tmp_path / "model").read_bytes() == b"new"


def test_the_unfinished_name_is_hidden_and_known(tmp_path, monkeypatch):
    monkeypatch.setattr(new_file, "_NAMELESS", 0)
    target = tmp_path / ("ü" * 120)
    with NewFile(target, replace=False):
        assert names(tmp_path) == [part_path(target, os.getpid()).name]
        assert names(tmp_path)[0].startswith(".")


def test_one_left_behind_by_a_process_of_the_same_number_is_in_nobodys_way(way, tmp_path):
    part_path(tmp_path / "model", os.getpid()).write_bytes(b"old")
    with NewFile(tmp_path / "model", replace=False) as file:
        file.write_at(0, b"new")
        file.keep()
    assert (tmp_path / "model").read_bytes() == b"new"
    assert names(tmp_path) == ["model"]


def test_what_processes_left_behind_that_are_gone_is_cleared(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for pid in (ended.pid, os.getpid(), os.getppid()):
        part_path(tmp_path / "model", pid).write_bytes(b"half")
    (tmp_path / ".llm-tui-x.part").write_bytes(b"somebody's")
    assert clear_parts(tmp_path) == 4
    assert part_path(tmp_path / "model", ended.pid).name not in names(tmp_path)
    assert len(names(tmp_path)) == 3
    assert clear_parts(tmp_path / "missing") == 0
