"""Vectors of a model with numbers that nothing can be computed with, refused by name when it is opened."""

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
