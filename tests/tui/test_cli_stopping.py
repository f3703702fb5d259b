"""Commands that a signal ends while they wait for the engine."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.tui.conftest import CLI_ENGINE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("words", [["bench", "--repeat", "1000000000", "--gen-tokens", "7"], ["perplexity", "-"]])
def test_what_measures_ends_in_order(model: Path, words: list[str], number: int) -> None:
    # Whoever runs the tests under nohup has them ignore SIGHUP, and what they start.
    program = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        f"import engine.client; engine.client.ENGINE_COMMAND = {CLI_ENGINE!r}\nfrom tui.__main__ import main; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, *words, "-m", str(model)], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(b"WAIT")
        process.stdin.close()
        process.stdin = None
        me = psutil.Process(process.pid)
        while not (children := me.children()):
            with contextlib.suppress(subprocess.TimeoutExpired):
                pytest.fail(f"it ended with {process.wait(0.02)}")
        process.send_signal(number)
        _, complaint = process.communicate(timeout=60)
    gone, alive = psutil.wait_procs(children, timeout=60)
    assert (process.returncode, len(gone), alive) == (130, 1, [])
    assert b"Traceback" not in complaint
