"""`llm-tui doctor`: what is fine on this machine, what is not, and what to do."""

from __future__ import annotations

import os

import click

from tui.commands.checks import all_findings
from tui.commands.options import json_option
from tui.commands.output import write_json, write_text
from tui.language import _, speak
from tui.paths import user_paths
from tui.settings import load_settings

_MARKS = {"fine": "✓", "note": "!", "bad": "✗"}

CHECK_WIDTH = 20
"""Room for the name of a check, in any language."""


@click.command()
@json_option
def command(as_json: bool) -> int:
    """Look at everything that llm-tui needs; exit code 1 if something is wrong."""
    paths = user_paths()
    worst = 0
    if as_json:
        speak("en")
    for finding in all_findings(paths, load_settings(paths.settings_file), os.environ):
        if as_json:
            write_json(finding)
        else:
            advice = f"\n{' ' * (CHECK_WIDTH + 3)}→ {finding.advice}" if finding.advice else ""
            write_text(f"{_MARKS[finding.verdict]} {_(finding.check):<{CHECK_WIDTH}} {finding.found}{advice}")
        if finding.verdict == "bad":
            worst = 1
    return worst
