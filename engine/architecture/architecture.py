"""What tells one architecture from another."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

RopeOrder = Literal["normal", "neox"]
Activation = Literal["silu", "gelu", "clamped", "relu2", "relu", "xielu"]
Norm = Literal["rms", "layer"]
Gating = Literal["softmax", "sigmoid"]
Recurrent = Literal["convolution", "delta net", "kimi delta", "state space", "selective scan"]

USUAL_CHOICE_BIAS = "exp_probs_b.bias"

MAVERICK_EXPERTS = 128
"""How many experts tell Llama 4 Maverick from Scout, whose queries and keys have norms. Source: llama.cpp."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """What tells one architecture from another; the defaults are LLaMA's."""

    name: str
    """What GGUF calls it; its keys begin so."""
    _: KW_ONLY

    # Norms of the residual stream, and of what is added to it.
    norm: Norm = "rms"
    """With "layer", the mean is taken away first; each head's queries and keys are normed so too, by its own weight."""
    norm_biases: bool | None = False
    """The residual stream's norms have biases; None: if the file has such."""
    norm_weights: bool = True
    """They have weights."""
    norm_in_file: bool = False
    """The norm is "rms" where the file has the epsilon of such norms."""
    parts_in_file: bool = False
    """The file may say in how many parts the residual stream is normed, each by itself."""
    embedding_norm: bool = False
    """Embeddings are normed."""
    unit_embedding_norm: bool = False
    """They are, without a weight."""
    pre_norms: bool = True
    """What attention and the feed-forward layer read is normed."""
    post_norms: bool = False
    """The results of both are normed before they are added."""
    post_norm_eps: float | None = None
    """The epsilon of those norms; None: that of all others."""
    parallel: bool | None = False
    """Attention and the feed-forward layer read the same; None: if there is no norm for the second."""
    parallel_in_file: bool = False
    """They read the same, but by norms of their own, if the file says so."""
    attn_norm: str = "attn_norm"
    """What the norm before attention is called in the file."""
    ffn_norm: str = "ffn_norm"
    """What the norm before the feed-forward layer is called in the file."""
    second_attn_norm: bool = False
    """Where the file has attn_norm_2, attention reads by that one, and the feed-forward layer by attn_norm."""
    output_norm: str = "output_norm"
    """What the last norm is called in the file."""

    # Queries, keys and values.
    qk_norms: bool | None = False
    """Each head's queries and keys are normed before they are turned; None: if the file has such norms."""
    each_qk_norms: bool = False
    """Each head's have a weight of their own, one after the other."""
    own_qk_norms: bool = False
    """The same, in a matrix with a row for each head."""
    query_gains: bool = False
    """They have none, but each head's queries are multiplied by a number then."""
    wide_qk_norms: bool = False
    """Those of all heads are normed together, by one weight."""
    late_qk_norms: bool = False
    """Queries and keys are normed after they are turned."""
    unit_qk_norms: bool = False
    """Where a layer turns them, each head's queries and keys are normed afterwards, without a weight."""
    unscaled_queries: bool = False
    """Queries are not divided by anything."""
    squared_queries: bool = False
    """Queries are divided by head_dim, not by its root."""
    limited_qkv: bool = False
    """Queries, keys and values are kept within a limit, if the file says one."""
    wide_queries_at: int | None = None
    """A model of so many layers divides queries by the root of dim / n_heads, not of head_dim; None: no model does."""
    unit_values: bool = False
    """Values are normed without a weight; where a layer has no matrix for them, they are the keys' product."""
    altup: bool = False
    """The residual stream is of several, as engine/architecture/altup.py says."""
    shared_keys: bool = False
    """The last layers may read the keys and values of others, as many as the file says."""
    query_gates: bool | None = False
    """Every query has a gate beside it, for what its head's attention gives; None: if the file has such gates."""
    gate_matrix: bool = False
    """Those gates have a matrix of their own."""
    head_gates: bool | None = False
    """Each head has one gate; None: if the file has so many."""
    gate_softplus: float = 0.0
    """What attention gives is multiplied by the softplus of its gates with this beta; 0: by their sigmoids."""
    latent: bool = False
    """Keys and values of all heads are made of one latent vector."""
    sinks: bool = False
    """Each head has a logit without a value, which takes a share of its attention."""
    attn_softcap: float | None = None
    """If the file does not say; 0: off. None: there is none, whatever the file says (llama.cpp writes one into every
    file that it saves)."""

    yarn_in_queries: bool = False
    """Queries are multiplied by the square of YaRN's factor for the file's logarithm, which is a tenth of what it is
    elsewhere."""
    yarn_turned_too: bool = False
    """Then what is turned is multiplied by YaRN's own factor, divided by that one; else it is not."""

    # Positions: which of them a layer sees, and how queries and keys are turned by theirs.
    rope_order: RopeOrder
    """Which numbers turn together: with "normal" neighbouring ones, with "neox" those of a head's two halves."""
    turned_whole: bool = False
    """Heads are turned as a whole, whatever the file says."""
    window: int = 0
    """The sliding window if the file does not say; 0: none."""
    window_every: int = 0
    """Of so many layers the last has no window, 1: none has one, 0: all have it."""
    chunks: bool = False
    """The window does not slide: texts are cut into chunks of its size, and a position sees its own alone."""
    whole_first: bool = False
    """Of those, it is the first that has none."""
    local_rope_theta: float | None = None
    """Layers with a window turn by this base, without scaling; 0: by the others' base. None: they turn as others do."""
    unturned_every: int = 0
    """Of so many layers the last does not turn (NoPE), 0: all do."""
    unturned_without_window: bool = False
    """Where some layers have a window, the others do not turn."""
    dense_turned: bool = False
    """But for those before the first one with experts."""
    unturned: bool = False
    """No layer turns."""
    position_vectors: bool | None = False
    """A vector for each position is added to embeddings; None: if the file has such."""
    alibi: float | None = None
    """Each head thinks the less of a position the more distant it is, by a slope for which this says the most (Press et
    al. 2021), if the file does not; 0: off, None: there is no such thing."""
    alibi_at: int | None = None
    """A model of so many layers does this by 8, and does not turn; None: no model does."""
    growth_unturned: float = 0.0
    """By how much queries grow that are not turned with the logarithm of their position, if the file does not say."""
    turning_in_file: bool = False
    """The file may say that no layer turns; others write the same key, but mean something else by it."""

    # The feed-forward layer.
    activation: Activation = "silu"
    """Of the gate."""
    doubled_hidden: bool = False
    """The width that the file says is that of gate and up together."""
    ungated: bool = False
    """There is no gate; the activation is of up."""
    gate_in_up: bool = False
    """One tensor has the rows of gate, then those of up."""
    sub_norms: bool = False
    """What attention gives is normed, and so is what the last matrix of the feed-forward layer reads. A file may have a
    number for each matrix, by which its products are multiplied."""

    # Experts in its place, in models that have some.
    gating: Gating = "softmax"
    """What makes probabilities of the router's results."""
    normed_shares: bool = True
    """The probabilities of the experts chosen are made to add up to one."""
    routing_in_file: bool = False
    """Both are as the file says; where it does not say gating, it is as here."""
    gating_in_file: bool = False
    """The former alone is."""
    early_shares: bool = False
    """What an expert reads is multiplied by its share, not what it gives."""
    early_routing: bool = False
    """The router reads the residual stream as it is before attention."""
    experts_by_router: bool = False
    """Layers have experts where the file has a router, or experts."""
    choice_bias: str = USUAL_CHOICE_BIAS
    """What the tensor is called that is added to probabilities for the choice of experts alone."""
    gated_shared: bool = False
    """What all tokens go through beside the experts counts as much as a row of the router's says."""
    averaged_shared: bool = False
    """The mean of what experts and of what that gives is added, not the sum."""
    limits_in_file: bool = False
    """The file may say within what each layer's experts keep gates and ups."""
    dense_beside_experts: bool = False
    """Each token goes through an ordinary feed-forward layer and through experts, with norms of their own."""

    # Something else in place of attention, in layers that the file names.
    recurrent: Recurrent | None = None
    """What stands there."""
    grouped_gates: bool = False
    """A delta net's gates are grouped by its key heads, and so are its value heads."""
    step_norms: bool = False
    """What a selective scan makes time steps of is normed, and so are what it writes and what it reads."""
    scan_by_head: bool = False
    """A selective scan's states decay by head, and each head's gates are before its values in the file."""
    beside_attention: bool = False
    """All layers attend, and have a state too; the results of both are added."""
    one_part: bool = False
    """A layer attends, or has a state, or is a feed-forward layer, each with the same norm before it."""

    # How often layers are gone through, and what they may do without.
    loops: bool = False
    """The file may say that a text goes through all layers several times, with keys and values of each time."""
    skips: bool = False
    """A layer may do without attention, or have a single matrix in its place, and without a feed-forward part."""

    # Factors, and logits.
    scaled_embedding: bool = False
    """Embeddings are multiplied by sqrt(dim)."""
    embedding_skips: bool = False
    """The embedding is added at each layer's end, times a number that the file has for the layer."""
    result_scales: bool = False
    """What attention and the feed-forward layer give is multiplied by a number each, if the file has it."""
    layer_scales: bool = False
    """Each layer's sum is multiplied by a number, if the file has it."""
    scales_in_file: bool = False
    """The file says by what embeddings, queries and a layer's results are multiplied, and logits divided."""
    minicpm_scales: bool = False
    """Where the file does not say them, they are MiniCPM's."""
    multiplied_logits: bool = False
    """What the file has for logits multiplies them, rather than dividing."""
    output_bias: bool = False
    """Logits have a bias."""
    final_softcap: float | None = None
    """Of logits, as attn_softcap."""

    @property
    def ffn_is_normed(self) -> bool:
        """Whether there is a norm before the feed-forward layer that attention does not have."""
        return self.pre_norms and (self.parallel_in_file or not self.parallel)

    @property
    def scans(self) -> bool:
        """Whether there are states that are scanned; such models may do without attention altogether."""
        return self.recurrent in ("state space", "selective scan")

    @property
    def long_qk_norms(self) -> bool:
        """Whether the norms of queries and keys have weights for all heads."""
        of_heads = self.each_qk_norms or self.own_qk_norms or self.query_gains or self.norm == "layer"
        return self.wide_qk_norms or (bool(self.qk_norms) and of_heads)

    def query_width(self, n_layers: int, dim: int, n_heads: int, head_dim: int) -> int:
        """By the root of which queries are divided."""
        if self.unscaled_queries or self.squared_queries:
            return 1 if self.unscaled_queries else head_dim**2
        return dim // n_heads if n_layers == self.wide_queries_at else head_dim
