"""The `llm-tui` command."""

from __future__ import annotations

import os
import sys

# As in `typing`, which takes a hundredth of a second to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from tui.options import AppOptions


def main() -> None:
    """Run one command and leave with its exit code; all that takes time to import is imported in here."""
    try:
        open_closed_streams()
        code = _run(sys.argv[1:])
    except KeyboardInterrupt:
        from tui.importing import INTERRUPTED

        code = INTERRUPTED
    sys.exit(code)


def open_closed_streams() -> None:
    """Put the null device where a standard stream was closed, so that no other file is opened in its place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest free descriptor is the stream's own: those before it are open by now.
            stream = open(os.devnull, mode, encoding="utf-8")
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def _run(arguments: list[str]) -> int:
    from tui.importing import ended_by_ctrl_c

    with ended_by_ctrl_c():
        options = plain_start(arguments)
    if options is None or not (sys.stdin.isatty() and sys.stdout.isatty()):
        with ended_by_ctrl_c():
            from tui.cli import run

        return run(arguments)
    try:
        with ended_by_ctrl_c():
            from tui.app import run as run_app

        return run_app(options)
    except Exception as error:  # noqa: BLE001
        from tui.cli import failed

        return failed(error)


def plain_start(arguments: list[str]) -> AppOptions | None:
    """What the app is asked for with no more than a file and --new or --continue; None for all else.

    Reading a command line takes a tenth of the time to the first frame, for which there is nothing to read here. Nor is
    the file looked for: it may be on a disk that does not answer, and the app can be left while it waits for that.
    """
    from tui.options import AppOptions

    options = {"--new": AppOptions(new=True), "--continue": AppOptions(continue_last=True)}
    chosen = options.get(arguments[0]) if arguments else None
    names = arguments[1:] if chosen else arguments
    chosen = chosen or AppOptions()
    if not names:
        return chosen
    (name, *more) = names
    # No command has a dot in its name or lies in a folder.
    if more or name.startswith("-") or not ("." in name or "/" in name):
        return None
    return AppOptions(model=name, new=chosen.new, continue_last=chosen.continue_last)


if __name__ == "__main__":
    main()
