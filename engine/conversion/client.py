"""A conversion as others see it: a function that takes its time, tells of progress, and cleans up whatever happens."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from engine.conversion.messages import (
    AnyMessage,
    Conversion,
    ConversionFailed,
    ConversionNote,
    ConversionProgress,
    Converted,
)
from engine.errors import EngineError
from engine.new_file import part_path
from engine.process import postmortem
from engine.process.child import open_log
from engine.typed_path import require_text

COMMAND: Sequence[str] = (sys.executable, "-P", "-m", "engine.conversion")
"""The process that converts."""

STOP_S = 10.0
"""A conversion ends after the piece in hand; a disk that writes slowly takes seconds for that."""

SAID_BYTES = 200
"""So much of a line that is no message is quoted."""

OnMessage = Callable[[ConversionProgress | ConversionNote], None]


class ConversionFailedError(EngineError):
    """The conversion's process told why it could not do its work, or ended without a word."""


def convert(conversion: Conversion, log_path: Path, on_message: OnMessage) -> Converted:
    """Convert in a process of its own and wait for it; an exception here, such as Ctrl-C's, ends that process.

    Its stderr goes to the log. Raises ConversionFailedError, ModelFileError for a path that it cannot be told.
    """
    require_text(conversion.source, conversion.target, conversion.base, conversion.cache_dir)
    oom_kills = postmortem.oom_kills()
    with open_log(log_path, lambda text: on_message(ConversionNote(text=text))) as log_file:
        log_start = log_file.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log_file, start_new_session=True
        )
    try:
        answer = _listen(process, conversion, on_message)
        # After its answer it has nothing more to do: if it ends slowly, `_end` sees to that.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S if answer else None)
    finally:
        _end(process)
        # Where the target's folder is none, there is nothing of it either.
        with contextlib.suppress(OSError):
            part_path(Path(conversion.target), process.pid).unlink()
    if isinstance(answer, Converted):
        return answer
    if answer is not None:
        raise ConversionFailedError(answer.text, answer.hint)
    raise _died(process.returncode, log_path, log_start, oom_kills)


def _listen(
    process: subprocess.Popen[bytes], conversion: Conversion, on_message: OnMessage
) -> Converted | ConversionFailed | None:
    """Ask, and hear messages until the last one; None if the process ended without it.

    Raises ConversionFailedError for what is no message.
    """
    try:
        requests = cast(BinaryIO, process.stdin)
        requests.write(msgspec.json.encode(conversion) + b"\n")
        requests.flush()
    except BrokenPipeError:
        return None
    decoder: msgspec.json.Decoder[AnyMessage] = msgspec.json.Decoder(AnyMessage)
    for line in cast(BinaryIO, process.stdout):
        try:
            message = decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            said = line[:SAID_BYTES].decode(errors="replace").strip()
            raise ConversionFailedError(
                f"The conversion's process wrote something that is no message: {said}.", "Try again."
            ) from error
        if isinstance(message, Converted | ConversionFailed):
            return message
        on_message(message)
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Whatever state it is in: closed pipes, a signal, and after a while the one that nothing survives."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def _died(code: int, log_path: Path, log_start: int, oom_kills: int | None) -> ConversionFailedError:
    why = postmortem.describe(code, oom_kills, "The conversion")
    last = next(reversed(postmortem.log_tail(log_path, log_start)), "")
    said = f" Its last words: {last}" if last else ""
    return ConversionFailedError(f"{why}{said} Nothing of the new file is left.", f"{log_path} may have more.")
