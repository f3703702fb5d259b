"""`llm-tui models convert`, as a shell sees it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from gguf import GGUFReader, GGUFWriter

SLOW = Path(__file__).parents[1] / "engine" / "children" / "slow_conversion.py"

SLOWLY = """
import signal
import sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored
from engine.conversion import client
client.COMMAND = (sys.executable, "-P", sys.argv.pop(1))
from tui.__main__ import main
main()
"""


def write(path, norm):
    """A file with a matrix and a norm: enough to be converted, though it is no model."""
    writer = GGUFWriter(path, "llama")
    writer.add_name("one matrix")
    writer.add_tensor("blk.0.ffn_up.weight", np.random.default_rng(1).standard_normal((400, 256), np.float32))
    writer.add_tensor("output_norm.weight", np.full(256, norm, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def source(tmp_path):
    (tmp_path / "models").mkdir()
    return write(tmp_path / "models" / "source.gguf", norm=1)


def test_json_tells_what_was_done(cli, warm_home, source, tmp_path):
    ran = cli("models", "convert", source, tmp_path / "new.gguf", "--type", "q4_k_m", "--json", "--threads", 2)
    assert ran.code == 0, ran.err
    done = json.loads(ran.out)
    assert list(done) == ["tensors", "bytes_in", "bytes_out", "seconds", "peak_rss_mb"]
    assert (done["tensors"], done["bytes_in"]) == (2, 401 * 256 * 4)
    assert done["bytes_out"] == (tmp_path / "new.gguf").stat().st_size
    assert GGUFReader(tmp_path / "new.gguf").tensors[0].tensor_type.name == "Q4_K"


def test_a_log_that_cannot_be_written_is_no_reason_not_to_convert(cli, warm_home, source, tmp_path):
    (warm_home / "log").touch()
    ran = cli("models", "convert", source, tmp_path / "new.gguf", "-t", "Q8_0")
    assert ran.code == 0, ran.err
    assert "log/engine.log cannot be written" in ran.err
    assert (tmp_path / "new.gguf").exists()


def test_without_json_it_is_said_in_words(cli, warm_home, source, tmp_path):
    ran = cli("models", "convert", source, tmp_path / "new.gguf", "-t", "Q8_0")
    assert ran.code == 0, ran.err
    assert str(tmp_path / "new.gguf") in ran.out


def test_failures_are_one_line(cli, warm_home, source, tmp_path):
    (tmp_path / "new.gguf").write_bytes(b"precious")
    ran = cli("models", "convert", source, tmp_path / "new.gguf", "-t", "Q8_0")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.count("\n") == 1
    assert "exists already" in ran.err
    assert "--force" in ran.err
    assert (tmp_path / "new.gguf").read_bytes() == b"precious"


def test_force_overwrites(cli, warm_home, source, tmp_path):
    (tmp_path / "new.gguf").write_bytes(b"old")
    assert cli("models", "convert", source, tmp_path / "new.gguf", "-t", "Q8_0", "--force").code == 0
    assert GGUFReader(tmp_path / "new.gguf").tensors


def test_a_difference_is_added_to_its_base(cli, warm_home, source, tmp_path):
    difference = write(tmp_path / "difference.gguf", norm=0.001)
    ran = cli("models", "convert", difference, tmp_path / "new.gguf", "-t", "f32", "--base", source)
    assert ran.code == 0, ran.err
    weights = GGUFReader(source).tensors[0].data
    assert np.array_equal(GGUFReader(tmp_path / "new.gguf").tensors[0].data, 2 * weights)


@pytest.mark.parametrize(
    ("arguments", "words"), [((), "--type"), (("-t", "q9"), "Q4_K_M"), (("-t", "q8_0", "--threads", "0"), "threads")]
)
def test_wrong_usage(arguments, words, cli, warm_home, source, tmp_path):
    ran = cli("models", "convert", source, tmp_path / "new.gguf", *arguments)
    assert ran.code == 2
    assert words in ran.err


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGHUP, 130), (signal.SIGKILL, -9)],
)
def test_ended_by_a_signal_it_leaves_neither_file_nor_process(number, code, warm_home, source, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    arguments = ["models", "convert", str(source), str(target / "new.gguf"), "-t", "q4_0", "--threads", "1"]
    with subprocess.Popen(
        [sys.executable, "-P", "-c", SLOWLY, str(SLOW), *arguments], stderr=subprocess.PIPE, text=True
    ) as process:
        me = psutil.Process(process.pid)
        while not (children := me.children()):
            with contextlib.suppress(subprocess.TimeoutExpired):
                pytest.fail(f"it ended with {process.wait(0.02)}")
        os.kill(process.pid, number)
        _, complaint = process.communicate(timeout=60)
    gone, alive = psutil.wait_procs(children, timeout=60)
    assert (process.returncode, len(gone), alive) == (code, 1, [])
    assert list(target.iterdir()) == []
    if number != signal.SIGKILL:
        assert complaint.strip() == f"Stopped; nothing of {target / 'new.gguf'} is left."


def test_the_users_process_imports_nothing_that_computes(warm_home, source, tmp_path):
    code = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: print(json.dumps([n for n in sys.modules if '.' not in n]), file=sys.stderr))\n"
        "from tui.__main__ import main\nmain()"
    )
    arguments = ["models", "convert", str(source), str(tmp_path / "new.gguf"), "-t", "q4_0"]
    ran = subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments], capture_output=True, text=True, check=True, timeout=120
    )
    assert {"numpy", "numba", "llvmlite", "textual"}.isdisjoint(json.loads(ran.stderr.splitlines()[-1]))
