"""The engine's pulse: what it is doing and how fast, told by a thread of its own so that it beats during long work."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from engine.protocol import AnyEvent, EngineState, EngineStats, PromptProgress, Token

WORKING_INTERVAL_S = 0.5
IDLE_INTERVAL_S = 2.0
SPEED_WINDOW_S = 1.0
"""Tokens a second are counted over so long."""

TOGETHER_S = 0.002
"""Tokens that are told within this time were told together; what took time came before the first of them."""


class Activity:
    """What the working thread is doing; it writes, the pulse reads. Single assignments, so that no lock is needed."""

    def __init__(self) -> None:
        self.state: EngineState = "empty"
        self.context = 0
        self.context_used = 0
        self.prompt_tokens_per_second = 0.0
        self.changed = threading.Event()
        self._prompt_began_s = 0.0
        self._token_times_s: deque[float] = deque(maxlen=10_000)

    def enter(self, state: EngineState) -> None:
        """Begin something else; the pulse tells of it at once."""
        if state != self.state:
            self.state = state
            self._prompt_began_s = time.monotonic()
            self._token_times_s.clear()
            self.changed.set()

    def observe(self, event: AnyEvent) -> None:
        """Learn from an event of an answer on its way out."""
        if isinstance(event, Token):
            self.enter("writing")
            self.context_used += 1
            self._token_times_s.append(time.monotonic())
        elif isinstance(event, PromptProgress):
            self.enter("reading_prompt")
            self.context_used = event.done
            if event.done > event.reused:
                elapsed_s = time.monotonic() - self._prompt_began_s
                self.prompt_tokens_per_second = (event.done - event.reused) / max(elapsed_s, 1e-6)

    def tokens_per_second(self) -> float:
        """The speed over the last second (of what there is of it), 0 when nothing is being written."""
        now_s = time.monotonic()
        recent = [t for t in self._token_times_s.copy() if t > now_s - SPEED_WINDOW_S]
        if not recent or self.state != "writing":
            return 0.0
        later = sum(t > recent[0] + TOGETHER_S for t in recent)
        return later / max(recent[-1] - recent[0], 1e-6)


class Pulse:
    """Sends EngineStats from a daemon thread until the process ends."""

    def __init__(self, activity: Activity, emit: Callable[[AnyEvent], None]) -> None:
        self._activity = activity
        self._emit = emit
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def _beat(self) -> None:
        import psutil  # 20 ms that the greeting does not wait for

        process = psutil.Process()
        while True:
            activity = self._activity
            activity.changed.clear()
            with process.oneshot():
                rss_bytes, cpu_percent = process.memory_info().rss, process.cpu_percent()
            self._emit(
                EngineStats(
                    state=activity.state,
                    tokens_per_second=activity.tokens_per_second(),
                    prompt_tokens_per_second=activity.prompt_tokens_per_second,
                    rss_bytes=rss_bytes,
                    context_used=activity.context_used,
                    context=activity.context,
                    cpu_percent=cpu_percent,
                )
            )
            resting = activity.state in ("empty", "ready")
            activity.changed.wait(IDLE_INTERVAL_S if resting else WORKING_INTERVAL_S)
