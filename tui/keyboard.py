"""Keys as the terminal sends them, where Textual's parser takes them for something else.

This is the one file that reaches into how Textual reads.
"""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterable
from contextlib import suppress

from textual import events
from textual._parser import ParseEOF, Parser, ParseTimeout, Peek1, Read1, TokenCallback
from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START, XTermParser
from textual.drivers import linux_driver
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

from tui.output import is_hung_up

ESCAPE = "\x1b"

_BEGINS_MORE = frozenset("[]OPNX^_")
"""What follows an escape where a longer sequence begins: for alt with one of these, the pause behind it decides."""

PASTE_STALL_S = 5.0
"""A paste that says nothing for so long, nor where it ends, is over: what comes later are keys again."""


class KeyParser(XTermParser):
    """Knows alt with a character as soon as both are there, and where pasted text ends.

    Textual waits whether more follows the alt, and makes a circumflex and the character of it when another sequence
    does. In pasted text it looks for sequences too, and takes for keys what is none.
    """

    def parse(self, token_callback: TokenCallback[Message]) -> Generator[Read1 | Peek1, str, None]:
        """Leave all to Textual but the text between the marks of a paste."""
        keys = super().parse(token_callback)
        asked = next(keys)
        latest = ""
        with suppress(ParseEOF, StopIteration):
            while True:
                try:
                    character = yield asked
                except ParseTimeout as pause:
                    latest = ""
                    asked = keys.throw(pause)
                    continue
                latest = (latest + character)[-len(BRACKETED_PASTE_START) :]
                if latest != BRACKETED_PASTE_START:
                    asked = keys.send(character)
                    continue
                token_callback(events.Paste((yield from _pasted()).replace("\0", "")))
                keys = super().parse(token_callback)
                asked = next(keys)

    def _sequence_to_key_events(self, sequence: str, alt: bool = False) -> Iterable[events.Key]:
        known = list(super()._sequence_to_key_events(sequence, alt))
        if known or len(sequence) != len(ESCAPE) + 1 or not sequence.startswith(ESCAPE):
            return known
        character = sequence[-1]
        if not character.isprintable() or character in _BEGINS_MORE:
            return known
        return super()._sequence_to_key_events(character, alt=True)


def _pasted() -> Generator[Read1 | Peek1, str, str]:
    text: list[str] = []
    with suppress(ParseTimeout):
        while True:
            text.append((yield Parser.read1(PASTE_STALL_S)))
            if text[-1] == BRACKETED_PASTE_END[-1]:
                end = len(text) - len(BRACKETED_PASTE_END)
                if "".join(text[max(end, 0) :]) == BRACKETED_PASTE_END:
                    return "".join(text[:end])
    return "".join(text)


class LeavingDriver(LinuxDriver):
    """Leaves keys that nobody has read to the program that the terminal is given to. Textual throws them away.

    Where another process has stopped this one and lets it go on, it takes the terminal once more, as the shell has set
    that meanwhile. Textual would read it twice from then on.
    """

    _is_giving = False

    def _sigcont_application(self, *_: object) -> None:
        if is_hung_up(self.fileno):
            # A terminal that goes lets its processes go on, so that they hear of it.
            return
        if self._key_thread is not None and self._key_thread.is_alive():
            # Not amid whatever the signal came into.
            self._loop.call_soon_threadsafe(self._take_again)
        else:
            super()._sigcont_application()

    def _take_again(self) -> None:
        if is_hung_up(self.fileno) or self._key_thread is None or not self._key_thread.is_alive():
            return
        before = self.attrs_before
        self._read_no_more()
        self.close()
        self.resume_application_mode()
        self.attrs_before = before
        self._app.refresh()

    def suspend_application_mode(self) -> None:
        """Give the terminal away."""
        self._is_giving = True
        try:
            super().suspend_application_mode()
        finally:
            self._is_giving = False

    def disable_input(self) -> None:
        """Read no more."""
        if not self._is_giving:
            super().disable_input()
            return
        signal.signal(signal.SIGWINCH, signal.SIG_DFL)
        self._disable_mouse_support()
        self._read_no_more()

    def _read_no_more(self) -> None:
        self.exit_event.set()
        if self._key_thread is not None:
            self._key_thread.join()
        self.exit_event.clear()


def install() -> None:
    """Let Textual read through this from now on."""
    setattr(linux_driver, "XTermParser", KeyParser)  # noqa: B010 - the driver does not export it
    setattr(linux_driver, "LinuxDriver", LeavingDriver)  # noqa: B010 - the app asks for it by this name
