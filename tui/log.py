"""The log file: what went wrong, with the traceback that no user is shown."""

from __future__ import annotations

import logging
import logging.handlers
from pathlib import Path

from tui.paths import user_paths

MAX_BYTES = 1_000_000
"""The log never holds more than twice this: the current file, and the one before."""

_LOGGER = logging.getLogger("llm-tui")


def start_log() -> logging.Logger:
    """Open the log file and return its logger; without a place to write, records are dropped."""
    path = user_paths().app_log
    if not any(handler.name == str(path) for handler in _LOGGER.handlers):
        for handler in list(_LOGGER.handlers):
            _LOGGER.removeHandler(handler)
            handler.close()
        _LOGGER.addHandler(_file_handler(path))
        _LOGGER.setLevel(logging.INFO)
        _LOGGER.propagate = False
        # A full disk has no room for records either; the terminal is no place for a traceback about that.
        logging.raiseExceptions = False
    return _LOGGER


def _file_handler(path: Path) -> logging.Handler:
    handler: logging.Handler
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.handlers.RotatingFileHandler(path, maxBytes=MAX_BYTES, backupCount=1, encoding="utf-8")
        path.chmod(0o600)
    except OSError:
        handler = logging.NullHandler()
    handler.name = str(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(message)s"))
    return handler
