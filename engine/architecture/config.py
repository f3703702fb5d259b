"""What a model is: the sizes and constants of its architecture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from engine.architecture.altup import AltUp
from engine.architecture.architecture import Architecture, Gating
from engine.architecture.latent import Latent
from engine.architecture.recurrence import Recurrence
from engine.architecture.xielu import Xielu

RopeScalingType = Literal["none", "linear", "yarn", "longrope"]


@dataclass(frozen=True, slots=True)
class Experts:
    """The experts of a model, and how each token's are chosen.

    layers: whether each layer has some. count, used: how many a layer has, and through how many a token goes.
    hidden_dim: width of one. shared_dim: width of the part that all tokens go through as well, 0 without one.
    gating: what makes probabilities of the router's results. normed: the shares of those chosen are made to add up to
    one. scale: what shares are multiplied by then. groups, groups_used: they are chosen from so many of so many equal
    groups, the ones whose two likeliest are the likeliest together. in_one: one tensor has the rows of an expert's
    gate, then those of its up. limits: within what each layer's keep gates and ups, 0 or nothing for no limit.
    Source: DeepSeek-V2 and V3, of which other models have parts.
    """

    layers: tuple[bool, ...]
    count: int
    used: int
    hidden_dim: int
    shared_dim: int = 0
    gating: Gating = "softmax"
    normed: bool = True
    scale: float = 1.0
    groups: int = 1
    groups_used: int = 1
    in_one: bool = False
    limits: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """How positions are stretched beyond the context that the model was trained on.

    factor: new context / original. attn_factor: what queries and keys are multiplied by when they are turned.
    beta_fast, beta_slow: YaRN keeps frequencies that turn more often than the first over the original context, and
    stretches those that turn less often than the second; whole_pairs: those borders are moved apart to whole pairs, as
    in most models. log_multiplier: how much of YaRN's larger queries and keys is taken back, 0 for nothing.
    Source: Peng et al. 2023; log_multiplier is DeepSeek's mscale_all_dim, which llama.cpp calls yarn_log_multiplier;
    whole_pairs is `truncate` in transformers, which gpt-oss does without, and llama.cpp never.
    """

    type: RopeScalingType = "none"
    factor: float = 1.0
    original_max_seq_len: int = 0
    attn_factor: float = 1.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    log_multiplier: float = 0.0
    whole_pairs: bool = True


@dataclass(frozen=True, slots=True)
class Attention:
    """How a layer attends.

    n_heads: of queries. n_kv_heads: of keys and of values; 0 in a layer that does not attend, in which something else
    stands in its place. head_dim: width of a head. rope_dim: how many of its dimensions are turned by their position.
    keys_as_values: values are the keys' product, normed without a weight and not turned.
    window: how many positions the layer sees, 0 for all. chunked: those from the last multiple of that on, not the
    latest ones. shared_from: the earlier layer, of the same shape, whose keys
    and values it reads; None for a layer that has its own. latent: keys and values are made of one vector, which the
    cache keeps in their place: one key for all heads has it and then what is turned, and its value is that vector.
    """

    n_heads: int
    n_kv_heads: int
    head_dim: int
    rope_dim: int
    keys_as_values: bool = False
    window: int = 0
    chunked: bool = False
    shared_from: int | None = None
    latent: Latent | None = None

    @property
    def value_dim(self) -> int:
        """Width of a value in the cache."""
        return self.head_dim if self.latent is None else self.latent.rank

    @property
    def query_dim(self) -> int:
        """Width of a head's query as the layer makes it."""
        return self.head_dim if self.latent is None else self.latent.plain_dim + self.rope_dim

    @property
    def shape(self) -> Attention:
        """What layers have in common whose queries, keys and values lie alike in memory."""
        return replace(self, window=0, chunked=False, shared_from=None)

    @property
    def latent_at(self) -> int:
        """Where the latent vector begins in what the layer makes of a position, behind what queries are made of."""
        query_rank = 0 if self.latent is None else self.latent.query_rank
        return query_rank or self.n_heads * self.query_dim

    @property
    def q_dim(self) -> int:
        """Width of a position's queries."""
        return self.n_heads * self.head_dim

    @property
    def mixed_dim(self) -> int:
        """Width of what all heads make of the values."""
        return self.q_dim if self.latent is None else self.n_heads * self.latent.value_dim

    @property
    def kv_dim(self) -> int:
        """Width of a position's keys, or values."""
        return self.n_kv_heads * self.head_dim

    @property
    def widths(self) -> tuple[int, ...]:
        """Of what the layer makes of a position: queries, and keys and values as far as it has matrices for them."""
        own = () if self.shared_from is not None else (self.kv_dim,) if self.keys_as_values else (self.kv_dim,) * 2
        return (self.q_dim, *own)

    @property
    def qkv_dim(self) -> int:
        """Of all that together."""
        return sum(self.widths)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The sizes of a model.

    dim: width of the residual stream. hidden_dims: width of each layer's feed-forward part that all tokens go
    through, where it is not one of the experts. attention: how each layer attends. recurrence: what stands in its
    place, or beside it, in the recurrent_layers.
    norm_part: width of the parts of the residual stream that are normed by themselves; dim in most models.
    query_scale: what queries are multiplied by, at position p times 1 + query_growth · ln(1 + p // query_growth_span);
    where layers that turn do not have that, p is counted from 1.
    embedding_scale: what embeddings are multiplied by. residual_scale: what a layer's results are multiplied by before
    they are added. logit_divisor: what logits are divided by.
    per_layer_dim: how many numbers each layer gets of a token beside the residual stream, 0 for none.
    Softcaps of 0 are off. tied: the output matrix is the embedding.
    qkv_in_one: queries, keys and values are one tensor, of any architecture (llama.cpp's converter can write them so).
    biases: matrices to whose products something is added, by their names in GGUF.
    altup: the streams of a residual stream that has several. xielu: the activation of each layer, where they differ.
    alibi: by how much less heads think of distant positions, at most, as engine/forward/alibi.py has it; 0 for none.
    qkv_limit: within what queries, keys and values are kept, 0 for no limit.
    loops: how often a text goes through the layers of the file, each time's being layers of their own here, with the
    same weights. normed_loops: the residual stream is normed between those times, as it is at the end.
    Source of query_growth: Ministral 3, which has it from Llama 4's attention temperature; of the other scales: IBM's
    Granite 3; of layers that do not turn: SmolLM3, where they are called NoPE.
    """

    architecture: Architecture
    name: str
    attention: tuple[Attention, ...]
    recurrence: Recurrence | None
    recurrent_layers: tuple[int, ...]
    dim: int
    hidden_dims: tuple[int, ...]
    vocab_size: int
    max_seq_len: int
    norm_eps: float
    norm_part: int
    rope_theta: float
    local_rope_theta: float | None
    rope_scaling: RopeScaling
    query_scale: float
    query_growth: float
    query_growth_span: int
    embedding_scale: float
    residual_scale: float
    logit_divisor: float
    per_layer_dim: int
    tied: bool
    qkv_in_one: bool
    biases: frozenset[str]
    attn_softcap: float
    final_softcap: float
    experts: Experts | None
    altup: AltUp | None
    xielu: tuple[Xielu, ...]
    alibi: float
    qkv_limit: float
    loops: int
    normed_loops: bool

    def experts_of(self, layer: int) -> Experts | None:
        """The experts of a layer; None for an ordinary feed-forward layer."""
        return self.experts if self.experts is not None and self.experts.layers[layer] else None

    @property
    def n_layers(self) -> int:
        """How many layers follow each other."""
        return len(self.attention)

    @property
    def n_own_layers(self) -> int:
        """How many of them have weights of their own: the first ones."""
        return self.n_layers // self.loops

    def ends_loop(self, layer: int) -> bool:
        """Whether the stream is normed after a layer, as another time through the layers follows."""
        behind = layer + 1
        return self.normed_loops and behind % self.n_own_layers == 0 and behind < self.n_layers

    def turns_locally(self, layer: Attention) -> bool:
        """Whether a layer turns by local_rope_theta."""
        return self.local_rope_theta is not None and layer.window > 0

    @property
    def shapes(self) -> tuple[Attention, ...]:
        """The different shapes of the layers that attend, in the order in which they come."""
        return tuple(dict.fromkeys(attention.shape for attention in self.attention if attention.n_kv_heads))

    def recurrence_of(self, layer: int) -> Recurrence | None:
        """What a layer has instead of attention, or beside it; None for nothing."""
        return self.recurrence if layer in self.recurrent_layers else None

    def feeds_forward(self, layer: int) -> bool:
        """Whether a layer has a feed-forward part, of whatever kind."""
        return self.hidden_dims[layer] > 0 or self.experts_of(layer) is not None

    def has_one_matrix(self, layer: int) -> bool:
        """Whether a layer has a single matrix in place of attention."""
        attention = self.attention[layer]
        return self.architecture.skips and attention.n_heads > 0 and not attention.n_kv_heads

    def attended_dim(self, layer: int) -> int:
        """Width of what a layer makes of a position before it attends."""
        attention = self.attention[layer]
        if not attention.n_kv_heads:
            return 0
        if attention.latent is not None:
            return attention.latent_at + attention.head_dim
        return attention.qkv_dim + self.gates_dim(attention)

    def gates_dim(self, attention: Attention) -> int:
        """How many gates a position's queries have in such a layer."""
        if not self.architecture.query_gates:
            return 0
        return attention.n_heads if self.architecture.head_gates else attention.q_dim

    def first_dim(self, layer: int) -> int:
        """The same, with what a state's layer makes of it first, which stands behind that."""
        recurrence = self.recurrence_of(layer)
        return self.attended_dim(layer) + (recurrence.rows if recurrence else 0)

    def mixed_dim(self, layer: int) -> int:
        """Width of what comes of that, which goes through the layer's output matrix, or the larger of both widths."""
        attention, recurrence = self.attention[layer], self.recurrence_of(layer)
        return max(attention.mixed_dim if attention.n_kv_heads else 0, recurrence.dim if recurrence else 0)
