"""What the engine and the storage say, in the user's language.

They know no language and write English sentences, which also cross a pipe and go into a log. So a sentence is found
again by its form: the catalogue has "{path} is damaged: {detail}." and what it is in another language, and what stands
in the places is taken from one to the other. A value may itself be such a sentence.
"""

from __future__ import annotations

import re
from functools import cache

from tui.language import N_, Language, _, error_forms, format_values, language

# Compiled when first used: most starts have no error to say.
_PLACE = r"\{(\w+)\}"
_DEEPEST = 3
_LONGEST = 1000
"""What is longer is not a sentence of ours, or mostly somebody else's."""

SYSTEM = frozenset(
    [
        N_("Address already in use"),
        N_("Bad file descriptor"),
        N_("Broken pipe"),
        N_("Cannot allocate memory"),
        N_("Cannot assign requested address"),
        N_("Connection refused"),
        N_("Connection reset by peer"),
        N_("Connection timed out"),
        N_("Device or resource busy"),
        N_("Disk quota exceeded"),
        N_("Exec format error"),
        N_("File exists"),
        N_("File name too long"),
        N_("File too large"),
        N_("Input/output error"),
        N_("Invalid argument"),
        N_("Is a directory"),
        N_("Name or service not known"),
        N_("Network is unreachable"),
        N_("No route to host"),
        N_("No space left on device"),
        N_("No such device"),
        N_("No such device or address"),
        N_("No such file or directory"),
        N_("Not a directory"),
        N_("Operation not permitted"),
        N_("Operation not supported"),
        N_("Permission denied"),
        N_("Read-only file system"),
        N_("Stale file handle"),
        N_("Temporary failure in name resolution"),
        N_("Text file busy"),
        N_("Too many levels of symbolic links"),
        N_("Too many open files"),
        N_("Transport endpoint is not connected"),
    ]
)
"""What the system says where files and addresses are concerned: it knows no language here, as Python starts it."""


def system_words(error: OSError) -> str:
    """What the system has against something, without the name of what."""
    return sentence(error.strerror or str(error))


def system_words_of(error: OSError) -> str:
    """What the system has against something, and against which file if it names one."""
    if error.filename and error.strerror:
        return _("{file}: {reason}", file=error.filename, reason=system_words(error))
    return system_words(error)


def reason(error: BaseException) -> str:
    """Why something failed and what to do, as the error says it."""
    return sentences(getattr(error, "message", None) or str(error), getattr(error, "hint", ""))


def sentences(message: str, hint: str = "") -> str:
    """What happened, and what to do."""
    return f"{sentence(message)} {sentence(hint)}".strip()


def sentence(text: str, depth: int = 0) -> str:
    """One sentence, as it is where its form is not known."""
    if not text or language() == "en" or depth > _DEEPEST or len(text) > _LONGEST:
        return text
    if text in SYSTEM:
        return _(text)
    plain, forms = _forms(language())
    if text in plain:
        return plain[text]
    for form, translation in forms:
        if (found := form.fullmatch(text)) is not None:
            values = {name: sentence(value, depth + 1) for name, value in found.groupdict().items()}
            return format_values(translation, values)
    file, _colon, said = text.rpartition(": ")
    return _("{file}: {reason}", file=file, reason=_(said)) if file and said in SYSTEM else text


@cache
def _forms(spoken: Language) -> tuple[dict[str, str], list[tuple[re.Pattern[str], str]]]:
    """Sentences without values, and the forms of those with values: what says most in words of its own comes first."""
    texts = error_forms()
    plain = {_unescaped(form): _unescaped(text) for form, text in texts.items() if not re.search(_PLACE, form)}
    with_values = sorted(
        (form for form in texts if re.search(_PLACE, form)),
        key=lambda form: len(re.sub(_PLACE, "", form)),
        reverse=True,
    )
    return plain, [(_pattern(form), texts[form]) for form in with_values if _says_enough(form)]


def _says_enough(form: str) -> bool:
    """Whether a form has words enough of its own to be known by; "{path} is {what}." would be many a sentence."""
    return len(re.findall(r"[A-Za-z]{2,}", re.sub(_PLACE, "", form))) > 1


def _pattern(form: str) -> re.Pattern[str]:
    parts: list[str] = []
    at = 0
    named: set[str] = set()
    for place in re.finditer(_PLACE, form):
        parts.append(re.escape(_unescaped(form[at : place.start()])))
        # The same value twice is the same text twice.
        parts.append(f"(?P={place[1]})" if place[1] in named else f"(?P<{place[1]}>.+?)")
        named.add(place[1])
        at = place.end()
    parts.append(re.escape(_unescaped(form[at:])))
    return re.compile("".join(parts), re.DOTALL)


def _unescaped(text: str) -> str:
    return text.replace("{{", "{").replace("}}", "}")
