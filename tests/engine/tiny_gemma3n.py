"""What a tiny Gemma 3n has beside what other models have: its streams, and what each layer gets of a token."""

from __future__ import annotations

import math
from statistics import NormalDist

STREAMS = 4
RANK = 64
CUTOFF = 1.6448533535003662
SPARSITY = (0.95, 0.8)

GEMMA_3N = {
    "layers": 5,
    "head_dim": 32,
    "attention.sliding_window": 16,
    "attention.sliding_window_pattern": [True, False, True, False, True],
    "attention.shared_kv_layers": 2,
    "rope.freq_base": 1_000_000.0,
    "embedding_length_per_layer_input": 32,
    "altup.num_inputs": STREAMS,
    "altup.active_idx": 1,
    "activation_sparsity_scale": [*map(NormalDist().inv_cdf, SPARSITY), *[-math.inf] * 3],
}

GEMMA_3N_E2B = {
    **GEMMA_3N,
    "layers": 22,
    "attention.sliding_window_pattern": [i % 5 < 4 for i in range(21)] + [False],
    "embedding_length_per_layer_input": 256,
    "altup.active_idx": 0,
    "activation_sparsity_scale": [CUTOFF] * 10 + [-math.inf] * 12,
}
"""llama.cpp takes it that the first 20 layers have keys, that the first 10 leave gates out, that the first stream is
the active one, and that each layer gets 256 numbers."""


def outside(m):
    """(name, shape, standard deviation) of each tensor outside of the layers."""
    width = m.keys["embedding_length_per_layer_input"]
    yield "per_layer_token_embd.weight", (m.vocab, m.layers * width), 0.5
    yield "per_layer_model_proj.weight", (m.layers * width, m.dim), 0.5
    yield "per_layer_proj_norm.weight", (width,), 0.2
    yield "altup_proj.weight", (STREAMS - 1, m.dim, m.dim), m.dim**-0.5
    yield "altup_unembd_proj.weight", (STREAMS - 1, m.dim, m.dim), m.dim**-0.5


def in_layer(m, block):
    """Those of a layer. The router's results are large enough to make its coefficients differ."""
    even, width = m.dim**-0.5, m.keys["embedding_length_per_layer_input"]
    yield block + "inp_gate.weight", (width, m.dim), even
    yield block + "proj.weight", (m.dim, width), width**-0.5
    yield block + "post_norm.weight", (m.dim,), 0.2
    yield block + "altup_router.weight", (STREAMS, m.dim), 8.0
    yield block + "altup_router_norm.weight", (m.dim,), 0.2
    yield block + "altup_predict_coef.weight", (STREAMS**2, STREAMS), 0.03
    yield block + "altup_correct_coef.weight", (STREAMS, STREAMS), 0.1
    yield block + "altup_correct_scale.weight", (m.dim,), 0.2
    yield block + "laurel_l.weight", (RANK, m.dim), even
    yield block + "laurel_r.weight", (m.dim, RANK), RANK**-0.5
    yield block + "laurel_post_norm.weight", (m.dim,), 0.2
