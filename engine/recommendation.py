"""How a model's makers advise to sample from it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from engine.checkpoints import Metadata
from engine.protocol import Sampling

KEYS = {
    "temperature": "general.sampling.temp",
    "top_k": "general.sampling.top_k",
    "top_p": "general.sampling.top_p",
    "min_p": "general.sampling.min_p",
    "repeat_penalty": "general.sampling.penalty_repeat",
    "repeat_last_n": "general.sampling.penalty_last_n",
}
"""Where a GGUF carries the advice, by field of Sampling. Source: gguf's constants, "Recommended Sampler Parameters"."""

ADVICE: dict[str, dict[str, float | int]] = {
    "smollm2": {"temperature": 0.2, "top_p": 0.9},
    "smollm2135m": {"temperature": 0.02, "repeat_penalty": 1.05},
}
"""For models whose files say nothing, by how their name begins (letters and digits); later ones add to earlier.

SmolLM2's model card samples at 0.2. Its smallest size strays there: it has the right beginning of an answer only just
ahead of wrong ones (asked for the capital of France, "The" at 20 % and "La" at 17), and repeats itself at length.
"""

HOTTEST = 5.0
"""Temperatures and penalties beyond this, or that are no numbers, are a mistake in the file."""


def recommended_sampling(metadata: Mapping[str, object]) -> Sampling:
    """The makers' settings; where they say nothing, or nothing sensible, the usual ones."""
    meta = Metadata.of(metadata)
    name = re.sub(r"[^a-z0-9]", "", str(meta.get("general.name", "")).lower())
    values: dict[str, object] = {}
    for prefix, advice in ADVICE.items():
        if name.startswith(prefix):
            values |= advice
    values |= {field: meta[key] for field, key in KEYS.items() if key in meta}
    try:
        advised = msgspec.convert(values, Sampling)
    except msgspec.ValidationError:
        return Sampling()
    return advised if advised.temperature <= HOTTEST and advised.repeat_penalty <= HOTTEST else Sampling()
