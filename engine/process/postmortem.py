"""Why the engine's process ended, in words: exit code, signal, memory, and the last lines of its log."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from engine.protocol import EngineDied

LOG_TAIL_LINES = 20
LOG_TAIL_BYTES = 16 * 1024
LOG_LINE_CHARS = 500

_CRASHES = {
    "SIGSEGV": "it crashed in compiled code",
    "SIGABRT": "it crashed in compiled code",
    "SIGFPE": "it crashed in compiled code",
    "SIGBUS": "a file that it had mapped was cut short, replaced, or its disk went away",
    "SIGILL": "it met an instruction that this processor does not have; NUMBA_CPU_NAME=generic avoids those",
    "SIGXFSZ": "a file grew beyond the limit of this account",
    "SIGXCPU": "it used all the processor time that this account may use",
}


def oom_kills() -> int | None:
    """How many processes the kernel has killed for want of memory since the machine started; None if it does not say.

    Counts those of a memory control group (a container, a systemd slice) too. Source: Linux, mm/oom_kill.c.
    """
    try:
        text = Path("/proc/vmstat").read_text(encoding="ascii")
    except OSError:
        return None
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), None)


def log_tail(log_path: Path, start: int = 0) -> list[str]:
    """The log's last lines, none from before byte `start`."""
    try:
        with log_path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            first = max(start, size - LOG_TAIL_BYTES)
            file.seek(first)
            text = file.read(LOG_TAIL_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return []
    lines = text.splitlines()
    if first > start:
        lines = lines[1:]
    return [line[:LOG_LINE_CHARS] for line in lines if line.strip()][-LOG_TAIL_LINES:]


def signal_name(returncode: int) -> str | None:
    """The signal's name where a negative return code stands for one."""
    if returncode >= 0:
        return None
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def describe(returncode: int, oom_kills_before: int | None, who: str = "The engine") -> str:
    """One sentence for the user. oom_kills_before: what `oom_kills()` said when the process started."""
    name = signal_name(returncode)
    if name is None:
        return f"{who} ended by itself with exit code {returncode}."
    if name == "SIGKILL":
        return _describe_sigkill(oom_kills_before, who)
    if name in _CRASHES:
        return f"{who} was ended by {name}: {_CRASHES[name]}."
    return f"{who} was ended by {name}."


def _describe_sigkill(oom_kills_before: int | None, who: str) -> str:
    now = oom_kills()
    if now is not None and oom_kills_before is not None:
        if now > oom_kills_before:
            return f"{who} was killed: out of memory. A smaller model or a smaller context needs less."
        return f"{who} was killed by SIGKILL: by somebody, or by a guard of memory such as systemd-oomd."
    return f"{who} was killed by SIGKILL: it may have run out of memory."


def engine_died(returncode: int | None, log_path: Path, log_start: int, oom_kills_before: int | None) -> EngineDied:
    """The event that tells of a process that ended without being asked to. returncode: None if it is still there."""
    if returncode is None:
        message = "The engine's process is stuck in the kernel and cannot be ended."
        return EngineDied(exit_code=None, signal=None, message=message, log_tail=log_tail(log_path, log_start))
    return EngineDied(
        exit_code=returncode if returncode >= 0 else None,
        signal=signal_name(returncode),
        message=describe(returncode, oom_kills_before),
        log_tail=log_tail(log_path, log_start),
    )
