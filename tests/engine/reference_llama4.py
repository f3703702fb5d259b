"""The oracle of Llama 4: chunks, queries that grow where they are not turned, and shares of what experts read."""

from __future__ import annotations

import numpy as np

from tests.engine.reference import ReferenceModel, sigmoid


class Llama4(ReferenceModel):
    """As the reference model. Every fourth layer is not turned and sees everything, if there are chunks."""

    def __init__(self, path) -> None:
        super().__init__(path)
        self.window = self.get("attention.sliding_window", 8192)
        self.gating, self.shares_normed = sigmoid, False

    def is_turned(self, layer):
        return layer % 4 < 3 or not self.window

    def qk_norm(self, x, name):
        """Norms do not notice whether they come before or after turning."""
        if self.n_experts == 128 or not self.is_turned(int(name.split(".")[1])):
            return x
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps)

    def growth(self, positions, layer):
        if self.is_turned(layer):
            return np.ones(len(positions))
        span = self.get("attention.temperature_length", 8192)
        return 1 + self.get("attention.temperature_scale", 0.1) * np.log(1 + (positions + 1) // span)

    def in_window(self, n):
        chunk = np.arange(n) // self.window
        return chunk[:, None] == chunk

    def expert(self, share, gate, up, down):
        return down @ self.unit(share * gate, share * up)
