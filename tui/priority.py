"""Who goes first when the engine keeps all cores busy: while somebody types, the screen; otherwise both alike."""

from __future__ import annotations

import asyncio
from pathlib import Path

TYPING_NICENESS = 5
"""What the engine stands back by meanwhile: of a core that both want, three quarters are then the screen's."""

TYPING_S = 2.0
"""So long after a key, more of them are expected."""

AGAIN_S = 0.11
"""Linux takes a change of shares from ordinary users every tenth of a second, and refuses others meanwhile."""


class Precedence:
    """Lets this process go before the engine's while keys come.

    Linux shares the cores among sessions, and the engine has one of its own: that session's share is what changes, as
    only that may be taken back by everybody. Where the system has no such shares, nothing changes.
    """

    def __init__(self, engine_pid: int) -> None:
        self._autogroup = Path(f"/proc/{engine_pid}/autogroup")
        self._end: asyncio.TimerHandle | None = None
        self._again: asyncio.TimerHandle | None = None

    def key_came(self) -> None:
        """Go first from now on, until no key has come for a while."""
        if self._end is None:
            self._set(TYPING_NICENESS)
        else:
            self._end.cancel()
        self._end = asyncio.get_running_loop().call_later(TYPING_S, self.give_back)

    def give_back(self) -> None:
        """Share the cores alike again."""
        if self._end is not None:
            self._end.cancel()
            self._end = None
            self._set(0)

    def _set(self, niceness: int) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None
        try:
            self._autogroup.write_text(f"{niceness}\n")
        except BlockingIOError:
            self._again = asyncio.get_running_loop().call_later(AGAIN_S, self._set, niceness)
        except OSError:
            return
