"""The oracle of models whose keys and values are made of a latent vector."""

from __future__ import annotations

import numpy as np

from tests.engine.reference import (
    ReferenceModel,
    as_activations,
    as_words,
    in_blocks,
    rms_norm,
    rotate_halves,
    rotate_pairs,
    sigmoid,
    softmax,
)


class LatentModel(ReferenceModel):
    """The same forward pass; a query reads the latent vector that the cache keeps."""

    def __init__(self, path, context=None) -> None:
        super().__init__(path, context)
        get, mini = self.get, self.arch == "minicpm3"
        ending = "_mla" if get("attention.key_length_mla") else ""
        self.key_dim = get(f"attention.key_length{ending}")
        self.value_dim = get(f"attention.value_length{ending}", self.dim // self.n_heads)
        self.rank = get("attention.kv_lora_rank")
        self.gating = {0: softmax, 1: softmax, 2: sigmoid}[get("expert_gating_func", 0)]
        self.shares_normed = get("expert_weights_norm", False)
        if mini:
            self.embedding_scale, self.residual_scale = 12.0, 1.4 / self.n_layers**0.5
            self.logit_divisor = self.dim / 256
        self.query_scale = self.key_dim**-0.5
        if self.scaling == "yarn":
            growth = np.log(self.factor) / 10
            self.query_scale *= (1 + 10 * self.log_multiplier * growth) ** 2
            if self.arch == "mistral4":
                self.query_scale *= ((1 + growth) / (1 + 10 * self.log_multiplier * growth)) ** 2
                self.log_multiplier *= 10
            else:
                self.log_multiplier = 1.0  # angles: as large as without
        self.span = get("attention.temperature_length", self.original)

    def attention(self, x, layer):
        t, n, block, rope_dim = self.tensors, len(x), f"blk.{layer}.", self.rope_dim
        plain_dim = self.key_dim - rope_dim
        if block + "attn_q.weight" in t:
            q = x @ t[block + "attn_q.weight"].T
        else:
            low = rms_norm(x @ t[block + "attn_q_a.weight"].T, t[block + "attn_q_a_norm.weight"], self.eps)
            q = low @ t[block + "attn_q_b.weight"].T
        q = q.reshape(n, self.n_heads, self.key_dim)
        both = x @ t[block + "attn_kv_a_mqa.weight"].T
        latent = rms_norm(both[:, : self.rank], t[block + "attn_kv_a_norm.weight"], self.eps)[:, None]
        angles, magnitude = self.angles(n, local=False)
        turn = rotate_halves if self.arch == "minicpm3" else rotate_pairs
        turned = turn(both[:, None, self.rank :], angles, magnitude)
        if block + "attn_kv_b.weight" in t:
            heads = t[block + "attn_kv_b.weight"].reshape(self.n_heads, -1, self.rank)
            keys, values = heads[:, :plain_dim], heads[:, plain_dim:]
        else:
            keys, values = t[block + "attn_k_b.weight"].swapaxes(1, 2), t[block + "attn_v_b.weight"]
        reading = np.einsum("qhp,hpr->qhr", q[..., :plain_dim], keys)
        q = np.concatenate([reading, turn(q[..., plain_dim:], angles, magnitude)], axis=-1)
        grown = 1 + self.query_growth * np.log(1 + np.arange(n) // self.span)
        q = in_blocks((q * self.query_scale * grown[:, None, None]).astype(np.float32), as_activations)
        k = in_blocks(np.concatenate([latent, turned], axis=-1), lambda x: as_words(x)[0])[:, 0]
        v, step = (part[:, 0] for part in as_words(latent))
        scores = np.einsum("qhd,kd->hqk", q, k)
        scores = np.where(np.arange(n)[:, None] >= np.arange(n), scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        rounded = in_blocks(weights * step.T, as_activations) / step.T / weights.sum(-1, keepdims=True)
        results = np.einsum("hqk,kr->qhr", rounded, v).astype(np.float32)
        out = np.einsum("qhr,hvr->qhv", results, values).reshape(n, -1).astype(np.float32)
        return out @ t[block + "attn_output.weight"].T
