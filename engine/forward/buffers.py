"""What the steps of all layers work with, one layer after the other."""

from __future__ import annotations

from engine.architecture.config import ModelConfig
from engine.forward.expert_steps import ExpertBuffers
from engine.forward.kv_cache import KVCache
from engine.forward.latent_steps import latent_buffers
from engine.forward.program import Activations, Program
from engine.forward.recurrent_state import RecurrentState
from engine.forward.recurrent_steps import recurrent_buffers
from engine.forward.steps import GatedBuffers, query_rows
from engine.forward.weights import ModelWeights
from engine.kernels.sizes import BLOCK

MAX_OUTPUTS = 64
"""Positions of a batch that can give logits."""


class Buffers:
    """Rows for each token of a batch; what is never in use at the same time shares its memory.

    x: (dim,), the residual stream. x_norm: (dim,), normed. delta: (dim,), what a layer adds to the stream. qkv: what a
    layer makes of x_norm first, of the widest one. q_rows: see `query_rows`. mixed: what attention, or a layer's state
    in its place, gives. latent: see `LatentBuffers`. gates: of queries, where a model has such between them. units: of
    feed-forward layers, by their width. skip: (dim,), the embedding, where layers add it. free: memory that is not in
    use before a layer's feed-forward part, None if there must be zeros in it.
    logits: (vocab_size,), MAX_OUTPUTS rows.
    """

    def __init__(
        self, p: Program, config: ModelConfig, weights: ModelWeights, cache: KVCache, state: RecurrentState | None
    ) -> None:
        dim, layers = config.dim, range(config.n_layers)
        self.x, self.x_norm, self.delta = p.floats(dim), Activations(p, dim), p.floats(dim)
        self.q_rows = query_rows(p, cache)
        mixed_dim = max(map(config.mixed_dim, layers))
        # x_norm is in qkv by then; where attention and the feed-forward layer are side by side, it is still needed.
        over_norm = mixed_dim == dim and not config.architecture.parallel
        self.mixed = self.x_norm if over_norm else Activations(p, mixed_dim)
        self.logits = p.floats(config.vocab_size, MAX_OUTPUTS)
        self.experts = ExpertBuffers(p, config, config.experts) if config.experts is not None else None
        widths = dict.fromkeys(layer.w_down.columns for layer in weights.layers if layer.w_down is not None)
        self.units = {width: GatedBuffers(p, width) for width in widths}
        of_experts = [self.experts.unit] if self.experts is not None else []
        units = [*self.units.values(), *of_experts]
        widest = max(units, key=lambda unit: unit.gate_up.array.size, default=None)
        # Heads are read in whole blocks, also the last one of a row.
        spare = max((-shape.head_dim % BLOCK for shape in config.shapes), default=0)
        self.free = None if widest is None or widest.h.width % BLOCK or spare else widest.gate_up
        self.qkv = p.floats(max(map(config.first_dim, layers)) + spare, over=self.free)
        self.latent = latent_buffers(p, config, self.qkv)
        apart = config.architecture.query_gates and not config.architecture.gate_matrix
        self.gates = p.floats(mixed_dim) if apart else None
        self.skip = p.floats(dim) if config.architecture.embedding_skips else None
        self.recurrent = recurrent_buffers(p, config, state, self.qkv)
        p.keep(cache, weights)
