"""Sessions whose cache comes back from disk: the same logits, nothing trusted that is not whole and this model's."""

from __future__ import annotations

import os

import numpy as np
import pytest

from engine import kept_caches
from engine.answers.generation import generate
from engine.answers.scoring import score
from engine.control import Control
from engine.kept_caches import LEAST_TOKENS, forget, kept_file
from engine.loading import load
from engine.protocol import AnyEvent, Generate, Load, Sampling, Score, TokenPrompt
from engine.shared_prefix import common_prefix_length
from tests.engine import tiny_models


def test_common_prefix_length():
    assert common_prefix_length([1, 2, 3], [1, 2, 4, 5]) == 2
    assert common_prefix_length([], [1]) == 0
    assert common_prefix_length([1], [1]) == 1


@pytest.fixture
def open_again(write_model, tmp_path):
    """Open the same tiny model anew, with the same cache folder."""
    tiny = write_model(tmp_path / "tiny.gguf", dim=48, set_keys={"llama.context_length": 2048})
    opened = []

    def again(path=tiny, context=None):
        model = load(Load(path=str(path), cache_dir=str(tmp_path / "cache"), context=context), lambda *_: None)
        opened.append(model)
        return model

    yield again
    for model in opened:
        model.transformer.close()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "sessions"


IDS = np.random.default_rng(0).integers(0, 705, LEAST_TOKENS + 300).tolist()


ONE_TOKEN = Control(sampling=Sampling(max_new_tokens=1))


def ignore(event: AnyEvent) -> None:
    """Nobody waits for what is told."""


def read(model, session, ids):
    """Read ids as the worker does for a session; (tokens spared, last logits)."""
    model.enter_session(session, ids)
    spared = min(common_prefix_length(model.cached_ids, ids), len(ids) - 1)
    return spared, model.evaluate(ids[spared:], spared).copy()


def test_a_session_comes_back_with_the_same_logits(open_again, folder):
    first = open_again()
    read(first, "session", IDS)
    first.keep_session()
    [file] = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    more = [*IDS, 5, 6, 7]
    spared, expected = read(first, "session", more)
    assert spared == len(IDS)
    os.utime(file, (1, 1))
    spared, logits = read(open_again(), "session", more)
    assert spared == len(IDS)
    # Who comes back to a session makes it one of the latest.
    assert file.stat().st_mtime > 1
    np.testing.assert_array_equal(logits, expected)


@pytest.mark.parametrize("name", ["gemma4-e", "deepseek2"])
def test_layers_of_different_widths_that_share_keys_and_latent_vectors_come_back(open_again, tmp_path, name):
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", name, context_length=1024)
    first = open_again(path)
    read(first, "session", IDS)
    first.keep_session()
    _, expected = read(first, "session", [*IDS, 5])
    spared, logits = read(open_again(path), "session", [*IDS, 5])
    assert spared == len(IDS)
    np.testing.assert_array_equal(logits, expected)


def test_another_session_in_between_is_kept_and_left_alone(open_again):
    model = open_again()
    read(model, "a", IDS)
    read(model, "b", IDS[::-1])
    spared, _ = read(model, "a", IDS)
    assert spared == len(IDS) - 1
    spared, _ = read(model, "b", [*IDS[::-1], 1])
    assert spared == len(IDS)


@pytest.mark.parametrize(
    "read_otherwise",
    [
        lambda model: score(model, Score(text="The quick brown fox. " * 200, window=len(IDS)), Control(), ignore),
        lambda model: generate(model, Generate(prompt=TokenPrompt(ids=IDS[::-1]), reuse=False), ONE_TOKEN, ignore),
    ],
    ids=["a text that is scored", "an answer without what was read before"],
)
def test_what_is_read_for_no_session_is_not_kept_as_the_last_ones(open_again, folder, read_otherwise):
    model = open_again()
    read(model, "session", IDS)
    read_otherwise(model)
    model.keep_session()
    assert kept_in(folder) == [kept_file(folder, "session")]
    spared, _ = read(open_again(), "session", [*IDS, 5])
    assert spared == len(IDS)


def test_closing_keeps_and_short_or_nameless_sessions_are_not_kept(open_again, folder):
    model = open_again()
    read(model, "", IDS)
    model.keep_session()
    read(model, "short", IDS[: LEAST_TOKENS - 1])
    model.keep_session()
    assert not folder.exists()
    read(model, "long", IDS)
    model.close()
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("damage", ["cut", "header", "endless", "longer", "zeros", "other model"])
def test_what_is_damaged_or_foreign_is_read_anew(open_again, folder, tmp_path, damage):
    model = open_again()
    _, expected = read(model, "session", IDS)
    model.keep_session()
    [file] = folder.iterdir()
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[:-1])
    elif damage == "header":
        file.write_bytes(content[:30] + b"\xff" + content[31:])
    elif damage == "endless":
        file.write_bytes(content[:20] + b"[" * 4000 + content[4020:])
    elif damage == "zeros":
        file.write_bytes(content[:-8192] + bytes(8192))
    elif damage == "longer":
        file.write_bytes(content + b"\0")
    else:
        os.utime(tmp_path / "tiny.gguf", ns=(5, 5))
    spared, logits = read(open_again(), "session", IDS)
    assert spared == 0
    np.testing.assert_array_equal(logits, expected)


def test_nothing_is_held_any_more_once_a_damaged_file_has_taken_its_place(open_again, folder):
    model = open_again()
    _, expected = read(model, "session", IDS)
    model.keep_session()
    [file] = folder.iterdir()
    content, start = file.read_bytes(), kept_caches.HEADER_BYTES + 4 * len(IDS)
    file.write_bytes(content[:start] + bytes(8192) + content[start + 8192 :])
    holding = open_again()
    read(holding, "", IDS[:100])
    spared, logits = read(holding, "session", IDS)
    assert spared == 0
    np.testing.assert_array_equal(logits, expected)


def test_what_is_longer_than_the_context_is_read_anew(open_again):
    model = open_again()
    read(model, "session", IDS)
    model.keep_session()
    shorter = IDS[:400]
    spared, logits = read(open_again(context=512), "session", shorter)
    assert spared == 0
    np.testing.assert_array_equal(logits, read(open_again(), "", shorter)[1])


def test_keys_that_were_turned_for_a_shorter_context_are_read_anew(open_again, tmp_path):
    path = tiny_models.write_tiny(tmp_path / "phi3.gguf", "phi3-short", context_length=2048)
    model = open_again(path, context=512)
    read(model, "session", IDS[:400])
    model.keep_session()
    long = open_again(path, context=1024)
    spared, logits = read(long, "session", IDS[:400])
    assert spared == 0
    np.testing.assert_array_equal(logits, read(long, "", IDS[:400])[1])


def test_the_oldest_go_when_room_is_short(open_again, folder, monkeypatch):
    model = open_again()
    for age, name in enumerate(("old", "newer")):
        read(model, name, [age, *IDS])
        model.keep_session()
        os.utime(kept_file(folder, name), ns=(age, age))
    size = kept_file(folder, "old").stat().st_size
    monkeypatch.setattr(model.kept, "_limit_bytes", 2 * size)
    read(model, "newest", [9, *IDS])
    model.keep_session()
    assert sorted(folder.iterdir()) == sorted(kept_file(folder, name) for name in ("newer", "newest"))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError()])
def test_a_disk_or_memory_that_fills_up_leaves_no_half_file(open_again, folder, monkeypatch, error):
    model = open_again()
    read(model, "session", IDS)

    def full(file, n_positions):
        file.write(b"half")
        raise error

    monkeypatch.setattr(model.transformer.cache, "save", full)
    model.keep_session()
    assert list(folder.iterdir()) == []
    assert model.evaluate([1], len(IDS)).size == 705


def test_until_it_is_whole_a_file_is_nowhere_to_be_seen(open_again, folder, monkeypatch):
    model = open_again()
    read(model, "session", IDS)
    save, seen = model.transformer.cache.save, []

    def look(file, n_tokens):
        total = save(file, n_tokens)
        seen.append([path.suffix for path in folder.iterdir()])
        return total

    monkeypatch.setattr(model.transformer.cache, "save", look)
    model.keep_session()
    assert seen == [[]] or (not hasattr(os, "O_TMPFILE") and seen == [[".part"]])
    assert [path.suffix for path in folder.iterdir()] == [".kv"]


def kept_in(folder):
    return [file for file in folder.glob("*") if file.stat().st_size]


def test_forgetting_removes_the_file(open_again, folder):
    model = open_again()
    read(model, "session", IDS)
    model.keep_session()
    forget(folder, "other")
    assert kept_in(folder)
    forget(folder, "session")
    assert not kept_in(folder)


def test_what_an_engine_still_holds_of_a_forgotten_session_is_not_kept(open_again, folder):
    model = open_again()
    read(model, "session", IDS)
    forget(folder, "session")
    model.keep_session()
    read(model, "other", IDS[::-1])
    assert not kept_in(folder)
    model.close()
    assert kept_in(folder) == [kept_file(folder, "other")]


def test_a_session_that_is_forgotten_while_it_is_written_is_not_kept(open_again, folder, monkeypatch):
    model = open_again()
    read(model, "session", IDS)
    save = model.transformer.cache.save

    def save_late(file, n_tokens):
        forget(folder, "session")
        return save(file, n_tokens)

    monkeypatch.setattr(model.transformer.cache, "save", save_late)
    model.keep_session()
    assert not kept_in(folder)


def test_what_tells_of_forgotten_sessions_does_not_pile_up(folder):
    forget(folder, "long ago")
    [mark] = folder.iterdir()
    os.utime(mark, (1, 1))
    forget(folder, "now")
    [left] = folder.iterdir()
    assert left != mark


def test_what_is_read_is_the_file_that_was_looked_at(open_again, folder, monkeypatch):
    """Another engine may replace it in between."""
    model = open_again()
    read(model, "session", IDS)
    _, expected = read(model, "session", [*IDS, 5])
    model.keep_session()
    read(model, "other", IDS[::-1])
    model.keep_session()
    again = open_again()
    restore = again.transformer.cache.restore

    def restore_late(*where):
        kept_file(folder, "other").replace(kept_file(folder, "session"))
        return restore(*where)

    monkeypatch.setattr(again.transformer.cache, "restore", restore_late)
    spared, logits = read(again, "session", [*IDS, 5])
    assert spared == len(IDS)
    np.testing.assert_array_equal(logits, expected)


def test_kept_caches_costs_nothing_to_import():
    assert not hasattr(kept_caches, "np")
