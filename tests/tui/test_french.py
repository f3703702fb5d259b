"""A walk through the app in French: what it says is French, and fits into eighty columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from babel.messages.pofile import read_po

from tui.language import LOCALE_DIR, speak
from tui.screens.main.palette_commands import main_commands
from tui.screens.main.screen import MainScreen
from tui.widgets.prompt_box import PromptBox
from tui.widgets.slider import Slider
from tui.widgets.transcript import Transcript

if TYPE_CHECKING:
    from tests.tui.conftest import Play, Stage

SMALL = (80, 24)
SETTINGS = '[app]\nlanguage = "fr"\n[chat]\nmodel_titles = false\nsystem_prompt = "Réponds."\n'

_NAMES = re.compile(r"[a-z_]+\.[a-z_]+|/[a-z]+|[a-z]+/|\S+\.(?:gguf|toml)|alt\+\w+|ctrl\+\w+")
"""What is called the same in every language: keys, actions, commands, files."""


@pytest.fixture(scope="module")
def english() -> list[re.Pattern[str]]:
    """All English texts of the screens that are something else in French, as words on a screen."""
    with (LOCALE_DIR / "fr" / "LC_MESSAGES" / "llm-tui.po").open("rb") as file:
        catalog = read_po(file, locale="fr")
    strings = {" ".join(str(message.string).lower().split()) for message in catalog}
    texts = {
        str(message.id)
        for message in catalog
        if message.id
        and isinstance(message.id, str)
        and not message.context
        and "{" not in message.id
        and message.id != message.string
        and not message.id.startswith("/")
    }
    # A word that is good French in another text says nothing about the language.
    french_words = {word for string in strings for word in re.findall(r"[\w'-]+", string)}
    telling = {text for text in texts if text.strip().lower() not in french_words and len(text.strip()) > 2}
    return [re.compile(rf"(?<![\w'])({re.escape(text.strip())})(?![\w'])", re.IGNORECASE) for text in sorted(telling)]


@pytest.fixture
def french_stage(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    (stage.home / "settings.toml").write_text(SETTINGS)
    stage.set_script(answers=["Bonjour à toi."])
    yield stage
    speak("en")


def left_english(play: Play, english: list[re.Pattern[str]]) -> list[str]:
    """English texts on the screen."""
    lines = [_NAMES.sub("", line) for line in play.text().splitlines()]
    shown = "\n".join([*lines, " ".join(" ".join(line.strip(" │╭╮╰╯─▁▔") for line in lines).split())])
    return [found[1] for text in english if (found := text.search(shown))]


async def test_the_main_screen_and_its_panes_are_french(french_stage: Stage, english: list[re.Pattern[str]]) -> None:
    async with french_stage.ready(SMALL) as play:
        assert "Nouvelle session" in play.text()
        assert "entrée envoyer" in play.text()
        assert left_english(play, english) == []
        for key, expected in (("f2", "Historique"), ("f3", "température")):
            await play.press(key)
            await play.until_shown(expected)
            assert left_english(play, english) == [], key
            await play.press("escape")


async def test_all_of_a_wide_screen_is_french(french_stage: Stage, english: list[re.Pattern[str]]) -> None:
    async with french_stage.ready((160, 50)) as play:
        await play.ask("Salut")
        await play.until_shown("Bonjour à toi.")
        assert "Vous" in play.text()
        assert "sans limite" in play.text()
        assert left_english(play, english) == []


DIALOGS = [
    ("f1", "Aide"),
    ("f4", "Ouvrir un modèle"),
    ("f8", "Les derniers mots du moteur"),
    ("f9", "Invite système de cette session"),
    ("f10", "Titre de cette session"),
    ("alt+p", "Préréglages des curseurs"),
    ("ctrl+o", "Une autre version de ce message"),
]


@pytest.mark.parametrize(("key", "title"), DIALOGS)
async def test_dialogs_are_french_and_fit(
    key: str, title: str, french_stage: Stage, english: list[re.Pattern[str]]
) -> None:
    async with french_stage.ready(SMALL) as play:
        await play.ask("Salut")
        await play.press(key)
        await play.until_shown(f"─ {title} ─")
        await play.until(lambda: "…" not in play.text().splitlines()[-1])
        assert "échap fermer" in play.text()
        assert left_english(play, english) == []


@pytest.mark.parametrize("pane", [PromptBox, Transcript, Slider])
async def test_help_of_a_pane_is_french_to_its_end(
    pane: type[PromptBox], french_stage: Stage, english: list[re.Pattern[str]]
) -> None:
    async with french_stage.ready((100, 120)) as play:
        play.app.screen.query(pane).first().focus()
        await play.press("f1")
        await play.until_shown("─ Aide ─")
        assert "Se déplacer et modifier" in play.text() or pane is Slider
        assert left_english(play, english) == []


async def test_every_command_of_the_palette_is_french(french_stage: Stage, english: list[re.Pattern[str]]) -> None:
    async with french_stage.ready((100, 120)) as play:
        screen = play.app.screen
        assert isinstance(screen, MainScreen)
        spoken = [f"{command.title}\n{command.help}" for command in main_commands(screen)]
        spoken += [f"{command.title}\n{command.help}" for command in play.app.get_system_commands(screen)]
        speak("en")
        meant = [f"{command.title}\n{command.help}" for command in main_commands(screen)]
        meant += [f"{command.title}\n{command.help}" for command in play.app.get_system_commands(screen)]
        speak("fr")
        assert len(spoken) == len(meant) > 40
        assert [command for command in spoken if command in meant] == []
        await play.press("ctrl+p")
        await play.until_shown("Écrire le message dans votre éditeur")
        assert left_english(play, english) == []
        await play.press(*"zzzz")
        await play.until_shown("Aucun résultat")
        assert left_english(play, english) == []


async def test_what_is_typed_with_a_slash_is_explained_in_french(
    french_stage: Stage, english: list[re.Pattern[str]]
) -> None:
    async with french_stage.ready(SMALL) as play:
        await play.press("/")
        await play.until_shown("/attach FICHIER")
        assert left_english(play, english) == []
        await play.press("escape", "backspace", *"/nothing", "enter")
        await play.until_shown("Il n'y a pas de commande /nothing.")
        assert left_english(play, english) == []


async def test_the_settings_are_french(french_stage: Stage, english: list[re.Pattern[str]]) -> None:
    async with french_stage.ready(SMALL) as play:
        await play.press(*"/settings", "enter")
        await play.until_shown("─ Réglages ─")
        assert left_english(play, english) == []


async def test_the_first_run_is_french(french_stage: Stage, english: list[re.Pattern[str]]) -> None:
    async with french_stage.running(SMALL, model=str(french_stage.home / "gone.gguf")) as play:
        await play.until_shown("─ Bienvenue ─")
        await play.until_shown("Télécharger le modèle de départ")
        assert left_english(play, english) == []


async def test_what_the_engine_says_is_french(french_stage: Stage, english: list[re.Pattern[str]]) -> None:
    french_stage.set_script(answer_error="The prompt has 9000 tokens, the context holds 8192.")
    async with french_stage.ready(SMALL) as play:
        await play.say("Salut")
        await play.until_shown("L'invite fait 9000 jetons")
        assert left_english(play, english) == []


async def test_numbers_are_typed_with_a_comma_too(french_stage: Stage) -> None:
    async with french_stage.ready() as play:
        await play.press("f3")
        await play.until(lambda: isinstance(play.app.focused, Slider))
        await play.press(*"1,25", "enter")
        await play.until(lambda: play.open_session.sampling.temperature == 1.25)
        assert "1,25" in play.text()


async def test_english_is_spoken_where_the_settings_say_so(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LANGUAGE")
    monkeypatch.setenv("LC_ALL", "fr_FR.UTF-8")
    (stage.home / "settings.toml").write_text('[app]\nlanguage = "en"\n')
    async with stage.ready() as play:
        await play.until_shown("New session")
    (stage.home / "settings.toml").write_text("")
    async with stage.ready() as play:
        await play.until_shown("Nouvelle session")
    speak("en")


def test_the_search_for_english_finds_it(english: list[re.Pattern[str]]) -> None:
    line = "│ temperature    0,80 │ history  Nothing found."
    assert {found[1] for text in english if (found := text.search(line))} >= {
        "temperature",
        "history",
        "Nothing found.",
    }
