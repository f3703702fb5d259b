"""`llm-tui sessions`: what was said, without a screen."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from tui.commands.options import json_option
from tui.commands.output import say, table, write_json, write_text
from tui.paths import user_paths
from tui.text import safe_line

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase

    from storage.records import Message, Session

PAGE = 500
"""Sessions are read so many at a time, so that ten thousand of them begin to appear at once."""

_SPEAKERS = {"user": "You", "assistant": "Model", "system": "System"}


@click.group()
def command() -> None:
    """What was said: list, show, search, rename, export, import and delete sessions."""


@contextmanager
def _database(*, to_read: bool = False) -> Iterator[SqliteDatabase]:
    """Open the sessions; to_read: where nothing can be written, looking is possible all the same."""
    db = _open(user_paths().database, to_read)
    try:
        yield db
    finally:
        db.close()


def _open(path: Path, to_read: bool) -> SqliteDatabase:
    from storage.answers import recover_interrupted
    from storage.database import open_database
    from storage.errors import DatabaseAccessError, DiskFullError, ReadOnlyDatabaseError

    try:
        db = open_database(path)
    except (ReadOnlyDatabaseError, DiskFullError, DatabaseAccessError):
        if to_read and path.exists():
            return open_database(path, read_only=True)
        raise
    try:
        # An answer whose writer was killed is shown as interrupted, not as being written.
        recover_interrupted(db)
    except BaseException:
        db.close()
        raise
    return db


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

    after: str | None = None
    while page := list_sessions(db, limit=PAGE, after=after, archived=archived):
        yield page
        after = page[-1].id


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
@click.argument("session_id", metavar="ID")
@json_option
def show(session_id: str, as_json: bool) -> None:
    """Show a session: its conversation, or with --json all of its branches."""
    from storage import tree
    from storage.sessions import get_session

    with _database(to_read=True) as db:
        session = get_session(db, session_id)
        shown = [step.message for step in tree.path(db, session_id)]
        if as_json:
            on_path = {message.id for message in shown}
            messages = [_message(message, message.id in on_path) for message in tree.all_messages(db, session_id)]
            parts = {"id": session.id, "title": session.title, "model": session.model, "system": session.system}
            write_json({**parts, "messages": messages})
            return
    write_text(f"{safe_line(session.title)}\n")
    for message in shown:
        state = "" if message.state == "complete" else f" ({message.state})"
        write_text(f"{_SPEAKERS[message.role]}{state}:\n{message.content}\n")


def _message(message: Message, on_path: bool) -> dict[str, object]:
    return {
        "id": message.id,
        "parent_id": message.parent_id,
        "role": message.role,
        "content": message.content,
        "state": "interrupted" if message.state == "writing" else message.state,
        "model": message.model,
        "settings": message.settings,
        "prompt_tokens": message.prompt_tokens,
        "generated_tokens": message.generated_tokens,
        "tokens_per_second": message.tokens_per_second,
        "created_utc": message.created_utc,
        "on_path": on_path,
    }


@command.command()
@click.argument("text", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many to find at most.")
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
@click.argument("session_id", metavar="ID")
@click.argument("title")
def rename(session_id: str, title: str) -> None:
    """Give a session a title, which stays."""
    from storage.sessions import rename_session

    with _database() as db:
        rename_session(db, session_id, title)


@command.command()
@click.argument("session_id", metavar="ID", required=False)
@click.option("--all", "every", is_flag=True, help="All sessions, as one JSON document.")
@click.option(
    "--format", "form", type=click.Choice(["md", "json"]), default="md", show_default=True, help="To read, or lossless."
)
def export(session_id: str | None, every: bool, form: str) -> None:
    """Write a session to stdout: as Markdown to read, or as JSON that `import` takes back unchanged."""
    from storage.export import all_sessions_json, session_json, session_markdown

    if every == (session_id is not None):
        raise click.UsageError("Name one session, or give --all.")
    with _database(to_read=True) as db:
        if session_id is None:
            for piece in all_sessions_json(db):
                write_text(piece, newline=False)
        elif form == "json":
            write_text(session_json(db, session_id), newline=False)
        else:
            write_text(session_markdown(db, session_id), newline=False)


@command.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def import_command(file: Path, as_json: bool) -> None:
    """Take in sessions: this program's own JSON, ChatGPT's export, or the `llm` tool's logs.db.

    What was imported before is recognised and not doubled.
    """
    from storage.importers import import_file

    with _database() as db:
        report = import_file(db, file)
    if as_json:
        write_json(report)
    else:
        for new_id in report.session_ids:
            write_text(new_id)
        say(f"{report.n_new} new sessions, {report.n_extended} with new messages, {report.n_known} known already.")


@command.command()
@click.argument("session_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(session_id: str, yes: bool) -> None:
    """Delete a session for good, with every trace of it in the database."""
    from storage.deletion import delete_session, purge_deleted
    from storage.sessions import get_session

    with _database() as db:
        session = get_session(db, session_id)
        if not yes and asks():
            question = f"Delete “{safe_line(session.title, 60)}” with {session.n_messages} messages for good?"
            click.confirm(question, abort=True, err=True)
        delete_session(db, session_id)
        purge_deleted(db)
    say(f"Session {session_id} is deleted.")


def asks() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()


def _local(utc: str) -> str:
    """Write a record's time as the clock here shows it."""
    return datetime.fromisoformat(utc).astimezone().strftime("%Y-%m-%d %H:%M")
