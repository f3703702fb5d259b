"""`llm-tui sessions`: what was said, without a screen."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from tui.commands.options import TEXT, json_option, not_blank, not_empty
from tui.commands.output import say, table, write_as_json, write_json, write_text
from tui.language import N_, _, ngettext
from tui.paths import user_paths
from tui.text import safe_line

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase

    from storage.records import Session

PAGE = 500
"""Sessions are read so many at a time, so that ten thousand of them begin to appear at once."""

MAX_HITS = 1_000_000
"""More than anybody reads, and few enough to be counted to."""

_SPEAKERS = {"user": N_("You"), "assistant": N_("Model"), "system": N_("System")}
_STATES = {
    "writing": N_("not finished"),
    "stopped": N_("stopped"),
    "interrupted": N_("interrupted"),
    "failed": N_("failed"),
}


@click.group()
def command() -> None:
    """What was said: list, show, search, rename, export, import and delete sessions."""


@contextmanager
def _database(*, to_read: bool = False) -> Iterator[SqliteDatabase]:
    """Open the sessions; to_read: without writing, which works on a read-only disk and beside any number of apps."""
    from storage.connections import open_database

    path = user_paths().database
    db = _to_read_or_empty(path) if to_read else open_database(path)
    try:
        yield db
    finally:
        db.close()


def _to_read_or_empty(path: Path) -> SqliteDatabase:
    """The sessions, of which there are none where there is no file and none can be made."""
    from storage.connections import open_empty
    from storage.errors import StorageError

    try:
        return open_to_read(path)
    except StorageError:
        # Perhaps they cannot be reached: a link may lead to a disk that is away, and a folder may not be entered.
        if os.path.lexists(path) or not _may_enter(path.parent):
            raise
        return open_empty()


def _may_enter(folder: Path) -> bool:
    """Whether it would be seen if something was in it; True of one that is not there."""
    try:
        os.stat(os.path.join(folder, "."))
    except FileNotFoundError:
        return not os.path.lexists(folder)
    except OSError:
        return False
    return True


def open_to_read(path: Path) -> SqliteDatabase:
    """Open the sessions without writing, where they are of this release."""
    from storage.connections import open_database

    # The first command of all finds an empty database rather than none.
    return open_existing(path) if path.exists() else open_database(path)


def open_existing(path: Path) -> SqliteDatabase:
    """The same where they have to be there: none are made."""
    from storage.connections import open_database
    from storage.errors import OlderDatabaseError

    # One of an older release has to be brought up to date before it can be read.
    with suppress(OlderDatabaseError):
        return open_database(path, read_only=True)
    return open_database(path)


@command.command("list")
@click.option("--archived", is_flag=True, help="Those that were put out of sight instead.")
@json_option
def list_command(archived: bool, as_json: bool) -> None:
    """List the sessions, pinned ones first, then the last changed first."""
    with _database(to_read=True) as db:
        for page in _pages(db, archived):
            if as_json:
                for session in page:
                    write_json(_listed(session))
            else:
                rows = [
                    [session.id, _local(session.updated_utc), str(session.n_messages), safe_line(session.title, 70)]
                    for session in page
                ]
                write_text(table(rows, right=frozenset({2})))


def _pages(db: SqliteDatabase, archived: bool) -> Iterator[list[Session]]:
    from storage.sessions import list_sessions

    after: Session | None = None
    while page := list_sessions(db, limit=PAGE, after=after, archived=archived):
        yield page
        after = page[-1]


def _listed(session: Session) -> dict[str, object]:
    return {
        "id": session.id,
        "title": session.title,
        "model": session.model,
        "created_utc": session.created_utc,
        "updated_utc": session.updated_utc,
        "messages": session.n_messages,
    }


@command.command()
@click.argument("session_id", type=TEXT, metavar="ID", callback=not_empty)
@json_option
def show(session_id: str, as_json: bool) -> None:
    """Show a session: its conversation, or with --json all of its branches."""
    from storage.export import session_json
    from storage.sessions import get_session
    from storage.tree import path

    with _database(to_read=True) as db:
        if as_json:
            write_as_json(session_json(db, session_id), newline=False)
            return
        title = get_session(db, session_id).title
        shown = [step.message for step in path(db, session_id)]
    write_text(f"{safe_line(title)}\n")
    for message in shown:
        state = "" if message.state == "complete" else f" ({_(_STATES[message.state])})"
        write_text(f"{_('{speaker}:', speaker=_(_SPEAKERS[message.role]) + state)}\n{message.content}\n")


@command.command()
@click.argument("text", type=TEXT, nargs=-1, required=True)
@click.option(
    "--limit", type=click.IntRange(1, MAX_HITS), default=50, show_default=True, help="How many to find at most."
)
@json_option
def search(text: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Find titles and messages that have all words of TEXT.

    "Words in quotes" have to follow each other; the last word may be the beginning of one.
    """
    from storage.search import search as find

    with _database(to_read=True) as db:
        hits = find(db, " ".join(text), limit)
    for hit in hits:
        if as_json:
            found = msgspec.to_builtins(hit)
            del found["matches"]
            write_json(found)
        else:
            write_text(f"{hit.session_id}  {_local(hit.created_utc)}  {safe_line(hit.title, 60)}\n    {hit.snippet}")


@command.command()
@click.argument("session_id", type=TEXT, metavar="ID", callback=not_empty)
@click.argument("title", type=TEXT, callback=not_blank)
def rename(session_id: str, title: str) -> None:
    """Give a session a title, which stays."""
    from storage.sessions import rename_session

    with _database() as db:
        rename_session(db, session_id, title)


@command.command()
@click.argument("session_id", type=TEXT, metavar="[ID]", required=False, callback=not_empty)
@click.option("--all", "every", is_flag=True, help="All sessions, as one document.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["md", "json"]),
    help="md is to read, json is lossless. Without it: md for one session, json for all.",
)
def export(session_id: str | None, every: bool, form: str | None) -> None:
    """Write a session to stdout: as Markdown to read, or as JSON that `import` takes back unchanged."""
    from storage.export import all_sessions_json, all_sessions_markdown, session_json, session_markdown

    if every == (session_id is not None):
        raise click.UsageError(_("Name one session, or give --all."))
    with _database(to_read=True) as db:
        if session_id is None:
            if form == "md":
                for piece in all_sessions_markdown(db):
                    write_text(piece, newline=False)
            else:
                for piece in all_sessions_json(db):
                    write_as_json(piece, newline=False)
        elif form == "json":
            write_as_json(session_json(db, session_id), newline=False)
        else:
            write_text(session_markdown(db, session_id), newline=False)


@command.command("import")
@click.argument("file", type=click.Path(allow_dash=True), callback=not_empty)
@json_option
def import_command(file: str, as_json: bool) -> None:
    """Take in sessions from FILE; - is standard input.

    It may be this program's own JSON, a backup or another sessions.db, ChatGPT's export, or the `llm` tool's logs.db.

    What was imported before is recognised and not doubled.
    """
    from storage.importers import import_file

    with _database() as db:
        if file == "-":
            report = import_file(db, "stdin", sys.stdin.buffer)
        else:
            report = import_file(db, Path(file))
    if as_json:
        write_json(report)
    else:
        for new_id in report.session_ids:
            write_text(new_id)
        say(
            _(
                "New sessions: {new}; with new messages: {extended}; known already: {known}.",
                new=report.n_new,
                extended=report.n_extended,
                known=report.n_known,
            )
        )
        if report.n_left_out:
            say(
                ngettext(
                    "{n} conversation is not in ChatGPT's form and was left out.",
                    "{n} conversations are not in ChatGPT's form and were left out.",
                    report.n_left_out,
                )
            )


@command.command()
@click.argument("session_id", type=TEXT, metavar="ID", callback=not_empty)
@click.option("--yes", is_flag=True, help="Do not ask; without a terminal, nobody is asked anyway.")
def delete(session_id: str, yes: bool) -> None:
    """Delete a session for good, with every trace of it in the database."""
    from engine.kept_caches import KEPT, forget
    from storage.deletion import purge_session
    from storage.sessions import get_session

    with _database() as db:
        session = get_session(db, session_id)
        if not yes and asks():
            question = _(
                "Delete “{title}” with {n} messages for good?",
                title=safe_line(session.title, 60),
                n=session.n_messages,
            )
            click.confirm(question, abort=True, err=True)
        purge_session(db, session_id)
    forget(user_paths().cache_dir / KEPT, session_id)
    say(_("Session {id} is deleted.", id=session_id))


def asks() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()


def _local(utc: str) -> str:
    """Write a record's time as the clock here shows it."""
    moment = datetime.fromisoformat(utc)
    # At the ends of the calendar the clock here may be beyond it.
    with suppress(OverflowError):
        moment = moment.astimezone()
    return moment.strftime("%Y-%m-%d %H:%M")
