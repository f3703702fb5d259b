"""Which model is opened when none, or one of several, is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.starter import SMOLLM2
from tui.model_choice import ModelChoiceError, choose_model, last_model, model_load, remember_model
from tui.paths import Paths, user_paths
from tui.settings import EngineSettings, ModelSettings, Settings


@pytest.fixture
def paths(home: Path) -> Paths:
    paths = user_paths()
    paths.models_dir.mkdir()
    return paths


def put_starter(paths: Paths) -> Path:
    """A sparse file of the starter's size."""
    path = paths.models_dir / SMOLLM2.file_name
    with path.open("wb") as stream:
        stream.truncate(SMOLLM2.model_bytes)
    return path


def test_nothing_to_choose_from_is_told_with_the_way_out(paths: Paths) -> None:
    with pytest.raises(ModelChoiceError, match="models pull smollm2") as caught:
        choose_model(None, Settings(), paths)
    assert caught.value.wanted == ""


def test_the_order_is_named_default_last_starter(paths: Paths, home: Path) -> None:
    starter = put_starter(paths)
    assert choose_model(None, Settings(), paths) == starter
    files = {name: home / f"{name}.gguf" for name in ("last", "default", "named")}
    for file in files.values():
        file.touch()
    remember_model(files["last"], paths)
    assert choose_model(None, Settings(), paths) == files["last"]
    settings = Settings(models=ModelSettings(default=str(files["default"])))
    assert choose_model(None, settings, paths) == files["default"]
    assert choose_model(str(files["named"]), settings, paths) == files["named"]
    files["last"].unlink()
    assert choose_model(None, Settings(), paths) == starter


def test_the_starter_has_a_short_name(paths: Paths) -> None:
    starter = put_starter(paths)
    assert choose_model("smollm2", Settings(), paths) == starter


def test_the_last_model_is_remembered_as_it_was_meant_here(
    paths: Paths, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert last_model(paths) is None
    monkeypatch.chdir(home)
    remember_model("été.gguf", paths)
    assert last_model(paths) == home / "été.gguf"
    assert [entry.name for entry in paths.data_dir.iterdir()] == ["last-model"]


def test_a_home_that_cannot_be_written_forgets_without_a_word(home: Path) -> None:
    (home / "data").touch()
    remember_model("x.gguf", user_paths())
    assert last_model(user_paths()) is None


def test_the_settings_decide_how_it_is_opened(paths: Paths) -> None:
    load = model_load(Path("m.gguf"), Settings(), paths)
    assert (load.threads, load.context, load.cache_dir) == (None, None, str(paths.cache_dir))
    assert (load.keep_panels, load.cache_limit_bytes, load.kv_type) == (True, 50_000_000_000, "f16")
    settings = Settings(
        engine=EngineSettings(threads=3, context=4096, panels="memory", cache_limit_gb=1.5, kv_type="q8_0")
    )
    load = model_load(Path("m.gguf"), settings, paths, threads=2)
    assert (load.threads, load.context, load.cache_dir) == (2, 4096, str(paths.cache_dir))
    assert (load.keep_panels, load.cache_limit_bytes, load.kv_type) == (False, 1_500_000_000, "q8_0")


def test_the_only_model_there_is_is_opened_without_its_name(paths: Paths, home: Path) -> None:
    elsewhere = home / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "one.gguf").touch()
    settings = Settings(models=ModelSettings(directories=[str(elsewhere)]))
    assert choose_model(None, settings, paths) == elsewhere / "one.gguf"
    (paths.models_dir / "two.gguf").touch()
    with pytest.raises(ModelChoiceError, match="several models") as caught:
        choose_model(None, settings, paths)
    assert caught.value.wanted == ""
