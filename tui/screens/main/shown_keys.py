"""The keys of the last line as they are now: what one of them does may depend on what is shown."""

from __future__ import annotations

from dataclasses import replace

from textual.binding import ActiveBinding

from tui.language import N_
from tui.screens.main.parts import Parts
from tui.screens.spoken_keys import shown_as
from tui.widgets.transcript import Transcript


def as_they_are(active: dict[str, ActiveBinding], parts: Parts) -> dict[str, ActiveBinding]:
    """The same keys, with words for what they do now."""
    return {key: _as_it_is(each, parts) for key, each in active.items()}


def _as_it_is(each: ActiveBinding, parts: Parts) -> ActiveBinding:
    match each.binding.id:
        case "model.choose" if parts.engine_shown.lacks_model:
            # Without a model, the way to one is what matters.
            return shown_as(each, N_("model"))
        case "candidates.take" if parts.candidates.is_unread:
            return shown_as(each, N_("read"), N_("Have the rest of this session read"))
        case "chat.copy_code" if isinstance(each.node, Transcript) and not each.node.has_code:
            # Whoever presses it all the same is told that there is none.
            return each._replace(binding=replace(each.binding, show=False))
    return each
