"""Fetching from a hub on loopback: resumed, checked, gated, and never half under its name."""

from __future__ import annotations

import hashlib
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from engine import download as downloading
from engine import pulling
from engine.errors import DownloadError
from engine.pulling import pull
from engine.starter import FetchProgress

CONTENT = b"GGUF" + bytes(range(256)) * 3000
SMALL = b'{"architectures": ["LlamaForCausalLM"]}'


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "PAUSE_S", 0.0)


def fetch(name: str, folder: Path, told: list[FetchProgress] | None = None, **options: Any) -> Path:
    return pull(name, folder, (lambda progress: None) if told is None else told.append, **options)


def refused(name: str, folder: Path) -> str:
    with pytest.raises(DownloadError) as caught:
        fetch(name, folder)
    return str(caught.value)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_file_arrives_with_progress(hub: Any, tmp_path: Path) -> None:
    hub.repos["o/m"] = {"README.md": b"#", "m-Q8_0.gguf": CONTENT[::-1], "m-Q4_K_M.gguf": CONTENT}
    told: list[FetchProgress] = []
    path = fetch("hf:o/m", tmp_path / "models", told)
    assert path == tmp_path / "models" / "m-Q4_K_M.gguf"
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == [path.name]
    assert told[0] == FetchProgress("asking", 0, 0, "o/m")
    assert told[-1] == FetchProgress("downloading", len(CONTENT), len(CONTENT), "m-Q4_K_M.gguf")


@pytest.mark.parametrize("form", ["{}/o/m/blob/main/m.gguf", "{}/o/m/resolve/main/m.gguf?download=true", "{}/o/m"])
def test_addresses_of_pages_are_understood(hub: Any, tmp_path: Path, form: str) -> None:
    hub.repos["o/m"] = {"m.gguf": CONTENT}
    assert fetch(form.format(hub.endpoint), tmp_path).read_bytes() == CONTENT


def test_a_broken_connection_is_gone_on_with(hub: Any, tmp_path: Path) -> None:
    hub.repos["o/m"] = {"m.gguf": CONTENT}
    hub.cut = [300_000, 100_000]
    assert fetch("hf:o/m", tmp_path).read_bytes() == CONTENT
    assert [request.range for request in hub.of("store")] == [None, "bytes=300000-", "bytes=400000-"]


def test_a_later_attempt_goes_on_even_of_another_commit_with_the_same_file(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repos["o/m"] = {"m.gguf": CONTENT}
    with monkeypatch.context() as once:
        once.setattr(downloading, "ATTEMPTS", 1)
        hub.cut = [300_000]
        assert "goes on where it was" in refused("hf:o/m", tmp_path)
    assert names(tmp_path) == ["m.gguf.part", "m.gguf.part.json"]
    hub.commit = "beef" * 10
    assert fetch("hf:o/m", tmp_path).read_bytes() == CONTENT
    assert hub.of("store")[-1].range == "bytes=300000-"
    assert names(tmp_path) == ["m.gguf"]


def test_the_hubs_checksum_decides(hub: Any, tmp_path: Path) -> None:
    hub.repos["o/m"] = {"m.gguf": CONTENT}
    hub.lies["/o/m//m.gguf"] = CONTENT[::-1]
    assert "not the wanted file" in refused("hf:o/m", tmp_path)
    assert names(tmp_path) == []


def test_a_file_that_is_there_is_not_fetched_again(hub: Any, tmp_path: Path) -> None:
    hub.repos["o/m"] = {"m.gguf": CONTENT}
    (tmp_path / "m.gguf").write_bytes(CONTENT)
    assert fetch("hf:o/m", tmp_path) == tmp_path / "m.gguf"
    assert hub.of("store") == []
    (tmp_path / "m.gguf").write_bytes(CONTENT[::-1])
    assert "is another file" in refused("hf:o/m", tmp_path)
    assert (tmp_path / "m.gguf").read_bytes() == CONTENT[::-1]


def test_checking_is_told_of_what_came_and_of_what_was_there(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "REPORT_PERIOD_S", 0.0)
    hub.repos["o/m"] = {"m.gguf": CONTENT}
    for stages in (["asking", "downloading", "checking", "downloading"], ["asking", "checking", "downloading"]):
        told: list[FetchProgress] = []
        fetch("hf:o/m", tmp_path, told)
        assert [stage for stage, _ in groupby(progress.stage for progress in told)] == stages
        assert [(p.done, p.total, p.name) for p in told if p.stage == "checking"] == [
            (len(CONTENT), len(CONTENT), "m.gguf")
        ]


def test_the_first_part_of_a_split_model_comes_last(hub: Any, tmp_path: Path) -> None:
    parts = {f"m-0000{n}-of-00003.gguf": CONTENT[n:] for n in (1, 2, 3)}
    hub.repos["o/m"] = parts
    hub.cut = [None, None, 1000, 0, 0, 0, 0, 0]
    assert "goes on where it was" in refused("hf:o/m", tmp_path)
    assert names(tmp_path) == [
        "m-00001-of-00003.gguf.part",
        "m-00001-of-00003.gguf.part.json",
        "m-00002-of-00003.gguf",
        "m-00003-of-00003.gguf",
    ]
    told: list[FetchProgress] = []
    assert fetch("hf:o/m", tmp_path, told) == tmp_path / "m-00001-of-00003.gguf"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == parts
    assert told[-1].done == told[-1].total == sum(map(len, parts.values()))


def test_a_folder_gets_its_name_when_it_is_whole(hub: Any, tmp_path: Path) -> None:
    files = {"config.json": SMALL, "tokenizer.json": b"{}", "model.safetensors": CONTENT}
    hub.repos["o/Model"] = {**files, "README.md": b"#", "pytorch_model.bin": CONTENT}
    hub.cut = [1000, 0, 0, 0, 0, 0]
    assert "goes on where it was" in refused("hf:o/Model", tmp_path)
    assert names(tmp_path) == ["Model.part"]
    path = fetch("hf:o/Model", tmp_path)
    assert path == tmp_path / "Model"
    assert names(tmp_path) == ["Model"]
    assert {file.name: file.read_bytes() for file in path.iterdir()} == files
    assert hub.of("store")[-1].range == "bytes=1000-"
    assert fetch("hf:o/Model", tmp_path) == path
    (path / "model.safetensors").write_bytes(b"short")
    assert "not the same" in refused("hf:o/Model", tmp_path)


def test_a_folder_is_of_one_commit(hub: Any, tmp_path: Path) -> None:
    weights = [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    hub.repos["o/Model"] = {"config.json": b'{"of": 1}', **dict.fromkeys(weights, CONTENT)}
    hub.cut = [None, None, 1000, 0, 0, 0, 0]
    assert "goes on where it was" in refused("hf:o/Model", tmp_path)
    assert names(tmp_path / "Model.part")[:3] == ["config.json", *weights[:2]]
    hub.commit = "beef" * 10
    files = {"config.json": b'{"of": 2}', weights[0]: CONTENT, weights[1]: CONTENT[::-1]}
    hub.repos["o/Model"] = files
    asked = len(hub.of("store"))
    path = fetch("hf:o/Model", tmp_path)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == files
    assert [request.path for request in hub.of("store")[asked:]] == [f"/o/Model//{weights[1]}"]


@pytest.mark.parametrize("changed", ["config.json", "model.safetensors"])
def test_a_folder_of_the_same_name_and_size_is_not_the_same(hub: Any, tmp_path: Path, changed: str) -> None:
    files = {"config.json": SMALL, "model.safetensors": CONTENT}
    hub.repos["o/Model"] = files
    hub.repos["other/Model"] = files | {changed: files[changed][::-1]}
    path = fetch("hf:o/Model", tmp_path)
    assert fetch("hf:o/Model", tmp_path) == path
    assert "is there already, and is not the same" in refused("hf:other/Model", tmp_path)
    assert {file.name: file.read_bytes() for file in path.iterdir()} == files


@pytest.mark.parametrize("form", ["{}/o/m/blob/main/m.gguf", "{}/o/m"])
@pytest.mark.parametrize("size", [len(CONTENT), 500])
def test_a_checksum_for_the_address_of_a_page_decides(hub: Any, tmp_path: Path, form: str, size: int) -> None:
    hub.repos["o/m"] = {"m.gguf": CONTENT[:size]}
    with pytest.raises(DownloadError, match="is not the wanted file"):
        fetch(form.format(hub.endpoint), tmp_path, sha256="0" * 64)
    assert names(tmp_path) == []
    sha256 = hashlib.sha256(CONTENT[:size]).hexdigest().upper()
    assert fetch(form.format(hub.endpoint), tmp_path, sha256=sha256).read_bytes() == CONTENT[:size]
    hub.repos["o/m"] = {"config.json": SMALL, "model.safetensors": CONTENT}
    with pytest.raises(DownloadError, match="is 2 files, and a SHA-256 is of one"):
        fetch(f"{hub.endpoint}/o/m", tmp_path, sha256=sha256)


def test_a_token_is_for_the_hub_alone(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repos["o/m"] = {"m.gguf": CONTENT}
    hub.locked["o/m"] = "hf_secret"
    assert "set HF_TOKEN" in refused("hf:o/m", tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "with your token" in refused("hf:o/m", tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert fetch("hf:o/m", tmp_path).read_bytes() == CONTENT
    assert {request.token for request in hub.of("hub")} == {"hf_secret"}
    assert {request.token for request in hub.of("store")} == {None}


def test_a_gated_model_says_what_to_do(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repos["meta/m"] = {"m.gguf": CONTENT}
    hub.gated.add("meta/m")
    for token in ("", "hf_mine"):
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        said = refused("hf:meta/m", tmp_path)
        assert "https://huggingface.co/meta/m" in said
        assert "HF_TOKEN" in said
    assert not (tmp_path / "m.gguf").exists()


def test_what_is_not_there_is_told(hub: Any, tmp_path: Path) -> None:
    hub.repos["o/m"] = {"m-Q4_0.gguf": CONTENT}
    assert "There is no model o/nothing" in refused("hf:o/nothing", tmp_path)
    assert "no file x.gguf. There is m-Q4_0.gguf" in refused("hf:o/m/x.gguf", tmp_path)
    assert "no revision v9" in refused("hf:o/m@v9", tmp_path)
    assert names(tmp_path) == []


def test_no_hub_at_all(tmp_path: Path, hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://me:secret@127.0.0.1:9")
    assert "The hub at http://127.0.0.1:9 cannot be reached" in refused("hf:o/m", tmp_path)


def test_a_proxy_that_cannot_be_used_is_told(tmp_path: Path, hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:port")
    assert "a proxy that cannot be used: Invalid port: 'port'. Check" in refused("hf:o/m", tmp_path)
    assert not hub.asked


def test_something_else_than_a_hub(tmp_path: Path, hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repos["api/models/o/m"] = {"x": b""}
    monkeypatch.setenv("HF_ENDPOINT", f"{hub.store}/o")
    hub.lies["/o/api/models/o/m"] = b"<html>hello"
    assert "does not speak the hub's language" in refused("hf:o/m", tmp_path)


def test_room_is_asked_for_once_for_all_files(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repos["o/m"] = {"config.json": SMALL, "model.safetensors": CONTENT}
    monkeypatch.setattr(downloading, "SPARE_BYTES", 1 << 60)
    assert "There is no room" in refused("hf:o/m", tmp_path)
    assert hub.of("hub") == []


def test_without_the_library_it_says_what_to_install(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repos["o/m"] = {"m.gguf": CONTENT}
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install 'llm-tui[hf]'" in refused("hf:o/m", tmp_path)


def test_the_address_of_a_file_itself_needs_no_library(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repos["o/m"] = {"m.gguf": CONTENT}
    address = f"{hub.endpoint}/o/m/resolve/main/m.gguf"
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert fetch(address, tmp_path / "checked", sha256=sha256).read_bytes() == CONTENT
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert fetch(address, tmp_path / "plain").read_bytes() == CONTENT


def test_a_report_that_raises_ends_it_and_what_came_stays(hub: Any, tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def report(progress: FetchProgress) -> None:
        if progress.done:
            raise Enough

    hub.repos["o/m"] = {"m.gguf": CONTENT}
    with pytest.raises(Enough):
        pull("hf:o/m", tmp_path, report)
    assert names(tmp_path) == ["m.gguf.part", "m.gguf.part.json"]
