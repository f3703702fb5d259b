"""What has to be done before Textual is imported: importing this module first does it."""

from __future__ import annotations

import gc
import os

from tui.terminal import textual_variables


def first_frame_shown() -> None:
    """Collect garbage again, and never look again at what the start has made: most of that stays to the end."""
    gc.freeze()
    gc.enable()


# The modules and the first frame are a hundred thousand objects, none of them garbage: looking through them again and
# again takes a fifth of the time to the first frame.
gc.disable()
os.environ.update(textual_variables(os.environ))
