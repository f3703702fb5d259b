"""SIGKILL at random moments: a smaller number of what bench/kills.py does, which also measures what is missing;
and that an answer is on disk as it is written."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storage import answers, sessions
from storage.connections import open_database
from storage.records import pack_token_ids, unpack_token_ids
from storage.tree import get_message
from tests.tui.test_engine_trouble import COUNTING
from tui.paths import user_paths
from tui.services import tending

if TYPE_CHECKING:
    from tests.tui.conftest import Stage

CHECKOUT = Path(__file__).parents[2]
ENGINE = Path(__file__).with_name("scripted_engine.py")


@pytest.mark.slow
def test_kills_cost_no_message_damage_nothing_and_leave_no_process(stage: Stage) -> None:
    stage.set_script(answers=[" ".join(f"number{n}" for n in range(3000))], token_delay_s=0.01)
    command = [sys.executable, str(CHECKOUT / "bench" / "kills.py"), "--model", str(stage.model), "--kills", "6"]
    engine = f"{sys.executable} {ENGINE} {stage.script}"
    ran = subprocess.run([*command, "--engine", engine], capture_output=True, text=True, check=False, timeout=300)
    assert ran.stdout, ran.stderr
    found = json.loads(ran.stdout)
    assert (found["kills"], found["damaged"], found["messages_lost"], found["orphans"]) == (6, 0, 0, 0), ran.stderr
    assert found["messages_sent"] >= 3


def test_what_a_kill_costs_is_the_time_from_the_first_token_that_is_not_stored(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(CHECKOUT / "bench")
    script = runpy.run_path(str(CHECKOUT / "bench" / "kills.py"))
    log, outcome = home / "tokens", script["Outcome"]()
    log.write_text("0.5 title-1\n1.0 answer-1\n2.0 answer-1\n3.0 answer-1\n4.0 answer-1\n6.0 answer-1\n")
    with closing(open_database(user_paths().database)) as db:
        session = sessions.create_session(db, model="m", system="", settings={}, title="Killed")
        answer = answers.begin_answer(db, session.id, None, model="m", settings={}, seed=None)
        answers.checkpoint_answer(db, answer.id, "one two", pack_token_ids([1, 2]), 2)
    script["look"](user_paths().database, log, [], 5.0, outcome)
    assert (outcome.answers_cut, outcome.missing_s, outcome.holds) == (1, [2.0], False)


async def test_an_answers_tokens_reach_the_disk_while_it_is_written(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tending, "CHECKPOINT_PERIOD_S", 0.01)
    stage.set_script(answers=[COUNTING], hold_after=3)
    async with stage.ready() as play:
        await play.say("count")
        await play.until(lambda: play.writing.answer is not None)
        with closing(open_database(user_paths().database)) as db:
            message_id = play.open_session.path[-1].message.id
            await play.until(lambda: unpack_token_ids(get_message(db, message_id).token_ids or b"") == [0, 1, 2])
            kept = get_message(db, message_id)
        assert (kept.content, kept.state) == ("number0 number1 number2", "writing")
