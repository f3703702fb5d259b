"""The speed that the pulse tells."""

from types import SimpleNamespace

import pytest

from engine.process import pulse
from engine.process.pulse import Activity
from engine.protocol import Token


class Clock:
    def __init__(self) -> None:
        self.now_s = 50.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(pulse, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.mark.parametrize(("together", "pause_s"), [(1, 0.01), (1, 0.2), (4, 0.04), (10, 0.02)])
def test_tokens_a_second_whether_told_one_by_one_or_together(clock, together, pause_s):
    activity = Activity()
    for _ in range(round(3 / pause_s)):
        clock.now_s += pause_s - 0.0001 * together
        for _ in range(together):
            clock.now_s += 0.0001
            activity.observe(Token(id=1, text="x", logprob=0.0))
    assert activity.tokens_per_second() == pytest.approx(together / pause_s, rel=0.01)


def test_a_single_token_has_no_speed_yet(clock):
    activity = Activity()
    activity.observe(Token(id=1, text="x", logprob=0.0))
    assert activity.tokens_per_second() == 0.0
