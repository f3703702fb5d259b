"""The log file: what went wrong, with the traceback that no user is shown."""

from __future__ import annotations

import logging
import logging.handlers

from tui.paths import user_paths

MAX_BYTES = 1_000_000
"""The log never holds more than twice this: the current file, and the one before."""

_LOGGER = logging.getLogger("llm-tui")


def start_log() -> logging.Logger:
    """Open the log file once and return the logger; without a place to write, records are dropped."""
    if not _LOGGER.handlers:
        path = user_paths().app_log
        handler: logging.Handler
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handler = logging.handlers.RotatingFileHandler(
                path, maxBytes=MAX_BYTES, backupCount=1, encoding="utf-8", delay=True
            )
        except OSError:
            handler = logging.NullHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
        _LOGGER.addHandler(handler)
        _LOGGER.setLevel(logging.INFO)
        _LOGGER.propagate = False
    return _LOGGER
