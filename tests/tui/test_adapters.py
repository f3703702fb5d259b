"""Adapters whose base model is elsewhere: the user names it once, in the picker or on the command line."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from gguf import GGUFWriter

from engine.protocol import Load
from tests.engine import tiny_models
from tests.tui.conftest import CLI_ENGINE, PATIENCE_S
from tui.bases import MAX_REMEMBERED, base_of, read_bases, remember_base
from tui.paths import user_paths
from tui.screens.main.screen import MainScreen
from tui.widgets.prompt_box import PromptBox

if TYPE_CHECKING:
    from tests.tui.conftest import Play, Stage

DIM = 64


def write_tiny(path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tiny_models.write_tiny(path, "llama", **options)
    return path


def write_adapter(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    writer.add_tensor("blk.0.attn_q.weight.lora_a", np.ones((4, DIM), np.float32))
    writer.add_tensor("blk.0.attn_q.weight.lora_b", np.ones((DIM, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def loaded(stage: Stage) -> tuple[str, str | None]:
    load = stage.heard(Load)[-1]
    return load.path, load.base


async def until_loaded(play: Play, stage: Stage, adapter: Path, base: Path) -> None:
    await play.until(lambda: isinstance(play.app.screen, MainScreen))
    await play.until(lambda: loaded(stage) == (str(adapter), str(base)))
    await play.until(lambda: play.app.workspace.engine.is_ready)


async def test_the_picker_asks_for_the_base_once(stage: Stage) -> None:
    adapter = write_adapter(stage.home / "models" / "poet-lora.gguf")
    base = write_tiny(stage.home / "models" / "tiny-base.gguf")
    async with stage.ready(size=(100, 30)) as play:
        await play.press("f4")
        await play.until_shown("poet-lora.gguf")
        assert "is added to another model; enter asks to which" in play.text()
        await play.press("down", "enter")
        await play.until_shown("The base model of poet-lora.gguf")
        await play.until(lambda: play.text().count("tiny-base.gguf") == 1)
        assert "enter asks" not in play.text()
        await play.press("enter")
        await until_loaded(play, stage, adapter, base)
        await play.press(*"/model tiny-base.gguf", "enter")
        await play.until(lambda: loaded(stage) == (str(base), None))
        await play.press("f4")
        await play.until_shown("GGUF v3 with LoRA (GGUF)")
        await play.press("escape", *"/model poet-lora.gguf", "enter")
        await until_loaded(play, stage, adapter, base)


async def test_keys_act_while_a_base_is_on_a_disk_that_does_not_answer(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = write_adapter(stage.home / "models" / "poet.gguf")
    base = write_tiny(stage.home / "away" / "base.gguf")
    write_tiny(base.parent / "other.gguf")
    remember_base(adapter, base, user_paths())
    gate, asked, answered, exists = threading.Event(), threading.Event(), threading.Event(), os.path.exists

    def hang(path: Any) -> bool:
        if str(path) == str(base):
            asked.set()
            gate.wait(PATIENCE_S)
            answered.set()
        return exists(path)

    async with stage.ready() as play:
        monkeypatch.setattr("tui.in_order.DEEDS_LIMIT_S", 0.0)
        monkeypatch.setattr(os.path, "exists", hang)
        play.app.query_one(PromptBox).show_draft(f"/model {adapter}")
        await play.press("enter")
        await play.until(asked.is_set)
        await play.press(*"hello")
        await play.until(lambda: play.app.query_one(PromptBox).text == "hello")
        assert not answered.is_set()
        play.app.query_one(PromptBox).show_draft(f"/model {base.parent / 'other.gguf'}")
        await play.press("enter")
        await play.until(lambda: loaded(stage) == (str(base.parent / "other.gguf"), None))
        gate.set()
        await play.until(lambda: answered.is_set() and play.app.workspace.engine.is_ready)
        assert loaded(stage) == (str(base.parent / "other.gguf"), None)


def test_of_another_adapter_s_base_nobody_asks_the_disk(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, asked, exists = user_paths(), list[str](), os.path.exists
    bases = {name: write_tiny(home / f"{name}-base.gguf") for name in ("one", "other")}
    for name, base in bases.items():
        remember_base(home / name, base, paths)
    monkeypatch.setattr(os.path, "exists", lambda path: asked.append(str(path)) or exists(path))
    assert base_of(home / "one", paths) == str(bases["one"])
    assert asked == [str(bases["one"])]


async def test_the_base_of_a_typed_adapter_is_asked_for_too(stage: Stage, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "poet.gguf")
    base = write_tiny(tmp_path / "b.gguf")
    async with stage.ready(size=(100, 30)) as play:
        await play.press("f4")
        await play.until_shown("None here yet")
        await play.press(*str(adapter), "enter")
        await play.until_shown("The base model of poet.gguf")
        await play.press("escape")
        await play.until(lambda: "The base model of" not in play.text())
        await play.press("enter")
        await play.until_shown("The base model of poet.gguf")
        await play.until_shown("None here yet")
        await play.press(*str(base), "enter")
        await until_loaded(play, stage, adapter, base)


async def test_a_base_that_does_not_fit_can_be_changed(stage: Stage) -> None:
    adapter = write_adapter(stage.home / "models" / "poet-lora.gguf")
    small = write_tiny(stage.home / "models" / "small.gguf", dim=32)
    remember_base(adapter, small, user_paths())
    async with stage.ready(size=(100, 30)) as play:
        await play.press("f4")
        await play.until_shown("is added to another model; enter asks to which")


def test_the_command_line_names_a_base_and_it_is_remembered(cli: Callable[..., Any], home: Path) -> None:
    adapter = write_adapter(home / "models" / "poet-lora.gguf")
    base = write_tiny(home / "models" / "tiny-base.gguf")
    alone = cli("models", "info", "poet-lora")
    assert alone.code == 1
    assert "needs its base model" in alone.err
    assert "--base" in alone.err
    with_base = cli("models", "info", "poet-lora", "--base", "tiny-base", "--json")
    assert json.loads(with_base.out)["format"] == "GGUF v3 with LoRA (GGUF)"
    assert base_of(adapter, user_paths()) == str(base)
    assert json.loads(cli("models", "info", "poet-lora", "--json").out)["format"] == "GGUF v3 with LoRA (GGUF)"
    listed = [json.loads(line)["name"] for line in cli("models", "list", "--json").out.splitlines()]
    assert listed == ["poet-lora", "tiny-base"]


def test_ask_puts_an_adapter_on_its_base(cli: Callable[..., Any], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.client.ENGINE_COMMAND", CLI_ENGINE)
    adapter, base = home / "adapter.gguf", home / "base.gguf"
    adapter.touch()
    base.touch()
    assert cli("ask", "-m", adapter, "--base", base, "x").code == 0
    assert base_of(adapter, user_paths()) == str(base)
    assert cli("ask", "-m", adapter, "--base", home / "nowhere.gguf", "x").code == 1
    assert cli("ask", "-m", adapter, "--base", base, "--server", "there", "x").code == 2


@pytest.mark.parametrize("words", [["bench", "--repeat", "1", "--gen-tokens", "7"], ["perplexity"]])
def test_other_commands_with_an_engine_do_too(
    cli: Callable[..., Any], home: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setattr("engine.client.ENGINE_COMMAND", CLI_ENGINE)
    adapter, base, refused = home / "adapter.gguf", home / "base.gguf", home / "refused.gguf"
    for file in (adapter, base, refused):
        file.write_text("text")
    words += [str(base)] if words == ["perplexity"] else []
    assert cli(*words, "-m", adapter, "--base", base).code == 0
    assert base_of(adapter, user_paths()) == str(base)
    assert cli(*words, "-m", refused, "--base", base).code == 1
    assert base_of(refused, user_paths()) is None


def test_tokenize_takes_the_vocabulary_of_the_base(cli: Callable[..., Any], home: Path) -> None:
    write_adapter(home / "models" / "poet-lora.gguf")
    base = write_tiny(home / "models" / "tiny-base.gguf")
    alone = cli("tokenize", "-m", "tiny-base", stdin="ab").out
    assert cli("tokenize", "-m", "poet-lora", stdin="ab").code == 1
    assert cli("tokenize", "-m", "poet-lora", "--base", base, stdin="ab").out == alone
    assert cli("tokenize", "-m", "poet-lora", stdin="ab").out == alone


async def test_the_app_puts_an_adapter_on_the_base_that_is_named(stage: Stage, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "poet.gguf")
    base = write_tiny(tmp_path / "b.gguf")
    async with stage.ready(model=str(adapter), base=str(base)) as play:
        await until_loaded(play, stage, adapter, base)
    async with stage.ready(model=str(adapter)) as play:
        await until_loaded(play, stage, adapter, base)


async def test_a_model_that_is_whole_is_never_put_on_another(stage: Stage, tmp_path: Path) -> None:
    whole = write_tiny(tmp_path / "whole.gguf")
    base = write_tiny(tmp_path / "b.gguf")
    async with stage.running(model=str(whole), base=str(base)) as play:
        await play.until_shown("Use it without a base model.")
        assert stage.heard(Load) == []
    assert base_of(whole, user_paths()) is None


def test_what_is_remembered_has_an_end_and_gone_bases_are_forgotten(home: Path) -> None:
    paths = user_paths()
    base = home / "base.gguf"
    base.touch()
    for number in range(3):
        remember_base(home / f"{number}.gguf", base, paths)
    assert len(read_bases(paths)) == 3
    paths.bases_file.write_text(json.dumps({f"/{n}": str(base) for n in range(MAX_REMEMBERED + 9)}))
    remember_base(home / "new.gguf", base, paths)
    assert len(read_bases(paths)) == MAX_REMEMBERED
    assert base_of(home / "new.gguf", paths) == str(base)
    base.unlink()
    assert read_bases(paths) == {}
    paths.bases_file.write_text(json.dumps({"/a": "x" * 300, "/b": "x\0y"}))
    assert read_bases(paths) == {}
    paths.bases_file.write_text("[1")
    assert read_bases(paths) == {}
