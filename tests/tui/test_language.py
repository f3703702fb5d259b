"""Which language is spoken, and that every text for users is there in it."""

from __future__ import annotations

import ast
import importlib.util
import io
import json
import re
import string
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click
import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

import tui
from engine.errors import ContextFullError, ModelFileError, words_of
from storage.connections import open_database
from storage.errors import CorruptDatabaseError, StorageError
from tui.language import LOCALE_DIR, _, choose_language, language, language_setting, ngettext, number, speak
from tui.sentences import reason, sentence, system_words, system_words_of
from tui.text import human_bytes

if TYPE_CHECKING:
    from tests.conftest import Cli

CHECKOUT = Path(__file__).parents[2]
FRENCH = LOCALE_DIR / "fr" / "LC_MESSAGES" / "llm-tui.po"


@pytest.fixture(autouse=True)
def english_afterwards() -> Iterator[None]:
    yield
    speak("en")


@pytest.fixture
def french(english_afterwards: None) -> None:
    speak("fr")


@pytest.fixture(scope="module")
def found_texts() -> ModuleType:
    """What finds the texts in the sources."""
    name = "found_texts"
    spec = importlib.util.spec_from_file_location(name, CHECKOUT / "translation" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    with FRENCH.open("rb") as file:
        return read_po(file, locale="fr")


def forms(text: str | tuple[str, ...] | list[str]) -> list[str]:
    return [text] if isinstance(text, str) else list(text)


# Which language


@pytest.mark.parametrize(
    ("setting", "environment", "spoken"),
    [
        ("auto", {}, "en"),
        ("auto", {"LANG": "fr_FR.UTF-8"}, "fr"),
        ("auto", {"LANG": "fr_CA@euro"}, "fr"),
        ("auto", {"LANG": "fr_FR.UTF-8", "LC_MESSAGES": "en_GB.UTF-8"}, "en"),
        ("auto", {"LANG": "en_GB.UTF-8", "LC_MESSAGES": "fr_FR.UTF-8"}, "fr"),
        ("auto", {"LANG": "fr_FR.UTF-8", "LC_MESSAGES": "fr_FR.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ("auto", {"LANG": "", "LC_ALL": "fr_FR"}, "fr"),
        ("auto", {"LANG": "de_DE.UTF-8"}, "en"),
        ("auto", {"LANG": "de_DE.UTF-8", "LANGUAGE": "de:fr"}, "fr"),
        ("auto", {"LANG": "fr_FR.UTF-8", "LANGUAGE": "en"}, "en"),
        ("auto", {"LANG": "C", "LANGUAGE": "fr"}, "en"),
        ("fr", {"LANG": "en_GB.UTF-8"}, "fr"),
        ("en", {"LANG": "fr_FR.UTF-8"}, "en"),
    ],
)
def test_the_setting_goes_before_the_locale(setting: Any, environment: dict[str, str], spoken: str) -> None:
    assert choose_language(setting, environment) == spoken


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ('[app]\nlanguage = "fr"\n', "fr"),
        ('[app]\nlanguage = "en"\n', "en"),
        ("", "auto"),
        ('[app]\nlanguage = "tlh"\n', "auto"),
        ("[app]\nlanguage = 5\n", "auto"),
        ('language = "fr"\n', "auto"),
        ('app = "language"\n', "auto"),
        ("language [[[", "auto"),
    ],
)
def test_a_language_setting_that_is_none_is_left_to_the_locale(text: str, setting: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    assert language_setting(file) == "auto"
    file.write_text(text)
    assert language_setting(file) == setting


# How it is spoken


def test_texts_values_and_numbers_are_put_into_the_language(french: None) -> None:
    assert language() == "fr"
    assert _("Nothing found.") == "Rien trouvé."
    assert _("There is no file {name}.", name="{x} 1.5") == "Il n'y a pas de fichier {x} 1.5."
    assert _("{n:,} tokens", n=12345) == "12\N{NO-BREAK SPACE}345 jetons"
    assert _("No such text, with {value:.1f}", value=2.5) == "No such text, with 2,5"
    assert number(0.05, ".2f") == "0,05"
    assert human_bytes(3.84e9) == "3,8 Go"


def test_one_and_many_are_told_apart(french: None) -> None:
    one = "{n} earlier message: scroll up or press home."
    many = "{n} earlier messages: scroll up or press home."
    assert ngettext(one, many, 1).startswith("1 message plus ancien")
    assert ngettext(one, many, 7).startswith("7 messages plus anciens")


def test_sentences_of_the_engine_and_the_storage_are_known_by_their_form(french: None) -> None:
    full = ContextFullError(9000, 8192)
    assert reason(full) == (
        "L'invite fait 9000 jetons, le contexte en contient 8192. Commencez une nouvelle session,"
        " raccourcissez le texte, ou ouvrez le modèle avec un contexte plus grand."
    )
    broken = CorruptDatabaseError("/home/a. b/{x}.db", "disk image is malformed")
    assert reason(broken).startswith(
        "/home/a. b/{x}.db est endommagé\N{NO-BREAK SPACE}: disk image is malformed. Déplacez"
    )
    assert sentence("Nobody has ever said this: {x}.") == "Nobody has ever said this: {x}."
    assert reason(ModelFileError("It is something else.", "Do something else.")) == (
        "It is something else. Do something else."
    )


def test_what_the_system_says_is_in_the_language_too(
    french: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    translated = "Aucun fichier ou dossier de ce nom"
    monkeypatch.setitem(tui.language._texts("fr")._catalog, "No such file or directory", translated)
    with pytest.raises(OSError) as refused:
        (tmp_path / "nothing").open()
    assert system_words(refused.value) == translated
    assert system_words_of(refused.value).startswith(f"{tmp_path / 'nothing'}")
    assert system_words_of(refused.value).endswith(translated)
    assert sentence(words_of(refused.value)) == system_words_of(refused.value)
    with pytest.raises(StorageError) as told:
        open_database(tmp_path / "nothing.db", read_only=True)
    assert translated in reason(told.value)


def test_english_sentences_stay_as_they_are() -> None:
    error = ContextFullError(9000, 8192)
    assert reason(error) == str(error)


# Whether all of it is there


def test_every_text_of_the_sources_is_in_the_catalogue_and_translated(found_texts: Any, catalog: Catalog) -> None:
    missing = []
    for text in found_texts.all_texts():
        known = catalog.get(text.message, text.context or None)
        if known is None or known.fuzzy or not all(forms(known.string)):
            missing.append(f"{text.file}: {text.message}")
    assert missing == [], "`make texts` takes them into tui/locale; then put what they are in French there"


def test_sentences_of_errors_are_found_under_the_names_that_files_give_them(found_texts: Any) -> None:
    source = (
        'ADVICE = "Fetch it again."\nOTHER = "No words of ours."\nraise ModelFileError(f"{path} is damaged.", ADVICE)\n'
    )
    texts = [(text.message, text.context) for text in found_texts.texts_of(source, "engine/some.py")]
    assert texts == [("{path} is damaged.", "error"), ("Fetch it again.", "error")]


def test_nothing_in_the_catalogue_is_gone_from_the_sources(found_texts: Any, catalog: Catalog) -> None:
    there = {(text.message, text.context) for text in found_texts.all_texts()}
    gone = [
        message.id for message in catalog if message.id and (forms(message.id)[0], message.context or "") not in there
    ]
    assert gone == [], "`make texts` takes them out"


def places(text: str) -> set[tuple[str | None, str | None, str | None]]:
    return {
        (name, spec, conversion) for _, name, spec, conversion in string.Formatter().parse(text) if name is not None
    }


def test_translations_have_the_places_of_their_texts(catalog: Catalog) -> None:
    wrong = []
    for message in catalog:
        # A form for one may leave the number out.
        originals = forms(message.id)
        for at, string_ in enumerate(forms(message.string)):
            if not message.id or not string_:
                continue
            original = originals[min(at, len(originals) - 1)]
            if places(string_) != places(original):
                wrong.append((original, string_))
    assert wrong == []


def test_the_typography_is_french(catalog: Catalog) -> None:
    """A space that does not break stands before what French sets apart."""
    strings = [string_ for message in catalog if message.id for string_ in forms(message.string)]
    assert [text for text in strings if re.search(r"\w [:;!?»](\s|$)|« ", text)] == []
    assert [text for text in strings if text.endswith(("...", " …\n"))] == []


def test_the_compiled_catalogue_is_that_of_the_text(catalog: Catalog) -> None:
    compiled = io.BytesIO()
    write_mo(compiled, catalog)
    assert FRENCH.with_suffix(".mo").read_bytes() == compiled.getvalue(), "`make texts` compiles it"


# New texts

SAYING = {
    "notify": (0,),
    "Label": (0,),
    "Static": (0,),
    "Button": (0,),
    "Trouble": (0,),
    "CommandError": (0,),
    "ModelChoiceError": (0,),
    "SettingsError": (0,),
    "EditorError": (0,),
    "AttachError": (0,),
    "CopyError": (0,),
    "UsageError": (0,),
    "Content": (0,),
    "styled": (0,),
    "say": (0,),
    "complain": (0,),
    "show": (0,),
    "confirm": (0,),
    "_warn": (1,),
}
SHOWN_KEYWORDS = {"placeholder", "border_title", "tooltip"}
SHOWN_TARGETS = {"border_title", "border_subtitle", "tooltip", "busy", "trouble", "figures", "session_title"}
WORD = re.compile(r"[A-Za-z]{3}")


def said_bare(node: ast.expr) -> str:
    """The words of a literal that nothing translates."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) and WORD.search(node.value) else ""
    if isinstance(node, ast.JoinedStr):
        literal = "".join(part.value for part in node.values if isinstance(part, ast.Constant))
        return literal if WORD.search(literal) else ""
    if isinstance(node, ast.IfExp):
        return said_bare(node.body) or said_bare(node.orelse)
    if isinstance(node, ast.BoolOp):
        return next(filter(None, map(said_bare, node.values)), "")
    return ""


def bare_texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        shown: list[ast.expr] = []
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            shown = [node.args[place] for place in SAYING.get(name, ()) if place < len(node.args)]
            binds = name in ("Binding", "Scale")
            shown += [word.value for word in node.keywords if word.arg in SHOWN_KEYWORDS and not binds]
        elif isinstance(node, ast.Assign):
            targets = [target.attr for target in node.targets if isinstance(target, ast.Attribute)]
            shown = [node.value] if set(targets) & SHOWN_TARGETS else []
        yield from ((node.lineno, text) for text in map(said_bare, shown) if text)


def test_no_text_for_users_goes_past_the_translation() -> None:
    bare = [
        f"{path.relative_to(CHECKOUT)}:{line}: {text}"
        for path in sorted((CHECKOUT / "tui").rglob("*.py"))
        for line, text in bare_texts(ast.parse(path.read_text()))
    ]
    assert bare == [], 'write _("…") around it'


def test_a_text_that_goes_past_the_translation_is_found() -> None:
    source = 'self.notify(f"Nothing of {name}.")\nbox.border_title = "Title" if x else ""\nself.notify(_("Good."))'
    assert {text for _line, text in bare_texts(ast.parse(source))} == {"Nothing of .", "Title"}


def test_nothing_else_is_called_like_the_translation_where_it_is_used() -> None:
    """A loop over `_` would take the name from the calls beside it."""
    wrong = []
    for path in sorted((CHECKOUT / "tui").rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            names = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id == "_"]
            calls = [
                node
                for node in ast.walk(function)
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_"
            ]
            if calls and any(isinstance(node.ctx, ast.Store) for node in names):
                wrong.append(f"{path.relative_to(CHECKOUT)}:{function.lineno}")
    assert wrong == []


def test_all_that_textual_says_of_its_keys_and_commands_is_known() -> None:
    from textual.app import App
    from textual.binding import Binding
    from textual.command import CommandPalette
    from textual.containers import ScrollableContainer
    from textual.screen import Screen
    from textual.widgets import Button, Input, OptionList, TextArea

    from tui.textual_texts import COMMANDS, KEYS

    app: App[None] = App()
    kinds = (ScrollableContainer, Screen, CommandPalette, Button, Input, OptionList, TextArea)
    bindings = [binding for kind in kinds for binding in Binding.make_bindings(kind.BINDINGS)]
    bindings += [binding for _key, binding in app._bindings if binding.action == "command_palette"]
    said = {text for binding in bindings for text in (binding.description, binding.tooltip) if text}
    assert said - set(KEYS) == set()
    commands = [text for command in app.get_system_commands(Screen()) for text in (command.title, command.help)]
    assert set(commands) - set(COMMANDS) == set()


def test_what_the_command_line_library_says_is_spelled_as_there(found_texts: Any) -> None:
    library = Path(click.__file__).parent
    calls = [node for path in library.glob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    calls = [node for node in calls if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("_", "ngettext")]
    said = {argument.value for call in calls for argument in call.args if isinstance(argument, ast.Constant)}
    ours = found_texts.texts_of((CHECKOUT / "tui" / "click_texts.py").read_text(), "tui/click_texts.py")
    assert {form for text in ours for form in (text.message, text.plural) if form} - said == set()


# On the command line


def test_help_and_errors_are_in_the_language_and_codes_are_not(cli: Cli, home: Path, monkeypatch: Any) -> None:
    (home / "settings.toml").write_text('[app]\nlanguage = "fr"\n')
    monkeypatch.setenv("LANGUAGE", "en")
    helped = cli("--help")
    assert helped.code == 0
    assert "Utilisation : llm-tui" in helped.out.replace("\N{NO-BREAK SPACE}", " ")
    assert "Vitesse et mémoire d'un modèle." in helped.out
    wrong = cli("ask", "--seed", "x", "hello")
    assert wrong.code == 2
    assert "Erreur" in wrong.err
    missing = cli("sessions", "show", "nothing")
    assert missing.code == 1
    assert (
        missing.err == "llm-tui: Il n'y a pas de session nothing. `llm-tui sessions list` montre celles qui existent.\n"
    )


def test_what_programs_read_is_the_same_in_every_language(cli: Cli, home: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("LANGUAGE", "en")
    findings: dict[str, list[Any]] = {}
    for spoken in ("en", "fr"):
        (home / "settings.toml").write_text(f'[app]\nlanguage = "{spoken}"\n')
        findings[spoken] = [json.loads(line) for line in cli("doctor", "--json").out.splitlines()]
    told = {
        spoken: [(one["check"], one["verdict"], one["advice"]) for one in found] for spoken, found in findings.items()
    }
    assert told["en"] == told["fr"]
    assert "Processor" in [check for check, _verdict, _advice in told["fr"]]
    assert "Processeur" in cli("doctor").out


HELP_OF = ("", "ask", "models", "models pull", "sessions", "sessions search", "bench", "serve", "tokenize", "doctor")


@pytest.mark.parametrize("command", HELP_OF)
def test_no_english_is_left_in_the_help(command: str, cli: Cli, home: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("LANGUAGE", "en")
    english = cli(*command.split(), "--help").out
    (home / "settings.toml").write_text('[app]\nlanguage = "fr"\n')
    french = cli(*command.split(), "--help").out
    sentences = re.findall(r"[A-Z][a-z]+ [a-z]+ [a-z]+[^.;:]*", " ".join(english.split()))
    assert sentences
    assert [text for text in sentences if text in " ".join(french.split())] == []


def test_nothing_is_imported_for_the_language(home: Path) -> None:
    code = "import sys; from tui.cli import run; run(['--help']); print('babel' in sys.modules)"
    environment = {"LANG": "fr_FR.UTF-8", "PATH": "", "LLM_TUI_HOME": str(home), "PYTHONUTF8": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert "Commandes" in ran.stdout
    assert ran.stdout.splitlines()[-1] == "False"


def test_no_source_asks_for_a_translation_of_nothing() -> None:
    sources = Path(tui.__file__).parent.rglob("*.py")
    assert [source.name for source in sources if re.search(r"""\b_\(["']{2}[,)]""", source.read_text())] == []
