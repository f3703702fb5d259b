"""The chat template in a model file, rendered by a helper process that a bad template cannot take down with it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.errors import TemplateError

RENDER_LIMIT_S = 5.0
"""How much processor time a template may take; the longest conversations take milliseconds."""

ANSWER_LIMIT_S = 60.0
"""How long an answer may take by the clock, the helper's start included: a machine that stalls is no fault of a
template's, but nobody waits for ever."""

EXIT_LIMIT_S = 2.0
"""How long the helper may take to leave once its input has ended."""


class TemplateProcess:
    """The helper process: started when first needed, started again after it had to be killed.

    limit_s: of processor time, for one rendering; it is the system that ends the helper then, whatever it does.
    answer_limit_s: of the clock's.
    """

    def __init__(self, limit_s: float = RENDER_LIMIT_S, answer_limit_s: float = ANSWER_LIMIT_S) -> None:
        self._limit_s = limit_s
        self._answer_limit_s = answer_limit_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._finalizer: weakref.finalize[..., TemplateProcess] | None = None

    def start(self) -> None:
        """Start the helper ahead of the first use."""
        with self._lock:
            self._running()

    def render(self, source: str, variables: Mapping[str, object]) -> str:
        """The text that the template writes. Raises TemplateError if it fails, takes too long or writes too much."""
        request = json.dumps({"source": source, "variables": dict(variables)}).encode() + b"\n"
        with self._lock:
            process = self._running()
            timer = threading.Timer(self._answer_limit_s, process.kill)
            timer.daemon = True
            timer.start()
            try:
                answer = _exchange(process, request)
            finally:
                timer.cancel()
                timer.join()
            if not answer.endswith(b"\n"):
                self._close()
                limit_s = self._limit_s if process.returncode == -signal.SIGPROF else self._answer_limit_s
                raise TemplateError(
                    f"The model's chat template was stopped: it took more than {limit_s:g} s, or all memory.",
                    "Choose another chat format.",
                )
        reply: dict[str, str] = json.loads(answer)
        if "error" in reply:
            raise TemplateError(
                f"The model's chat template failed: {reply['error'].rstrip('.')}.", "Choose another chat format."
            )
        return reply["text"]

    def close(self) -> None:
        """End the helper."""
        with self._lock:
            self._close()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self._close()
        if self._process is None:
            command = [sys.executable, "-P", str(Path(__file__).with_name("sandbox.py")), str(self._limit_s)]
            try:
                self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            except OSError as error:
                raise TemplateError(f"The helper for chat templates does not start: {error.strerror}.") from error
            self._finalizer = weakref.finalize(self, _end, self._process)
        return self._process

    def _close(self) -> None:
        if self._finalizer is not None:
            self._finalizer()
        self._process = self._finalizer = None


def _exchange(process: subprocess.Popen[bytes], request: bytes) -> bytes:
    """The line that answers the request; cut short if the process dies."""
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(OSError):
        process.stdin.write(request)
        process.stdin.flush()
        return process.stdout.readline()
    return b""


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(EXIT_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


_shared = TemplateProcess()


class ChatTemplate:
    """One Jinja chat template, with the variables that transformers gives to it."""

    def __init__(self, source: str, process: TemplateProcess | None = None) -> None:
        self.source = source
        self._process = process or _shared

    def start(self) -> None:
        """Make the first rendering fast."""
        self._process.start()

    def render(self, messages: Sequence[Mapping[str, object]], special_tokens: Mapping[str, str]) -> str:
        """The conversation up to where the assistant's next answer begins.

        special_tokens: bos_token and the like, by the names that templates use.
        """
        variables = {
            "messages": [dict(message) for message in messages],
            "add_generation_prompt": True,
            "tools": None,
            "documents": None,
            **special_tokens,
        }
        return self._process.render(self.source, variables)
