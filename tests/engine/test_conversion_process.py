"""A conversion's process: what it tells, what it takes, and that nothing is left however it ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from engine.checkpoints import open_checkpoint
from engine.conversion import client
from engine.conversion.client import ConversionFailedError, convert
from engine.conversion.messages import Conversion, ConversionNote, ConversionProgress, Converted
from engine.errors import ModelFileError

SLOW = (sys.executable, "-P", str(Path(__file__).with_name("children") / "slow_conversion.py"))
CACHE = Path(__file__).parents[2] / ".cache" / "engine"

NAMED = """
import runpy, sys
from engine import new_file
new_file._NAMELESS = 0
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.fixture
def source(write_model, tmp_path):
    return write_model(tmp_path / "source.gguf", dim=256, n_heads=4, n_kv_heads=2, hidden_dim=512)


@pytest.fixture(params=["as the system can", "under a name"])
def slow(request, monkeypatch):
    """The process reads from a slow disk; the unfinished file has a name or none."""
    named = (sys.executable, "-P", "-c", NAMED, SLOW[-1])
    monkeypatch.setattr(client, "COMMAND", SLOW if request.param == "as the system can" else named)


@pytest.fixture
def start(source, tmp_path):
    """Convert the tiny model; `on_message` may do what it likes."""

    def call(on_message=lambda _: None, kind="Q4_K_M", **options):
        options = {"source": str(source), "target": str(tmp_path / "new.gguf"), "cache_dir": str(CACHE), **options}
        return convert(Conversion(type=kind, **options), tmp_path / "log" / "engine.log", on_message)

    return call


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_was_done_is_told(start, source, tmp_path):
    messages = []
    done = start(messages.append, threads=2)
    new = open_checkpoint(tmp_path / "new.gguf")
    assert done.tensors == len(new.tensors)
    assert done.bytes_in == open_checkpoint(source).weights_bytes
    assert done.bytes_out == (tmp_path / "new.gguf").stat().st_size
    assert 0 < done.seconds < 100
    assert 20 < done.peak_rss_mb < 200
    assert {message.stage for message in messages} == {"compiling", "converting", "saving"}
    assert names(tmp_path) == ["log", "new.gguf", "source.gguf"]


def test_who_has_gone_when_the_file_is_there_finds_it_done(start, monkeypatch, source, tmp_path):
    program = """
import sys
from engine.conversion import __main__ as conversion
take_wire = conversion.take_wire
class Wire:
    def __init__(self, wire):
        self.wire = wire
        self.flush = wire.flush
    def write(self, line):
        if b'"converted"' in line:
            raise BrokenPipeError
        self.wire.write(line)
def taken():
    requests, wire = take_wire()
    return requests, Wire(wire)
conversion.take_wire = taken
sys.exit(conversion.main())
"""
    monkeypatch.setattr(client, "COMMAND", (sys.executable, "-P", "-c", program))
    with pytest.raises(ConversionFailedError, match="exit code 0"):
        start(threads=1)
    assert len(open_checkpoint(tmp_path / "new.gguf").tensors) == len(open_checkpoint(source).tensors)


def test_what_was_lost_before_is_noted(start, tmp_path):
    start(kind="Q8_0")
    messages = []
    start(messages.append, kind="Q4_0", source=str(tmp_path / "new.gguf"), target=str(tmp_path / "newer.gguf"))
    notes = [message.text for message in messages if isinstance(message, ConversionNote)]
    assert len(notes) == 1
    assert "Q8_0" in notes[0]


def test_failures_come_with_what_to_do(start, tmp_path):
    (tmp_path / "new.gguf").write_bytes(b"")
    with pytest.raises(ConversionFailedError, match=r"exists already\. .*--force"):
        start()


def test_paths_that_are_no_text_or_lead_nowhere(start, tmp_path):
    with pytest.raises(ModelFileError, match="bytes in it that are no text"):
        start(target=str(tmp_path / "\udcff.gguf"))
    with pytest.raises(ConversionFailedError, match="does not exist"):
        start(target=str(tmp_path / "source.gguf" / "x"))


def big_model(path, write_model, megabytes):
    """A model with a matrix of this size in F16, most of it a hole in the file."""
    import numpy as np

    columns = 1024
    weights = np.zeros((megabytes * 512, columns), np.float16)
    return write_model(path, set_tensors={"output.weight": weights})


@pytest.mark.slow
def test_memory_does_not_grow_with_the_model(start, write_model, tmp_path):
    peaks = []
    for megabytes in (60, 300):
        source = big_model(tmp_path / "big.gguf", write_model, megabytes)
        done = start(kind="Q4_0", source=str(source), force=True, threads=8, cache_dir=str(tmp_path / "cold"))
        assert done.bytes_in > megabytes << 20
        peaks.append(done.peak_rss_mb)
    assert max(peaks) <= 300
    assert peaks[1] < peaks[0] + 30


def halfway(act):
    """Acts on the first news of some bytes that are done."""
    acted = []

    def hear(message):
        if isinstance(message, ConversionProgress) and 0 < message.done_bytes < message.total_bytes and not acted:
            acted.append(True)
            act()

    return hear


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_exception_here_ends_it_there(error, slow, start, tmp_path):
    def fail():
        raise error

    with pytest.raises(error):
        start(halfway(fail))
    assert names(tmp_path) == ["log", "source.gguf"]


@pytest.fixture
def pids(monkeypatch):
    """The processes that were started."""
    started = []

    class Popen(subprocess.Popen):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            started.append(self.pid)

    monkeypatch.setattr(client.subprocess, "Popen", Popen)
    return started


@pytest.mark.parametrize(
    ("number", "words"),
    [(signal.SIGTERM, "was stopped"), (signal.SIGINT, "was stopped"), (signal.SIGKILL, "killed")],
)
def test_a_signal_leaves_nothing(number, words, slow, start, pids, tmp_path):
    with pytest.raises(ConversionFailedError, match=words):
        start(halfway(lambda: os.kill(pids[0], number)))
    assert names(tmp_path) == ["log", "source.gguf"]


def test_it_can_be_done_again_after_that(slow, start, pids, monkeypatch, tmp_path):
    with pytest.raises(ConversionFailedError):
        start(halfway(lambda: os.kill(pids[0], signal.SIGKILL)))
    monkeypatch.undo()
    assert isinstance(start(), Converted)
    assert names(tmp_path) == ["log", "new.gguf", "source.gguf"]


def test_a_process_that_ends_before_it_hears_anything(start, monkeypatch, tmp_path):
    deaf = "import os; os.close(0); print('no room to start', file=__import__('sys').stderr); os._exit(3)"
    monkeypatch.setattr(client, "COMMAND", (sys.executable, "-P", "-c", deaf))
    with pytest.raises(ConversionFailedError, match=r"exit code 3\. Its last words: no room to start"):
        start(source="x" * 1_000_000)
    assert names(tmp_path) == ["log", "source.gguf"]


SLOW_TO_END = """
import runpy, signal
try:
    runpy.run_module("engine.conversion", run_name="__main__")
finally:
    signal.pause()
"""


def test_a_process_that_does_not_end_after_its_answer(start, monkeypatch, pids, tmp_path):
    monkeypatch.setattr(client, "COMMAND", (sys.executable, "-P", "-c", SLOW_TO_END))
    monkeypatch.setattr(client, "STOP_S", 0.1)
    assert isinstance(start(), Converted)
    assert names(tmp_path) == ["log", "new.gguf", "source.gguf"]
    assert not psutil.pid_exists(pids[0])


@pytest.mark.parametrize(
    "line",
    ["warning: hello", '{"message": "progress"}', "\\xff", "[" * 100_000],
    ids=["words", "half a message", "no text", "too deep"],
)
def test_a_process_that_writes_something_else(start, monkeypatch, pids, tmp_path, line):
    writer = f"import sys; sys.stdin.readline(); sys.stdout.buffer.write(b'{line}\\n'); sys.stdout.flush(); input()"
    monkeypatch.setattr(client, "COMMAND", (sys.executable, "-P", "-c", writer))
    with pytest.raises(ConversionFailedError, match=r"no message: .*\. Try again\."):
        start()
    assert names(tmp_path) == ["log", "source.gguf"]
    assert not psutil.pid_exists(pids[0])


LIMITED = """
import resource, runpy
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
runpy.run_module("engine.conversion", run_name="__main__")
"""


def test_a_limit_on_the_size_of_files(start, monkeypatch, tmp_path):
    start()
    (tmp_path / "new.gguf").unlink()
    monkeypatch.setattr(client, "COMMAND", (sys.executable, "-P", "-c", LIMITED))
    with pytest.raises(
        ConversionFailedError, match=r"may not become that large here\. Nothing of it is left\. .*ulimit"
    ):
        start()
    assert names(tmp_path) == ["log", "source.gguf"]


IN_A_SMALL_DISK = """
import os, sys
from pathlib import Path
from engine.conversion import client
from engine.conversion.messages import Conversion, ConversionProgress
disk, source, cache, slow = sys.argv[1:]
client.COMMAND = (sys.executable, "-P", slow)

def fill(message):
    if isinstance(message, ConversionProgress) and message.done_bytes and not Path(disk, "filler").exists():
        with open(Path(disk, "filler"), "wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)) == 4096:
                    pass
            except OSError:
                pass

try:
    client.convert(
        Conversion(source=source, target=disk + "/new.gguf", type="F32", cache_dir=cache), Path(source + ".log"), fill
    )
except client.ConversionFailedError as error:
    print(error)
print(sorted(os.listdir(disk)))
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs a disk of its own, from Linux's name spaces")
def test_a_disk_that_becomes_full(source, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    size = source.stat().st_size + (1 << 16)
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size={size} small '{disk}'"
    if subprocess.run([*alone, mount], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody mount a disk of their own")
    program = [sys.executable, "-P", "-c", IN_A_SMALL_DISK, str(disk), str(source), str(CACHE), SLOW[-1]]
    ran = subprocess.run(
        [*alone, mount + ' && exec "$@"', "sh", *program],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    message, left = ran.stdout.splitlines()
    assert "cannot be written: the disk is full. Nothing of it is left. Make room" in message
    assert left == "['filler']"
