"""The commands that wait in the worker, and those that reach into what is running.

One thread reads commands and posts them here; another takes them and owns the model. Stop and Tune do not wait: they
turn a switch of the running task, which looks at it between two tokens, two prompt batches or two steps of loading.
Load and the end put an end to everything before them: who asks for another model does not want to wait for the old
one's answer. Tokenize and Detokenize are answered between two tokens of a running answer.
"""

from __future__ import annotations

import threading
from collections import deque

import msgspec

from engine.control import Control
from engine.protocol import Detokenize, Generate, Load, Question, Request, Stop, Tokenize, Tune


class Inbox:
    """The line of waiting commands. Safe to use from several threads."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Request, Control]] = deque()
        self._running: tuple[str, Control] | None = None
        self._closed = False
        self._changed = threading.Condition()

    def post(self, command: Request | Stop | Tune) -> list[Request]:
        """Take in a command; returns those that it removed from the line, which will never run."""
        with self._changed:
            if isinstance(command, Stop):
                return self._stop(command.request_id)
            if isinstance(command, Tune):
                self._tune(command)
                return []
            removed = self._stop_all() if isinstance(command, Load) else []
            control = Control(sampling=command.sampling) if isinstance(command, Generate) else Control()
            self._waiting.append((command, control))
            self._changed.notify_all()
            return removed

    def close(self) -> list[Request]:
        """Stop everything and let nothing in any more; returns what will never run."""
        with self._changed:
            self._closed = True
            removed = self._stop_all()
            self._changed.notify_all()
            return removed

    def wait(self, timeout_s: float) -> bool:
        """Wait for a command or the end; False if none came in this time."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._waiting) or self._closed, timeout_s)

    def take(self) -> tuple[Request, Control] | None:
        """Wait for the next command, which is running from now on; None once the inbox is closed."""
        with self._changed:
            self._running = None
            while not self._waiting and not self._closed:
                self._changed.wait()
            if self._closed:
                return None
            command, control = self._waiting.popleft()
            self._running = (command.request_id, control)
            return command, control

    def take_question(self) -> Question | None:
        """The next command if it is a small question that a running answer can be interrupted for."""
        if not self._waiting:
            return None
        with self._changed:
            for i, (command, _) in enumerate(self._waiting):
                if isinstance(command, Load):
                    return None
                if isinstance(command, Tokenize | Detokenize):
                    del self._waiting[i]
                    return command
        return None

    def _stop(self, request_id: str) -> list[Request]:
        if self._running is not None and self._running[0] == request_id:
            self._running[1].stopped = True
            return []
        removed = [command for command, _ in self._waiting if command.request_id == request_id]
        self._waiting = deque(entry for entry in self._waiting if entry[0].request_id != request_id)
        return removed

    def _stop_all(self) -> list[Request]:
        if self._running is not None:
            self._running[1].stopped = True
        removed = [command for command, _ in self._waiting]
        self._waiting.clear()
        return removed

    def _tune(self, command: Tune) -> None:
        if self._running is not None and self._running[0] == command.request_id:
            self._running[1].sampling = command.sampling
        for i, (waiting, control) in enumerate(self._waiting):
            if waiting.request_id == command.request_id and isinstance(waiting, Generate):
                control.sampling = command.sampling
                self._waiting[i] = (msgspec.structs.replace(waiting, sampling=command.sampling), control)
