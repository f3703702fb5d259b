"""What a walk through folders takes for models."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from engine.catalog import find_model, survey, told_apart
from engine.checkpoints import open_checkpoint
from engine.checkpoints.finding import model_paths
from engine.errors import UnsupportedModelError
from tui.paths import user_paths


@pytest.fixture
def shelf(tmp_path: Path, write, tiny_llama) -> Path:
    """A folder with a model of every kind, and with much that is none."""
    shelf = tmp_path / "models"
    (shelf / "13B").mkdir(parents=True)
    write.write_gguf(shelf / "plain.gguf", tiny_llama, "Q4_0")
    write.write_ggml(shelf / "13B" / "ggml-model-q4_0.bin", tiny_llama, "Q4_0", write.GGML, n_parts=2)
    write.write_meta(shelf / "LLaMA" / "7B", tiny_llama)
    write.write_hugging_face(shelf / "vicuna-7b", tiny_llama, kind="bin", n_parts=2)
    (shelf / "notes.bin").write_bytes(b"\x00\x01\x02")
    for number in (2, 3):
        (shelf / f"later-{number:05d}-of-00003.gguf").write_bytes(b"GGUF")
    (shelf / "config.json").write_text("{}")
    (shelf / "empty.bin").touch()
    (shelf / "link").symlink_to(shelf)
    return shelf


MODELS = ["13B/ggml-model-q4_0.bin", "LLaMA/7B", "plain.gguf", "vicuna-7b"]
FIRST_THAT_IS_THERE = "later-00002-of-00003.gguf"
"""Of a split model that lacks its first part: found so that it can be told, and removed."""


def test_every_model_is_found_once(shelf: Path) -> None:
    assert sorted(str(path.relative_to(shelf)) for path in model_paths(shelf)) == sorted([*MODELS, FIRST_THAT_IS_THERE])


@pytest.mark.parametrize("repository", ["models--owner--Some-Model", "models--Some-Model"])
def test_a_folder_of_hugging_faces_cache_is_called_as_its_repository(
    tmp_path: Path, write, tiny_llama, repository: str
) -> None:
    folder = tmp_path / "hub" / repository / "snapshots" / ("c0ffee" * 6)
    folder.parent.mkdir(parents=True)
    write.write_hugging_face(folder, tiny_llama)
    assert [model.name for model in survey([tmp_path])[0]] == ["Some-Model"]
    assert find_model("some-model", [tmp_path]) == folder


def test_they_are_listed_and_found_by_name(shelf: Path) -> None:
    assert {Path(info.path).relative_to(shelf).as_posix() for info in survey([shelf])[0]} == set(MODELS)
    assert find_model("vicuna-7b", [shelf]) == shelf / "vicuna-7b"
    assert find_model("ggml-model-q4_0", [shelf]) == shelf / "13B" / "ggml-model-q4_0.bin"
    assert find_model(shelf / "LLaMA" / "7B", []) == shelf / "LLaMA" / "7B"
    assert find_model(shelf, []) is None


def write_adapter(folder: Path, write, model) -> Path:
    """An adapter with its base beside it, which is returned."""
    folder.mkdir(parents=True)
    base = write.write_gguf(folder / "base.gguf", model, "F16")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 2}')
    foreign = "base_model.model.model.layers.0.self_attn.v_proj.lora_"
    halves = {"A": model.tensors["token_embd"][:2], "B": model.tensors["blk.0.attn_v"][:, :2].copy()}
    tensors = {f"{foreign}{half}.weight": matrix for half, matrix in halves.items()}
    write.write_safetensors(folder / "adapter_model.safetensors", tensors)
    return base


def test_an_adapter_is_one_model(tmp_path: Path, write, tiny_llama) -> None:
    folder = tmp_path / "models" / "adapter"
    base = write_adapter(folder, write, tiny_llama)
    assert list(model_paths(tmp_path)) == [folder]
    checkpoint = open_checkpoint(folder)
    assert base in checkpoint.files
    assert sorted(file.name for file in checkpoint.own_files) == ["adapter_config.json", "adapter_model.safetensors"]


def test_an_adapter_that_is_removed_leaves_its_base(home: Path, cli, write, tiny_llama) -> None:
    folder = user_paths().models_dir / "adapter"
    base = write_adapter(folder, write, tiny_llama)
    assert cli("models", "remove", "adapter", "--yes").code == 0
    assert [path.name for path in folder.iterdir()] == [base.name]


def test_a_tokenizer_that_others_share_stays(shelf: Path) -> None:
    checkpoint = open_checkpoint(shelf / "LLaMA" / "7B")
    assert shelf / "LLaMA" / "tokenizer.model" in checkpoint.files
    assert sorted(file.name for file in checkpoint.own_files) == ["consolidated.00.pth", "params.json"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_passed_over(shelf: Path) -> None:
    (shelf / "13B").chmod(0)
    try:
        assert len(list(model_paths(shelf))) == 3
    finally:
        (shelf / "13B").chmod(0o755)


MODEL = "application/vnd.ollama.image.model"


def write_manifest(shelf: Path, place: str, *layers: object) -> None:
    manifest = shelf / "manifests" / place
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"layers": layers}))


@pytest.fixture
def ollama(tmp_path: Path, write, tiny_llama) -> Path:
    """Ollama's folder with one model, without a manifest."""
    (tmp_path / "blobs").mkdir()
    write.write_gguf(tmp_path / "blobs" / "sha256-c0ffee", tiny_llama, "Q4_0")
    return tmp_path


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("registry.ollama.ai/library/llama3.2/latest", "llama3.2"),
        ("registry.ollama.ai/library/qwen3/0.6b", "qwen3:0.6b"),
        ("registry.ollama.ai/someone/mine/latest", "someone/mine"),
        ("hf.co/owner/Model-GGUF/Q4_K_M", "hf.co/owner/Model-GGUF:Q4_K_M"),
    ],
)
def test_a_file_of_ollamas_is_called_as_there(ollama: Path, place: str, name: str) -> None:
    write_manifest(ollama, place, {"mediaType": MODEL, "digest": "sha256:c0ffee"})
    assert [model.name for model in survey([ollama])[0]] == [name]
    for typed in (name, name.upper(), f"{name}:latest" if place.endswith("latest") else name):
        assert find_model(typed, [ollama]) == ollama / "blobs" / "sha256-c0ffee"


def test_a_model_with_two_tags_is_listed_once_under_the_shorter(ollama: Path) -> None:
    for tag in ("1b-instruct", "1b"):
        write_manifest(ollama, f"registry.ollama.ai/library/m/{tag}", {"mediaType": MODEL, "digest": "sha256:c0ffee"})
    assert [model.name for model in survey([ollama])[0]] == ["m:1b"]
    assert find_model("m:1b-instruct", [ollama]) is not None


@pytest.mark.parametrize(
    "layers",
    [
        [{"mediaType": MODEL, "digest": "sha256:gone"}],
        [{"mediaType": MODEL, "digest": "sha256:" + "a" * 300}],
        [{"mediaType": MODEL, "digest": "sha256:\0"}],
        [{"mediaType": MODEL, "digest": "sha256:../../blobs/sha256-c0ffee"}],
        [{"mediaType": MODEL, "digest": "sha256:c0ffee"}, {"mediaType": MODEL[:-5] + "adapter", "digest": "sha256:a"}],
        [{"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:c0ffee"}],
        [{"mediaType": MODEL, "digest": 7}, "layer"],
    ],
)
def test_a_manifest_of_something_else_is_passed_over(ollama: Path, layers: list[object]) -> None:
    write_manifest(ollama, "registry.ollama.ai/library/odd/latest", *layers)
    (ollama / "manifests" / "registry.ollama.ai" / "library" / "odd" / "broken").write_text("[")
    assert survey([ollama]) == ([], [])


def test_names_have_as_many_folders_as_tell_them_apart() -> None:
    paths = [Path("/a/x/m.gguf"), Path("/b/x/m.gguf"), Path("/b/y/m.gguf"), Path("/b/y/n.gguf")]
    assert told_apart([path.name for path in paths], paths) == ["a/x/m.gguf", "b/x/m.gguf", "y/m.gguf", "n.gguf"]
    assert told_apart(["m", "m"], [Path("/m"), Path("/m")]) == ["m", "m"]


def test_a_folder_with_one_ggml_file_is_that_model(shelf: Path) -> None:
    assert open_checkpoint(shelf / "13B").format == "ggml, 2 parts"


@pytest.mark.parametrize(("place", "named"), [("LLaMA", "7B"), (".", "another.gguf, plain.gguf"), ("..", "models")])
def test_of_a_folder_with_models_in_it_those_are_named(shelf: Path, place: str, named: str) -> None:
    (shelf / "another.gguf").touch()
    with pytest.raises(UnsupportedModelError, match=rf"is a folder with models in it: {named}\. Choose"):
        open_checkpoint(shelf / place)


def test_of_many_models_in_a_folder_five_are_named(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.gguf").touch()
    with pytest.raises(UnsupportedModelError, match=r"in it: 0\.gguf, 1\.gguf, 2\.gguf, 3\.gguf, 4\.gguf, …"):
        open_checkpoint(tmp_path)
