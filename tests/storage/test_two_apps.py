"""Two apps on one database: neither waits long for the other, each sees the other, a killed one loses little."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database

from storage.answers import recover_interrupted
from storage.connections import check, data_version, open_database
from storage.records import Session, unpack_token_ids
from storage.search import search
from storage.sessions import create_session, get_session, list_sessions
from storage.tree import all_messages, append_message

WRITER = """
import sys
from storage.answers import begin_answer, checkpoint_answer, finish_answer
from storage.connections import open_database
from storage.records import pack_token_ids
from storage.tree import append_message

db = open_database(sys.argv[1])
parent = None
for turn in range(1000):
    asked = append_message(db, sys.argv[2], parent, "user", f"question {turn}")
    print("asked", turn, flush=True)
    answer = begin_answer(db, sys.argv[2], asked.id, model="tiny", settings={}, seed=turn)
    for n in range(1, 6):
        checkpoint_answer(db, answer.id, "word " * n, pack_token_ids(range(n)), n)
        print("wrote", turn, n, flush=True)
    finish_answer(db, answer.id, "word " * 6, "complete", prompt_tokens=1, generated_tokens=6, tokens_per_second=1.0,
                  first_token_ms=1.0, seed=turn)
    parent = answer.id
"""

WAITING_WRITER = """
import sys
from storage.answers import begin_answer
from storage.connections import open_database

begin_answer(open_database(sys.argv[1]), sys.argv[2], None, model="tiny", settings={}, seed=1)
print("begun", flush=True)
sys.stdin.read()
"""


def test_what_one_writes_the_other_sees(db: Database, session: Session, path: Path) -> None:
    with closing(open_database(path)) as other:
        before = data_version(other)
        append_message(db, session.id, None, "user", "Hello from the other window")
        assert data_version(other) != before
        assert len(search(other, "window")) == 1
        assert [s.n_messages for s in list_sessions(other)] == [1]


def test_two_threads_of_writers_lose_nothing(db: Database, path: Path) -> None:
    n_each = 60
    failures: list[BaseException] = []

    def write(name: str) -> None:
        try:
            with closing(open_database(path)) as mine:
                session = create_session(mine, model="", system="", settings={}, title=name)
                for number in range(n_each):
                    append_message(mine, session.id, None, "user", f"{name} {number}")
        except BaseException as error:  # noqa: BLE001 - told by the test itself, in its own thread
            failures.append(error)

    writers = [threading.Thread(target=write, args=(name,)) for name in ("left", "right")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failures == []
    assert {s.title: s.n_messages for s in list_sessions(db)} == {"left": n_each, "right": n_each}
    assert check(db) == []


def test_a_live_writer_s_answer_is_left_alone(db: Database, session: Session, path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITING_WRITER, str(path), session.id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        try:
            assert recover_interrupted(db) == []
        finally:
            process.kill()
    assert [message.state for message in recover_interrupted(db)] == ["interrupted"]


@pytest.mark.parametrize("seed", range(6))
def test_a_killed_writer_loses_at_most_what_came_after_its_checkpoint(
    db: Database, session: Session, path: Path, seed: int
) -> None:
    n_lines = random.Random(seed).randint(1, 40)
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), session.id], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        told = [process.stdout.readline().split() for _ in range(n_lines)]
        process.kill()
        told += [line.split() for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    assert check(db) == []
    recover_interrupted(db)
    said = all_messages(db, session.id)
    assert [m.state for m in said if m.state not in ("complete", "interrupted")] == []
    questions = [m.content for m in said if m.role == "user"]
    n_asked = sum(line[0] == "asked" for line in told)
    assert questions[:n_asked] == [f"question {turn}" for turn in range(n_asked)]
    n_words: dict[str, int] = {}
    for line in told:
        if line[0] == "wrote":
            n_words[line[1]] = int(line[2])
    answers = [m for m in said if m.role == "assistant"]
    for turn, n_told in n_words.items():
        answer = answers[int(turn)]
        n_kept = answer.content.count("word")
        assert n_kept >= n_told
        if answer.state == "interrupted":
            assert answer.token_ids is not None
            assert unpack_token_ids(answer.token_ids) == list(range(n_kept))
    assert get_session(db, session.id).head_id == said[-1].id
    assert len(search(db, "question", 500)) == len(questions)
