"""Tiny random models of every architecture, written by the reference writer."""

from __future__ import annotations

import json
from itertools import cycle
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize

VOCABULARY = Path(__file__).with_name("data") / "spm_vocabulary.json"

QKV = ("attn_q", "attn_k", "attn_v")
EXPERTS = {"expert_count": 8, "expert_used_count": 2}
LONG_ROPE = {"rope.scaling.attn_factor": 1.2, "rope.dimension_count": 12}
SCALES = {"embedding_scale": 3.0, "residual_scale": 0.4, "attention.scale": 0.1, "logit_scale": 2.0}

MODELS = {
    "llama": {},
    "llama-untied": {"untied": True, "head_count_kv": 4},
    "llama-3": {"divisors": ["rope_freqs"], "rope.freq_base": 500_000.0},
    "llama-linear": {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0},
    "llama-factor-alone": {"rope.scaling.factor": 2.0},
    "llama-yarn": {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": 4.0,
        "rope.scaling.original_context_length": 128,
    },
    "llama-in-one": {"in_one": True, "biases": QKV},
    "llama-biases": {"biases": (*QKV, "attn_output", "ffn_gate", "ffn_up", "ffn_down")},
    "mistral": {"attention.sliding_window": 16},
    "mixtral": EXPERTS,
    "mixtral-apart": {**EXPERTS, "apart": True},
    "qwen2": {"rope.freq_base": 1_000_000.0, "biases": QKV},
    "qwen2-plain": {},
    "qwen2-in-one": {"in_one": True, "biases": ("attn_qkv",)},
    "qwen3": {"head_dim": 32, "rope.freq_base": 1_000_000.0},
    "qwen3moe": {"head_dim": 32, **EXPERTS, "expert_used_count": 3, "expert_feed_forward_length": 48},
    "gemma": {"head_dim": 32, "head_count_kv": 1},
    "gemma2": {"head_dim": 32, "layers": 4, "attention.sliding_window": 16},
    "gemma2-27b": {"head_dim": 32, "layers": 46, "dim": 64, "attention.sliding_window": 16},
    "gemma3": {"head_dim": 32, "layers": 7, "attention.sliding_window": 16, "rope.freq_base": 1_000_000.0},
    "gemma3-linear": {
        "layers": 6,
        "attention.sliding_window": 16,
        "rope.freq_base": 1_000_000.0,
        "rope.scaling.type": "linear",
        "rope.scaling.factor": 8.0,
    },
    "gpt-oss": {
        **EXPERTS,
        "untied": True,
        "head_dim": 32,
        "layers": 4,
        "biases": (*QKV, "attn_output", "ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"),
        "expert_feed_forward_length": 64,
        "attention.sliding_window": 16,
        "rope.freq_base": 150_000.0,
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": 32.0,
        "rope.scaling.original_context_length": 64,
    },
    "phi3": {"rope.scaling.original_context_length": 256},
    "phi3-in-three": {"rope.scaling.original_context_length": 256, "in_one": False},
    "phi3-short": {
        "divisors": ["rope_factors_short", "rope_factors_long"],
        "rope.scaling.original_context_length": 512,
        **LONG_ROPE,
    },
    "phi3-long": {
        "divisors": ["rope_factors_short", "rope_factors_long"],
        "rope.scaling.original_context_length": 64,
        **LONG_ROPE,
    },
    "mistral3": {
        "attention.temperature_scale": 0.3,
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": 4.0,
        "rope.scaling.original_context_length": 16,
        "rope.scaling.yarn_log_multiplier": 1.0,
    },
    "mistral3-multiplied": {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": 8.0,
        "rope.scaling.original_context_length": 64,
        "rope.scaling.yarn_log_multiplier": 0.5,
    },
    "smollm3": {"layers": 5},
    "granite": SCALES,
    "granite-unturned": {**SCALES, "rope.scaling.finetuned": False},
    "granite-plain": {"logit_scale": 2.0},
    "granitemoe": {**SCALES, **EXPERTS},
    "glm4": {"rope.dimension_count": 8, "biases": QKV},
    "glm4-sections": {"rope.dimension_count": 8, "rope.dimension_sections": [2, 1, 1, 0], "biases": QKV},
    "chatglm": {"rope.dimension_count": 8, "in_one": True, "biases": ("attn_qkv",)},
    "ernie4_5": {},
    "internlm2": {"untied": True},
    "exaone": {},
    "qwen2vl": {"rope.dimension_sections": [2, 3, 3, 0], "biases": QKV},
    "qwen3vl": {"head_dim": 32, "rope.dimension_sections": [6, 5, 5, 0]},
    "qwen3vlmoe": {
        "head_dim": 32,
        "rope.dimension_sections": [6, 5, 5, 0],
        **EXPERTS,
        "expert_feed_forward_length": 48,
    },
}
"""Each model's GGUF keys (without the architecture's name), and what is no key: see write_tiny."""

ARCHITECTURES = {"gpt-oss": "gpt-oss", "mistral": "llama", "mixtral": "llama", "mixtral-apart": "llama"}
"""Of models whose name does not begin with it."""


def architecture_of(name):
    return ARCHITECTURES.get(name, name.split("-")[0])


def write_tiny(path, name, *, seed=0, types=("F32",), **changes):
    """Write the model of that name; `changes` replace what MODELS has (__ for a dot), None takes a key out.

    types: of the matrices with whole blocks, in turn.
    """
    options = {**MODELS[name], **{key.replace("__", "."): value for key, value in changes.items()}}
    arch = architecture_of(name)
    layers, dim, heads = options.pop("layers", 2), options.pop("dim", 64), 4
    kv_heads, hidden = options.pop("head_count_kv", 2), 96
    head_dim = options.pop("head_dim", dim // heads)
    divisors, untied = options.pop("divisors", []), options.pop("untied", False)
    apart, biases = options.pop("apart", False), options.pop("biases", ())
    in_one = options.pop("in_one", arch == "phi3")
    pieces = json.loads(VOCABULARY.read_text("utf-8"))
    keys = {
        "block_count": layers,
        "context_length": 256,
        "embedding_length": dim,
        "feed_forward_length": hidden,
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.dimension_count": head_dim,
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
    }
    if arch == "gemma2":
        keys |= {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0}
    keys |= options
    writer = GGUFWriter(path, arch)
    for key, value in keys.items():
        if value is not None:
            add = {
                bool: writer.add_bool,
                int: writer.add_uint32,
                float: writer.add_float32,
                str: writer.add_string,
                list: writer.add_array,
            }[type(value)]
            add(f"{arch}.{key}", value)
    writer.add_name(f"tiny {arch}")
    writer.add_tokenizer_model("llama")
    writer.add_token_list([piece[0] for piece in pieces])
    writer.add_token_scores([piece[1] for piece in pieces])
    writer.add_token_types([piece[2] for piece in pieces])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    rng, turn = np.random.default_rng(seed), cycle(types)
    sizes = (
        arch,
        in_one,
        dim,
        heads * head_dim,
        kv_heads * head_dim,
        head_dim,
        options.get("expert_feed_forward_length", hidden),
    )
    for tensor, shape, spread in tensors(*sizes, layers, len(pieces), options.get("expert_count", 0), untied, biases):
        values = rng.standard_normal(shape, np.float32) * np.float32(spread)
        if "norm" in tensor:
            values += np.float32(1.0)
        kind = GGMLQuantizationType[
            next(turn) if tensor.endswith("weight") and values.ndim > 1 and shape[-1] % 32 == 0 else "F32"
        ]
        if apart and "_exps" in tensor:
            for expert, its in enumerate(values):
                writer.add_tensor(tensor.replace("_exps", f".{expert}"), quantize(its, kind), raw_dtype=kind)
        else:
            writer.add_tensor(tensor, quantize(values, kind), raw_dtype=kind)
    for i, divisor in enumerate(divisors):
        spread = np.linspace(1.0, 2.0 + 3 * i, keys["rope.dimension_count"] // 2, dtype=np.float32)
        writer.add_tensor(f"{divisor}.weight", spread)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tensors(arch, in_one, dim, q_dim, kv_dim, head_dim, hidden, layers, vocab, experts, untied, biases):
    """(name, shape, standard deviation) of each tensor; queries and keys are large enough for a lively attention."""
    even = dim**-0.5
    yield "token_embd.weight", (vocab, dim), 0.5
    yield "output_norm.weight", (dim,), 0.2
    if untied:
        yield "output.weight", (vocab, dim), even
    for layer in range(layers):
        block = f"blk.{layer}."
        yield block + "attn_norm.weight", (dim,), 0.2
        parts = list(zip(QKV, (q_dim, kv_dim, kv_dim), strict=True))
        if in_one:
            yield from matrix(block, "attn_qkv", (q_dim + 2 * kv_dim, dim), 1.5 * even, biases)
            yield from ((f"{block}{name}.bias", (rows,), 0.5) for name, rows in parts if name in biases)
        else:
            for name, rows in parts:
                yield from matrix(block, name, (rows, dim), 1.5 * even, biases)
        if arch in ("qwen3", "qwen3moe", "qwen3vl", "qwen3vlmoe", "gemma3"):
            yield block + "attn_q_norm.weight", (head_dim,), 0.2
            yield block + "attn_k_norm.weight", (head_dim,), 0.2
        yield from matrix(block, "attn_output", (dim, q_dim), even, biases)
        if arch == "gpt-oss":
            yield block + "attn_sinks.weight", (q_dim // head_dim,), 2.0
        yield block + ("post_attention_norm" if arch == "gpt-oss" else "ffn_norm") + ".weight", (dim,), 0.2
        if arch in ("gemma2", "gemma3", "glm4"):
            yield block + "post_attention_norm.weight", (dim,), 0.2
            yield block + "post_ffw_norm.weight", (dim,), 0.2
        if experts:
            yield from matrix(block, "ffn_gate_inp", (experts, dim), even, biases)
            lively = 4 * even if arch == "gpt-oss" else even  # some gates and ups are beyond their limits then
            yield from matrix(block, "ffn_gate_exps", (experts, hidden, dim), lively, biases)
            yield from matrix(block, "ffn_up_exps", (experts, hidden, dim), lively, biases)
            yield from matrix(block, "ffn_down_exps", (experts, dim, hidden), hidden**-0.5, biases)
        else:
            gate_in_up = arch in ("phi3", "glm4", "chatglm")
            if not gate_in_up:
                yield from matrix(block, "ffn_gate", (hidden, dim), even, biases)
            yield from matrix(block, "ffn_up", (2 * hidden if gate_in_up else hidden, dim), even, biases)
            yield from matrix(block, "ffn_down", (dim, hidden), hidden**-0.5, biases)


def matrix(block, name, shape, spread, biases):
    """A matrix, and its biases if it is among those that have some."""
    yield f"{block}{name}.weight", shape, spread
    if name in biases:
        yield f"{block}{name}.bias", shape[:-1], 0.5
