"""A model that has the real one's face and real tokens and templates, but a script in place of weights.

Every byte is a token. It says its script, token by token, after the last BOS or the last chat header, then its end.
"""

import threading
from array import array
from collections.abc import Iterator, Sequence

import numpy as np

from engine.chat import choose_format
from engine.checkpoints.metadata import Metadata
from engine.protocol import ModelCard
from engine.shared_prefix import common_prefix_length
from engine.tokenizer import Tokenizer
from engine.tokenizer.vocabulary import Vocabulary

BOS, IM_START, IM_END = 256, 257, 258
VOCAB_SIZE = 259
HEADER = b"assistant\n"
CERTAINTY = 8.0

METADATA = Metadata(
    {
        "tokenizer.ggml.tokens": [*(f"<0x{i:02X}>" for i in range(256)), "<s>", "<|im_start|>", "<|im_end|>"],
        "tokenizer.ggml.token_type": array("i", [6] * 256 + [3] * 3),
        "tokenizer.ggml.bos_token_id": BOS,
        "tokenizer.ggml.eos_token_id": IM_END,
    }
)


class ByteTokenizer(Tokenizer):
    """One token a byte."""

    def _encode_text(self, text: str, after_special: bool) -> list[int]:
        return list(text.encode())

    def _token_bytes(self, token_id: int) -> bytes:
        return bytes([token_id])


class FakeModel:
    """See the module. pace_s: how long every evaluation takes; batches: (pos, size) of all evaluations."""

    def __init__(
        self, script: str | bytes, *, max_seq_len: int = 512, batch_size: int = 16, pace_s: float = 0.0
    ) -> None:
        self.script = script.encode() if isinstance(script, str) else script
        self.max_seq_len, self.batch_size, self.pace_s = max_seq_len, batch_size, pace_s
        self.metadata = METADATA
        self.tokenizer = ByteTokenizer(Vocabulary(METADATA, default_ids={}, add_bos=True))
        self.chat_format = choose_format(METADATA, "fake", "chatml")
        self.card = ModelCard(
            name="fake", path="fake.gguf", format="GGUF v3", architecture="llama", quantization="F32", parameters=1,
            size_bytes=1, context=max_seq_len, max_context=max_seq_len, layers=1, vocab=VOCAB_SIZE, template="chatml",
            template_source="chosen", weights_bytes=1, kv_bytes_per_token=1, threads=1,
        )  # fmt: skip
        self.cached_ids: list[int] = []
        self.goes_back = True
        self.batches: list[tuple[int, int]] = []
        self.closed = False
        self.transformer: object | None = self
        self._logits = np.zeros(VOCAB_SIZE, np.float32)

    def expect(self, n_positions: int) -> None:
        assert n_positions <= self.max_seq_len + 1

    def reusable(self, ids: Sequence[int]) -> int:
        return common_prefix_length(self.cached_ids, ids)

    def parts(self, ids: Sequence[int], start: int, *, again: bool = False) -> Iterator[tuple[int, int]]:
        for first in range(start, len(ids), self.batch_size):
            yield first, min(first + self.batch_size, len(ids))

    def step_back(self, pos: int) -> int:
        return pos

    def put_back(self, ids: Sequence[int]) -> None:
        n = len(self.cached_ids)
        if list(ids[:n]) == self.cached_ids:
            self.cached_ids.extend(ids[n:])

    def evaluate(self, ids: Sequence[int], pos: int) -> np.ndarray:
        assert 0 < len(ids) <= self.batch_size
        assert pos <= len(self.cached_ids)
        assert pos + len(ids) <= self.max_seq_len
        self.batches.append((pos, len(ids)))
        self.cached_ids[pos:] = ids
        if self.pace_s:
            threading.Event().wait(self.pace_s)
        self._logits[:] = 0
        self._logits[self._next()] = CERTAINTY
        view = self._logits.view()
        view.flags.writeable = False
        return view

    def evaluate_each(self, ids: Sequence[int], pos: int) -> list[np.ndarray]:
        """One batch for the record, whose rows are those of single tokens."""
        before = len(self.batches)
        rows = [self.evaluate([token_id], pos + i).copy() for i, token_id in enumerate(ids)]
        self.batches[before:] = [(pos, len(ids))]
        return rows

    def enter_session(self, key: str, ids: Sequence[int]) -> None:
        pass

    def leave_session(self) -> None:
        pass

    def keep_session(self) -> None:
        pass

    def _next(self) -> int:
        starts = [i for i, token_id in enumerate(self.cached_ids) if token_id in (BOS, IM_START)]
        n_said = len(self.cached_ids)
        if starts:
            n_said -= starts[-1] + 1 + (len(HEADER) if self.cached_ids[starts[-1]] == IM_START else 0)
        return self.script[max(n_said, 0)] if n_said < len(self.script) else IM_END

    def close(self) -> None:
        self.closed = True
