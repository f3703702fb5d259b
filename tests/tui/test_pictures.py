"""Pictures of the main screens at two sizes; a change of one is looked at before it is kept (--snapshot-update)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil
import pytest
from textual.pilot import Pilot

if TYPE_CHECKING:
    from tests.tui.conftest import Play, Stage

SIZES = [(80, 24), (120, 40)]
ANSWER = """\
Three rivers of Europe:

1. The **Danube** flows from the Black Forest to the Black Sea.
2. The *Rhine* passes <b>Cologne</b>.
3. The `Loire` stays in France.

```python
def length(river: str) -> int:
    return {"Danube": 2850}[river]  # km
```

| River | km |
|---|---|
| Danube | 2850 |
"""

Scene = Callable[["Play"], Awaitable[None]]
Compare = Callable[..., bool]


class Memory(NamedTuple):
    """A machine of a known size."""

    total: int = 25_000_000_000


@pytest.fixture(autouse=True)
def same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def picture(stage: Stage, snap_compare: Compare) -> Callable[..., bool]:
    """Compare what an app shows after a scene with the picture that was kept."""
    stage.set_script(answers=[ANSWER])

    def compare(scene: Scene, size: tuple[int, int], **options: Any) -> bool:
        async def run(pilot: Pilot[int]) -> None:
            play = stage.play_of(pilot)
            await play.until(lambda: play.app.screen_stack[0].is_furnished and play.app.workspace.is_open)
            if options.get("model", True):
                await play.until(lambda: play.app.workspace.engine.is_ready)
                await play.until_shown("context 31 %")
            await play.until(lambda: play.app.screen_stack[0].numbers._machine_bytes)
            await scene(play)

        return snap_compare(stage.app(**options), terminal_size=size, run_before=run)

    return compare


async def ask(play: Play) -> None:
    await play.ask("List three rivers")
    await play.until(lambda: "118 tok/s" in play.text() or play.app.size.width < 100)
    await play.until(lambda: play.app.screen.candidates.place or play.app.size.width < 100)


@pytest.mark.parametrize("size", SIZES)
def test_start(picture: Compare, size: tuple[int, int]) -> None:
    async def scene(play: Play) -> None:
        pass

    assert picture(scene, size)


@pytest.mark.parametrize("size", SIZES)
def test_chat(picture: Compare, size: tuple[int, int]) -> None:
    assert picture(ask, size)


@pytest.mark.parametrize("size", SIZES)
def test_sliders(picture: Compare, size: tuple[int, int]) -> None:
    async def scene(play: Play) -> None:
        await ask(play)
        await play.press("f3", "down", "1", "2")
        await play.until_shown("12▏")
        await play.until(lambda: play.app.screen.candidates.place)

    assert picture(scene, size)


@pytest.mark.parametrize("size", SIZES)
def test_candidates_and_tints(picture: Compare, size: tuple[int, int]) -> None:
    async def scene(play: Play) -> None:
        await ask(play)
        await play.press("alt+t", "alt+c")
        await play.until(lambda: "Tokens that" in play.text() and play.app.screen.candidates.place)
        await play.press("left", "left")
        pane = play.app.screen.candidates
        await play.until(lambda: pane.place.at == pane.place.n_tokens - 2)
        await play.press("down")
        await play.until(lambda: pane.shown[1].text == " Lyon")

    assert picture(scene, size)


@pytest.mark.parametrize("size", SIZES)
def test_history(picture: Compare, size: tuple[int, int]) -> None:
    async def scene(play: Play) -> None:
        await ask(play)
        await play.press("ctrl+n")
        await play.until(lambda: "New session" in play.shown("ChatHeader"))
        await play.until(lambda: play.app.screen.session_list.highlighted is None)
        await play.press("f2")
        await play.until(lambda: "List three rivers" in play.shown("#sessions"))

    assert picture(scene, size)


@pytest.mark.parametrize("size", SIZES)
def test_help(picture: Compare, size: tuple[int, int]) -> None:
    async def scene(play: Play) -> None:
        await play.press("f1")
        await play.until_shown("Everything works from the keyboard")

    assert picture(scene, size)


@pytest.mark.parametrize("size", SIZES)
def test_first_run(picture: Compare, size: tuple[int, int]) -> None:
    async def scene(play: Play) -> None:
        await play.until_shown("Fetch the starter model")

    assert picture(scene, size, model=None)


@pytest.mark.parametrize("size", SIZES)
def test_system_prompt(picture: Compare, size: tuple[int, int]) -> None:
    async def scene(play: Play) -> None:
        await play.press("f9")
        await play.until_shown("System prompt of this session")

    assert picture(scene, size)


@pytest.mark.parametrize("size", SIZES)
def test_engine_died(stage: Stage, picture: Compare, size: tuple[int, int]) -> None:
    stage.set_script(answers=[ANSWER], die_after=9)

    async def scene(play: Play) -> None:
        await play.ask("List three rivers")
        await play.until(lambda: play.app.screen.status.trouble)

    assert picture(scene, size)
