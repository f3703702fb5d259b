"""What counts as a silence of the engine, on a clock that the test sets by hand."""

from engine.process.silence import Silence

HEARTBEAT_S = 10.0


def looks(silence: Silence, first_s: int, end_s: int) -> list[float | None]:
    """What is told from one second to another, with a look in each."""
    return [told for now_s in range(first_s, end_s) if (told := silence.look(float(now_s))) is not None]


def test_a_silence_is_told_once_and_the_next_one_after_a_sound():
    silence = Silence(HEARTBEAT_S, 0.0)
    assert looks(silence, 1, 11) == []
    assert looks(silence, 11, 100) == [11.0]
    silence.hear(100.0)
    assert looks(silence, 101, 200) == [11.0]


def test_sounds_in_time_are_no_silence():
    silence = Silence(HEARTBEAT_S, 0.0)
    for now_s in range(0, 100, 9):
        silence.hear(float(now_s))
        assert looks(silence, now_s + 1, now_s + 10) == []


def test_a_time_in_which_the_app_was_stuck_is_nobodys_silence():
    silence = Silence(HEARTBEAT_S, 0.0)
    assert looks(silence, 1, 5) == []
    assert looks(silence, 3600, 3611) == []
    assert looks(silence, 3611, 3700) == [11.0]


def test_a_silence_that_was_told_is_not_told_again_when_the_app_was_stuck_in_it():
    silence = Silence(HEARTBEAT_S, 0.0)
    assert looks(silence, 1, 20) == [11.0]
    assert looks(silence, 30, 100) == []
    silence.hear(100.0)
    assert looks(silence, 101, 200) == [11.0]
