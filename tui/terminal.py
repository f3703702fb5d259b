"""What the terminal and the line to it ask of us, decided before Textual is imported."""

from __future__ import annotations

from collections.abc import Mapping

LOCAL_SHOW_PERIOD_S = 0.1
SSH_SHOW_PERIOD_S = 0.25
"""How often new text of an answer reaches the screen."""

_SSH_VARIABLES = {"TEXTUAL_ANIMATIONS": "none", "TEXTUAL_SMOOTH_SCROLL": "0"}


def is_remote(environment: Mapping[str, str]) -> bool:
    """Whether the screen is at the other end of an SSH line."""
    return bool(environment.get("SSH_CONNECTION") or environment.get("SSH_TTY"))


def is_drawn_sparingly(environment: Mapping[str, str]) -> bool:
    """Whether to send only the cells that change: over SSH, and to programs that may see other widths than we do.

    tmux and screen draw anew what they were sent, each with its own idea of how wide a character is.
    """
    return is_remote(environment) or bool(environment.get("TMUX") or environment.get("STY"))


def textual_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables to set for Textual, which reads them when it is imported; what the user has set stays."""
    wanted = _SSH_VARIABLES if is_remote(environment) else {}
    return {name: value for name, value in wanted.items() if name not in environment}


def show_period_s(environment: Mapping[str, str]) -> float:
    """The time between two updates of an answer on screen."""
    return SSH_SHOW_PERIOD_S if is_remote(environment) else LOCAL_SHOW_PERIOD_S
