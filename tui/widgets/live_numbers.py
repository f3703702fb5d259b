"""What the engine does now and how fast: one widget that draws a few lines, a few times a second."""

from __future__ import annotations

from collections import deque
from typing import ClassVar

from rich.cells import cell_len
from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from engine.protocol import EngineStats, LoadProgress, PromptProgress
from tui.language import N_, _
from tui.messages import EnginePhase
from tui.text import human_bytes

_NONE = "-"
_ELSEWHERE = N_("the server's")
_BARS = "▁▂▃▄▅▆▇█"
_STAGES = {
    "asking": N_("asking the server"),
    "reading": N_("reading the file"),
    "preparing": N_("preparing weights"),
    "compiling": N_("compiling kernels"),
    "building": N_("compiling for the model"),
    "warming": N_("warming up"),
}
_PHASES = {
    "starting": N_("starting …"),
    "empty": N_("no model"),
    "loading": N_("opening …"),
    "ready": N_("ready"),
    "dead": N_("stopped"),
}
_STATES = {"reading_prompt": N_("reading the prompt"), "writing": N_("writing")}


def sparkline(values: list[float], width: int) -> str:
    """The latest values as bars, one a cell, scaled to the greatest of them."""
    shown = values[-width:] if width > 0 else []
    top = max(shown, default=0.0)
    if top <= 0:
        return ""
    return "".join(_BARS[min(int(value / top * (len(_BARS) - 1) + 0.5), len(_BARS) - 1)] for value in shown)


def meter(part: float, width: int) -> str:
    """A bar that is filled up to a part of one."""
    filled = round(min(max(part, 0.0), 1.0) * width)
    return "█" * filled + "░" * (width - filled)


class LiveNumbers(Widget):
    """State, speed, prompt, first token, context, memory and processor."""

    DEFAULT_CSS = """
    LiveNumbers { height: 7; width: 1fr; }
    LiveNumbers > .live--state { color: $text-accent; text-style: bold; }
    LiveNumbers > .live--trouble { color: $text-error; text-style: bold; }
    LiveNumbers > .live--label { color: $foreground 65%; }
    LiveNumbers > .live--bar { color: $primary; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"live--state", "live--trouble", "live--label", "live--bar"}

    def __init__(self) -> None:
        super().__init__()
        self._phase: EnginePhase = "starting"
        self._stats: EngineStats | None = None
        self._load: LoadProgress | None = None
        self._prompt: PromptProgress | None = None
        self._speeds: deque[float] = deque(maxlen=120)
        self._last_speed = 0.0
        self._first_token_ms: float | None = None
        self._has_read = False
        self._silent_s = 0.0
        self._machine_bytes = 0

    def show_phase(self, phase: EnginePhase) -> None:
        """The engine's process or model changed."""
        self._phase = phase
        self._load = self._prompt = None
        self._silent_s = 0.0
        if phase in ("empty", "dead", "starting"):
            self._stats = None
        if phase != "ready":
            self._forget()
        self.refresh()

    def show_other_session(self) -> None:
        """What the engine holds and has measured is not of the session that is shown, until it reads that."""
        self._forget()
        self.refresh()

    def _forget(self) -> None:
        self._speeds.clear()
        self._last_speed = 0.0
        self._first_token_ms = None
        self._has_read = False

    def show_machine(self, total_bytes: int) -> None:
        """How much memory the machine has."""
        self._machine_bytes = total_bytes
        self.refresh()

    def show_load(self, progress: LoadProgress) -> None:
        """Loading came further."""
        self._load = progress
        self.refresh()

    def begin_answer(self) -> None:
        """An answer was asked for, of which nothing came yet."""
        self._first_token_ms = None
        self.refresh()

    def show_prompt(self, progress: PromptProgress) -> None:
        """The engine read more of the shown session's prompt."""
        self._prompt = progress
        self._has_read = True
        self.refresh()

    def show_first_token(self, first_token_ms: float) -> None:
        """The answer's first token came, so long after it was asked for."""
        if self._first_token_ms is None:
            self._first_token_ms = first_token_ms
            self.refresh()

    def show_stats(self, stats: EngineStats) -> None:
        """The engine's pulse."""
        if stats == self._stats and not self._silent_s:
            return
        self._stats = stats
        self._silent_s = 0.0
        if stats.state == "writing" and self._phase == "ready":
            self._prompt = None
            if stats.tokens_per_second > 0:
                self._speeds.append(stats.tokens_per_second)
                self._last_speed = stats.tokens_per_second
        self.refresh()

    def show_finished(self, tokens_per_second: float | None, first_token_ms: float | None) -> None:
        """An answer is over: its own figures stay until the next one. first_token_ms: None where none came."""
        self._prompt = None
        self._last_speed = tokens_per_second or self._last_speed
        self._first_token_ms = first_token_ms or self._first_token_ms
        self.refresh()

    @property
    def in_short(self) -> str:
        """Speed and context, as far as they are known, for a line."""
        stats = self._stats
        if stats is None or self._phase != "ready":
            return ""
        has_speed = stats.state == "writing" and stats.tokens_per_second >= 0.5
        speed = _("{speed:.0f} tok/s", speed=stats.tokens_per_second) if has_speed else ""
        used = self._context_used
        context = _("context {percent:.0f} %", percent=used * 100) if used is not None else ""
        return " · ".join(part for part in (speed, context) if part)

    @property
    def _context_used(self) -> float | None:
        """The part of the context that the shown session takes, where that is known."""
        stats = self._stats
        return stats.context_used / stats.context if self._has_read and stats is not None and stats.context else None

    def show_silence(self, silent_s: float) -> None:
        """Nothing came from the engine for so long."""
        self._silent_s = silent_s
        self.refresh()

    def render(self) -> RenderResult:
        """All lines."""
        width = self.content_size.width
        if width < 8:
            return Content("")
        if self._phase in ("starting", "loading", "empty", "dead"):
            lines = self._loading_lines(width)
        else:
            lines = self._running_lines(width)
        return Content("\n").join(lines)

    def _loading_lines(self, width: int) -> list[Content]:
        state = _(_PHASES[self._phase])
        lines = [self._state(state, trouble=self._phase == "dead")]
        if self._load is not None and self._phase == "loading":
            lines = [self._state(_(_STAGES[self._load.stage]))]
            if self._load.total:
                lines.append(self._bar(self._load.done / self._load.total, width))
            if self._load.total > 1_000_000:
                done, total = human_bytes(self._load.done), human_bytes(self._load.total)
                lines.append(_pair("", _("{done} of {total}", done=done, total=total), width))
            elif self._load.total:
                lines.append(_pair("", _("{done} of {total}", done=self._load.done, total=self._load.total), width))
        return lines

    def _running_lines(self, width: int) -> list[Content]:
        stats = self._stats
        lines = [self._state(_(_STATES.get(stats.state, _PHASES["ready"]) if stats else _PHASES["ready"]))]
        if self._silent_s:
            lines = [self._state(_("silent for {seconds:.0f} s", seconds=self._silent_s), trouble=True)]
        lines.append(self._speed_line(width))
        if self._prompt is not None and self._prompt.total:
            lines.append(self._bar(self._prompt.done / self._prompt.total, width))
        else:
            speed = stats.prompt_tokens_per_second if stats and self._has_read else 0
            lines.append(_pair(_("prompt"), _("{speed:.0f} tok/s", speed=speed) if speed else _NONE, width))
        first_ms = self._first_token_ms
        first = _("{seconds:.2f} s", seconds=first_ms / 1000) if first_ms is not None else _NONE
        lines.append(_pair(_("first token"), first, width))
        if stats is not None:
            lines += self._stats_lines(stats, width)
        return lines

    def _stats_lines(self, stats: EngineStats, width: int) -> list[Content]:
        memory = human_bytes(stats.rss_bytes)
        if self._machine_bytes:
            memory += f" / {human_bytes(self._machine_bytes)}"
        processor = f"{stats.cpu_percent:.0f} %"
        if not stats.rss_bytes:
            memory = processor = _(_ELSEWHERE)
        return [
            self._context_line(width),
            _pair(_("memory"), memory, width),
            _pair(_("processor"), processor, width),
        ]

    def _context_line(self, width: int) -> Content:
        label, used = _("context"), self._context_used
        if used is None:
            return _pair(label, _NONE, width)
        figure = f"{used * 100:.0f} %"
        room = max(width - cell_len(label) - len(figure) - 2, 0)
        return Content.assemble((f"{label} ", ".live--label"), (meter(used, room), ".live--bar"), " ", figure)

    def _speed_line(self, width: int) -> Content:
        figure = (_("{speed:.0f} tok/s", speed=self._last_speed) if self._last_speed else f"{_NONE} tok/s") + " "
        return Content.assemble(
            (figure, "bold"), (sparkline(list(self._speeds), width - cell_len(figure)), ".live--bar")
        )

    def _state(self, text: str, *, trouble: bool = False) -> Content:
        return Content.assemble(("● ", ".live--bar"), (text, ".live--trouble" if trouble else ".live--state"))

    def _bar(self, part: float, width: int) -> Content:
        figure = f" {part * 100:3.0f} %"
        return Content.assemble((meter(part, max(width - len(figure), 0)), ".live--bar"), figure)


def _pair(label: str, value: str, width: int) -> Content:
    gap = max(width - cell_len(label) - cell_len(value), 1)
    return Content.assemble((label, ".live--label"), " " * gap, value)
