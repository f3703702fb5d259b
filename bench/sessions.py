"""Measure the storage with years of sessions in it: history, search, opening, size; prints one JSON object.

python bench/sessions.py                                     10,000 sessions, 1,000,000 messages
python bench/sessions.py --sessions 200 --messages 20000     a quick look
python bench/sessions.py --keep /tmp/sessions.db             build once, measure again and again
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from storage.answers import begin_answer, finish_answer
from storage.connections import open_database
from storage.search import search
from storage.sessions import create_session, get_session, list_sessions, rename_session
from storage.transactions import transaction
from storage.tree import append_message, path

N_LONG_SESSION = 2000
N_VOCABULARY = 40_000
N_QUERIES = 100
SETTINGS = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.95,
    "min_p": 0.05,
    "repeat_penalty": 1.1,
    "max_new_tokens": None,
}


class Writer:
    """Text with the word frequencies of a natural language (Zipf's law), the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        syllables = ["".join(pair) for pair in itertools.product("bdfgklmnprstvz", ("a", "e", "i", "o", "u", "é"))]
        words = dict.fromkeys(
            "".join(self.random.choices(syllables, k=1 + rank.bit_length() // 4)) for rank in range(2 * N_VOCABULARY)
        )
        self.words = list(words)[:N_VOCABULARY]
        self.weights = list(itertools.accumulate(1 / (rank + 3) for rank in range(len(self.words))))

    def text(self, n_words: int) -> str:
        """Write about so many words."""
        n_words = max(1, round(self.random.expovariate(1 / n_words)))
        return " ".join(self.random.choices(self.words, cum_weights=self.weights, k=n_words)).capitalize() + "."

    def queries(self) -> Iterator[str]:
        """What a user types: one to three words of any frequency, the last one of them perhaps only begun."""
        while True:
            words = self.random.choices(self.words, cum_weights=self.weights, k=self.random.randint(1, 3))
            words[-1] = words[-1][: self.random.randint(1, len(words[-1]))]
            yield " ".join(words)


def build(file: Path, n_sessions: int, n_messages: int, writer: Writer) -> int:
    """Fill a database and return how many bytes of text are in it."""
    db = open_database(file)
    n_bytes = 0
    n_long = min(N_LONG_SESSION, n_messages // 2) // 2
    n_turns, n_longer = divmod(n_messages // 2 - n_long, max(1, n_sessions - 1))
    for number in range(n_sessions):
        with transaction(db):
            title = writer.text(4)
            session = create_session(db, model="bench", system="You are a helpful assistant.", settings=SETTINGS)
            rename_session(db, session.id, title)
            n_bytes += len(title.encode())
            parent: str | None = None
            for turn in range(n_long if number == 0 else n_turns + (number <= n_longer)):
                question, answer = writer.text(25), writer.text(120)
                asked = append_message(db, session.id, parent, "user", question)
                begun = begin_answer(db, session.id, asked.id, model="bench", settings=SETTINGS, seed=turn)
                done = finish_answer(
                    db,
                    begun.id,
                    answer,
                    "complete",
                    prompt_tokens=100,
                    generated_tokens=150,
                    tokens_per_second=90.5,
                    first_token_ms=123.25,
                    seed=turn,
                )
                parent = done.id
                n_bytes += len(question.encode()) + len(answer.encode())
        if number % 100 == 0:
            print(f"\r{number} of {n_sessions} sessions", end="", file=sys.stderr)
    print(file=sys.stderr)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    return n_bytes


def milliseconds(act: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    act()
    return (time.perf_counter() - start) * 1000


def measure(file: Path, writer: Writer) -> dict[str, object]:
    """Time what a user waits for."""
    opened = milliseconds(lambda: open_database(file).close())
    db = open_database(file)
    cold_page = milliseconds(lambda: list_sessions(db, limit=50))
    pages = [milliseconds(lambda: list_sessions(db, limit=50)) for _ in range(20)]
    queries = list(itertools.islice(writer.queries(), N_QUERIES))
    for query in queries:
        search(db, query, 50)
    searches = sorted((milliseconds(lambda query=query: search(db, query, 50)), query) for query in queries)
    long_id = db.execute("SELECT id FROM sessions ORDER BY n_messages DESC LIMIT 1").fetchone()[0]
    cold_open = milliseconds(lambda: path(db, long_id))
    opens = [milliseconds(lambda: path(db, long_id)) for _ in range(10)]
    return {
        "sessions": db.execute("SELECT count(*) FROM sessions").fetchone()[0],
        "messages": db.execute("SELECT count(*) FROM messages").fetchone()[0],
        "open_database_ms": round(opened, 2),
        "history_page_first_ms": round(cold_page, 2),
        "history_page_ms": round(statistics.median(pages), 2),
        "search_median_ms": round(statistics.median(ms for ms, _ in searches), 2),
        "search_worst_ms": round(searches[-1][0], 2),
        "search_worst_query": searches[-1][1],
        "long_session_messages": get_session(db, long_id).n_messages,
        "long_session_first_ms": round(cold_open, 2),
        "long_session_ms": round(statistics.median(opens), 2),
    }


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="keep the database here; measure it again when it exists")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = options.keep or Path(folder) / "sessions.db"
        figures: dict[str, object] = {}
        writer = Writer(options.seed)
        if not file.exists():
            start = time.perf_counter()
            n_bytes = build(file, options.sessions, options.messages, writer)
            figures["build_s"] = round(time.perf_counter() - start, 1)
            figures["text_bytes"] = n_bytes
            figures["file_bytes"] = file.stat().st_size
            figures["file_to_text"] = round(file.stat().st_size / n_bytes, 3)
        print(json.dumps(figures | measure(file, writer), indent=2))


if __name__ == "__main__":
    main()
