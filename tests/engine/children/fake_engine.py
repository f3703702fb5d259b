"""The real worker around a scripted model: argv[1] is the script, argv[2] the seconds per evaluation."""

import os
import sys
import threading
import time

from fake_model import FakeModel

from engine.errors import ModelFileError
from engine.process.streams import take_wire
from engine.protocol import Load

SCRIPT, PACE_S = sys.argv[1], float(sys.argv[2])


class StuckModel(FakeModel):
    """Never comes back from its computation."""

    def evaluate(self, ids, pos):
        threading.Event().wait()


class BrokenModel(FakeModel):
    """Fails after the prompt, as a kernel's wrapper might."""

    def evaluate(self, ids, pos):
        if pos > 0:
            raise ZeroDivisionError("a bug")
        return super().evaluate(ids, pos)


class UnkeptModel(FakeModel):
    """Fails to keep its session, in a way that nobody foresaw."""

    def keep_session(self):
        raise ZeroDivisionError("a bug while keeping")


class LeavingModel(FakeModel):
    """Ends the thread that uses it."""

    def evaluate(self, ids, pos):
        raise SystemExit("a library's own idea")


def open_model(command: Load, report) -> FakeModel:
    print("a stray print of some library")  # noqa: T201
    os.system("echo a stray child; cat")
    match command.path:
        case "missing.gguf":
            raise ModelFileError("missing.gguf is not there.", "Choose another file.")
        case "big.gguf":
            raise MemoryError
        case "endless.gguf":
            while True:
                report("preparing", 1, 100, "")
                time.sleep(0.001)
        case "stuck.gguf":
            return StuckModel(SCRIPT)
        case "broken.gguf":
            return BrokenModel(SCRIPT)
        case "unkept.gguf":
            return UnkeptModel(SCRIPT)
        case "leaving.gguf":
            return LeavingModel(SCRIPT)
    for done in range(3):
        report("reading", done, 2, f"part {done}")
    return FakeModel(SCRIPT, pace_s=PACE_S, max_seq_len=command.context or 4096)


if __name__ == "__main__":
    commands, events = take_wire()
    from engine.process.serving import serve

    serve(commands, events, open_model, prepare=lambda: None)
