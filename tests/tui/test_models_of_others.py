"""The folders of other programs: offered in the picker, named as they name what is in there, and left to them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from textual.widgets import OptionList

from engine.protocol import Load
from tests.engine.tiny_models import write_tiny
from tui.other_programs import folders_of_others
from tui.screens.model_picker import ModelPickerScreen

if TYPE_CHECKING:
    from tests.tui.conftest import Stage


def put_into_ollama(models: Path, name: str, tag: str = "latest", where: str = "registry.ollama.ai/library") -> Path:
    """A model as `ollama pull` leaves it; the file."""
    (models / "blobs").mkdir(parents=True, exist_ok=True)
    fetched = write_tiny(models / "blobs" / "fetched", "llama", seed=len(name))
    digest = hashlib.sha256(fetched.read_bytes()).hexdigest()
    blob = fetched.rename(models / "blobs" / f"sha256-{digest}")
    layers = [{"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}"}]
    manifest = models / "manifests" / where / name / tag
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    return blob


def put_into_hub(hub: Path) -> Path:
    """A GGUF file as Hugging Face's own programs leave it; the link."""
    repository = hub / "models--owner--Some-Model-GGUF"
    (repository / "blobs").mkdir(parents=True)
    folder = repository / "snapshots" / ("c0ffee" * 6)
    folder.mkdir(parents=True)
    blob = write_tiny(repository / "blobs" / "abc", "llama")
    link = folder / "Some-Model-F32.gguf"
    link.symlink_to(blob)
    return link


def test_folders_that_have_models_are_found_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folders_of_others({}) == []
    put_into_ollama(tmp_path / ".ollama" / "models", "llama3.2")
    put_into_hub(tmp_path / "elsewhere" / "hub")
    (tmp_path / ".cache" / "llama.cpp").mkdir(parents=True)
    studio = tmp_path / ".lmstudio" / "models" / "publisher" / "Repository"
    studio.mkdir(parents=True)
    write_tiny(studio / "model.gguf", "llama")
    assert folders_of_others({"HF_HOME": str(tmp_path / "elsewhere")}) == [
        ("Ollama", tmp_path / ".ollama" / "models"),
        ("LM Studio", tmp_path / ".lmstudio" / "models"),
        ("Hugging Face", tmp_path / "elsewhere" / "hub"),
    ]


async def test_the_picker_looks_there_when_asked_and_opens_what_is_chosen(stage: Stage) -> None:
    blob = put_into_ollama(stage.home / ".ollama" / "models", "llama3.2")
    async with stage.ready() as play:
        await play.press("f4")
        await play.until_shown("Models of Ollama")
        await play.until_shown("enter looks in ~/.ollama/models")
        assert "llama3.2" not in play.text()
        await play.press("enter")
        await play.until_shown("llama3.2")
        await play.until(lambda: isinstance(play.app.focused, OptionList) and play.app.focused.highlighted == 0)
        assert "Models of Ollama" not in play.text()
        await play.press("enter")
        await play.until(lambda: stage.heard(Load)[-1].path == str(blob))


async def test_models_of_one_name_are_told_apart_by_their_folders(stage: Stage) -> None:
    shelf = stage.home / "llama.cpp" / "models"
    for size in ("7B", "13B"):
        (shelf / size).mkdir(parents=True)
        write_tiny(shelf / size / "ggml-model-q4_0.gguf", "llama")
    link = put_into_hub(shelf / "hub")
    async with stage.ready() as play:
        await play.press("f4")
        await play.until(lambda: isinstance(play.app.screen, ModelPickerScreen))
        await play.press("end", *str(shelf), "enter")
        await play.until_shown("7B/ggml-model-q4_0.gguf")
        for name in ("13B/ggml-model-q4_0.gguf", "  Some-Model-F32.gguf"):
            assert name in play.text()
        await play.press("escape")
        await play.press(*"/model 7B/ggml-model-q4_0", "enter")
        await play.until(lambda: stage.heard(Load)[-1].path == str(shelf / "7B" / "ggml-model-q4_0.gguf"))
        await play.press(*"/model Some-Model-F32.gguf", "enter")
        await play.until(lambda: stage.heard(Load)[-1].path == str(link))


async def test_a_folder_whose_only_model_lies_deeper_is_looked_through(stage: Stage) -> None:
    deeper = stage.home / "studio" / "publisher" / "Repository"
    deeper.mkdir(parents=True)
    write_tiny(deeper / "Only-Q4_0.gguf", "llama")
    async with stage.running(model=str(stage.home / "studio")) as play:
        await play.until(lambda: isinstance(play.app.screen, ModelPickerScreen))
        await play.until_shown("Only-Q4_0.gguf")


def test_what_others_keep_is_left_to_them(cli: Any, home: Path) -> None:
    blob = put_into_ollama(home / "models" / "theirs", "llama3.2")
    link = put_into_hub(home / "models" / "hub")
    ran = cli("models", "remove", "llama3.2", "--yes")
    assert ran.code == 1
    assert "is kept by Ollama" in ran.err
    assert "`ollama rm llama3.2`" in ran.err
    ran = cli("models", "remove", "Some-Model-F32", "--yes")
    assert ran.code == 1
    assert "is kept by Hugging Face" in ran.err
    assert blob.exists()
    assert link.exists()


def test_the_list_tells_models_of_one_name_apart(cli: Any, home: Path) -> None:
    for size in ("7B", "13B"):
        (home / "models" / size).mkdir(parents=True)
        write_tiny(home / "models" / size / "ggml-model-q4_0.gguf", "llama")
    ran = cli("models", "list")
    assert [line.split()[0] for line in ran.out.splitlines()] == ["13B/ggml-model-q4_0", "7B/ggml-model-q4_0"]
    assert json.loads(cli("models", "info", "7b/ggml-model-q4_0", "--json").out)["path"].endswith(
        "7B/ggml-model-q4_0.gguf"
    )
