"""The oracle of Gemma 3n: streams of which layers compute one, and what goes around attention."""

from __future__ import annotations

import math

import numpy as np

from tests.engine.reference import ReferenceModel, gelu, rms_norm, softcap


class Gemma3n(ReferenceModel):
    """Attention of one layer is its parent's."""

    def __init__(self, path, context=None) -> None:
        super().__init__(path, context)
        self.windowed = self.get("attention.sliding_window_pattern")
        self.n_own = self.n_layers - self.get("attention.shared_kv_layers")
        self.streams, self.active = self.get("altup.num_inputs"), self.get("altup.active_idx")
        self.cutoffs = self.get("activation_sparsity_scale")
        self.all_window, self.query_scale = self.window, 1.0
        self.held = {}

    def logits(self, ids):
        t = self.tensors
        x = t["token_embd.weight"][ids] * np.float32(self.embedding_scale)
        inputs = self.per_layer_inputs(x, ids)
        others = [as_large(x @ square.T, x) for square in t["altup_proj.weight"]]
        streams = np.array([x, *others])
        for layer in range(self.n_layers):
            streams = self.layer(streams, inputs[:, layer], layer)
        squares, active = t["altup_unembd_proj.weight"], streams[self.active]
        others = [as_large(its @ square.T, active) for its, square in zip(streams[1:], squares, strict=True)]
        x = np.mean([streams[0], *others], axis=0)
        x = rms_norm(x, t["output_norm.weight"], self.eps)
        return softcap(x @ t["token_embd.weight"].T, 30.0)

    def layer(self, streams, inputs, layer):
        t, block = self.tensors, f"blk.{layer}."
        told = self.router(streams[self.active], block) @ t[block + "altup_predict_coef.weight"].T
        shares = told.reshape(-1, self.streams, self.streams)
        guessed = streams + np.einsum("tjk,ktd->jtd", shares, streams)
        x = guessed[self.active]
        y = rms_norm(x, t[block + "attn_norm.weight"], self.eps)
        around = y @ t[block + "laurel_l.weight"].T @ t[block + "laurel_r.weight"].T
        around = y + rms_norm(around, t[block + "laurel_post_norm.weight"], self.eps)
        y = self.post_norm(self.attention(y, layer), block + "post_attention_norm.weight")
        both = (x + y + around) / math.sqrt(2)
        y = self.gated(rms_norm(both, t[block + "ffn_norm.weight"], self.eps), layer)
        result = both + self.post_norm(y, block + "post_ffw_norm.weight")
        shares = 1 + self.router(result, block) @ t[block + "altup_correct_coef.weight"].T
        streams = guessed + shares.T[..., None] * (result - x)
        y = (streams[self.active] * t[block + "altup_correct_scale.weight"]) @ t[block + "inp_gate.weight"].T
        y = (gelu(y) * inputs) @ t[block + "proj.weight"].T
        streams[1:] += self.post_norm(y, block + "post_norm.weight")
        return streams

    def router(self, x, block):
        """(positions, streams)."""
        normed = rms_norm(x, self.tensors[block + "altup_router_norm.weight"], self.eps) / self.dim
        return np.tanh(normed @ self.tensors[block + "altup_router.weight"].T)

    def gated(self, x, layer):
        gate, up, down = (self.tensors[f"blk.{layer}.ffn_{part}.weight"] for part in ("gate", "up", "down"))
        gates = x @ gate.T
        if self.cutoffs[layer] > -math.inf:
            least = gates.mean(-1) + gates.std(-1, ddof=1) * self.cutoffs[layer]
            gates = np.maximum(gates - least[:, None], 0)
        return (gelu(gates) * (x @ up.T)) @ down.T

    def per_layer_inputs(self, x, ids):
        """(positions, layers, width)."""
        t, width = self.tensors, self.get("embedding_length_per_layer_input")
        shape = (len(ids), self.n_layers, width)
        product = (x @ t["per_layer_model_proj.weight"].T).reshape(shape) * self.dim**-0.5
        product = rms_norm(product, t["per_layer_proj_norm.weight"], self.eps)
        return (product + t["per_layer_token_embd.weight"][ids].reshape(shape) * width**0.5) / 2**0.5

    def attention(self, x, layer):
        self.window, self.window_every = self.all_window if self.windowed[layer] else 0, 1
        return super().attention(x, layer)

    def qkv(self, x, block):
        """As the parent's, with values normed; the last layers have queries alone."""
        layer = int(block.split(".")[1])
        q, k, v = super().qkv(x, block)
        if layer < self.n_own:
            self.held[layer] = k, rms_norm(v, 1.0, self.eps)
        return q, *self.held[self.stored_by(layer)]

    def stored_by(self, layer):
        if layer < self.n_own:
            return layer
        return max(i for i in range(self.n_own) if self.windowed[i] == self.windowed[layer])


def as_large(x, other):
    """Rows as long as another's."""
    return x * np.sqrt((other**2).mean(-1, keepdims=True) / (x**2).mean(-1, keepdims=True))
