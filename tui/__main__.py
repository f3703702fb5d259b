"""The `llm-tui` command."""

from __future__ import annotations

import sys

from tui.cli import run


def main() -> None:
    """Run one command and leave with its exit code."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
