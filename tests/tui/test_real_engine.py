"""The app with the real engine and the starter model, once through."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from tui.app import LlmTuiApp
from tui.options import AppOptions
from tui.widgets.candidates_pane import CandidatesPane

if TYPE_CHECKING:
    from tests.tui.conftest import Stage


@pytest.mark.slow
async def test_the_starter_model_answers_stops_and_remembers(stage: Stage, starter_model: Path) -> None:
    (stage.home / "settings.toml").write_text("[sampling]\ntemperature = 0.0\nmax_tokens = 4000\n")
    async with stage.play(LlmTuiApp(AppOptions(model=str(starter_model)))) as play:
        await play.until(lambda: play.app.workspace.engine.is_ready, patience_s=170)
        assert "Paris" in await play.ask("What is the capital of France?")
        await play.until_shown("tok/s")
        await play.say("Write a long story about the sea.")
        await play.until(lambda: play.writing.answer and len(play.writing.answer.new_ids) > 5)
        await play.press("escape")
        await play.answered()
        stopped = play.open_session.path[-1].message
        assert stopped.content
        session_id = play.open_session.session.id
    async with stage.play(LlmTuiApp(AppOptions(model=None, resume=session_id))) as play:
        await play.until(lambda: play.app.workspace.engine.is_ready and play.open_session.path)
        assert play.open_session.path[-1].message.content == stopped.content
        assert "Paris" in play.open_session.path[1].message.content
        await play.until_shown("What is the capital")


@pytest.mark.slow
async def test_the_sliders_move_the_candidates_and_an_answer_branches_at_a_token(
    stage: Stage, starter_model: Path
) -> None:
    (stage.home / "settings.toml").write_text("[chat]\nmodel_titles = false\n[sampling]\ntemperature = 0.0\n")
    async with stage.play(LlmTuiApp(AppOptions(model=str(starter_model)))) as play:
        await play.until(lambda: play.app.workspace.engine.is_ready, patience_s=170)
        first = await play.ask("What is the capital of France?")
        pane = play.app.screen.query_one(CandidatesPane)
        await play.until(lambda: pane.place is not None)
        n_tokens = pane.place.n_tokens
        await play.press("alt+c", "left", "left", "left")
        await play.until(lambda: pane.place.at == n_tokens - 3)
        assert first.startswith(pane.place.before + pane.place.token)
        cold = pane.shown
        assert [candidate.sampler_p for candidate in cold if candidate.sampler_p] == [1]
        play.conversation.set_sampling(msgspec.structs.replace(play.open_session.sampling, temperature=2, top_k=3))
        play.app.workspace.looking.again()
        await play.until(lambda: pane.shown != cold)
        warm = pane.shown
        assert [candidate.model_p for candidate in warm] == [candidate.model_p for candidate in cold]
        assert sum(candidate.sampler_p > 0 for candidate in warm) in (2, 3)
        followed = [candidate.id for candidate in warm].index(pane.place.followed_by)
        shared, other = pane.place.before, warm[1 - followed].text
        await play.press("down" if followed == 0 else "up", "enter")
        await play.until(lambda: play.open_session.path[-1].sibling_count == 2)
        await play.answered()
        second = play.open_session.path[-1].message.content
        assert second.startswith(shared + other)
        assert second != first
        await play.press("alt+left")
        await play.until(lambda: play.open_session.path[-1].message.content == first)
