"""Named positions of all sliders: ours, and the user's own from the settings."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from engine.protocol import Sampling
from tui.language import N_, _
from tui.settings import SamplingSettings

BUILT_IN: dict[str, SamplingSettings] = {
    "precise": SamplingSettings(temperature=0.2, top_k=40, top_p=0.9, min_p=0.1, repeat_penalty=1.0),
    "balanced": SamplingSettings(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05, repeat_penalty=1.0),
    "creative": SamplingSettings(temperature=1.2, top_k=0, top_p=1.0, min_p=0.08, repeat_penalty=1.05),
    "default": SamplingSettings(),
}
"""High temperatures are held together by min-p, which follows how sure the model is. Default leaves everything out."""

_NAMES = {
    "temperature": N_("temperature"),
    "top_k": "top-k",
    "top_p": "top-p",
    "min_p": "min-p",
    "repeat_penalty": N_("repeat penalty"),
    "repeat_last_n": N_("repeat last"),
    "max_tokens": N_("max tokens"),
}
_OFF = {"repeat_penalty": 1, "max_tokens": 0}


class Presets:
    """All presets by name; one of the user's takes the place of ours with the same name."""

    def __init__(self, own: Mapping[str, SamplingSettings]) -> None:
        self._by_name = {**BUILT_IN, **own}

    @property
    def names(self) -> list[str]:
        """Ours first, then the user's."""
        return list(self._by_name)

    def sampling(self, name: str, now: Sampling, new_session: Sampling) -> Sampling | None:
        """What a preset makes of the settings; None where there is no such preset.

        new_session: gives what the preset leaves out, but for the longest answer, which stays as it is now.
        """
        preset = self._by_name.get(name)
        if preset is None:
            return None
        longest = preset.max_tokens or now.max_new_tokens
        return msgspec.structs.replace(preset.sampling(new_session), max_new_tokens=longest)

    def name_of(self, now: Sampling, new_session: Sampling) -> str:
        """The preset that the sliders stand at, "" for none."""
        return next((name for name in self._by_name if self.sampling(name, now, new_session) == now), "")

    def words(self, name: str, new_session: Sampling) -> str:
        """What a preset sets, in a line; of one that leaves everything out, what a new session has."""
        preset = self._by_name[name]
        wanted = msgspec.structs.asdict(preset)
        if preset == SamplingSettings():
            # No slider shows how far back the penalty looks.
            wanted = msgspec.structs.asdict(new_session) | {"repeat_last_n": None}
        return " · ".join(
            _("{setting} {value:g}", setting=_(_NAMES[key]), value=wanted[key])
            for key in _NAMES
            if wanted.get(key) is not None and wanted[key] != _OFF.get(key)
        )
