"""The oracle: a LLaMA forward pass in plain NumPy, slow and obvious, on weights dequantised by the gguf package."""

from __future__ import annotations

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize


class ReferenceModel:
    """Weights as float32 by GGUF name, and the forward pass over a whole sequence."""

    def __init__(self, path) -> None:
        reader = GGUFReader(path)
        self.tensors = {t.name: dequantize(t.data, t.tensor_type).astype(np.float32) for t in reader.tensors}
        arch = reader.fields["general.architecture"].contents()

        def get(key, default=None):
            field = reader.fields.get(f"{arch}.{key}")
            return default if field is None else field.contents()

        self.n_layers = get("block_count")
        self.n_heads = get("attention.head_count")
        self.n_kv_heads = get("attention.head_count_kv", self.n_heads)
        self.dim = get("embedding_length")
        self.head_dim = get("attention.key_length", self.dim // self.n_heads)
        self.rope_dim = get("rope.dimension_count", self.head_dim)
        self.theta = get("rope.freq_base", 10000.0)
        self.eps = get("attention.layer_norm_rms_epsilon")

    def logits(self, ids):
        """float32 (len(ids), vocab_size)."""
        t = self.tensors
        x = t["token_embd.weight"][ids]
        for layer in range(self.n_layers):
            block = f"blk.{layer}."
            x = x + self.attention(rms_norm(x, t[block + "attn_norm.weight"], self.eps), block)
            y = rms_norm(x, t[block + "ffn_norm.weight"], self.eps)
            gate, up = y @ t[block + "ffn_gate.weight"].T, y @ t[block + "ffn_up.weight"].T
            x = x + (gate / (1 + np.exp(-gate)) * up) @ t[block + "ffn_down.weight"].T
        x = rms_norm(x, t["output_norm.weight"], self.eps)
        return x @ t.get("output.weight", t["token_embd.weight"]).T

    def attention(self, x, block):
        t, n = self.tensors, len(x)
        q = (x @ t[block + "attn_q.weight"].T).reshape(n, self.n_heads, self.head_dim)
        k = (x @ t[block + "attn_k.weight"].T).reshape(n, self.n_kv_heads, self.head_dim)
        v = (x @ t[block + "attn_v.weight"].T).reshape(n, self.n_kv_heads, self.head_dim)
        q, k = rotate(q, self.rope_dim, self.theta), rotate(k, self.rope_dim, self.theta)
        group = self.n_heads // self.n_kv_heads
        k, v = np.repeat(k, group, 1), np.repeat(v, group, 1)
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(self.head_dim)
        scores = np.where(np.tril(np.ones((n, n), bool)), scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        out = np.einsum("hqk,khd->qhd", weights, v).reshape(n, -1)
        return out @ t[block + "attn_output.weight"].T


def rms_norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def rotate(x, rope_dim, theta):
    """Turn neighbouring pairs of the first rope_dim dimensions of (positions, heads, head_dim)."""
    angles = np.arange(len(x))[:, None] * theta ** (-np.arange(0, rope_dim, 2) / rope_dim)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    out = x.copy()
    even, odd = x[..., 0:rope_dim:2], x[..., 1:rope_dim:2]
    out[..., 0:rope_dim:2] = even * cos - odd * sin
    out[..., 1:rope_dim:2] = even * sin + odd * cos
    return out.astype(np.float32)
