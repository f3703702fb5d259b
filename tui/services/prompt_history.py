"""What was asked before, for the up and down keys of the prompt box."""

from __future__ import annotations

from storage.prompts import latest_prompts
from tui.services.store import Store
from tui.slash import as_typed
from tui.text import safe_text

DEPTH = 200
"""Messages that the up key reaches at most."""


class PromptHistory:
    """Goes from prompt to prompt; what was being typed is its newest end and comes back."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._prompts: list[str] = []
        self._at = -1
        self._typed = ""

    def forget_place(self) -> None:
        """Begin at the newest end next time: something was sent, or another session is shown."""
        self._at = -1

    async def step(self, shown: str, older: bool) -> str | None:
        """The prompt before or after the one shown, as it is typed; None at either end. Raises StorageError."""
        if not self._is_here(shown):
            self._prompts = [as_typed(safe_text(prompt)) for prompt in await self._store.call(latest_prompts, DEPTH)]
            self._at, self._typed = -1, shown
        at = self._at + (1 if older else -1)
        # What is typed may be the latest prompt already: going to that would look like a key that does nothing.
        if older and at < len(self._prompts) and self._at < 0 and self._prompts[at] == shown:
            at += 1
        if not -1 <= at < len(self._prompts):
            return None
        self._at = at
        return self._prompts[at] if at >= 0 else self._typed

    def _is_here(self, shown: str) -> bool:
        """Whether the box still shows what the last step brought."""
        return 0 <= self._at < len(self._prompts) and self._prompts[self._at] == shown
