"""Presets: what they set, what they leave, and which one the sliders stand at."""

from __future__ import annotations

from engine.protocol import Sampling
from tui.presets import Presets
from tui.settings import SamplingSettings

NEW = Sampling(temperature=0.3, top_p=0.9)
OWN = Presets({"cold": SamplingSettings(temperature=0.1), "short": SamplingSettings(temperature=1.0, max_tokens=50)})


def test_what_a_preset_leaves_out_is_as_in_a_new_session_but_for_the_longest_answer() -> None:
    now = Sampling(temperature=1.9, top_k=3, max_new_tokens=7)
    assert OWN.sampling("cold", now, NEW) == Sampling(temperature=0.1, top_p=0.9, max_new_tokens=7)
    assert OWN.sampling("short", now, NEW) == Sampling(temperature=1.0, top_p=0.9, max_new_tokens=50)
    assert OWN.sampling("nowhere", now, NEW) is None


def test_the_usual_sampling_is_balanced_and_a_moved_slider_is_no_preset() -> None:
    assert OWN.name_of(Sampling(), Sampling()) == "balanced"
    assert OWN.name_of(Sampling(max_new_tokens=9), Sampling()) == "balanced"
    assert OWN.name_of(Sampling(temperature=0.81), Sampling()) == ""


def test_the_users_own_go_before_ours() -> None:
    presets = Presets({"precise": SamplingSettings(temperature=0.0)})
    assert presets.names == ["precise", "balanced", "creative", "default"]
    found = presets.sampling("precise", NEW, NEW)
    assert found is not None
    assert found.temperature == 0.0
    assert presets.words("precise", NEW) == "temperature 0"


def test_default_goes_back_to_a_new_session_and_says_what_that_has() -> None:
    presets = Presets({})
    moved = presets.sampling("creative", Sampling(max_new_tokens=7), NEW)
    assert moved is not None
    assert presets.sampling("default", moved, NEW) == Sampling(temperature=0.3, top_p=0.9, max_new_tokens=7)
    assert presets.words("default", NEW) == "temperature 0.3 · top-k 40 · top-p 0.9 · min-p 0.05"
    assert presets.name_of(NEW, NEW) == "default"
