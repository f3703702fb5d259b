"""The oracle of Gemma 4: the same forward pass with what each of its layers does otherwise."""

from __future__ import annotations

import numpy as np
from gguf import GGUFReader

from tests.engine.reference import ReferenceModel, gelu, rms_norm, softcap, softmax


class Gemma4(ReferenceModel):
    """Attention of one layer is its parent's, with this layer's sizes."""

    def __init__(self, path, context=None) -> None:
        super().__init__(path, context)
        fields = GGUFReader(path).fields

        def get(key):
            return fields[f"gemma4.{key}"].contents()

        kv_heads = get("attention.head_count_kv")
        self.kv_heads = kv_heads if isinstance(kv_heads, list) else [kv_heads] * self.n_layers
        self.windowed = get("attention.sliding_window_pattern")
        self.wide, self.local = self.head_dim, get("attention.key_length_swa")
        self.n_own = self.n_layers - get("attention.shared_kv_layers")
        self.per_layer_dim = get("embedding_length_per_layer_input")
        self.all_window, self.query_scale = self.window, 1.0
        self.held = {}

    def logits(self, ids):
        t = self.tensors
        x = t["token_embd.weight"][ids] * np.float32(self.embedding_scale)
        inputs = self.per_layer_inputs(x, ids) if self.per_layer_dim else None
        for layer in range(self.n_layers):
            block = f"blk.{layer}."
            y = self.attention(rms_norm(x, t[block + "attn_norm.weight"], self.eps), layer)
            x = x + self.post_norm(y, block + "post_attention_norm.weight")
            x = x + self.post_norm(self.feed_forward_of(x, block), block + "post_ffw_norm.weight")
            if inputs is not None:
                y = gelu(x @ t[block + "inp_gate.weight"].T) * inputs[:, layer]
                x = x + self.post_norm(y @ t[block + "proj.weight"].T, block + "post_norm.weight")
            x = x * t.get(block + "layer_output_scale.weight", np.float32(1))
        x = rms_norm(x, t["output_norm.weight"], self.eps)
        return softcap(x @ t["token_embd.weight"].T, self.final_softcap)

    def feed_forward_of(self, x, block):
        t = self.tensors
        y = self.feed_forward(rms_norm(x, t[block + "ffn_norm.weight"], self.eps), block)
        if not self.n_experts:
            return y
        y = self.post_norm(y, block + "post_ffw_norm_1.weight")
        routed = rms_norm(x, t[block + "ffn_gate_inp.scale"], self.eps) * self.dim**-0.5
        probabilities = softmax(routed @ t[block + "ffn_gate_inp.weight"].T)
        read = rms_norm(x, t[block + "pre_ffw_norm_2.weight"], self.eps)
        given = np.array([self.experts_of(*row, block) for row in zip(read, probabilities, strict=True)])
        return y + self.post_norm(given, block + "post_ffw_norm_2.weight")

    def experts_of(self, x, probabilities, block):
        """What one token's experts give."""
        gate_up, down, scales = (
            self.tensors[f"{block}ffn_{name}"]
            for name in ("gate_up_exps.weight", "down_exps.weight", "down_exps.scale")
        )
        chosen = np.argsort(-probabilities, kind="stable")[: self.n_experts_used]
        shares = probabilities[chosen] / probabilities[chosen].sum()
        out = np.zeros_like(x)
        for expert, share in zip(chosen, shares, strict=True):
            gate, up = np.split(gate_up[expert] @ x, 2)
            out += share * scales[expert] * (down[expert] @ (gelu(gate) * up))
        return out

    def per_layer_inputs(self, x, ids):
        """(positions, layers, width)."""
        t, shape = self.tensors, (len(ids), self.n_layers, self.per_layer_dim)
        product = (x @ t["per_layer_model_proj.weight"].T).reshape(shape) * self.dim**-0.5
        product = rms_norm(product, t["per_layer_proj_norm.weight"], self.eps)
        return (product + t["per_layer_token_embd.weight"][ids].reshape(shape) * shape[2] ** 0.5) / 2**0.5

    def attention(self, x, layer):
        self.head_dim = self.rope_dim = self.local if self.windowed[layer] else self.wide
        self.n_kv_heads, self.window = self.kv_heads[layer], self.all_window if self.windowed[layer] else 0
        self.window_every = 1
        return super().attention(x, layer)

    def qkv(self, x, block):
        """As the parent's, with values normed; what attention does with them is the same for all."""
        t, layer = self.tensors, int(block.split(".")[1])
        shape = (len(x), -1, self.head_dim)
        q = (x @ t[block + "attn_q.weight"].T).reshape(shape)
        if layer >= self.n_own:
            return q, *self.held[self.stored_by(layer)]
        k = (x @ t[block + "attn_k.weight"].T).reshape(shape)
        v = (x @ t[block + "attn_v.weight"].T).reshape(shape) if block + "attn_v.weight" in t else k
        self.held[layer] = k, rms_norm(v, 1.0, self.eps)
        return q, *self.held[layer]

    def stored_by(self, layer):
        if layer < self.n_own:
            return layer
        return max(i for i in range(self.n_own) if self.windowed[i] == self.windowed[layer])
