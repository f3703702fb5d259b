"""Text of strangers wherever the app shows any, in a real terminal: nothing of it is obeyed, byte by byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from storage import answers, sessions, tree
from storage.connections import open_database
from tui.paths import user_paths

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tui.conftest import Stage
    from tests.tui.terminal import Terminal

CODES = (
    "\x1b[5;31m\x1b[2J\x1b[8m\x1b[999B",  # blink, red, clear, conceal, move
    "\x1b]52;c;b3duZWQ=\x07\x1b]0;owned\x07\x1b]8;;https://evil.example\x1b\\",  # clipboard, title, link
    "\x1bP$qm\x1b\\\x1b_G\x1b\\\x1bc\x1b#8\x1b(0",  # device control, graphics, reset, test picture, line drawing
    "\x9b5m\x9d0;owned\x9c\x90q\x9c\x85",  # the same with eight bits
    "\x07\x08\x08\x0b\x0c\x0e\x7f\x00",
    "safe\rEVIL",
    "\u202eesrever\u202c\u2066x\u2069\u2028\u2029",
    "[red]markup[/red][/][@click=app.quit]quit[/]",
    "a\u200bb\u200d\ufeff",
)
HOSTILE = "".join(CODES)
NAME = "".join(CODES[:1] + CODES[3:5] + CODES[6:7]).replace("\x00", "") + "[bold]"
"""Within a file name's limits."""

ANSWER = (
    f"{HOSTILE}\n\n# {CODES[0]}\n\n> {CODES[1]}\n\n- {CODES[2]}\n- `{CODES[3]}`\n\n&#27;[5m &#155;5m &#x202e;\n\n"
    f"```python {CODES[0]}\n{HOSTILE}\n```\n\n    {HOSTILE}\n\n"
    f"| {CODES[0]} | b |\n|---|---|\n| {CODES[6]} | {CODES[1]} |\n\n"
    f"[{CODES[0]}](https://evil.example/{CODES[1]}) ![{CODES[0]}](x)\n\n{'x' * 10_000}\n\n{'y ' * 5_000}\n\nthe end"
)


def toml(text: str) -> str:
    """A text as a quoted key or value."""
    escaped = "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    return f'"{escaped}"'


def store_session() -> None:
    """Leave a session in which everything is a stranger's, as an import or another program might."""
    file = user_paths().database
    file.parent.mkdir(parents=True, exist_ok=True)
    with open_database(file) as db:
        session = sessions.create_session(db, model=HOSTILE, system=HOSTILE, settings={}, title=f"Stored {HOSTILE}")
        asked = tree.append_message(db, session.id, None, "user", f"needle {HOSTILE}")
        answer = answers.begin_answer(db, session.id, asked.id, model=HOSTILE, settings={}, seed=None)
        answers.finish_answer(
            db,
            answer.id,
            ANSWER,
            "complete",
            prompt_tokens=1,
            generated_tokens=1,
            tokens_per_second=1.0,
            first_token_ms=1.0,
            seed=1,
        )


@pytest.fixture
def terminal(stage: Stage, open_terminal: Callable[..., Terminal], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """The app among strangers: sessions, settings, presets, servers, models and files."""
    (stage.home / "settings.toml").write_text(
        f"[chat]\nmodel_titles = false\nsystem_prompt = {toml(HOSTILE)}\n"
        f"[presets.{toml('first ' + HOSTILE)}]\ntemperature = 0.3\n"
        f'[servers.{toml("there " + HOSTILE)}]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = {toml(HOSTILE)}\n'
        f"[{toml('unknown ' + HOSTILE)}]\n[keys]\n{toml(HOSTILE)} = {toml(HOSTILE)}\n"
        f"[app]\ntheme = {toml('theme ' + HOSTILE)}\n"
    )
    store_session()
    folder = stage.home / "models"
    folder.mkdir(exist_ok=True)
    stage.model = stage.model.rename(folder / f"Tiny {NAME}.gguf")
    (stage.home / f"file {NAME}.txt").write_text("text")
    stage.set_script(answers=[ANSWER], token_delay_s=0.0)
    monkeypatch.chdir(stage.home)
    return open_terminal(size=(120, 40), COLORTERM="truecolor")


@pytest.mark.slow
def test_nothing_of_a_stranger_is_obeyed(stage: Stage, terminal: Terminal) -> None:
    terminal.do("", "ready", "There is no theme", "Stored ␛")
    write_and_answer(terminal)
    look_at_sessions(terminal)
    open_screens(terminal)
    use_commands(terminal, stage)
    terminal.type("\x11")
    assert terminal.wait_for_end() == 0
    text = terminal.text()
    for shown in (
        "␛]52;c;",
        "␛P$qm",
        "\N{REPLACEMENT CHARACTER}5m",
        "safe␍EVIL",
        "[red]markup[/red]",
        "[@click=app.quit]",
    ):
        assert shown in text, shown
    assert terminal.obeyed(terminal.output) == []


def write_and_answer(terminal: Terminal) -> None:
    terminal.paste(f"question {HOSTILE}")
    terminal.wait_shown("[red]markup[/red][/][@click=app.quit]")
    # The same as keys: what a terminal sends that does not mark what is pasted.
    terminal.type("\x9b5m\u202e\x85")
    terminal.do("\r", "the end", "118 tok/s", "▸ question")


def look_at_sessions(terminal: Terminal) -> None:
    terminal.do("\x1bOQ", "r rename")
    terminal.type("/")
    terminal.wait_shown("r rename", gone=True)
    terminal.paste(f"nowhere {HOSTILE}")
    terminal.wait_shown("nowhere")
    terminal.do("\x15", "/ search")
    terminal.do("needle", "needle ␛[5")
    # The session of another: its title, system prompt, model and messages.
    terminal.type("\r")
    terminal.wait_shown("r rename")
    terminal.do("\x1b[B\r", "▸ Stored ␛", "e edit")
    terminal.do("\x1b[A\x1b[A\r", "the end")


def open_screens(terminal: Terminal) -> None:
    for key, title in (
        ("\x1b[21~", "Title of this session"),
        ("\x10", "Search for commands"),
        ("\x1b[20~", "System prompt of this session"),
        ("\x0f", "Another version of this message"),
    ):
        terminal.do(key, title)
        terminal.paste(HOSTILE)
        terminal.type("\x1b")
        terminal.wait_shown(title, gone=True)
    terminal.do("\x1bp", "Presets of the sliders", "first ␛")
    begun = len(terminal.output)
    terminal.do("\x1b[F\r", "Sampling · first ␛")
    terminal.wait_for("temperature 0.3", begun)
    terminal.do("\x1bOS", "Open a model", "Tiny ␛", "there ␛")
    terminal.type("\t")
    terminal.paste(HOSTILE)
    terminal.do("\r", "There is no file")
    terminal.type("\x1b")
    terminal.wait_shown("Open a model", gone=True)


def use_commands(terminal: Terminal, stage: Stage) -> None:
    def clear() -> None:
        # Keys that follow at once would be taken before it.
        terminal.do("\x15", "Ask something")

    terminal.wait_shown("e edit")
    terminal.do("\x1b", "ctrl+j line")
    (stage.home / "notes.txt").write_text(f"in the file {HOSTILE}".replace("\0", ""))
    terminal.do("/attach file", "│ /attach file", "file ␛")
    clear()
    terminal.do("/attach notes.txt\r", "Attached: notes.txt")
    terminal.do("/model t", "│ /model t", "there ␛")
    clear()
    terminal.do("/preset f", "│ /preset f", "first ␛")
    clear()
    terminal.type("/attach ")
    terminal.paste(NAME)
    terminal.do("\r", "There is no file")
    # It has come back into the box, in lines of its own: f7 chooses all of it.
    terminal.do("\x1b[18~\x7f", "Ask something")
    terminal.type("/title ")
    terminal.paste(NAME)
    terminal.do("\r", "▸ [5")
    terminal.do("and this\r", "the end")
    terminal.wait_shown("Attached: notes.txt", gone=True)
    terminal.wait_shown("esc stop", gone=True)
    # The message of the file, above the last answer.
    terminal.do("\x1b[Z", "e edit")
    terminal.do("kk", "File notes.txt:")


@pytest.mark.parametrize(
    ("script", "shown"),
    [
        ({"load_error": f"Broken {HOSTILE}"}, "Broken"),
        ({"answer_error": f"Broken {HOSTILE}"}, "Broken"),
        ({"die_after": 1, "last_words": f"Broken {HOSTILE}"}, "f5 starts it again"),
    ],
)
def test_nothing_of_an_engine_in_trouble_is_obeyed(
    stage: Stage, open_terminal: Callable[..., Terminal], script: dict[str, object], shown: str
) -> None:
    stage.set_script(answers=[ANSWER], **script)
    terminal = open_terminal(size=(120, 40), COLORTERM="truecolor")
    if "load_error" not in script:
        terminal.do("", "ready")
        terminal.type("ask\r")
    terminal.wait_shown(shown)
    terminal.do("\x1b[19~", "The engine's last words")
    terminal.type("\x11")
    terminal.wait_for_end()
    assert terminal.obeyed(terminal.output) == []
