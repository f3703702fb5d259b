"""What the engine writes, line by line, as events; a line that is none costs nobody more than its own request."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

import msgspec

from engine.errors import UnreadableAnswerError
from engine.protocol import AnyEvent, EngineDied, Failed, HeartbeatMissed, LoadProgress, Token
from engine.protocol.lines import event_decoder

log = logging.getLogger(__name__)

LOGGED = 20
"""So many lines that are no events are enough to see what is wrong; the rest is counted only."""

_ONLY_TOLD = frozenset({"load_progress", "prompt_progress", "notice"})
"""Events that nobody waits for."""


_Followed = Token | LoadProgress
"""Events behind which more of the same come at once; behind others comes what is waited for, like a first token."""


class _Meant(msgspec.Struct):
    """As much of an unreadable event as is needed to say whose it is."""

    type: str = ""
    request_id: str = ""


class HeardLines:
    """Delivers the event of each line. n_bad: how many lines were no events."""

    def __init__(self, deliver: Callable[[AnyEvent], None]) -> None:
        self.n_bad = 0
        self._deliver = deliver

    def take(self, line: bytes) -> bool:
        """Deliver the event of one line; what is no event is logged and counted.

        Returns whether more of the same may follow at once, to be read together.
        """
        try:
            event: AnyEvent = event_decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._count_bad(line, str(error))
            self._fail_its_request(line)
            return True
        if isinstance(event, HeartbeatMissed | EngineDied):
            self._count_bad(line, "only the client may say this")
            return True
        self._deliver(event)
        return isinstance(event, _Followed)

    def _count_bad(self, line: bytes, why: str) -> None:
        self.n_bad += 1
        if self.n_bad <= LOGGED:
            log.warning("The engine wrote a line that is no event (%s): %.200r", why, line)

    def _fail_its_request(self, line: bytes) -> None:
        """Whoever waits for what this line was to say would wait for ever."""
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            meant = msgspec.json.decode(line, type=_Meant)
            if meant.request_id and meant.type not in _ONLY_TOLD:
                self._deliver(
                    Failed(
                        request_id=meant.request_id,
                        kind=UnreadableAnswerError.__name__,
                        message="The engine's answer to this cannot be read.",
                        hint="Try again; the app's log has the details.",
                    )
                )
