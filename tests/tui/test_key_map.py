"""The settings' keys: what takes effect, what conflicts, what is no action and no key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tui.key_map import key_map, key_problems
from tui.settings import Settings
from tui.widgets.prompt_box import PromptBox

if TYPE_CHECKING:
    from pathlib import Path

    from tests.tui.conftest import Stage


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"answer.again": "ctrl+y"},
        {"chat.copy": "f12, ctrl+s"},
        {"history.rename": "x", "chat.again": "x"},
        {"prompt.send": "ctrl+j", "prompt.line": "enter"},
        {"slider.reset": "?"},
        {"chat.copy": ","},
    ],
)
def test_good_keys(keys: dict[str, str]) -> None:
    assert key_problems(keys) == []


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"answer.agan": "ctrl+y"}, "there is no action answer.agan; it is ignored. Did you mean answer.again?"),
        ({"nonsense": "x"}, "there is no action nonsense"),
        ({"answer.again": "ctrl+nonsense"}, "'ctrl+nonsense' is no key"),
        ({"answer.again": "strg+r"}, "'strg+r' is no key"),
        ({"answer.again": ""}, "'' is no key"),
        ({"answer.again": "ctrl+m"}, "most terminals send enter for ctrl+m"),
        ({"answer.again": "f2"}, "f2 is the key of answer.again and of pane.history"),
        ({"answer.again": "y"}, "y is the key of answer.again and of chat.copy"),
        ({"chat.copy": "e"}, "e is the key of chat.copy and of chat.edit"),
        ({"answer.again": "f12", "answer.go_on": "f12"}, "f12 is the key of answer.again and of answer.go_on"),
    ],
)
def test_bad_keys_are_told(keys: dict[str, str], words: str) -> None:
    [problem] = key_problems(keys)
    assert words in problem


def test_an_action_that_shares_a_changed_ones_key_keeps_it() -> None:
    mapped = key_map(Settings(keys={"answer.stop": "f12", "nonsense": "x", "answer.again": "strg+r"}))
    assert mapped["answer.stop"] == "f12"
    assert mapped["pane.back"] == "escape"
    assert "nonsense" not in mapped
    assert "answer.again" not in mapped


async def test_changed_keys_work_and_what_is_wrong_is_said_at_the_start(stage: Stage) -> None:
    settings = '[chat]\nmodel_titles = false\n[keys]\n"session.new" = "f12"\n"answer.stop" = "f11"\n"no.such" = "x"\n'
    (stage.home / "settings.toml").write_text(settings)
    stage.set_script(hold_after=2)
    async with stage.ready() as play:
        await play.until_shown("there is no action no.such")
        await play.say("hi")
        await play.until_shown("Paris is")
        await play.press("escape")
        assert play.writing.is_busy
        await play.press("f11")
        await play.answered()
        await play.press("f2", "escape")
        assert isinstance(play.app.focused, PromptBox)
        await play.press("f12")
        await play.until(lambda: play.open_session.session is None)


def test_doctor_tells_of_the_keys(home: Path) -> None:
    from tui.commands.checks import settings
    from tui.paths import user_paths
    from tui.settings import load_settings

    paths = user_paths()
    paths.settings_file.write_text('[keys]\n"answer.again" = "f2"\n')
    finding = settings(paths, load_settings(paths.settings_file))
    assert finding.verdict == "bad"
    assert "f2 is the key of answer.again and of pane.history" in finding.found
