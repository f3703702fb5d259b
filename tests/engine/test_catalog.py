"""The models on a machine: what is told of each, what fits, and how one is found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from engine import model_info
from engine.catalog import (
    find_model,
    near_names,
    require_model,
    require_only_model,
    survey,
)
from engine.checkpoints import Checkpoint, open_checkpoint
from engine.errors import EngineError, ModelFileError, UnsupportedModelError
from engine.model_info import inspect_model
from tests.engine import tiny_models

FIELDS = (
    "path format architecture quantization parameters size_bytes context vocab layers template template_source "
    "weights_bytes kv_bytes_per_token fits needs_bytes available_bytes"
).split()


def test_what_is_told(tmp_path: Path, write_model) -> None:
    path = write_model(tmp_path / "vicuna-tiny.gguf")
    info = inspect_model(path)
    assert list(msgspec.to_builtins(info)) == FIELDS
    assert (info.path, info.name, info.format) == (str(path), "vicuna-tiny", "GGUF v3")
    assert (info.architecture, info.quantization) == ("llama", "F32")
    assert (info.context, info.vocab, info.layers) == (128, 705, 2)
    assert (info.template, info.template_source) == ("vicuna", "family")
    assert info.weights_bytes == 4 * info.parameters
    assert info.kv_bytes_per_token == 2 * 2 * 2 * 2 * 8
    assert info.size_bytes == path.stat().st_size
    assert info.fits
    assert info.needs_bytes == info.weights_bytes + model_info.ENGINE_BYTES + 128 * info.kv_bytes_per_token


def test_key_value_heads_of_each_layer(tmp_path: Path, write_model) -> None:
    path = write_model(tmp_path / "tiny.gguf", set_keys={"llama.attention.head_count_kv": [2, 0]})
    assert inspect_model(path).kv_bytes_per_token == 2 * 2 * 2 * 8


def test_keys_and_values_of_gemma_4(tmp_path: Path) -> None:
    dense = inspect_model(tiny_models.write_tiny(tmp_path / "dense.gguf", "gemma4"))
    assert dense.kv_bytes_per_token == 2 * 2 * 2 * (2 * 32 + 1 * 64)
    shared = inspect_model(tiny_models.write_tiny(tmp_path / "shared.gguf", "gemma4-e"))
    assert shared.kv_bytes_per_token == 2 * 2 * 2 * (32 + 64)


def test_the_starter(starter_model: Path) -> None:
    info = inspect_model(starter_model)
    assert (info.quantization, info.parameters, info.layers) == ("Q4_1", 134_515_008, 30)
    assert (info.context, info.vocab, info.kv_bytes_per_token) == (8192, 49_152, 23_040)
    assert (info.template, info.template_source) == ("chatml", "file")


def test_a_vocabulary_alone(tmp_path: Path, raw_gguf) -> None:
    file = raw_gguf().key("general.architecture", 8, "llama").array("tokenizer.ggml.tokens", 8, ["a", "b"])
    info = inspect_model(file.write(tmp_path / "vocab.gguf"))
    assert (info.vocab, info.parameters, info.weights_bytes, info.layers, info.quantization) == (2, 0, 0, 0, "")


def test_an_architecture_that_does_not_run_is_told_all_the_same(tmp_path: Path, write_model) -> None:
    keys = {"general.architecture": "mamba", "mamba.context_length": 77, "general.file_type": None}
    info = inspect_model(write_model(tmp_path / "mamba.gguf", set_keys=keys))
    assert (info.architecture, info.context, info.layers, info.quantization) == ("mamba", 77, 0, "F32")


@pytest.mark.parametrize(
    ("available", "context", "fits"),
    [(10**9, None, True), (10**6, None, False), (10**9, 128, True), (model_info.ENGINE_BYTES + 10**5, 128, False)],
)
def test_whether_it_fits(
    tmp_path: Path, write_model, monkeypatch: pytest.MonkeyPatch, available: int, context: int | None, fits: bool
) -> None:
    monkeypatch.setattr(model_info, "available_bytes", lambda: available)
    info = inspect_model(write_model(tmp_path / "tiny.gguf"), context=context)
    assert (info.fits, info.available_bytes) == (fits, available)


def test_a_long_context_does_not_keep_a_model_from_fitting(
    tmp_path: Path, write_model, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_model(tmp_path / "long.gguf", set_keys={"llama.context_length": 1 << 24})
    monkeypatch.setattr(model_info, "available_bytes", lambda: 1 << 29)
    assert inspect_model(path).fits
    assert inspect_model(path).context == 1 << 24
    asked = inspect_model(path, context=1 << 24)
    assert not asked.fits
    assert asked.needs_bytes > (1 << 24) * asked.kv_bytes_per_token


@pytest.mark.parametrize("context", [0, -1, 129])
def test_an_impossible_context(tmp_path: Path, write_model, context: int) -> None:
    with pytest.raises(EngineError, match="at most 128"):
        inspect_model(write_model(tmp_path / "tiny.gguf"), context=context)


def test_a_file_that_says_nothing_of_itself_is_no_model(tmp_path: Path, raw_gguf) -> None:
    path = tmp_path / "empty.gguf"
    raw_gguf().write(path)
    with pytest.raises(ModelFileError, match="does not say what it is"):
        inspect_model(path)


class TestFolders:
    """Looking for models."""

    @pytest.fixture
    def folder(self, tmp_path: Path, write_model, raw_gguf) -> Path:
        folder = tmp_path / "models"
        (folder / "inner").mkdir(parents=True)
        write_model(folder / "Koala-7B.gguf")
        write_model(folder / "inner" / "llama-7b.Q4_0.GGUF")
        for number in (1, 2):
            file = raw_gguf().key("general.architecture", 8, "llama")
            file = file.key("split.no", 4, number - 1).key("split.count", 4, 2)
            file.write(folder / f"big-{number:05d}-of-00002.gguf")
        (folder / "broken.gguf").write_bytes(b"GGUF")
        (folder / "notes.txt").write_text("not a model")
        (folder / "pipe-like.gguf").mkdir()
        return folder

    def test_every_model_once_and_by_name(self, folder: Path) -> None:
        models, unreadable = survey([folder, folder / "inner", folder.parent / "missing"])
        assert [model.name for model in models] == ["big", "Koala-7B", "llama-7b.Q4_0"]
        assert [(file.name, Path(file.path).name) for file in unreadable] == [("broken", "broken.gguf")]
        assert "broken.gguf" in unreadable[0].message
        assert [model.path for model in survey([folder])[0]] == [model.path for model in models]

    def test_links_in_a_ring_end(self, folder: Path) -> None:
        (folder / "inner" / "up").symlink_to(folder, target_is_directory=True)
        (folder / "again.gguf").symlink_to(folder / "Koala-7B.gguf")
        (folder / "nowhere.gguf").symlink_to(folder / "gone")
        assert len(survey([folder])[0]) == 3

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
    def test_folders_that_may_not_be_read(self, folder: Path) -> None:
        (folder / "inner").chmod(0)
        try:
            assert len(survey([folder])[0]) == 2
        finally:
            (folder / "inner").chmod(0o700)

    @pytest.mark.parametrize(
        ("name", "file"),
        [
            ("Koala-7B", "Koala-7B.gguf"),
            ("koala-7b.gguf", "Koala-7B.gguf"),
            ("KOALA", "Koala-7B.gguf"),
            ("llama-7b.Q4_0", "llama-7b.Q4_0.GGUF"),
            ("llama", "llama-7b.Q4_0.GGUF"),
            ("big", "big-00001-of-00002.gguf"),
        ],
    )
    def test_found_by_name(self, folder: Path, name: str, file: str) -> None:
        found = find_model(name, [folder])
        assert found is not None and found.name == file

    def test_found_by_path(self, folder: Path) -> None:
        path = folder / "broken.gguf"
        assert find_model(path, []) == path

    def test_what_is_not_there(self, folder: Path, write_model) -> None:
        assert find_model("falcon", [folder]) is None
        assert find_model("", [folder]) is None
        write_model(folder / "koala-13b.gguf")
        assert find_model("koala", [folder]) is None

    @pytest.mark.parametrize(
        ("name", "near"),
        [("kola-7b", ["Koala-7B"]), ("lama", ["llama-7b.Q4_0"]), ("7b.q4", ["llama-7b.Q4_0"]), ("x", [])],
    )
    def test_names_that_are_near(self, folder: Path, name: str, near: list[str]) -> None:
        assert near_names(name, [folder])[:1] == near

    def test_a_required_model(self, folder: Path) -> None:
        assert require_model("koala", [folder]).name == "Koala-7B.gguf"
        with pytest.raises(ModelFileError, match=r"There is no model kola-7b.*Did you mean Koala-7B\?"):
            require_model("kola-7b", [folder])
        with pytest.raises(ModelFileError, match="models list"):
            require_model("x", [folder])


def test_what_is_to_be_deleted_is_not_guessed(tmp_path: Path, write_model) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_model(tmp_path / folder / "Twice.gguf")
    once = write_model(tmp_path / "a" / "Once-7B.gguf")
    for name in ("once-7b", "Once-7B.gguf", str(once)):
        assert require_only_model(name, [tmp_path]) == once
    with pytest.raises(ModelFileError, match=r"2 models are called twice: .*a/Twice\.gguf, .*b/Twice\.gguf"):
        require_only_model("twice", [tmp_path])
    with pytest.raises(ModelFileError, match=r"There is no model Once.*Did you mean Once-7B\?"):
        require_only_model("Once", [tmp_path])
    with pytest.raises(ModelFileError, match="There is no model"):
        require_only_model("", [tmp_path])


@pytest.mark.parametrize(
    ("error", "words"),
    [(OSError(5, "Input/output error"), "cannot be read: Input/output error"), (RecursionError(), "nested too deeply")],
)
def test_one_odd_file_hides_no_other(
    tmp_path: Path, write_model, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def open_most(path: str | Path, base: str | Path | None) -> Checkpoint:
        if Path(path).name == "odd.gguf":
            raise error
        return open_checkpoint(path, base)

    for name in ("a", "odd", "z"):
        write_model(tmp_path / f"{name}.gguf")
    monkeypatch.setattr(model_info, "open_checkpoint", open_most)
    models, unreadable = survey([tmp_path])
    assert [model.name for model in models] == ["a", "z"]
    assert [file.name for file in unreadable] == ["odd"]
    assert words in unreadable[0].message


def test_files_that_do_not_open(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="does not exist"):
        inspect_model(tmp_path / "missing.gguf")
    with pytest.raises(UnsupportedModelError, match="is a folder"):
        inspect_model(tmp_path)


def test_a_light_process_stays_light(tmp_path: Path, write_model) -> None:
    write_model(tmp_path / "tiny.gguf", set_keys={"tokenizer.chat_template": "{{ messages }}"})
    code = (
        "import sys; from engine.catalog import survey; assert survey([sys.argv[1]])[0]\n"
        "sys.exit(bool({'numpy', 'numba', 'jinja2', 'tokenizers', 'sentencepiece'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)


def test_a_file_that_goes_away_while_it_is_read(tmp_path: Path, write_model, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_and_lose(path: str | Path, base: str | Path | None) -> Checkpoint:
        checkpoint = open_checkpoint(path, base)
        checkpoint.path.unlink()
        return checkpoint

    monkeypatch.setattr(model_info, "open_checkpoint", open_and_lose)
    with pytest.raises(ModelFileError, match="went away"):
        inspect_model(write_model(tmp_path / "tiny.gguf"))


def test_layers_without_attention_have_no_cache_but_a_state(tmp_path: Path) -> None:
    """Of five layers of LFM2's two attend; Qwen 3.5's has a matrix for each head of the others, and copies of that."""
    short = inspect_model(tiny_models.write_tiny(tmp_path / "short.gguf", "lfm2"))
    assert short.kv_bytes_per_token == 2 * 2 * 2 * 2 * 16
    delta = inspect_model(tiny_models.write_tiny(tmp_path / "delta.gguf", "qwen35"))
    assert delta.kv_bytes_per_token == 2 * 2 * 2 * 2 * 32
    state = delta.needs_bytes - delta.weights_bytes - model_info.ENGINE_BYTES - 256 * delta.kv_bytes_per_token
    assert state >= 7 * 3 * 4 * 32 * 32 * 4
