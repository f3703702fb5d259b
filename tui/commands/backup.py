"""`llm-tui backup`: a copy of all sessions, made while they are in use."""

from __future__ import annotations

import os
from pathlib import Path

import click

from tui.commands.options import file_place
from tui.commands.output import CommandError, say
from tui.commands.sessions import open_existing
from tui.commands.targets import replaced_file
from tui.language import _
from tui.paths import user_paths


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True), callback=file_place)
@click.option("--force", is_flag=True, help="Write over FILE.")
def command(file: str, force: bool) -> None:
    """Copy all sessions to FILE; apps may go on writing meanwhile.

    To restore a backup, close llm-tui, put FILE in the place that `llm-tui doctor` names, and remove the files beside
    it whose names go on with -wal and -shm: they belong to the database that was there before.
    """
    from storage.connections import backup

    if file == "-":
        raise click.UsageError(_("A backup cannot be written to standard output: name a file."))
    target = replaced_file(Path(file))
    if target.exists() and not force:
        raise CommandError(_("{file} exists already. Name another file, or give --force to write over it.", file=file))
    database = user_paths().database
    if not database.exists():
        raise CommandError(_("There are no sessions yet, so there is nothing to back up."))
    if _is_of(database, target):
        raise CommandError(
            _("{file} belongs to the database that is to be copied. Name another file; nothing was changed.", file=file)
        )
    # What was removed a moment ago must not become an empty database, and that a backup over the one there was.
    db = open_existing(database)
    try:
        backup(db, target)
    finally:
        db.close()
    say(_("All sessions are in {file}.", file=file))


def _is_of(database: Path, target: Path) -> bool:
    """Whether a file is the database, or one of those that SQLite keeps beside it, or has the place of one."""
    place = os.path.realpath(database)
    own = [Path(f"{place}{ending}") for ending in ("", "-wal", "-shm", "-journal")]
    return target in own or (target.exists() and any(file.exists() and target.samefile(file) for file in own))
