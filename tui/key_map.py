"""The keys as the settings have them: what takes effect, and what in them cannot."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Mapping
from itertools import combinations

from textual.binding import Binding
from textual.dom import DOMNode
from textual.keys import Keys, _character_to_key

from tui.language import _
from tui.settings import Settings

_EVERYWHERE = "everywhere"
_MODIFIERS = {"ctrl", "alt", "shift", "super", "hyper", "meta"}
_NAMES = {key.value.rpartition("+")[2] for key in Keys}
_SAME_CODE = {"ctrl+i": "tab", "ctrl+m": "enter", "ctrl+h": "backspace", "ctrl+left_square_bracket": "escape"}
"""Keys for which most terminals send the same as for another."""

_SWAPPED = {"prompt.send": "ctrl+j", "prompt.line": "enter,alt+enter,shift+enter"}


def key_map(settings: Settings) -> dict[str, str]:
    """What Textual is to be told: an action's id, and its keys.

    An action that shares a key with a changed one is named too, since Textual would take the key from both.
    """
    wanted = {**({} if settings.chat.enter_sends else _SWAPPED), **_usable(settings.keys)}
    default = _keys_by_id()
    mapped = dict(wanted)
    for bindings in _places().values():
        for one in _one_by_one(bindings):
            shares = any(other.id in wanted and other.key == one.key for other in _one_by_one(bindings))
            if shares and one.id and one.id not in wanted:
                mapped[one.id] = ",".join(default[one.id])
    return mapped


def key_problems(keys: Mapping[str, str]) -> list[str]:
    """A sentence for each thing in `[keys]` that has no effect, or takes a key away from another action."""
    default = _keys_by_id()
    problems = []
    for action, wanted in keys.items():
        if action not in default:
            close = difflib.get_close_matches(action, default, n=1)
            meant = _("Did you mean {name}?", name=close[0]) if close else _("The command palette names all there are.")
            problems.append(f"{_('keys: there is no action {action}; it is ignored.', action=action)} {meant}")
            continue
        for key in _split(wanted) or [""]:
            if not _is_key(key):
                problems.append(
                    _(
                        "keys.{action}: {key!r} is no key; it is ignored. Keys are named like ctrl+s or f12.",
                        action=action,
                        key=key,
                    )
                )
            elif key in _SAME_CODE:
                problems.append(
                    _(
                        "keys.{action}: most terminals send {other} for {key}.",
                        action=action,
                        other=_SAME_CODE[key],
                        key=key,
                    )
                )
    return problems + _conflicts(_usable(keys))


def _conflicts(wanted: Mapping[str, str]) -> list[str]:
    default = _keys_by_id()
    now = {**default, **{action: _split(keys) for action, keys in wanted.items()}}
    problems: list[str] = []
    for one, other in combinations(sorted(default), 2):
        if not ({one, other} & set(wanted) and _meet(one, other)):
            continue
        taken = set(now[one]) & set(now[other])
        problems += [
            _(
                "keys: {key} is the key of {one} and of {other}; only one of them gets it.",
                key=key,
                one=one,
                other=other,
            )
            for key in sorted(taken - (set(default[one]) & set(default[other])))
        ]
    return problems


def _meet(one: str, other: str) -> bool:
    """Whether a key of both would mean two things at some moment: in one pane, or in one and everywhere."""
    places = [
        {place for place, bindings in _places().items() if any(b.id == id_ for b in bindings)} for id_ in (one, other)
    ]
    return bool(places[0] & places[1]) or any(_EVERYWHERE in place for place in places)


def _usable(keys: Mapping[str, str]) -> dict[str, str]:
    known = _keys_by_id()
    usable = {action: [key for key in _split(wanted) if _is_key(key)] for action, wanted in keys.items()}
    return {action: ",".join(wanted) for action, wanted in usable.items() if action in known and wanted}


def _split(keys: str) -> list[str]:
    """The keys of a list, in their long names: ctrl+s, question_mark."""
    # The comma is a key too, alone.
    parts = [keys.strip()] if keys.strip() == "," else [part.strip() for part in keys.split(",")]
    return [_long(part) for part in parts if part]


def _long(key: str) -> str:
    modifiers, plus, last = key.rpartition("+")
    return f"{modifiers}{plus}{_character_to_key(last)}" if len(last) == 1 else key


def _is_key(key: str) -> bool:
    *modifiers, last = key.split("+")
    if not last or not set(modifiers) <= _MODIFIERS:
        return False
    if len(last) == 1 or last in _NAMES:
        return True
    try:
        unicodedata.lookup(last.replace("_", " "))
    except KeyError:
        return False
    return True


def _keys_by_id() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for bindings in _places().values():
        for binding in _one_by_one(bindings):
            if binding.id:
                keys = found.setdefault(binding.id, [])
                keys.extend([binding.key] if binding.key not in keys else [])
    return found


def _one_by_one(bindings: Iterable[Binding]) -> Iterable[Binding]:
    return Binding.make_bindings(bindings)


def _places() -> dict[str, list[Binding]]:
    """All actions that may get other keys, by the place where their keys hold."""
    from tui.screens.dialog import Dialog
    from tui.screens.edit_message import EditMessageScreen
    from tui.screens.main.keys import APP_KEYS, MAIN_KEYS
    from tui.screens.settings import SettingsScreen
    from tui.screens.system_prompt import SystemPromptScreen
    from tui.widgets.candidates_pane import CandidatesPane
    from tui.widgets.prompt_box import PromptBox
    from tui.widgets.session_list import SearchBox, SessionList
    from tui.widgets.slider import Slider
    from tui.widgets.transcript import Transcript

    kinds: list[type[DOMNode]] = [PromptBox, Transcript, SearchBox, SessionList, Slider, CandidatesPane]
    dialogs: list[type[DOMNode]] = [EditMessageScreen, SettingsScreen, SystemPromptScreen]
    places = {_EVERYWHERE: [*APP_KEYS, *MAIN_KEYS]}
    places |= {kind.__name__: _own(kind) for kind in kinds}
    places |= {kind.__name__: [*_own(Dialog), *_own(kind)] for kind in dialogs}
    return places


def _own(kind: type[DOMNode]) -> list[Binding]:
    return [binding for binding in vars(kind).get("BINDINGS", ()) if isinstance(binding, Binding) and binding.id]
