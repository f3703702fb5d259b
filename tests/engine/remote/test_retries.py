"""How long to wait before another try."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.remote.retries import Backoff, retry_after_s


@given(n_failures=st.integers(1, 50))
def test_pauses_grow_up_to_a_limit(n_failures: int) -> None:
    backoff = Backoff(first_s=1.0, most_s=8.0)
    pause_s = backoff.pause_s(n_failures, None)
    assert pause_s is not None
    longest_s = min(8.0, 2.0 ** (n_failures - 1))
    assert longest_s / 2 <= pause_s <= longest_s


@pytest.mark.parametrize(("wish_s", "pause_s"), [(0.0, 0.0), (7.0, 7.0), (60.0, 60.0), (61.0, None)])
def test_the_servers_wish_goes_first_within_reason(wish_s: float, pause_s: float | None) -> None:
    assert Backoff().pause_s(1, wish_s) == pause_s


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("", None), ("3", 3.0), ("0.5", 0.5), ("-4", 0.0), ("soon", None), ("nan", None)],
)
def test_the_header_in_seconds(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header) == seconds


@pytest.mark.parametrize("strange", ["inf", "1e400"])
def test_a_wish_that_is_no_time_is_not_waited_for(strange: str) -> None:
    assert Backoff().pause_s(1, retry_after_s(strange)) is None


def test_the_header_as_a_time_of_day() -> None:
    seconds = retry_after_s(formatdate(time.time() + 30, usegmt=True))
    assert seconds is not None
    assert 25 < seconds <= 31
    assert retry_after_s(formatdate(time.time() - 3600, usegmt=True)) == 0.0
