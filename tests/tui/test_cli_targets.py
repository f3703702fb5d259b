"""Files that commands write over: what links lead to, never the links, devices or the database itself."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter

from storage import sessions
from storage.connections import open_database

Cli = Callable[..., Any]


@pytest.fixture
def database(home: Path) -> Path:
    """A database with a session in it."""
    path = home / "data" / "sessions.db"
    with closing(open_database(path)) as db:
        sessions.create_session(db, model="", system="", settings={}, title="Rivers")
    return path


def titles(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [title for (title,) in connection.execute("SELECT title FROM sessions")]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file with one matrix: enough to be converted, though it is no model."""
    path = tmp_path / "source.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_tensor("blk.0.ffn_up.weight", np.ones((4, 256), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


# Backup


@pytest.mark.parametrize("ending", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("through", ["name", "link", "hard link", "folder"])
def test_a_backup_does_not_write_over_the_database(
    cli: Cli, database: Path, tmp_path: Path, ending: str, through: str
) -> None:
    own = Path(f"{database}{ending}")
    with closing(open_database(database)) as db:
        db.conn.execute("UPDATE sessions SET title = 'Lakes'")
        target = {"name": own, "link": tmp_path / "link", "hard link": tmp_path / "hard"}.get(
            through, tmp_path / "data" / own.name
        )
        if through == "link":
            target.symlink_to(own)
        elif through == "folder":
            target.parent.symlink_to(database.parent)
        elif through == "hard link":
            if not own.exists():
                pytest.skip("there is no such file to link to")
            target.hardlink_to(own)
        before = {file.name: file.stat().st_ino for file in database.parent.iterdir()}
        ran = cli("backup", target, "--force")
        assert (ran.code, ran.err.count("\n")) == (1, 1)
        assert "belongs to the database" in ran.err
        assert {file.name: file.stat().st_ino for file in database.parent.iterdir()} == before
    assert titles(database) == ["Lakes"]


def test_a_backup_goes_where_a_link_leads(cli: Cli, database: Path, tmp_path: Path) -> None:
    real, link = tmp_path / "real.db", tmp_path / "link.db"
    link.symlink_to(real)
    for arguments in ([], ["--force"]):
        assert cli("backup", link, *arguments).code == 0
        assert link.is_symlink()
        assert titles(real) == ["Rivers"]


def test_a_backup_does_not_replace_a_pipe(cli: Cli, database: Path, tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for target in (pipe, link):
        ran = cli("backup", target, "--force")
        assert (ran.code, "device or a pipe" in ran.err) == (1, True)
    assert pipe.is_fifo()


@pytest.mark.parametrize("links", [{"a": "a"}, {"a": "b", "b": "a"}])
def test_links_that_lead_in_a_circle_are_not_replaced(
    cli: Cli, database: Path, source: Path, tmp_path: Path, links: dict[str, str]
) -> None:
    for name, aim in links.items():
        (tmp_path / name).symlink_to(aim)
    for arguments in (["backup"], ["backup", "--force"], ["models", "convert", source, "-t", "q4_0", "--force"]):
        ran = cli(*arguments, tmp_path / "a")
        assert (ran.code, ran.err.count("\n"), "leads in a circle" in ran.err) == (1, 1, True)
    assert {name: os.readlink(tmp_path / name) for name in links} == links


def test_a_backup_cannot_go_to_standard_output(
    cli: Cli, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = cli("backup", "-")
    assert (ran.code, ran.out, "standard output" in ran.err) == (2, "", True)
    assert not (tmp_path / "-").exists()
    assert cli("backup", "./-").code == 0
    assert titles(tmp_path / "-") == ["Rivers"]


def test_a_backup_needs_to_write_nothing_where_the_sessions_are(cli: Cli, database: Path, tmp_path: Path) -> None:
    """Who may not write waits for nobody who does."""
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ran = cli("backup", tmp_path / "copy.db")
    assert (ran.code, titles(tmp_path / "copy.db")) == (0, ["Rivers"]), ran.err


def test_a_backup_into_no_folder_is_told(cli: Cli, database: Path, tmp_path: Path) -> None:
    ran = cli("backup", tmp_path / "nowhere" / "copy.db")
    assert ran.code == 1
    assert ran.err == (
        f"llm-tui: {tmp_path / 'nowhere' / 'copy.db'} cannot be written: No such file or directory."
        " Check its folder, or name another file.\n"
    )


# Convert


def test_a_model_cannot_go_to_standard_output(
    cli: Cli, warm_home: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = cli("models", "convert", source, "-", "-t", "q4_0")
    assert (ran.code, ran.out, "standard output" in ran.err) == (2, "", True)
    assert not (tmp_path / "-").exists()
    assert cli("models", "convert", source, "./-", "-t", "q4_0").code == 0
    assert GGUFReader(tmp_path / "-").tensors[0].tensor_type.name == "Q4_0"


def test_a_conversion_goes_where_a_link_leads(cli: Cli, warm_home: Path, source: Path, tmp_path: Path) -> None:
    real, link = tmp_path / "real.gguf", tmp_path / "link.gguf"
    link.symlink_to(real)
    for _ in range(2):
        ran = cli("models", "convert", source, link, "-t", "q4_0", "--force", "--json")
        assert ran.code == 0, ran.err
        assert link.is_symlink()
        assert json.loads(ran.out)["bytes_out"] == real.stat().st_size
        assert GGUFReader(real).tensors[0].tensor_type.name == "Q4_0"
        real.write_bytes(b"another file")
    assert cli("models", "convert", source, link, "-t", "q4_0").code == 1


@pytest.mark.parametrize("target", ["/proc/self/fd/1", "/dev/fd/1"])
def test_a_conversion_does_not_replace_a_link_to_a_pipe(home: Path, source: Path, tmp_path: Path, target: str) -> None:
    link = tmp_path / "link"
    link.symlink_to(target)
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "tui", "models", "convert", source, link, "-t", "q4_0", "--force"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout, "device or a pipe" in ran.stderr) == (1, "", True)
    assert os.readlink(link) == target


def test_a_conversion_to_where_its_output_goes_is_that_file(home: Path, source: Path, tmp_path: Path) -> None:
    link, output = tmp_path / "link", tmp_path / "output"
    link.symlink_to("/proc/self/fd/1")
    with output.open("wb") as stdout:
        subprocess.run(
            [sys.executable, "-P", "-m", "tui", "models", "convert", source, link, "-t", "q4_0", "--force"],
            stdout=stdout,
            check=True,
        )
    assert link.is_symlink()
    assert output.read_bytes()[:4] == b"GGUF"
