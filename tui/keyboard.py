"""Keys as the terminal sends them, where Textual's parser takes them for something else.

This is the one file that reaches into how Textual reads.
"""

from __future__ import annotations

from collections.abc import Iterable

from textual import events
from textual._xterm_parser import XTermParser
from textual.drivers import linux_driver

ESCAPE = "\x1b"

_BEGINS_MORE = frozenset("[]OPNX^_")
"""What follows an escape where a longer sequence begins: for alt with one of these, the pause behind it decides."""


class KeyParser(XTermParser):
    """Knows alt with a character as soon as both are there.

    Textual waits whether more follows, and makes a circumflex and the character of it when another sequence does.
    """

    def _sequence_to_key_events(self, sequence: str, alt: bool = False) -> Iterable[events.Key]:
        known = list(super()._sequence_to_key_events(sequence, alt))
        if known or len(sequence) != len(ESCAPE) + 1 or not sequence.startswith(ESCAPE):
            return known
        character = sequence[-1]
        if not character.isprintable() or character in _BEGINS_MORE:
            return known
        return super()._sequence_to_key_events(character, alt=True)


def install() -> None:
    """Let Textual read through this from now on."""
    setattr(linux_driver, "XTermParser", KeyParser)  # noqa: B010 - the driver does not export it
