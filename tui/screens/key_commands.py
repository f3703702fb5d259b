"""Keys as commands of the palette, by what they do."""

from __future__ import annotations

from collections.abc import Container, Iterable
from functools import partial
from typing import Any

from textual.app import SystemCommand
from textual.binding import Binding
from textual.dom import DOMNode
from textual.screen import Screen

from tui.language import _


def key_commands(screen: Screen[Any], of: Container[DOMNode | None]) -> Iterable[SystemCommand]:
    """One command for each key that does something on a screen now. of: the widgets and screens that bind them."""
    app, told = screen.app, set()
    for active in screen.active_bindings.values():
        binding = active.binding
        if active.node in of and binding.id and active.enabled and binding.id not in told:
            told.add(binding.id)
            run = partial(app.run_action, binding.action, active.node)
            yield SystemCommand(binding.tooltip or binding.description, explain(screen, binding), run)


def explain(screen: Screen[Any], binding: Binding) -> str:
    """The key, and the name under which the settings may give it another."""
    return _("Key: {key} · in the settings: {name}", key=screen.app.get_key_display(binding), name=binding.id)
