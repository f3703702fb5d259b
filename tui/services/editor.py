"""The user's own editor for a long prompt: the screen is given to it, and taken back when it ends."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tui.language import _
from tui.text import safe_line

if TYPE_CHECKING:
    from textual.app import App

_USUAL = ("nano", "vim", "vi")


class EditorError(Exception):
    """There is no text to take over; the message says why and what to do."""


def editor_command(environment: Mapping[str, str]) -> list[str]:
    """The program to edit with: $VISUAL, else $EDITOR, else one that is nearly everywhere. Raises EditorError."""
    for variable in ("VISUAL", "EDITOR"):
        if wanted := environment.get(variable, "").strip():
            try:
                command = shlex.split(wanted)
            except ValueError as error:
                raise EditorError(
                    _(
                        "{variable} cannot be understood ({error}): {wanted}",
                        variable=variable,
                        error=error,
                        wanted=safe_line(wanted),
                    )
                ) from error
            if shutil.which(command[0], path=environment.get("PATH")) is None:
                raise EditorError(
                    _(
                        "{variable} names {command}, which is not installed.",
                        variable=variable,
                        command=safe_line(command[0]),
                    )
                )
            return command
    for name in _USUAL:
        if (found := shutil.which(name, path=environment.get("PATH"))) is not None:
            return [found]
    raise EditorError(_("There is no editor. Set EDITOR to one, for instance: export EDITOR=nano"))


async def edit_text(app: App[int], text: str, keep: Callable[[str], None]) -> str:
    """Return the text as the user leaves it in the editor. Raises EditorError; the text is as it was then.

    keep: called with the text as the editor last saved it, when the app is left before the editor.

    What happens meanwhile, an answer that is being written above all, goes on and is drawn afterwards.
    """
    from textual.app import SuspendNotSupported

    command = editor_command(os.environ)
    try:
        with tempfile.TemporaryDirectory(prefix="llm-tui-", ignore_cleanup_errors=True) as folder:
            file = Path(folder) / "prompt.md"
            file.write_text(text, encoding="utf-8")
            try:
                with app.batch_update(), _interrupts_ignored(), app.suspend():
                    code = await _run([*command, str(file)])
            except asyncio.CancelledError:
                with suppress(OSError, UnicodeDecodeError):
                    keep(_text(file))
                raise
            return _left_by(command[0], code, file)
    except (OSError, SuspendNotSupported) as error:
        raise EditorError(_("{program} cannot be started here: {error}", program=command[0], error=error)) from error


def _left_by(program: str, code: int, file: Path) -> str:
    """The text as the editor left it, which ended with a code."""
    if code:
        raise EditorError(_("{program} ended with {code}; the text is as it was.", program=program, code=code))
    try:
        return _text(file)
    except (OSError, UnicodeDecodeError) as error:
        raise EditorError(
            _("What {program} left cannot be read ({error}); the text is as it was.", program=program, error=error)
        ) from error


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8").rstrip("\n")


async def _run(command: list[str]) -> int:
    """Run a program in the terminal; it ends with us."""
    process = await asyncio.create_subprocess_exec(*command)
    try:
        return await process.wait()
    except asyncio.CancelledError:
        process.terminate()
        raise


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ctrl+c in the editor is the editor's, though the terminal sends it to us as well."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
