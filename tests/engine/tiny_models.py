"""Tiny random models of every architecture, written by the reference writer."""

from __future__ import annotations

import json
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize

from tests.engine import tiny_gemma3n
from tests.engine.tiny_deci import deci_tensors, openelm_tensors
from tests.engine.tiny_keys import ARCHITECTURES, MODELS, QKV
from tests.engine.tiny_kimi import kimi_tensors
from tests.engine.tiny_latent import LATENT, latent_attention
from tests.engine.tiny_recurrent import (
    CONVOLUTIONS,
    DELTA_NETS,
    recurrent_layers,
    recurrent_tensors,
)
from tests.engine.tiny_selective import SELECTIVE_SCANS, selective_tensors
from tests.engine.tiny_state_space import ATTENTION, FEED_FORWARD, STATE, STATE_SPACES, layer_parts, state_space_tensors
from tests.engine.tiny_traits import (
    BARE_NORMS,
    BIASED_NORMS,
    CENTRED,
    CHOICE_BIAS,
    EACH_NORMED,
    FFN_NORM,
    GATE_IN_UP,
    GATED,
    LEADING_ONES,
    NORMED,
    POST_NORMED,
    SUB_NORMED,
    UNGATED,
    WIDE_NORMED,
    WITHOUT_FFN_NORMS,
    WITHOUT_NORM_WEIGHTS,
    WITHOUT_PRE_NORMS,
)

VOCABULARY = Path(__file__).with_name("data") / "spm_vocabulary.json"


def architecture_of(name):
    return ARCHITECTURES.get(name, name.split("-")[0])


def write_tiny(path, name, *, seed=0, types=("F32",), **changes):
    """Write the model of that name; `changes` replace what MODELS has (__ for a dot), None takes a key out.

    types: of the matrices with whole blocks, in turn.
    """
    options = {**MODELS[name], **{key.replace("__", "."): value for key, value in changes.items()}}
    arch = architecture_of(name)
    layers, dim, heads = options.pop("layers", 2), options.pop("dim", 64), options.pop("heads", 4)
    kv_heads, hidden = options.pop("head_count_kv", 2), 96
    head_dim = options.pop("head_dim", dim // heads)
    divisors, untied = options.pop("divisors", []), options.pop("untied", False)
    apart, biases = options.pop("apart", False), options.pop("biases", ())
    in_one, shared = options.pop("in_one", arch == "phi3"), options.pop("shared", 0)
    of_one_row = LEADING_ONES if options.pop("leading_ones", False) else ()
    ignored, qk_norms = options.pop("ignored", 0), options.pop("qk_norms", arch in NORMED)
    ffn_norms = options.pop("ffn_norms", arch not in WITHOUT_FFN_NORMS)
    first_matrix, scales = options.pop("first_matrix", False), options.pop("scales", False)
    second_attn_norm = options.pop("second_attn_norm", False)
    state_space = {"norms": options.pop("state_norms", True), "biases": options.pop("tap_biases", True)}
    norm_biases, positions = options.pop("norm_biases", arch in BIASED_NORMS), options.pop("positions", False)
    experts_every = options.pop("experts_every", 1)
    embedding = options.pop("embedding", True)
    head_gates, gated = options.pop("head_gates", False), options.pop("gated", True)
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
            add(key if key.startswith("xielu.") else f"{arch}.{key}", value)
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
        expert_hidden=int(np.max(options.get("expert_feed_forward_length", hidden))),
        shared=shared,
        vocab=len(pieces),
        experts=options.get("expert_count", 0),
        dense=options.get("leading_dense_block_count", 0),
        every=options.get("interleave_moe_layer_step") or experts_every,
        layers=layers,
        ignored=ignored,
        untied=untied,
        biases=biases,
        qk_norms=qk_norms,
        ffn_norms=ffn_norms,
        first_matrix=first_matrix,
        scales=scales,
        second_attn_norm=second_attn_norm,
        norm_biases=norm_biases,
        head_gates=head_gates,
        gated=gated,
        embedding=embedding,
        positions=positions or arch in ("starcoder", "gpt2"),
        keys=keys,
        recurrent=recurrent_layers(keys, layers),
        state_space=state_space,
    )
    own = {"gemma4": gemma4_tensors, "deci": deci_tensors, "openelm": openelm_tensors}
    bare = BARE_NORMS.get(arch, ())
    for tensor, shape, spread in own[arch](keys, len(pieces)) if arch in own else tensors(tiny):
        tensor = tensor.removesuffix(".weight") if tensor.split(".")[-2] in bare else tensor
        values = as_learned(tiny, tensor, rng.standard_normal(shape, np.float32) * np.float32(spread))
        is_whole = tensor.endswith("weight") and values.ndim > 1 and shape[-1] % 32 == 0
        is_plain = any(name in tensor for name in ("altup_router", "ssm_norm"))
        kind = GGMLQuantizationType[next(turn) if is_whole and not is_plain else "F32"]
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


def as_learned(m, tensor, values):
    """Random numbers about 0 as numbers of the kind that a tensor has."""
    if ("norm" in tensor and not tensor.endswith("bias")) or "scale" in tensor:
        values += np.float32(1.0)
    if m.arch == "gemma3n" and tensor.endswith("attn_q_norm.weight"):
        values *= np.float32(m.head_dim**-0.5)  # queries are not divided by that
    return -np.exp(values) if tensor.endswith("ssm_a") else values


def outside(m):
    """Those outside of the layers."""
    if m.embedding:
        yield "token_embd.weight", (m.vocab, m.dim), 0.5
    yield from norm(m, "token_embd_norm" if m.arch in CONVOLUTIONS else "output_norm")
    if m.untied:
        yield "output.weight", (m.vocab, m.dim), m.dim**-0.5
    if m.positions:
        yield "position_embd.weight", (m.keys["context_length"], m.dim), 0.3
    if m.arch == "bloom":
        yield from norm(m, "token_embd_norm")
    if m.arch in ("phi2", "phimoe"):
        yield "output.bias", (m.vocab,), 0.5
    if m.arch == "gemma3n":
        yield from tiny_gemma3n.outside(m)


def tensors(m):
    """(name, shape, standard deviation) of each tensor of a tiny model."""
    yield from outside(m)
    for layer in range(m.layers + m.ignored):
        block, heads = f"blk.{layer}.", m.keys["attention.head_count"]
        if isinstance(heads, list):
            m.q_dim = heads[layer] * m.head_dim
        if layer >= m.layers:
            yield from guessing(m, block)
        if m.arch not in WITHOUT_PRE_NORMS:
            yield from norm(m, block + "attn_norm")
        if m.second_attn_norm:
            yield from norm(m, block + "attn_norm_2")
        parts = layer_parts(m.arch, m.keys, layer, m.recurrent)
        if STATE in parts:
            yield from state(m, block)
        if ATTENTION in parts:
            yield from latent_attention(m, block) if m.arch in LATENT else attention(m, block)
        if m.arch == "gemma3n":
            yield from tiny_gemma3n.in_layer(m, block)
        if FEED_FORWARD in parts:
            has_experts = layer >= m.dense and (layer + 1) % m.every == 0
            yield from feed_forward(m, block, m.experts if has_experts else 0)


def guessing(m, block):
    """What a layer that guesses has more than others."""
    yield block + "nextn.eh_proj.weight", (m.dim, 2 * m.dim), m.dim**-0.5
    yield block + "nextn.enorm.weight", (m.dim,), 0.2
    yield block + "nextn.hnorm.weight", (m.dim,), 0.2
    if m.arch == "nemotron_h_moe":
        yield block + "nextn.shared_head_norm.weight", (m.dim,), 0.2
        yield block + "post_attention_norm.weight", (m.dim,), 0.2


def state(m, block):
    """Instead of attention, or beside it."""
    if m.arch in STATE_SPACES:
        return state_space_tensors(block, m.keys, **m.state_space)
    if m.arch == "kimi-linear":
        return kimi_tensors(block, m.keys)
    if m.arch in SELECTIVE_SCANS:
        return selective_tensors(m.arch, block, m.keys, biases=m.state_space["biases"])
    return recurrent_tensors(m.arch, block, m.keys, m.first_matrix)


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
    if m.arch in GATED and m.gated:
        yield f"{block}attn_gate.weight", (m.q_dim // (m.head_dim if m.head_gates else 1), m.dim), 1.5 * even
    if m.qk_norms:
        for part, width in (("q", m.q_dim), ("k", m.kv_dim)):
            each = (width // m.head_dim, m.head_dim) if m.arch in (*CENTRED, "plamo2") else (m.head_dim,)
            yield f"{block}attn_{part}_norm.weight", (width,) if m.arch in (*WIDE_NORMED, *EACH_NORMED) else each, 0.2
    if m.arch == "talkie":
        yield f"{block}attn_q_norm.weight", (m.q_dim // m.head_dim, 1), 0.3
        yield from ((f"{block}{name}.scale", (1,), 0.3) for name in ("attn_output", "ffn_down"))
        yield f"{block}layer_output_scale.weight", (1,), 0.3
    yield from matrix(block, "attn_output", (m.dim, m.q_dim), even, m.biases)
    if m.arch in SUB_NORMED:
        yield f"{block}attn_sub_norm.weight", (m.q_dim,), 0.2
        yield f"{block}ffn_sub_norm.weight", (m.hidden,), 0.2
    if m.scales:
        names = (*QKV, "attn_output", "ffn_gate", "ffn_up", "ffn_down")
        yield from ((f"{block}{name}.scale", (1,), 0.3) for name in names)
    if m.arch in ("gpt-oss", "granite_swa"):
        yield block + "attn_sinks.weight", (m.q_dim // m.head_dim,), 2.0


def feed_forward(m, block, experts):
    """With what is normed before and behind it; some of gpt-oss's gates and ups are beyond their limits."""
    even = m.dim**-0.5
    if m.ffn_norms:
        yield from norm(m, block + FFN_NORM.get(m.arch, "ffn_norm"))
    if m.arch in POST_NORMED:
        yield f"{block}post_attention_norm.weight", (m.dim,), 0.2
        yield f"{block}post_ffw_norm.weight", (m.dim,), 0.2
    if experts:
        yield from matrix(block, "ffn_gate_inp", (experts, m.dim), even, m.biases)
        if "exp_probs_b" in m.biases:
            yield block + CHOICE_BIAS.get(m.arch, "exp_probs_b.bias"), (experts,), 0.3
        yield from gated(m, block, "_exps", m.expert_hidden, 4 * even if m.arch == "gpt-oss" else even, experts)
        if m.shared:
            yield from gated(m, block, "_shexp", m.shared, even)
        if m.arch in ("qwen2moe", *DELTA_NETS):
            yield block + "ffn_gate_inp_shexp.weight", (m.dim,), 2 * even
    elif m.arch in GATE_IN_UP:
        yield from matrix(block, "ffn_up", (2 * m.hidden, m.dim), even, m.biases)
        yield from matrix(block, "ffn_down", (m.dim, m.hidden), m.hidden**-0.5, m.biases)
    elif m.arch in UNGATED:
        yield from matrix(block, "ffn_up", (m.hidden, m.dim), even, m.biases)
        yield from matrix(block, "ffn_down", (m.dim, m.hidden), m.hidden**-0.5, m.biases)
    else:
        yield from gated(m, block, "", m.hidden, even)


def norm(m, name):
    """A norm of the residual stream."""
    if m.arch in WITHOUT_NORM_WEIGHTS:
        return
    yield f"{name}.weight", (m.dim,), 0.2
    if m.norm_biases:
        yield f"{name}.bias", (m.dim,), 0.3


def gated(m, block, ending, hidden, spread, *counts):
    """A gated unit, or a stack of them."""
    if m.arch not in UNGATED:
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
