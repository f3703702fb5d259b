"""The stages of long work, in words: opening a model, fetching one, writing one."""

from __future__ import annotations

from tui.language import N_

LOADING = {
    "asking": N_("Asking the server"),
    "reading": N_("Reading the model"),
    "preparing": N_("Preparing the weights, once for this model"),
    "compiling": N_("Compiling for this processor, once"),
    "building": N_("Compiling what this model needs, once"),
    "warming": N_("Warming up"),
}
"""By the stage of the engine's LoadProgress."""

FETCHING = {
    "asking": N_("Looking for"),
    "ending": N_("Waiting until the stopped download lets go of"),
    "waiting": N_("Another llm-tui fetches it; waiting for"),
    "pausing": N_("Pausing, as the server asks; waiting for"),
    "downloading": N_("Downloading"),
    "checking": N_("Checking"),
    "unpacking": N_("Unpacking"),
}
"""By the stage of FetchProgress, and "ending" before it; the model's name follows."""
