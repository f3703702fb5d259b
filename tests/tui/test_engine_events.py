"""What an engine says, taken in without an engine or an app: what becomes of the state, and who hears of it."""

from __future__ import annotations

import pytest

from engine.protocol import EngineDied, Failed, Load, Notice
from tui.messages import EngineChanged, EngineDiedMidway, Told, Trouble
from tui.services.engine_events import AnswerEvent, EngineEvents
from tui.services.engine_state import EngineState

DEATH = EngineDied(exit_code=1, signal=None, message="The engine is gone.")


class Listener:
    """Keeps what is posted, and in which phase the events of answers came, after how many posts."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.heard: list[tuple[str, int]] = []
        self.state = EngineState(self.told.append)
        self.events = EngineEvents(self.state, self.told.append, on_answer=self.hear, on_ready=lambda: None)

    async def hear(self, event: AnswerEvent) -> None:
        self.heard.append((self.state.phase, len(self.told)))

    @property
    def kinds(self) -> list[type[Told]]:
        return [type(told) for told in self.told]


@pytest.fixture
def listener() -> Listener:
    return Listener()


def failed(load: Load) -> Failed:
    return Failed(request_id=load.request_id, kind="ModelFileError", message="The file ends too early.")


@pytest.mark.parametrize("is_local", [True, False])
async def test_a_file_that_did_not_open_is_wanted_no_more_and_a_server_still_is(
    listener: Listener, is_local: bool
) -> None:
    listener.state.is_local = is_local
    wanted = listener.state.want(Load(path="model.gguf"))
    await listener.events.take(failed(wanted))
    assert listener.state.phase == "empty"
    assert listener.state.wanted == (None if is_local else wanted)
    assert listener.told[0].reason == "The file ends too early."


async def test_what_came_of_a_model_that_is_wanted_no_more_changes_nothing(listener: Listener) -> None:
    before = listener.state.want(Load(path="before.gguf"))
    wanted = listener.state.want(Load(path="model.gguf"))
    await listener.events.take(failed(before))
    assert (listener.state.phase, listener.state.wanted) == ("starting", wanted)
    assert EngineChanged not in listener.kinds


async def test_an_answer_ends_before_anybody_is_told_of_the_death(listener: Listener) -> None:
    await listener.events.take(DEATH)
    assert listener.heard == [("dead", 0)]
    assert listener.kinds == [EngineChanged, EngineDiedMidway]


async def test_of_an_engine_that_is_ended_on_purpose_only_answers_hear(listener: Listener) -> None:
    with listener.events.of_an_end():
        await listener.events.take(Notice(request_id="", text="too late"))
        await listener.events.take(DEATH)
    assert (listener.heard, listener.told) == ([("starting", 0)], [])
    await listener.events.take(Notice(request_id="", text="heard again"))
    assert listener.kinds == [Trouble]
