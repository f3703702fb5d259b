"""Ids sort by time, and go on sorting when the clock does not."""

from __future__ import annotations

import threading
import time

import pytest

from storage.ids import ID_LENGTH, from_bytes, new_id


def test_ids_grow_and_differ() -> None:
    made = [new_id() for _ in range(5000)]
    assert made == sorted(set(made))
    assert {len(made_id) for made_id in made} == {ID_LENGTH}


def test_ids_of_threads_differ() -> None:
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.extend(new_id() for _ in range(2000))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 8000


def test_a_clock_that_is_set_back_does_not_turn_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    before = new_id()
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000)
    assert before < new_id() < new_id()


def test_a_digest_makes_the_same_id_always() -> None:
    assert from_bytes(b"\xff" * 32) == "z" * ID_LENGTH
    assert from_bytes(b"\x00" * 9 + b"\x01\xff") == "0" * (ID_LENGTH - 1) + "1"
