"""The architectures that the engine runs, and what tells each from the others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

RopeOrder = Literal["normal", "neox"]
Activation = Literal["silu", "gelu", "clamped", "relu2"]
Norm = Literal["rms", "layer"]
Gating = Literal["softmax", "sigmoid"]
Recurrent = Literal["convolution", "delta net"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """What tells one architecture from another; the defaults are LLaMA's.

    rope_order: "normal" turns neighbouring pairs, "neox" the two halves of a head. activation: of the feed-forward
    gate. qk_norms: each head's queries and keys are normed before they are turned, None: if the file has such norms.
    wide_qk_norms: all heads together rather than each. late_qk_norms: after they are turned. norm: of the residual
    stream; "layer" takes the mean away first, and norms each head's queries and keys so too, by a weight of its own.
    norm_biases: of the residual stream's norms. pre_norms: what attention and the feed-forward layer read is normed.
    post_norms: their results are normed before they are added. parallel: both read the same, None: if there is no norm
    for the second. parallel_in_file: both read the same, but by norms of their own, if the file says so.
    gate_in_up: one tensor has the rows of gate, then those of up. ungated: without a gate, the activation is of up.
    output_bias: of the logits. scaled_embedding: embeddings are multiplied by sqrt(dim). scales_in_file: the file says
    by what embeddings, queries, a layer's results and logits are multiplied; minicpm_scales: if it does not, by
    MiniCPM's numbers. multiplied_logits: what the file has for logits multiplies them, rather than dividing.
    turning_in_file: the file may say that no layer turns queries and keys by their position; others write the same
    key, but mean something else by it.
    unturned_every: of so many layers the last does not turn queries and keys by their position (NoPE), 0: all do.
    unturned_without_window: where some layers have a window, the others do not turn.
    window: the sliding window if the file does not say. window_every: of so many layers the last has none, 1: of every
    one, 0: all have it. local_rope_theta: layers with a window turn by this base, without scaling; 0: by the others'.
    attn_softcap, final_softcap: if the file does not say; 0 is off, None where the architecture has none, whatever the
    file says (llama.cpp writes them into every file that it saves).
    unit_values: values are normed without a weight; where a layer has no matrix for them, they are the keys' product.
    shared_keys: the last layers may read the keys and values of others, as many as the file says.
    unscaled_queries: queries are not divided by anything. layer_scales: each layer's sum is multiplied by a number, if
    the file has it.
    sinks: each head has a logit without a value, which takes a share of its attention.
    ffn_norm: what the norm before the feed-forward layer is called.
    gating: what makes probabilities of the router's results. normed_shares: those of the experts chosen are made to add
    up to one. routing_in_file: both as the file says; gating if it does not.
    dense_beside_experts: each token goes through an ordinary feed-forward layer and through experts, with norms of
    their own. gated_shared: what all tokens go through beside the experts counts as much as a row of the router's says.
    output_norm: what the last norm is called.
    recurrent: what stands in place of attention in some layers, which the file names. query_gates: every query has a
    gate beside it, for what its head's attention gives. grouped_gates: the gates of a delta net are grouped by its key
    heads, and so are its value heads.
    wide_queries_at: with so many layers, queries are scaled by dim / n_heads instead of by head_dim; None
    where no size has it.
    """

    name: str
    rope_order: RopeOrder
    activation: Activation = "silu"
    qk_norms: bool | None = False
    wide_qk_norms: bool = False
    late_qk_norms: bool = False
    norm: Norm = "rms"
    norm_biases: bool = False
    pre_norms: bool = True
    post_norms: bool = False
    parallel: bool | None = False
    parallel_in_file: bool = False
    gate_in_up: bool = False
    ungated: bool = False
    output_bias: bool = False
    scaled_embedding: bool = False
    scales_in_file: bool = False
    minicpm_scales: bool = False
    multiplied_logits: bool = False
    turning_in_file: bool = False
    unturned_every: int = 0
    unturned_without_window: bool = False
    window: int = 0
    window_every: int = 0
    local_rope_theta: float | None = None
    attn_softcap: float | None = None
    final_softcap: float | None = None
    wide_queries_at: int | None = None
    unit_values: bool = False
    shared_keys: bool = False
    unscaled_queries: bool = False
    layer_scales: bool = False
    sinks: bool = False
    ffn_norm: str = "ffn_norm"
    gating: Gating = "softmax"
    normed_shares: bool = True
    routing_in_file: bool = False
    dense_beside_experts: bool = False
    gated_shared: bool = False
    output_norm: str = "output_norm"
    recurrent: Recurrent | None = None
    query_gates: bool = False
    grouped_gates: bool = False

    @property
    def ffn_is_normed(self) -> bool:
        """Whether there is a norm before the feed-forward layer that attention does not have."""
        return self.pre_norms and (self.parallel_in_file or not self.parallel)

    @property
    def long_qk_norms(self) -> bool:
        """Whether the norms of queries and keys have weights for all heads."""
        return self.wide_qk_norms or (bool(self.qk_norms) and self.norm == "layer")

    def query_width(self, n_layers: int, dim: int, n_heads: int, head_dim: int) -> int:
        """By the root of which queries are divided."""
        if self.unscaled_queries:
            return 1
        return dim // n_heads if n_layers == self.wide_queries_at else head_dim


_QWEN35 = Architecture(
    "qwen35",
    rope_order="neox",
    qk_norms=True,
    ffn_norm="post_attention_norm",
    recurrent="delta net",
    query_gates=True,
)

_STARCODER2 = Architecture(
    "starcoder2", rope_order="neox", activation="gelu", norm="layer", norm_biases=True, ungated=True
)

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
        Architecture(
            "gemma4",
            rope_order="neox",
            activation="gelu",
            qk_norms=True,
            post_norms=True,
            scaled_embedding=True,
            window_every=6,
            local_rope_theta=10_000.0,
            final_softcap=0.0,
            unit_values=True,
            shared_keys=True,
            unscaled_queries=True,
            layer_scales=True,
            dense_beside_experts=True,
        ),
        Architecture(
            "gpt-oss",
            rope_order="neox",
            activation="clamped",
            window=128,
            window_every=2,
            sinks=True,
            ffn_norm="post_attention_norm",
        ),
        Architecture("phi3", rope_order="neox", gate_in_up=True),
        Architecture("mistral3", rope_order="normal"),
        Architecture("smollm3", rope_order="normal", unturned_every=4),
        Architecture("granite", rope_order="normal", scales_in_file=True, turning_in_file=True),
        Architecture("granitemoe", rope_order="normal", scales_in_file=True),
        Architecture("glm4", rope_order="normal", post_norms=True, gate_in_up=True),
        Architecture("chatglm", rope_order="normal", gate_in_up=True),
        Architecture("ernie4_5", rope_order="normal"),
        Architecture("internlm2", rope_order="normal"),
        Architecture("exaone", rope_order="neox"),
        Architecture("qwen2vl", rope_order="neox"),
        Architecture("qwen3vl", rope_order="neox", qk_norms=True),
        Architecture("qwen3vlmoe", rope_order="neox", qk_norms=True),
        Architecture("qwen2moe", rope_order="neox", normed_shares=False, gated_shared=True),
        Architecture("ernie4_5-moe", rope_order="normal"),
        Architecture(
            "glm4moe",
            rope_order="neox",
            qk_norms=None,
            ffn_norm="post_attention_norm",
            gating="sigmoid",
            routing_in_file=True,
        ),
        Architecture("bailingmoe2", rope_order="neox", qk_norms=True, gating="sigmoid", routing_in_file=True),
        Architecture("dots1", rope_order="neox", qk_norms=True, gating="sigmoid", routing_in_file=True),
        Architecture("deepseek", rope_order="normal", normed_shares=False),
        Architecture("hunyuan-moe", rope_order="neox", qk_norms=True, late_qk_norms=True),
        Architecture("hunyuan-dense", rope_order="neox", qk_norms=True, late_qk_norms=True),
        Architecture("seed_oss", rope_order="neox", ffn_norm="post_attention_norm"),
        Architecture("arcee", rope_order="normal", activation="relu2", ungated=True),
        Architecture("minicpm", rope_order="normal", scales_in_file=True, minicpm_scales=True),
        Architecture(
            "olmo2",
            rope_order="neox",
            qk_norms=True,
            wide_qk_norms=True,
            pre_norms=False,
            post_norms=True,
            window_every=4,
            local_rope_theta=0.0,
        ),
        Architecture(
            "exaone4",
            rope_order="neox",
            qk_norms=True,
            pre_norms=False,
            post_norms=True,
            window_every=4,
            unturned_without_window=True,
        ),
        Architecture(
            "command-r", rope_order="normal", qk_norms=None, norm="layer", parallel=True, multiplied_logits=True
        ),
        Architecture(
            "cohere2",
            rope_order="normal",
            norm="layer",
            parallel=True,
            multiplied_logits=True,
            window_every=4,
            unturned_without_window=True,
        ),
        Architecture("stablelm", rope_order="neox", qk_norms=None, norm="layer", norm_biases=True, parallel=None),
        Architecture(
            "phi2",
            rope_order="neox",
            activation="gelu",
            norm="layer",
            norm_biases=True,
            parallel=True,
            ungated=True,
            output_bias=True,
        ),
        _STARCODER2,
        replace(_STARCODER2, name="nemotron", activation="relu2"),
        replace(_STARCODER2, name="gptneox", parallel_in_file=True),
        Architecture("olmoe", rope_order="neox", qk_norms=True, wide_qk_norms=True, normed_shares=False),
        Architecture("lfm2", rope_order="neox", qk_norms=True, recurrent="convolution", output_norm="token_embd_norm"),
        Architecture(
            "lfm2moe",
            rope_order="neox",
            qk_norms=True,
            recurrent="convolution",
            output_norm="token_embd_norm",
            gating="sigmoid",
        ),
        _QWEN35,
        replace(_QWEN35, name="qwen35moe", gated_shared=True),
        replace(_QWEN35, name="qwen3next", gated_shared=True, grouped_gates=True),
    )
}
"""By the name that GGUF has for each. Mistral and Mixtral are llama there, from Ministral 3 on mistral3. Of models that
see, the part that reads and writes text; its positions are those of any other text."""
