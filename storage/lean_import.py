"""sqlite-utils without NumPy and pandas, which it imports wherever they are installed and has no use for here."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase

_UNWANTED = ("numpy", "pandas")
_lock = threading.Lock()


def sqlite_database_class() -> type[SqliteDatabase]:
    """Import sqlite-utils' Database, as if what it only offers to know better were not installed.

    Takes 0.1 s, and three times that with NumPy: not before the first paint.
    """
    with _lock:
        hidden = [name for name in _UNWANTED if name not in sys.modules]
        # None in sys.modules makes an import fail like that of a module which is not there.
        sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
        try:
            from sqlite_utils import Database
        finally:
            for name in hidden:
                del sys.modules[name]
    return Database
