"""What the command line asks of the app, and the limit that it shares with the settings."""

from __future__ import annotations

import msgspec

MAX_THREADS = 1024
"""To compute with: more than any processor has, and few enough to have memory for."""


class AppOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of `llm-tui [MODEL]`.

    model: a path or a name, None for the last one used. base: of what an adapter is added to, None for the one that was
    chosen before. server: a name in the settings, whose engine answers instead of this machine's; then model is the
    name that the server has for it. resume: a session's id. At most one of resume, continue_last and new is given; none
    of them leaves the choice to the app.
    """

    model: str | None = None
    base: str | None = None
    server: str | None = None
    resume: str | None = None
    continue_last: bool = False
    new: bool = False
