"""The language of what a user reads: texts stand in the code in English, and are put into another when they are shown.

Programs read something else: JSON, keys, exit codes, the log and the HTTP interface are the same in every language.
"""

from __future__ import annotations

import gettext
import string
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

Language = Literal["en", "fr"]
LanguageSetting = Literal["auto", "en", "fr"]

DOMAIN = "llm-tui"
LOCALE_DIR = Path(__file__).with_name("locale")

_ENGLISH: Language = "en"
_TRANSLATED: tuple[Language, ...] = ("fr",)
_DECIMALS = str.maketrans({".": ",", ",": "\N{NO-BREAK SPACE}"})


ERROR_CONTEXT = "error"
"""The context of what engine and storage say, in the catalogues."""


class _Numbers(string.Formatter):
    """Formats numbers with a comma for decimals and a space for thousands."""

    def format_field(self, value: Any, format_spec: str) -> Any:
        text = super().format_field(value, format_spec)
        return text.translate(_DECIMALS) if isinstance(value, int | float) else text


class _Speaker:
    """What all texts go through; one a process, like the process's locale."""

    language: Language = _ENGLISH
    texts: gettext.NullTranslations | None = None


_speaker = _Speaker()


def format_values(text: str, values: Mapping[str, object]) -> str:
    """Put values into a text's places, numbers as the language writes them; without values it stays as it is."""
    if not values:
        return text
    return text.format(**values) if _speaker.texts is None else _Numbers().vformat(text, (), values)


def N_(message: str) -> str:
    """Mark a text that is translated where it is shown."""
    return message


def _(message: str, /, **values: object) -> str:
    """Put a text into the user's language, and values into its places."""
    texts = _speaker.texts
    return format_values(message if texts is None or not message else texts.gettext(message), values)


def number(value: float, spec: str) -> str:
    """A number as the language writes it; spec: as in a format string."""
    return format_values(f"{{value:{spec}}}", {"value": value})


def ngettext(one: str, many: str, n: int, /, **values: object) -> str:
    """The same with a form for one and a form for many; {n} is how many."""
    texts = _speaker.texts
    form = (one if n == 1 else many) if texts is None else texts.ngettext(one, many, n)
    return format_values(form, {"n": n, **values})


def error_forms() -> dict[str, str]:
    """The sentences of the engine and the storage as they are in the user's language; {places} are their values."""
    # gettext has no other way to all texts of a catalogue.
    catalog: dict[object, str] = getattr(_speaker.texts, "_catalog", {})
    before = f"{ERROR_CONTEXT}\x04"
    return {str(key).removeprefix(before): text for key, text in catalog.items() if str(key).startswith(before)}


def language() -> Language:
    """The language that is spoken now."""
    return _speaker.language


def speak(wanted: Language) -> None:
    """Speak this language from now on; English where its texts are missing."""
    _speaker.texts = None if wanted == _ENGLISH else _texts(wanted)
    _speaker.language = _ENGLISH if _speaker.texts is None else wanted


@cache
def _texts(wanted: Language) -> gettext.NullTranslations | None:
    try:
        with (LOCALE_DIR / wanted / "LC_MESSAGES" / f"{DOMAIN}.mo").open("rb") as file:
            return gettext.GNUTranslations(file)
    except OSError:
        return None


def choose_language(setting: LanguageSetting, environment: Mapping[str, str]) -> Language:
    """The language that the settings name; "auto" is the locale's, as GNU gettext reads it, where we have that one."""
    if setting != "auto":
        return setting
    locale = next((environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name)), "")
    if _code(locale) in ("", "c", "posix"):
        return _ENGLISH
    for name in (*environment.get("LANGUAGE", "").split(":"), locale):
        if _code(name) in (_ENGLISH, *_TRANSLATED):
            return cast(Language, _code(name))
    return _ENGLISH


def _code(locale: str) -> str:
    """The language of a locale's name: fr of fr_CA.UTF-8@euro."""
    return locale.replace(".", "_").replace("@", "_").partition("_")[0].strip().lower()


def language_setting(settings_file: Path) -> LanguageSetting:
    """The setting alone, for those who must speak before all settings are read; what is wrong in them is told there."""
    with suppress(OSError, ValueError, KeyError, AttributeError):
        text = settings_file.read_text(encoding="utf-8")
        if "language" in text:
            import tomllib

            found = tomllib.loads(text)["app"].get("language")
            if found in ("auto", _ENGLISH, *_TRANSLATED):
                return cast(LanguageSetting, found)
    return "auto"
