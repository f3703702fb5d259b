"""What has to be done before Textual is imported: importing this module first does it."""

from __future__ import annotations

import gc
import os

from tui.terminal import textual_variables

GARBAGE_THRESHOLDS = (2000, 10, 200)
"""A look through everything stops the app for 30 to 80 ms; Python would do it every few seconds of an answer."""


def first_frame_shown() -> None:
    """Collect garbage again, and never look again at what the start has made: most of that stays to the end."""
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    gc.enable()


def answer_over() -> None:
    """Look through everything for garbage now that nobody waits for a key or a word to show."""
    gc.collect()


# The modules and the first frame are a hundred thousand objects, none of them garbage: looking through them again and
# again takes a fifth of the time to the first frame.
gc.disable()
os.environ.update(textual_variables(os.environ))
