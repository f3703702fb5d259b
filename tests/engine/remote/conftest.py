"""A real server that nobody here wrote: llama.cpp's own, with the starter model."""

from __future__ import annotations

import runpy
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
START_S = 120.0


def peer_python() -> Path:
    """The Python of the environment with llama.cpp, which the benchmarks use too; skips where it cannot be made."""
    environment = runpy.run_path(str(CHECKOUT / "bench" / "peer_environment.py"))
    try:
        python: Path = environment["peer_python"]()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"llama.cpp's package cannot be installed here ({error}).")
    return python


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def llama_key() -> str:
    """What llama.cpp's server wants as its key."""
    return "llama-server-key-5c1f"


@pytest.fixture(scope="session")
def llama_server(starter_model: Path, llama_key: str) -> Iterator[str]:
    """The base URL of llama.cpp's server."""
    program = Path(__file__).with_name("llamacpp_server.py")
    command = [peer_python(), program, starter_model, str(free_port()), llama_key]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        watchdog = threading.Timer(START_S, process.kill)
        watchdog.start()
        assert process.stdout
        address = next((line.strip() for line in process.stdout if line.startswith("http://")), "")
        watchdog.cancel()
        assert address, "llama.cpp's server did not start"
        yield f"{address}/v1"
        process.kill()
