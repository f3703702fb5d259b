"""The oracle of Deci: layers that do without attention, or have a matrix in its place, or no feed-forward part."""

from __future__ import annotations

from tests.engine.reference import ReferenceModel


class Deci(ReferenceModel):
    """As the reference model."""

    def logits(self, ids):
        t, sizes = self.tensors, ("attention.head_count", "attention.head_count_kv", "feed_forward_length")
        x = t["token_embd.weight"][ids]
        for layer in range(self.n_layers):
            block = f"blk.{layer}."
            self.n_heads, self.n_kv_heads, hidden = (self.get(size)[layer] for size in sizes)
            y = self.pre_norm(x, block + "attn_norm.weight")
            if self.n_kv_heads:
                x = x + self.attention(y, layer)
            elif self.n_heads:
                x = x + self.product(y, block + "attn_output")
            if hidden:
                x = x + self.feed_forward(self.pre_norm(x, block + "ffn_norm.weight"), block)
        return self.pre_norm(x, "output_norm.weight") @ t["output.weight"].T
