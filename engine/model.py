"""A language model ready to answer: transformer, tokenizer and chat format together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.checkpoints import Metadata
from engine.protocol import ModelCard
from engine.shared_prefix import common_prefix_length
from engine.tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from engine.chat import ChatFormat
    from engine.forward.transformer import Transformer
    from engine.kept_caches import KeptCaches


@dataclass(frozen=True)
class LanguageModel:
    """What the worker holds after Load. transformer: None when only the vocabulary was loaded. kept: caches on disk."""

    card: ModelCard
    metadata: Metadata
    tokenizer: Tokenizer
    chat_format: ChatFormat
    transformer: Transformer | None
    kept: KeptCaches | None = None

    @property
    def max_seq_len(self) -> int:
        """Positions provided for."""
        return self.card.context

    @property
    def batch_size(self) -> int:
        """Tokens of a prompt that are read together."""
        return self._whole().batch_size

    @property
    def cached_ids(self) -> list[int]:
        """The tokens whose keys and values the cache holds."""
        return self._whole().cached_ids

    @property
    def goes_back(self) -> bool:
        """Whether it can go on from any position in the cache. Else from some, which `reusable` says."""
        return self._whole().state is None

    def reusable(self, ids: Sequence[int]) -> int:
        """How many of these tokens need not be read, since the cache has them."""
        return self._whole().reach(common_prefix_length(self.cached_ids, ids))

    def parts(self, ids: Sequence[int], start: int, *, again: bool = False) -> Iterator[tuple[int, int]]:
        """The batches in which ids are best read from position `start` on; take one, read it, then take the next.

        again: the cache has all of them, and what it has behind them will be put back.
        """
        return self._whole().parts(start, len(ids), common_prefix_length(self.cached_ids, ids), again=again)

    def step_back(self, pos: int) -> int:
        """Get ready to read a token in the cache again; returns from where, so that some before it can be next.

        What comes behind it can still be gone on from.
        """
        return self._whole().step_back(pos)

    def put_back(self, ids: Sequence[int]) -> None:
        """Have the cache hold these again, which it held before the first of them were read once more.

        Reading writes the same bits again, and what lay behind is where it was.
        """
        cached = self.cached_ids
        if list(ids[: len(cached)]) == cached:
            cached.extend(ids[len(cached) :])

    def expect(self, n_positions: int) -> None:
        """Make room for a text of so many tokens at once."""
        self._whole().expect(n_positions)

    def evaluate(self, ids: Sequence[int], pos: int) -> NDArray[np.float32]:
        """Logits (vocab_size,) after tokens at positions pos…: a view, valid until the next call.

        What the cache held from pos on is forgotten. Raises ContextFullError.
        """
        return self._whole().evaluate(ids, pos)

    def evaluate_each(self, ids: Sequence[int], pos: int) -> list[NDArray[np.float32]]:
        """As evaluate, with the logits after each of a few tokens."""
        return self._whole().evaluate_last(ids, pos, len(ids))

    def enter_session(self, key: str, ids: Sequence[int]) -> None:
        """Get the cache ready to read ids for a session, from disk if it was kept there."""
        if self.kept is not None:
            self.kept.enter(key, ids, self.cached_ids)

    def leave_session(self) -> None:
        """Get ready to read what belongs to no session: what the cache holds of one is kept before it goes."""
        self.enter_session("", [])

    def keep_session(self) -> None:
        """Keep the cache of the session on disk, for when its user comes back."""
        if self.kept is not None:
            self.kept.keep(self.cached_ids)

    def close(self) -> None:
        """Give the memory back; the last session's cache is kept."""
        self.keep_session()
        if self.transformer is not None:
            self.transformer.close()

    def _whole(self) -> Transformer:
        if self.transformer is None:
            raise ValueError("only the vocabulary of this model was loaded")
        return self.transformer
