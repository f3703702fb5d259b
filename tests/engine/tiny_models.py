"""Tiny random models of every architecture, written by the reference writer."""

from __future__ import annotations

import json
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize

from tests.engine.tiny_recurrent import (
    CONVOLUTIONS,
    DELTA_NET_KEYS,
    DELTA_NETS,
    recurrent_layers,
    recurrent_tensors,
)

VOCABULARY = Path(__file__).with_name("data") / "spm_vocabulary.json"

QKV = ("attn_q", "attn_k", "attn_v")
EXPERTS = {"expert_count": 8, "expert_used_count": 2}
LONG_ROPE = {"rope.scaling.attn_factor": 1.2, "rope.dimension_count": 12}
SCALED_SHARES = {"expert_weights_norm": True, "expert_weights_scale": 2.5}
SCALES = {"embedding_scale": 3.0, "residual_scale": 0.4, "attention.scale": 0.1, "logit_scale": 2.0}

GEMMA_4 = {
    "divisors": ["rope_freqs"],
    "layers": 4,
    "head_dim": 64,
    "attention.key_length_swa": 32,
    "attention.value_length_swa": 32,
    "rope.dimension_count_swa": 32,
    "attention.head_count_kv": [2, 1, 2, 1],
    "attention.sliding_window": 16,
    "attention.sliding_window_pattern": [True, False, True, False],
    "attention.shared_kv_layers": 0,
    "rope.freq_base": 1_000_000.0,
    "rope.freq_base_swa": 10_000.0,
    "final_logit_softcapping": 3.0,
    "embedding_length_per_layer_input": 0,
}
"""Windows and heads of half the width in every other layer; layers without a window have no matrix of values."""

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
    "gemma4": GEMMA_4,
    "gemma4-e": {
        **GEMMA_4,
        "attention.head_count_kv": 1,
        "attention.shared_kv_layers": 3,
        "attention.sliding_window_pattern": [True, False, True, False, True, True, False],
        "feed_forward_length": [96, 96, 96, 96, 192, 192, 192],
        "layers": 7,
        "embedding_length_per_layer_input": 32,
    },
    "gemma4-moe": {**GEMMA_4, **EXPERTS, "expert_used_count": 3, "expert_feed_forward_length": 48},
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
    "qwen2moe": {
        **EXPERTS,
        "expert_feed_forward_length": 48,
        "expert_shared_feed_forward_length": 80,
        "shared": 80,
        "untied": True,
        "biases": QKV,
    },
    "ernie4_5-moe": {
        **EXPERTS,
        "layers": 4,
        "expert_feed_forward_length": 48,
        "expert_shared_count": 2,
        "expert_shared_feed_forward_length": 96,
        "shared": 96,
        "leading_dense_block_count": 1,
        "interleave_moe_layer_step": 1,
        "biases": ("exp_probs_b",),
    },
    "glm4moe": {
        **EXPERTS,
        **SCALED_SHARES,
        "layers": 3,
        "ignored": 1,
        "head_dim": 32,
        "rope.dimension_count": 16,
        "expert_gating_func": 2,
        "expert_feed_forward_length": 48,
        "expert_shared_count": 1,
        "shared": 48,
        "leading_dense_block_count": 1,
        "nextn_predict_layers": 1,
        "untied": True,
        "biases": (*QKV, "exp_probs_b"),
    },
    "glm4moe-norms": {
        **EXPERTS,
        "layers": 2,
        "qk_norms": True,
        "expert_feed_forward_length": 48,
        "expert_shared_count": 1,
        "shared": 48,
        "untied": True,
        "biases": ("exp_probs_b",),
    },
    "bailingmoe2": {
        **SCALED_SHARES,
        "layers": 3,
        "in_one": True,
        "untied": True,
        "rope.dimension_count": 8,
        "expert_count": 32,
        "expert_used_count": 6,
        "expert_group_count": 8,
        "expert_group_used_count": 4,
        "expert_gating_func": 2,
        "expert_feed_forward_length": 32,
        "expert_shared_count": 1,
        "expert_shared_feed_forward_length": 64,
        "shared": 64,
        "leading_dense_block_count": 1,
        "biases": ("exp_probs_b",),
    },
    "dots1": {
        **EXPERTS,
        **SCALED_SHARES,
        "head_count_kv": 4,
        "layers": 3,
        "untied": True,
        "expert_gating_func": 2,
        "expert_feed_forward_length": 48,
        "expert_shared_count": 2,
        "shared": 96,
        "leading_dense_block_count": 1,
        "biases": ("exp_probs_b",),
    },
    "dots1-softmax": {
        **EXPERTS,
        "head_count_kv": 4,
        "untied": True,
        "expert_gating_func": 1,
        "expert_weights_scale": 1.5,
        "expert_feed_forward_length": 48,
        "expert_shared_count": 1,
        "shared": 48,
    },
    "deepseek": {
        **EXPERTS,
        "untied": True,
        "expert_feed_forward_length": 48,
        "expert_shared_count": 2,
        "shared": 96,
        "leading_dense_block_count": 1,
        "expert_weights_scale": 1.0,
    },
    "hunyuan-moe": {**EXPERTS, "expert_feed_forward_length": 96, "expert_shared_feed_forward_length": 80, "shared": 80},
    "hunyuan-dense": {"head_dim": 32},
    "seed_oss": {"head_dim": 32, "untied": True, "biases": QKV},
    "arcee": {"untied": True},
    "minicpm": {**SCALES, "attention.scale": None},
    "olmo2": {"untied": True},
    "olmo2-windows": {
        "untied": True,
        "layers": 5,
        "attention.sliding_window": 16,
        "rope.freq_base": 500_000.0,
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": 8.0,
        "rope.scaling.original_context_length": 64,
    },
    "exaone4": {"head_count_kv": 2},
    "exaone4-windows": {"layers": 64, "attention.sliding_window": 16},
    "command-r": {"logit_scale": 0.25},
    "cohere2": {"layers": 5, "attention.sliding_window": 16, "logit_scale": 0.25, "rope.dimension_count": 16},
    "olmoe": {**EXPERTS, "head_count_kv": 4, "untied": True},
    "granitemoe-shared": {**SCALES, **EXPERTS, "expert_shared_feed_forward_length": 48, "shared": 48},
    "lfm2": {"head_count_kv": [0, 0, 2, 0, 2], "layers": 5, "shortconv.l_cache": 3, "rope.freq_base": 1_000_000.0},
    "lfm2moe": {
        **EXPERTS,
        "head_count_kv": [0, 2, 0, 2],
        "layers": 4,
        "shortconv.l_cache": 4,
        "expert_feed_forward_length": 48,
        "expert_gating_func": 2,
        "leading_dense_block_count": 2,
        "biases": ("exp_probs_b",),
    },
    "qwen35moe": {
        **EXPERTS,
        **DELTA_NET_KEYS,
        "layers": 4,
        "untied": True,
        "expert_feed_forward_length": 48,
        "expert_shared_feed_forward_length": 80,
        "shared": 80,
    },
    "qwen3next": {
        **EXPERTS,
        **DELTA_NET_KEYS,
        "layers": 4,
        "ssm.group_count": 2,
        "rope.dimension_sections": None,
        "expert_feed_forward_length": 48,
        "expert_shared_feed_forward_length": 48,
        "shared": 48,
    },
    "qwen35": {**DELTA_NET_KEYS, "layers": 5, "full_attention_interval": 2},
    "qwen35-grouped": {
        **DELTA_NET_KEYS,
        "layers": 4,
        "attention.recurrent_layers": [True, True, False, True],
        "ssm.group_count": 2,
    },
    "qwen35-shared": {
        **DELTA_NET_KEYS,
        "layers": 4,
        "attention.recurrent_layers": [True, True, False, True, False],
        "ignored": 1,
        "nextn_predict_layers": 1,
        "ssm.group_count": 2,
    },
}
"""Each model's GGUF keys (without the architecture's name), and what is no key: see write_tiny."""

ARCHITECTURES = {
    "gpt-oss": "gpt-oss",
    "mistral": "llama",
    "mixtral": "llama",
    "mixtral-apart": "llama",
    "ernie4_5-moe": "ernie4_5-moe",
    "hunyuan-moe": "hunyuan-moe",
    "hunyuan-dense": "hunyuan-dense",
    "command-r": "command-r",
}
"""Of models whose name does not begin with it."""

NORMED = (
    "qwen3",
    "qwen3moe",
    "qwen3vl",
    "qwen3vlmoe",
    "gemma3",
    "bailingmoe2",
    "dots1",
    "olmoe",
    "olmo2",
    "exaone4",
    "hunyuan-dense",
    "hunyuan-moe",
    *CONVOLUTIONS,
    *DELTA_NETS,
)
"""Architectures with norms of queries and keys."""

WIDE_NORMED = ("olmoe", "olmo2")
"""Of those, the ones that norm all heads together."""

WITHOUT_PRE_NORMS = ("olmo2", "exaone4")
"""Architectures that norm results alone."""

CENTRED = ("command-r", "cohere2")
"""Architectures whose norms take the mean away, and whose attention and feed-forward layer read the same."""


LEADING_ONES = ("exp_probs_b.bias", "ffn_gate_inp_shexp.weight")
"""Endings of the vectors that llama.cpp's converter writes as matrices of one row."""


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
    in_one, shared = options.pop("in_one", arch == "phi3"), options.pop("shared", 0)
    of_one_row = LEADING_ONES if options.pop("leading_ones", False) else ()
    ignored, qk_norms = options.pop("ignored", 0), options.pop("qk_norms", arch in NORMED)
    pieces = json.loads(VOCABULARY.read_text("utf-8"))
    keys = {
        "block_count": layers + ignored,
        "context_length": 256,
        "embedding_length": dim,
        "feed_forward_length": hidden,
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        f"attention.layer_norm_{'' if arch in CENTRED else 'rms_'}epsilon": 1e-5,
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
    tiny = SimpleNamespace(
        arch=arch,
        in_one=in_one,
        dim=dim,
        q_dim=heads * head_dim,
        kv_dim=(max(kv_heads) if isinstance(kv_heads, list) else kv_heads) * head_dim,
        head_dim=head_dim,
        hidden=hidden,
        expert_hidden=options.get("expert_feed_forward_length", hidden),
        shared=shared,
        vocab=len(pieces),
        experts=options.get("expert_count", 0),
        dense=options.get("leading_dense_block_count", 0),
        layers=layers,
        ignored=ignored,
        untied=untied,
        biases=biases,
        qk_norms=qk_norms,
        keys=keys,
        recurrent=recurrent_layers(keys, layers),
    )
    for tensor, shape, spread in gemma4_tensors(keys, len(pieces)) if arch == "gemma4" else tensors(tiny):
        values = rng.standard_normal(shape, np.float32) * np.float32(spread)
        if "norm" in tensor or "scale" in tensor:
            values += np.float32(1.0)
        if tensor.endswith("ssm_a"):
            values = -np.exp(values)
        kind = GGMLQuantizationType[
            next(turn) if tensor.endswith("weight") and values.ndim > 1 and shape[-1] % 32 == 0 else "F32"
        ]
        if apart and "_exps" in tensor:
            for expert, its in enumerate(values):
                writer.add_tensor(tensor.replace("_exps", f".{expert}"), quantize(its, kind), raw_dtype=kind)
        else:
            values = values[None] if tensor.endswith(of_one_row) else values
            writer.add_tensor(tensor, quantize(values, kind), raw_dtype=kind)
    for i, divisor in enumerate(divisors):
        count = keys["rope.dimension_count"] // 2
        spread = np.linspace(1.0, 2.0 + 3 * i, count, dtype=np.float32)
        few_turned = np.where(np.arange(count) < 8, np.float32(1), np.float32(1e30))
        writer.add_tensor(f"{divisor}.weight", few_turned if arch == "gemma4" else spread)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tensors(m):
    """(name, shape, standard deviation) of each tensor of a tiny model."""
    yield "token_embd.weight", (m.vocab, m.dim), 0.5
    yield ("token_embd_norm" if m.arch in CONVOLUTIONS else "output_norm") + ".weight", (m.dim,), 0.2
    if m.untied:
        yield "output.weight", (m.vocab, m.dim), m.dim**-0.5
    for layer in range(m.layers + m.ignored):
        block = f"blk.{layer}."
        if layer >= m.layers:
            yield block + "nextn.eh_proj.weight", (m.dim, 2 * m.dim), m.dim**-0.5
            yield block + "nextn.enorm.weight", (m.dim,), 0.2
            yield block + "nextn.hnorm.weight", (m.dim,), 0.2
        if m.arch not in WITHOUT_PRE_NORMS:
            yield block + "attn_norm.weight", (m.dim,), 0.2
        yield from recurrent_tensors(m.arch, block, m.keys) if layer in m.recurrent else attention(m, block)
        yield from feed_forward(m, block, m.experts if layer >= m.dense else 0)


def attention(m, block):
    """Queries and keys are large enough to make it lively."""
    even, rows = m.dim**-0.5, (2 * m.q_dim if m.arch in DELTA_NETS else m.q_dim, m.kv_dim, m.kv_dim)
    if m.in_one:
        yield from matrix(block, "attn_qkv", (sum(rows), m.dim), 1.5 * even, m.biases)
        yield from (
            (f"{block}{name}.bias", (count,), 0.5) for name, count in zip(QKV, rows, strict=True) if name in m.biases
        )
    else:
        for name, count in zip(QKV, rows, strict=True):
            yield from matrix(block, name, (count, m.dim), 1.5 * even, m.biases)
    if m.qk_norms:
        widths = (m.q_dim, m.kv_dim) if m.arch in WIDE_NORMED else (m.head_dim, m.head_dim)
        yield block + "attn_q_norm.weight", widths[:1], 0.2
        yield block + "attn_k_norm.weight", widths[1:], 0.2
    yield from matrix(block, "attn_output", (m.dim, m.q_dim), even, m.biases)
    if m.arch == "gpt-oss":
        yield block + "attn_sinks.weight", (m.q_dim // m.head_dim,), 2.0


def feed_forward(m, block, experts):
    """With what is normed before and behind it; some of gpt-oss's gates and ups are beyond their limits."""
    even = m.dim**-0.5
    ffn_norm = "post_attention_norm" if m.arch in ("gpt-oss", "glm4moe", "seed_oss", *DELTA_NETS) else "ffn_norm"
    if m.arch not in (*WITHOUT_PRE_NORMS, *CENTRED):
        yield f"{block}{ffn_norm}.weight", (m.dim,), 0.2
    if m.arch in ("gemma2", "gemma3", "glm4", *WITHOUT_PRE_NORMS):
        yield block + "post_attention_norm.weight", (m.dim,), 0.2
        yield block + "post_ffw_norm.weight", (m.dim,), 0.2
    if experts:
        yield from matrix(block, "ffn_gate_inp", (experts, m.dim), even, m.biases)
        if "exp_probs_b" in m.biases:
            yield block + "exp_probs_b.bias", (experts,), 0.3
        yield from gated(m, block, "_exps", m.expert_hidden, 4 * even if m.arch == "gpt-oss" else even, experts)
        if m.shared:
            yield from gated(m, block, "_shexp", m.shared, even)
        if m.arch in ("qwen2moe", *DELTA_NETS):
            yield block + "ffn_gate_inp_shexp.weight", (m.dim,), 2 * even
    elif m.arch in ("phi3", "glm4", "chatglm"):
        yield from matrix(block, "ffn_up", (2 * m.hidden, m.dim), even, m.biases)
        yield from matrix(block, "ffn_down", (m.dim, m.hidden), m.hidden**-0.5, m.biases)
    elif m.arch == "arcee":
        yield from matrix(block, "ffn_up", (m.hidden, m.dim), even, m.biases)
        yield from matrix(block, "ffn_down", (m.dim, m.hidden), m.hidden**-0.5, m.biases)
    else:
        yield from gated(m, block, "", m.hidden, even)


def gated(m, block, ending, hidden, spread, *counts):
    """A gated unit, or a stack of them."""
    yield from matrix(block, f"ffn_gate{ending}", (*counts, hidden, m.dim), spread, m.biases)
    yield from matrix(block, f"ffn_up{ending}", (*counts, hidden, m.dim), spread, m.biases)
    yield from matrix(block, f"ffn_down{ending}", (*counts, m.dim, hidden), hidden**-0.5, m.biases)


def gemma4_tensors(keys, vocab):
    """The same for a Gemma 4 with these keys."""
    dim, layers, heads = keys["embedding_length"], keys["block_count"], keys["attention.head_count"]
    even, windowed = dim**-0.5, keys["attention.sliding_window_pattern"]
    width, n_shared = keys["embedding_length_per_layer_input"], keys["attention.shared_kv_layers"]
    experts = keys.get("expert_count", 0)
    yield "token_embd.weight", (vocab, dim), 0.5
    yield "output_norm.weight", (dim,), 0.2
    if width:
        yield "per_layer_token_embd.weight", (vocab, layers * width), 0.5
        yield "per_layer_model_proj.weight", (layers * width, dim), 0.5
        yield "per_layer_proj_norm.weight", (width,), 0.2
    for i in range(layers):
        block = f"blk.{i}."
        head_dim = keys["attention.key_length_swa" if windowed[i] else "attention.key_length"]
        kv_heads, hidden = (
            value[i] if isinstance(value, list) else value
            for value in (keys["attention.head_count_kv"], keys["feed_forward_length"])
        )
        kv_dim = kv_heads * head_dim
        for norm in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            yield f"{block}{norm}.weight", (dim,), 0.2
        yield block + "attn_q.weight", (heads * head_dim, dim), 1.5 * even
        yield block + "attn_q_norm.weight", (head_dim,), 0.2
        if i < layers - n_shared:
            yield block + "attn_k.weight", (kv_dim, dim), 1.5 * even
            yield block + "attn_k_norm.weight", (head_dim,), 0.2
            if windowed[i] or width:
                yield block + "attn_v.weight", (kv_dim, dim), 1.5 * even
        yield block + "attn_output.weight", (dim, heads * head_dim), even
        yield block + "layer_output_scale.weight", (1,), 0.3
        yield block + "ffn_gate.weight", (hidden, dim), even
        yield block + "ffn_up.weight", (hidden, dim), even
        yield block + "ffn_down.weight", (dim, hidden), hidden**-0.5
        if experts:
            for norm in ("pre_ffw_norm_2", "post_ffw_norm_1", "post_ffw_norm_2"):
                yield f"{block}{norm}.weight", (dim,), 0.2
            small = keys["expert_feed_forward_length"]
            yield block + "ffn_gate_inp.weight", (experts, dim), 1.0
            yield block + "ffn_gate_inp.scale", (dim,), 0.2
            yield block + "ffn_gate_up_exps.weight", (experts, 2 * small, dim), even
            yield block + "ffn_down_exps.weight", (experts, dim, small), small**-0.5
            yield block + "ffn_down_exps.scale", (experts,), 0.3
        if width:
            yield block + "inp_gate.weight", (width, dim), even
            yield block + "proj.weight", (dim, width), width**-0.5
            yield block + "post_norm.weight", (dim,), 0.2


def matrix(block, name, shape, spread, biases):
    """A matrix, and its biases if it is among those that have some."""
    yield f"{block}{name}.weight", shape, spread
    if name in biases:
        yield f"{block}{name}.bias", shape[:-1], 0.5
