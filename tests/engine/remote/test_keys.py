"""Keys are read from safe places alone and never show themselves."""

from __future__ import annotations

import os
import pickle
import traceback
from pathlib import Path

import pytest

from engine.errors import ServerError
from engine.remote import ServerConfig
from engine.remote.keys import HIDDEN, Key, read_key_file, server_key

SECRET = "sk-sesame-4711"
URL = "http://localhost:1/v1"


def key_file(folder: Path, content: str = SECRET, mode: int = 0o600) -> Path:
    path = folder / "key"
    path.write_text(content)
    path.chmod(mode)
    return path


def test_a_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", f" {SECRET}\n")
    key = server_key(ServerConfig(base_url=URL, api_key_env="MY_KEY"))
    assert key is not None
    assert key.reveal() == SECRET


def test_a_key_that_is_not_set_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(ServerError, match="environment variable MY_KEY, which is not set"):
        server_key(ServerConfig(base_url=URL, api_key_env="MY_KEY"))


def test_a_key_comes_from_a_file(tmp_path: Path) -> None:
    key = server_key(ServerConfig(base_url=URL, api_key_file=str(key_file(tmp_path, f"{SECRET}\n"))))
    assert key is not None
    assert key.reveal() == SECRET


def test_without_either_there_is_no_key() -> None:
    assert server_key(ServerConfig(base_url=URL)) is None


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ServerError, match=f"can be read by others \\(mode {mode:04o}\\)"):
        read_key_file(key_file(tmp_path, mode=mode))


@pytest.mark.parametrize("content", ["", "\n", "two words", "kéy", "a\nb", "x" * 20000, "\x00"])
def test_what_is_no_key_is_refused_unseen(tmp_path: Path, content: str) -> None:
    with pytest.raises(ServerError, match="does not hold a key") as caught:
        read_key_file(key_file(tmp_path, content))
    assert "words" not in str(caught.value).replace("one word", "")


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ServerError, match="is no file"):
        read_key_file(tmp_path / "pipe")
    with pytest.raises(ServerError, match="cannot be read"):
        read_key_file(tmp_path / "nothing")


def test_a_key_shows_itself_nowhere() -> None:
    key = Key(SECRET)
    shown = [repr(key), str(key), f"{key}", f"{[key]}", key.hide_in(f"Incorrect API key provided: {SECRET}.")]
    assert [text for text in shown if SECRET in text] == []
    assert HIDDEN in shown[-1]
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_a_key_is_not_in_a_traceback_with_locals(tmp_path: Path) -> None:
    config = ServerConfig(base_url=URL, api_key_file=str(key_file(tmp_path)))

    def fail() -> None:
        key = server_key(config)
        raise ValueError(f"with {key}")

    try:
        fail()
    except ValueError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "key = Key([key])" in shown
    assert SECRET not in shown
