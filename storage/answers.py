"""An answer's life: begun, kept safe while it is written, finished or interrupted, gone on with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .answer_tokens import keep_tokens
from .errors import AnswerStateError
from .ids import new_id
from .nodes import keep_unfinished
from .owners import is_alive, this_owner
from .records import FinalState, Message, Settings, now_utc
from .rows import message_keys, origin_key, read_messages, storable, storable_seed, touch
from .transactions import writes
from .tree import add, delete_message, get_message

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase


@writes
def begin_answer(
    db: SqliteDatabase, session_id: str, parent_id: str | None, *, model: str, settings: Settings, seed: int | None
) -> Message:
    """Add an answer that is being written, empty yet, and make it the head; its model is the session's from now on."""
    message = Message(
        id=new_id(),
        session_id=session_id,
        parent_id=parent_id,
        role="assistant",
        content="",
        state="writing",
        model=model,
        settings=settings,
        seed=seed,
        created_utc=now_utc(),
    )
    keep_unfinished(db, add(db, message), None, this_owner())
    if model:
        db.execute("UPDATE sessions SET model = ? WHERE id = ?", [storable(model), session_id])
    return get_message(db, message.id)


@writes
def drop_empty_answer(db: SqliteDatabase, message_id: str) -> None:
    """Delete an answer of which nothing came, unless the conversation went on from it."""
    key, _ = message_keys(db, message_id)
    if not db.execute("SELECT 1 FROM messages WHERE parent_key = ?", [key]).fetchone():
        delete_message(db, message_id)


@writes
def resume_answer(db: SqliteDatabase, message_id: str) -> Message:
    """Take up an answer that was stopped, interrupted or failed; it is being written again, by this process."""
    message = get_message(db, message_id)
    if message.role != "assistant" or message.state not in ("stopped", "interrupted", "failed"):
        raise AnswerStateError(f"Message {message_id} is {message.state}; there is nothing to go on with.")
    key, session = message_keys(db, message_id)
    keep_unfinished(db, key, message.token_ids, this_owner())
    db.execute("UPDATE messages SET state = 'writing' WHERE key = ?", [key])
    touch(db, session)
    return get_message(db, message_id)


@writes
def checkpoint_answer(
    db: SqliteDatabase, message_id: str, content: str, token_ids: bytes | None, generated_tokens: int
) -> None:
    """Keep what is written so far; about once a second, so that a crash costs no more than that."""
    key, _ = _in_writing(db, message_id)
    db.execute(
        "UPDATE messages SET content = ?, generated_tokens = ? WHERE key = ?",
        [storable(content), generated_tokens, key],
    )
    keep_unfinished(db, key, token_ids, this_owner())


@writes
def finish_answer(
    db: SqliteDatabase,
    message_id: str,
    content: str,
    state: FinalState,
    *,
    prompt_tokens: int | None,
    generated_tokens: int | None,
    tokens_per_second: float | None,
    first_token_ms: float | None,
    seed: int | None,
    settings: Settings | None = None,
    token_ids: bytes | None = None,
    tokens: bytes | None = None,
) -> Message:
    """End an answer. settings: those in force at the end, when they were moved on the way. tokens: of pack_tokens.

    An answer that is not complete can go on from its token_ids, or those of the last checkpoint.
    """
    key, session = _in_writing(db, message_id)
    if settings is not None:
        model = get_message(db, message_id).model
        db.execute("UPDATE messages SET origin_key = ? WHERE key = ?", [origin_key(db, model, settings), key])
    db.execute(
        "UPDATE messages SET content = ?, state = ?, prompt_tokens = ?, generated_tokens = ?, tokens_per_second = ?,"
        " first_token_ms = ?, seed = coalesce(?, seed) WHERE key = ?",
        [
            storable(content),
            state,
            prompt_tokens,
            generated_tokens,
            tokens_per_second,
            first_token_ms,
            storable_seed(seed),
            key,
        ],
    )
    keep_tokens(db, key, tokens)
    if state == "complete":
        db.execute("DELETE FROM unfinished WHERE message_key = ?", [key])
    elif token_ids is not None:
        keep_unfinished(db, key, token_ids, this_owner())
    touch(db, session)
    return get_message(db, message_id)


@writes
def recover_interrupted(db: SqliteDatabase) -> list[Message]:
    """Mark the answers whose writer is gone as interrupted and return them; called when an app starts.

    Those that another running app is writing stay as they are.
    """
    in_writing = db.execute(
        "SELECT m.key, u.host, u.pid, u.process_started_s, u.heartbeat_s"
        " FROM messages m JOIN unfinished u ON u.message_key = m.key WHERE m.state = 'writing'"
    ).fetchall()
    gone = [key for key, *writer in in_writing if not is_alive(*writer)]
    for key in gone:
        db.execute("UPDATE messages SET state = 'interrupted' WHERE key = ?", [key])
    return [message for key in gone for message in read_messages(db, "WHERE m.key = ?", key)]


def _in_writing(db: SqliteDatabase, message_id: str) -> tuple[int, int]:
    state = get_message(db, message_id).state
    # Interrupted: another app, on another host perhaps, took this one for dead. It is not, and what it has is newer.
    if state not in ("writing", "interrupted"):
        raise AnswerStateError(f"Message {message_id} is not being written: it is {state}.")
    return message_keys(db, message_id)
