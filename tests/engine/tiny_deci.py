"""The tensors of a tiny Deci, whose layers have different parts, and of OpenELM, where they differ in width."""

from __future__ import annotations


def deci_tensors(keys, vocab):
    """(name, shape, standard deviation) of each tensor."""
    dim, head_dim, layers = keys["embedding_length"], keys["attention.key_length"], keys["block_count"]
    even, sizes = dim**-0.5, ("attention.head_count", "attention.head_count_kv", "feed_forward_length")
    yield "token_embd.weight", (vocab, dim), 0.5
    yield "output_norm.weight", (dim,), 0.2
    yield "output.weight", (vocab, dim), even
    for i in range(layers):
        block = f"blk.{i}."
        heads, kv_heads, hidden = (keys[size][i] for size in sizes)
        if heads:
            yield f"{block}attn_norm.weight", (dim,), 0.2
        if kv_heads:
            yield f"{block}attn_q.weight", (heads * head_dim, dim), 1.5 * even
            yield f"{block}attn_k.weight", (kv_heads * head_dim, dim), 1.5 * even
            yield f"{block}attn_v.weight", (kv_heads * head_dim, dim), 1.5 * even
            yield f"{block}attn_output.weight", (dim, heads * head_dim), even
        elif heads:
            yield f"{block}attn_output.weight", (dim, dim), even
        if hidden:
            yield f"{block}ffn_norm.weight", (dim,), 0.2
            yield f"{block}ffn_gate.weight", (hidden, dim), even
            yield f"{block}ffn_up.weight", (hidden, dim), even
            yield f"{block}ffn_down.weight", (dim, hidden), hidden**-0.5


def openelm_tensors(keys, vocab):
    """The same."""
    dim, head_dim, layers = keys["embedding_length"], keys["attention.key_length"], keys["block_count"]
    even, sizes = dim**-0.5, ("attention.head_count", "attention.head_count_kv", "feed_forward_length")
    yield "token_embd.weight", (vocab, dim), 0.5
    yield "output_norm.weight", (dim,), 0.2
    for i in range(layers):
        block = f"blk.{i}."
        heads, kv_heads, hidden = (keys[size][i] for size in sizes)
        yield f"{block}attn_norm.weight", (dim,), 0.2
        yield f"{block}attn_qkv.weight", ((heads + 2 * kv_heads) * head_dim, dim), 1.5 * even
        yield f"{block}attn_q_norm.weight", (head_dim,), 0.2
        yield f"{block}attn_k_norm.weight", (head_dim,), 0.2
        yield f"{block}attn_output.weight", (dim, heads * head_dim), even
        yield f"{block}ffn_norm.weight", (dim,), 0.2
        yield f"{block}ffn_gate.weight", (hidden, dim), even
        yield f"{block}ffn_up.weight", (hidden, dim), even
        yield f"{block}ffn_down.weight", (dim, hidden), hidden**-0.5
