"""What has to be done before Textual is imported: importing this module first does it."""

from __future__ import annotations

import gc
import os
import sys

from tui.terminal import textual_variables

GARBAGE_THRESHOLDS = (2000, 3, 700)
"""A look through everything stops the app for 30 to 80 ms, one through what the last 20,000 objects left for 5; Python
would do the one every few seconds of an answer, and the other at every frame."""

SWITCH_S = 0.001
"""A key comes in on one thread, is drawn on another and sent by a third: each would wait 5 ms for one that is busy."""


def first_frame_shown() -> None:
    """Collect garbage again, and never look again at what the start has made: most of that stays to the end."""
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    gc.enable()


def app_left() -> None:
    """Look at everything again: where the process goes on without the app, nobody else would find it gone."""
    gc.unfreeze()


def process_ends() -> None:
    """Look at nothing any more: Python would look through everything once again."""
    gc.freeze()


def tidy_up() -> None:
    """Look through everything for garbage, while nobody waits for a key or a word to show."""
    gc.collect()


# The modules and the first frame are a hundred thousand objects, none of them garbage: looking through them again and
# again takes a fifth of the time to the first frame.
gc.disable()
sys.setswitchinterval(SWITCH_S)
os.environ.update(textual_variables(os.environ))
