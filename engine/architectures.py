"""The architectures that the engine runs, and what tells each from the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RopeOrder = Literal["normal", "neox"]
Activation = Literal["silu", "gelu"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """What tells one architecture from another; the defaults are LLaMA's.

    rope_order: "normal" turns neighbouring pairs, "neox" the two halves of a head. activation: of the feed-forward
    gate. qk_norms: each head's queries and keys are normed before they are turned. post_norms: attention's and the
    feed-forward's results are normed before they are added. gate_in_up: one tensor has the rows of gate, then those of
    up. scaled_embedding: embeddings are multiplied by sqrt(dim).
    window: the sliding window if the file does not say. window_every: of so many layers the last has none, 1: of every
    one, 0: all have it. local_rope_theta: layers with a window turn by this base, without scaling.
    attn_softcap, final_softcap: if the file does not say; 0 is off, None where the architecture has none, whatever the
    file says (llama.cpp writes them into every file that it saves).
    wide_queries_at: with so many layers, queries are scaled by dim / n_heads instead of by head_dim.
    """

    name: str
    rope_order: RopeOrder
    activation: Activation = "silu"
    qk_norms: bool = False
    post_norms: bool = False
    gate_in_up: bool = False
    scaled_embedding: bool = False
    window: int = 0
    window_every: int = 0
    local_rope_theta: float | None = None
    attn_softcap: float | None = None
    final_softcap: float | None = None
    wide_queries_at: int | None = None


ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture("llama", rope_order="normal"),
        Architecture("qwen2", rope_order="neox"),
        Architecture("qwen3", rope_order="neox", qk_norms=True),
        Architecture("qwen3moe", rope_order="neox", qk_norms=True),
        Architecture("gemma", rope_order="neox", activation="gelu", scaled_embedding=True),
        Architecture(
            "gemma2",
            rope_order="neox",
            activation="gelu",
            post_norms=True,
            scaled_embedding=True,
            window=4096,
            window_every=2,
            attn_softcap=50.0,
            final_softcap=30.0,
            wide_queries_at=46,
        ),
        Architecture(
            "gemma3",
            rope_order="neox",
            activation="gelu",
            qk_norms=True,
            post_norms=True,
            scaled_embedding=True,
            window_every=6,
            local_rope_theta=10_000.0,
            final_softcap=0.0,
            wide_queries_at=62,
        ),
        Architecture("phi3", rope_order="neox", gate_in_up=True),
    )
}
"""By the name that GGUF has for each. Mistral and Mixtral are llama there."""
