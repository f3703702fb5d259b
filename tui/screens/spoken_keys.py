"""Keys as the user reads them: their words are translated when a screen tells which keys do something."""

from __future__ import annotations

from dataclasses import replace

from textual.binding import ActiveBinding

from tui.language import _, language


def in_own_words(bindings: dict[str, ActiveBinding]) -> dict[str, ActiveBinding]:
    """The same keys, described in the user's language; what they do stays."""
    if language() == "en":
        return bindings
    return {key: _translated(active) for key, active in bindings.items()}


def shown_as(active: ActiveBinding, word: str, tooltip: str = "") -> ActiveBinding:
    """The same key with a word for the last line, where it would stand without or with another."""
    shown = replace(active.binding, description=word, tooltip=tooltip or active.binding.tooltip or word, show=True)
    return active._replace(binding=shown, tooltip=shown.tooltip)


def _translated(active: ActiveBinding) -> ActiveBinding:
    binding = replace(
        active.binding, description=_(active.binding.description), tooltip=_(active.binding.tooltip or "")
    )
    return active._replace(binding=binding, tooltip=_(active.tooltip or ""))
