"""The tables of the database: as the first release made them, and what came later.

Ids are what the outside knows; inside, tables refer to each other by small integer keys, which keeps a million messages
compact and the search index even more so.
"""

from __future__ import annotations

SESSIONS = """
CREATE TABLE sessions (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    title_source TEXT NOT NULL CHECK (title_source IN ('auto', 'model', 'user')),
    model TEXT NOT NULL,
    system TEXT NOT NULL,
    settings TEXT NOT NULL,
    template TEXT,
    draft TEXT NOT NULL DEFAULT '',
    pinned INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),
    archived INTEGER NOT NULL DEFAULT 0 CHECK (archived IN (0, 1)),
    head_key INTEGER REFERENCES messages (key),
    n_messages INTEGER NOT NULL DEFAULT 0,
    created_utc TEXT NOT NULL,
    updated_utc TEXT NOT NULL,
    deleted_utc TEXT
);
CREATE INDEX sessions_in_order ON sessions (archived, pinned, updated_utc, key) WHERE deleted_utc IS NULL;
CREATE INDEX sessions_deleted ON sessions (deleted_utc) WHERE deleted_utc IS NOT NULL;
CREATE INDEX sessions_by_head ON sessions (head_key);
"""

# An origin is what made an answer; the same few model and settings serve thousands of them.
# shown: this one of its siblings is the one to show when the branch above it is shown.
MESSAGES = """
CREATE TABLE origins (
    key INTEGER PRIMARY KEY,
    model TEXT NOT NULL,
    settings TEXT NOT NULL,
    UNIQUE (model, settings)
);
CREATE TABLE messages (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    session_key INTEGER NOT NULL REFERENCES sessions (key),
    parent_key INTEGER REFERENCES messages (key),
    shown INTEGER NOT NULL DEFAULT 1 CHECK (shown IN (0, 1)),
    role TEXT NOT NULL CHECK (role IN ('system', 'user', 'assistant')),
    state TEXT NOT NULL CHECK (state IN ('complete', 'writing', 'stopped', 'interrupted', 'failed')),
    created_utc TEXT NOT NULL,
    origin_key INTEGER REFERENCES origins (key),
    seed INTEGER,
    prompt_tokens INTEGER,
    generated_tokens INTEGER,
    tokens_per_second REAL,
    first_token_ms REAL,
    content TEXT NOT NULL
);
CREATE INDEX messages_by_session ON messages (session_key, parent_key);
CREATE INDEX messages_by_parent ON messages (parent_key) WHERE parent_key IS NOT NULL;
CREATE INDEX messages_in_writing ON messages (key) WHERE state = 'writing';

CREATE TRIGGER messages_counted AFTER INSERT ON messages BEGIN
    UPDATE sessions SET n_messages = n_messages + 1 WHERE key = new.session_key;
END;
CREATE TRIGGER messages_uncounted AFTER DELETE ON messages BEGIN
    UPDATE sessions SET n_messages = n_messages - 1 WHERE key = old.session_key;
END;
"""

# An answer that is not complete: its tokens so far, and the process that writes (or wrote) it.
UNFINISHED = """
CREATE TABLE unfinished (
    message_key INTEGER PRIMARY KEY REFERENCES messages (key) ON DELETE CASCADE,
    token_ids BLOB,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    process_started_s REAL NOT NULL,
    heartbeat_s REAL NOT NULL
);
"""

# A session that a running app has open for writing.
CLAIMS = """
CREATE TABLE claims (
    session_key INTEGER PRIMARY KEY REFERENCES sessions (key) ON DELETE CASCADE,
    owner_id TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    process_started_s REAL NOT NULL,
    heartbeat_s REAL NOT NULL
);
"""

APP_SETTINGS = """
CREATE TABLE app_settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
"""

# The indexes keep no copy of the text and no positions of words: with those, and with the prefixes that make searching
# while one types fast, they would be larger than the text. search.py looks for phrases in what has all their words.
# An answer enters the index when it ends, not at every checkpoint.
TOKENIZER = "unicode61 remove_diacritics 2"
SEARCH = f"""
CREATE VIRTUAL TABLE titles_index USING fts5 (
    title, content = 'sessions', content_rowid = 'key',
    tokenize = '{TOKENIZER}', prefix = '1 2 3 4', detail = none, columnsize = 0
);
CREATE TRIGGER titles_indexed AFTER INSERT ON sessions BEGIN
    INSERT INTO titles_index (rowid, title) VALUES (new.key, new.title);
END;
CREATE TRIGGER titles_unindexed AFTER DELETE ON sessions BEGIN
    INSERT INTO titles_index (titles_index, rowid, title) VALUES ('delete', old.key, old.title);
END;
CREATE TRIGGER titles_reindexed AFTER UPDATE OF title ON sessions WHEN old.title <> new.title BEGIN
    INSERT INTO titles_index (titles_index, rowid, title) VALUES ('delete', old.key, old.title);
    INSERT INTO titles_index (rowid, title) VALUES (new.key, new.title);
END;

CREATE VIRTUAL TABLE messages_index USING fts5 (
    content, content = 'messages', content_rowid = 'key',
    tokenize = '{TOKENIZER}', prefix = '1 2 3 4', detail = none, columnsize = 0
);
CREATE TRIGGER messages_indexed AFTER INSERT ON messages WHEN new.state <> 'writing' BEGIN
    INSERT INTO messages_index (rowid, content) VALUES (new.key, new.content);
END;
CREATE TRIGGER messages_unindexed AFTER DELETE ON messages WHEN old.state <> 'writing' BEGIN
    INSERT INTO messages_index (messages_index, rowid, content) VALUES ('delete', old.key, old.content);
END;
CREATE TRIGGER messages_reindexed AFTER UPDATE OF content, state ON messages
WHEN (old.state = 'writing') <> (new.state = 'writing') OR (new.state <> 'writing' AND old.content <> new.content) BEGIN
    INSERT INTO messages_index (messages_index, rowid, content)
        SELECT 'delete', old.key, old.content WHERE old.state <> 'writing';
    INSERT INTO messages_index (rowid, content)
        SELECT new.key, new.content WHERE new.state <> 'writing';
END;
"""

# What answers were made of; answer_tokens.py says in which form.
ANSWER_TOKENS = """
CREATE TABLE answer_tokens (
    message_key INTEGER PRIMARY KEY REFERENCES messages (key) ON DELETE CASCADE,
    tokens BLOB NOT NULL
);
"""

FIRST_RELEASE = SESSIONS + MESSAGES + UNFINISHED + CLAIMS + APP_SETTINGS + SEARCH
