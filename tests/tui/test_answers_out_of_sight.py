"""Answers that grow where they are not shown at once: in another app, or too far from the reader to be mounted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from storage import answers, claims, sessions, tree
from storage.connections import open_database
from storage.owners import this_owner
from tui.messages import AnswerGrew
from tui.paths import user_paths
from tui.widgets.answer_body import AnswerBody
from tui.widgets.excerpt import PAGE
from tui.widgets.transcript import Transcript

if TYPE_CHECKING:
    from storage.records import FinalState
    from tests.tui.conftest import Play, Stage

NUMBERS = [f"number{n}" for n in range(300)]
N_HELD = 20
HELD = " ".join(NUMBERS[:N_HELD])


@pytest.mark.parametrize(
    ("state", "text"), [("complete", "One two three."), ("stopped", "One two"), ("complete", "Another.")]
)
async def test_an_answer_of_another_app_grows_and_ends_here(stage: Stage, state: FinalState, text: str) -> None:
    db = open_database(user_paths().database)
    session = sessions.create_session(db, model="m", system="", settings={}, title="Shared")
    asked = tree.append_message(db, session.id, None, "user", "said elsewhere")
    claims.claim_session(db, session.id, this_owner())
    async with stage.ready(resume=session.id) as play:
        await play.until_shown("said elsewhere")
        answer = answers.begin_answer(db, session.id, asked.id, model="m", settings={}, seed=None)
        await play.until_shown("writing …")
        body = play.app.screen.query_one(AnswerBody)
        for part in ("One", "One two"):
            answers.checkpoint_answer(db, answer.id, part, None, 1)
            await play.until(lambda part=part: body.source == part)
        answers.finish_answer(
            db,
            answer.id,
            text,
            state,
            prompt_tokens=None,
            generated_tokens=3,
            tokens_per_second=None,
            first_token_ms=None,
            seed=None,
        )
        await play.until(lambda: "writing …" not in play.text())
        await play.until_shown(text)
        assert body.source == text
    db.close()


async def hold_an_answer(play: Play) -> tuple[Transcript, str]:
    """Ask; the transcript, and the id of an answer of which N_HELD words are there."""
    await play.say("count")
    await play.until(lambda: any(body.source == HELD for body in play.app.screen.query(AnswerBody)))
    assert play.writing.answer is not None
    return play.app.screen.query_one(Transcript), play.writing.answer.message_id


def sources(transcript: Transcript, message_id: str) -> list[str]:
    """What is shown of an answer; nothing where it is not mounted."""
    return [view.query_one(AnswerBody).source for view in transcript.views if view.message_id == message_id]


def long_session() -> str:
    """Store a session of which half is not mounted when it opens; its id."""
    db = open_database(user_paths().database)
    session = sessions.create_session(db, model="m", system="", settings={}, title="Long")
    parent = None
    for n in range(PAGE * 2):
        parent = tree.append_message(db, session.id, parent, "user", f"message {n}").id
    db.close()
    return session.id


async def test_what_came_of_an_answer_is_there_when_the_reader_comes_back(stage: Stage) -> None:
    stage.set_script(answers=[" ".join(NUMBERS)], hold_after=N_HELD)
    async with stage.ready(resume=long_session()) as play:
        transcript, answer_id = await hold_an_answer(play)
        transcript.focus()
        await play.press("home")
        await play.until(lambda: not sources(transcript, answer_id))
        play.app.screen.post_message(AnswerGrew(answer_id, " while away", []))
        await play.press("end")
        await play.until(lambda: sources(transcript, answer_id) == [f"{HELD} while away"])
        play.app.screen.post_message(AnswerGrew(answer_id, " and after", []))
        await play.until(lambda: sources(transcript, answer_id) == [f"{HELD} while away and after"])
        await play.press("escape")
        await play.answered()
        await play.until(lambda: sources(transcript, answer_id) == [play.open_session.path[-1].message.content])


async def test_what_the_database_does_not_have_yet_stays_when_the_session_is_shown_again(stage: Stage) -> None:
    stage.set_script(answers=[" ".join(NUMBERS)], hold_after=N_HELD)
    async with stage.ready() as play:
        transcript, answer_id = await hold_an_answer(play)
        play.app.screen.post_message(AnswerGrew(answer_id, " not stored", []))
        await play.until(lambda: sources(transcript, answer_id) == [f"{HELD} not stored"])
        await play.open_session.show()
        play.app.screen.post_message(AnswerGrew(answer_id, " more", []))
        await play.until(lambda: sources(transcript, answer_id) == [f"{HELD} not stored more"])


async def test_more_comes_at_the_bottom_though_going_home_cut_short_what_came_on_top(stage: Stage) -> None:
    async with stage.ready(resume=long_session()) as play:
        transcript = play.app.screen.query_one(Transcript)
        await play.until(lambda: transcript.scroll_y > 0)
        transcript.scroll_to(y=0, animate=False, immediate=True)
        async with asyncio.timeout(30):
            while not transcript._is_moving:
                await asyncio.sleep(0)
        transcript.action_scroll_home()
        await play.until_shown("message 0")
        await play.until(lambda: transcript.scroll_y == 0)
        transcript.scroll_to(y=transcript.max_scroll_y, animate=False, immediate=True)
        await play.until(lambda: transcript._excerpt.end > PAGE)
