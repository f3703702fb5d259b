"""Vectors and matrices of a model with numbers that nothing can be computed with, refused by name when it is opened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.errors import ModelFileError
from engine.loading import load
from engine.protocol import Load


def open_model(path: Path) -> None:
    load(Load(path=str(path), context=64, threads=1), lambda *_: None).close()


@pytest.mark.parametrize("number", [0.0, -1.0, 1e-40, np.inf, np.nan])
def test_divisors_of_frequencies(tmp_path: Path, write_model, number: float) -> None:
    divisors = np.array([1.0, 1.0, number, 8.0], np.float32)
    path = write_model(tmp_path / "odd.gguf", set_tensors={"rope_freqs.weight": divisors})
    with pytest.raises(ModelFileError, match=r"odd\.gguf: rope_freqs\.weight has .*num") as caught:
        open_model(path)
    assert caught.value.hint


def test_divisors_that_keep_a_frequency_from_turning(tmp_path: Path, write_model) -> None:
    divisors = np.array([1.0, 1.0, 8.0, 1e30], np.float32)
    open_model(write_model(tmp_path / "tiny.gguf", set_tensors={"rope_freqs.weight": divisors}))


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("name", ["output_norm.weight", "blk.1.attn_norm.weight", "blk.0.ffn_norm.weight"])
def test_what_is_no_number(tmp_path: Path, write_model, name: str, kind: type) -> None:
    values = np.ones(32, kind)
    values[7] = np.nan
    path = write_model(tmp_path / "odd.gguf", set_tensors={name: values})
    with pytest.raises(ModelFileError, match=rf"odd\.gguf: {name} has something in it that is not a number") as caught:
        open_model(path)
    assert caught.value.hint


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["token_embd.weight", "blk.1.attn_q.weight", "blk.0.ffn_down.weight"])
def test_matrices_with_what_is_not_finite(tmp_path: Path, write_model, name: str, number: float, kind: type) -> None:
    shape = {"token": (705, 32), "blk.1": (32, 32), "blk.0": (32, 64)}[name[:5]]
    values = np.ones(shape, kind)
    values[-1, 7] = number
    path = write_model(tmp_path / "odd.gguf", set_tensors={name: values})
    kept = tmp_path / "kept"
    for folder in (None, str(kept)):
        with pytest.raises(ModelFileError, match=rf"odd\.gguf: {name} has numbers in it that are not finite") as caught:
            load(Load(path=str(path), context=64, threads=2, cache_dir=folder), lambda *_: None)
        assert caught.value.hint
    assert not [file for file in kept.rglob("*") if file.is_file()]
