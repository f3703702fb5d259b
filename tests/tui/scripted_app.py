"""The app with the scripted engine, as a program for tests that need a real terminal: MODEL SCRIPT [SESSION]."""

from __future__ import annotations

import sys
from pathlib import Path

from tui.app import run
from tui.options import AppOptions

ENGINE = Path(__file__).with_name("scripted_engine.py")

if __name__ == "__main__":
    model, script, *session = sys.argv[1:]
    options = AppOptions(model=model, resume=session[0] if session else None)
    sys.exit(run(options, engine_command=[sys.executable, str(ENGINE), script]))
