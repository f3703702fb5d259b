"""What is said about a process that has ended."""

from pathlib import Path

import pytest

from engine.process import postmortem


@pytest.mark.parametrize(
    ("returncode", "words"),
    [
        (0, "by itself with exit code 0"),
        (9, "by itself with exit code 9"),
        (-11, "ended by SIGSEGV: it crashed"),
        (-7, "ended by SIGBUS: a file that it had mapped was cut short"),
        (-4, "NUMBA_CPU_NAME=generic"),
        (-15, "ended by SIGTERM."),
        (-64, "ended by SIGRTMAX"),
        (-99, "ended by signal 99"),
    ],
)
def test_every_way_to_end_has_words(returncode: int, words: str):
    assert words in postmortem.describe(returncode, 0)


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (4, 5, "killed: out of memory"),
        (4, 4, "by somebody, or by a guard of memory"),
        (None, None, "may have run out of memory"),
        (4, None, "may have run out of memory"),
    ],
)
def test_out_of_memory_is_said_for_sure_only_where_the_kernel_says_so(
    monkeypatch: pytest.MonkeyPatch, before: int | None, now: int | None, words: str
):
    monkeypatch.setattr(postmortem, "oom_kills", lambda: now)
    assert words in postmortem.describe(-9, before)


def test_the_kernel_s_count_is_read_where_there_is_one():
    kills = postmortem.oom_kills()
    assert (kills is None) == (not Path("/proc/vmstat").exists() or "oom_kill " not in Path("/proc/vmstat").read_text())


def test_the_tail_of_a_log_is_whole_lines_from_its_own_part(tmp_path: Path):
    log = tmp_path / "engine.log"
    assert postmortem.log_tail(log) == []
    log.write_bytes(b"older\n" + b"one\n\n  \ntwo \xff\n")
    assert postmortem.log_tail(log, start=6) == ["one", "two \ufffd"]
    log.write_text("".join(f"line {i} {'x' * 2000}\n" for i in range(100)))
    tail = postmortem.log_tail(log)
    assert [line[:8] for line in tail] == [f"line {i} " for i in range(92, 100)]
    assert {len(line) for line in tail} == {postmortem.LOG_LINE_CHARS}
    log.write_text("".join(f"{i}\n" for i in range(100)))
    assert postmortem.log_tail(log) == [str(i) for i in range(80, 100)]


def test_a_process_that_does_not_end_is_told(tmp_path: Path):
    died = postmortem.engine_died(None, tmp_path / "log", 0, None)
    assert "stuck in the kernel" in died.message
    assert (died.exit_code, died.signal) == (None, None)
