"""`llm-tui backup`: a copy of all sessions, made while they are in use."""

from __future__ import annotations

from pathlib import Path

import click

from tui.commands.output import CommandError, say
from tui.language import _
from tui.paths import user_paths


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Write over FILE.")
def command(file: Path, force: bool) -> None:
    """Copy all sessions to FILE; apps may go on writing meanwhile.

    To restore a backup, close llm-tui, put FILE in the place that `llm-tui doctor` names, and remove the files beside
    it whose names go on with -wal and -shm: they belong to the database that was there before.
    """
    from storage.database import backup, open_database

    if file.exists() and not force:
        raise CommandError(_("{file} exists already. Name another file, or give --force to write over it.", file=file))
    database = user_paths().database
    if not database.exists():
        raise CommandError(_("There are no sessions yet, so there is nothing to back up."))
    db = open_database(database)
    try:
        backup(db, file)
    finally:
        db.close()
    say(_("All sessions are in {file}.", file=file))
