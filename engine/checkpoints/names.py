"""Foreign names of tensors, translated into GGUF's."""

from __future__ import annotations

import re
from collections.abc import Mapping

from engine.architecture.architecture import USUAL_CHOICE_BIAS
from engine.architecture.architectures import ARCHITECTURES

_META_OUTSIDE = {
    "tok_embeddings.weight": "token_embd.weight",
    "norm.weight": "output_norm.weight",
    "output.weight": "output.weight",
}
_META_LAYER = {
    "attention.wq": "attn_q",
    "attention.wk": "attn_k",
    "attention.wv": "attn_v",
    "attention.wo": "attn_output",
    "attention_norm": "attn_norm",
    "feed_forward.w1": "ffn_gate",
    "feed_forward.w2": "ffn_down",
    "feed_forward.w3": "ffn_up",
    "ffn_norm": "ffn_norm",
}
_HUGGING_FACE_OUTSIDE = {
    "embed_tokens.weight": "token_embd.weight",
    "norm.weight": "output_norm.weight",
    "norm.bias": "output_norm.bias",
    "final_layernorm.weight": "output_norm.weight",
    "final_layernorm.bias": "output_norm.bias",
    "embedding_norm.weight": "token_embd_norm.weight",
    "word_embeddings.weight": "token_embd.weight",
    "lm_head.weight": "output.weight",
    "lm_head.bias": "output.bias",
    "embed_in.weight": "token_embd.weight",
    "embed_out.weight": "output.weight",
    "final_layer_norm.weight": "output_norm.weight",
    "final_layer_norm.bias": "output_norm.bias",
    "tok_embeddings.weight": "token_embd.weight",
    "output.weight": "output.weight",
    "wte.weight": "token_embd.weight",
    "embeddings.weight": "token_embd.weight",
    "norm_f.weight": "output_norm.weight",
    "norm_f.bias": "output_norm.bias",
    "ln_f.weight": "output_norm.weight",
    "ln_f.bias": "output_norm.bias",
    "wpe.weight": "position_embd.weight",
    "word_embeddings_layernorm.weight": "token_embd_norm.weight",
    "word_embeddings_layernorm.bias": "token_embd_norm.bias",
    "embed_tokens_per_layer.weight": "per_layer_token_embd.weight",
    "per_layer_model_projection.weight": "per_layer_model_proj.weight",
    "per_layer_projection_norm.weight": "per_layer_proj_norm.weight",
    **{f"altup_projections.{i}.weight": f"altup_proj.{i}.weight" for i in range(3)},
    **{f"altup_unembed_projections.{i}.weight": f"altup_unembd_proj.{i}.weight" for i in range(3)},
}
_HUGGING_FACE_LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.attn_sub_norm": "attn_sub_norm",
    "mlp.ffn_sub_norm": "ffn_sub_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "post_self_attn_layernorm": "post_attention_norm",
    "post_mlp_layernorm": "post_ffw_norm",
    "block_sparse_moe.gate": "ffn_gate_inp",
    "mlp.gate": "ffn_gate_inp",
    "mlp.gate.wg": "ffn_gate_inp",
    "mlp.router": "ffn_gate_inp",
    "block_sparse_moe.router.layer": "ffn_gate_inp",
    "self_attn.query_layernorm": "attn_q_norm",
    "self_attn.key_layernorm": "attn_k_norm",
    "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
    "mlp.shared_expert.gate_proj": "ffn_gate_shexp",
    "mlp.shared_expert.up_proj": "ffn_up_shexp",
    "mlp.shared_expert.down_proj": "ffn_down_shexp",
    "mlp.shared_experts.gate_proj": "ffn_gate_shexp",
    "mlp.shared_experts.up_proj": "ffn_up_shexp",
    "mlp.shared_experts.down_proj": "ffn_down_shexp",
    "mlp.shared_mlp.gate_proj": "ffn_gate_shexp",
    "mlp.shared_mlp.up_proj": "ffn_up_shexp",
    "mlp.shared_mlp.down_proj": "ffn_down_shexp",
    "shared_mlp.output_linear": "ffn_down_shexp",
}
_GEMMA = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
"""From the second on Gemma norms the results of its two halves as well, by the name that others' next norm has."""

_LLAMA4 = {
    "feed_forward.router": "ffn_gate_inp",
    **{f"feed_forward.{part}_proj": f"ffn_{part}" for part in ("gate", "up", "down")},
    **{f"feed_forward.shared_expert.{part}_proj": f"ffn_{part}_shexp" for part in ("gate", "up", "down")},
}

_GEMMA4 = {
    **_GEMMA,
    "post_feedforward_layernorm_1": "post_ffw_norm_1",
    "pre_feedforward_layernorm_2": "pre_ffw_norm_2",
    "post_feedforward_layernorm_2": "post_ffw_norm_2",
    "router.proj": "ffn_gate_inp",
    "per_layer_input_gate": "inp_gate",
    "per_layer_projection": "proj",
    "post_per_layer_input_norm": "post_norm",
}

_GEMMA3N = {
    **_GEMMA4,
    "altup.modality_router": "altup_router",
    "altup.router_norm": "altup_router_norm",
    "altup.prediction_coefs": "altup_predict_coef",
    "altup.correction_coefs": "altup_correct_coef",
    "laurel.linear_left": "laurel_l",
    "laurel.linear_right": "laurel_r",
    "laurel.post_laurel_norm": "laurel_post_norm",
}

_LFM2 = {
    "operator_norm": "attn_norm",
    "ffn_norm": "ffn_norm",
    "self_attn.out_proj": "attn_output",
    "self_attn.q_layernorm": "attn_q_norm",
    "self_attn.k_layernorm": "attn_k_norm",
    "conv.in_proj": "shortconv.in_proj",
    "conv.conv": "shortconv.conv",
    "conv.out_proj": "shortconv.out_proj",
    "feed_forward.w1": "ffn_gate",
    "feed_forward.w2": "ffn_down",
    "feed_forward.w3": "ffn_up",
    "feed_forward.gate": "ffn_gate_inp",
}

_QWEN35 = {
    "post_attention_layernorm": "post_attention_norm",
    "linear_attn.in_proj_qkv": "attn_qkv",
    "linear_attn.in_proj_z": "attn_gate",
    "linear_attn.in_proj_b": "ssm_beta",
    "linear_attn.in_proj_a": "ssm_alpha",
    "linear_attn.conv1d": "ssm_conv1d",
    "linear_attn.norm": "ssm_norm",
    "linear_attn.out_proj": "ssm_out",
}
_QWEN3_NEXT = {
    "post_attention_layernorm": "post_attention_norm",
    "linear_attn.in_proj_ba": "ssm_ba",
    "linear_attn.conv1d": "ssm_conv1d",
    "linear_attn.norm": "ssm_norm",
    "linear_attn.out_proj": "ssm_out",
}
"""Of the matrix in_proj_qkvz GGUF makes two, with the rows in another order: see fused.py."""

_BAILING = {
    "attention.query_key_value": "attn_qkv",
    "attention.dense": "attn_output",
    "attention.query_layernorm": "attn_q_norm",
    "attention.key_layernorm": "attn_k_norm",
}

_GPT_NEOX = {
    "attention.query_key_value": "attn_qkv",
    "attention.dense": "attn_output",
    "mlp.dense_h_to_4h": "ffn_up",
    "mlp.dense_4h_to_h": "ffn_down",
}
_FALCON = {
    "self_attention.query_key_value": "attn_qkv",
    "self_attention.dense": "attn_output",
    "mlp.dense_h_to_4h": "ffn_up",
    "mlp.dense_4h_to_h": "ffn_down",
    "ln_mlp": "attn_norm",
    "ln_attn": "attn_norm_2",
}
_INTERNLM2 = {
    "attention.wo": "attn_output",
    "attention_norm": "attn_norm",
    "ffn_norm": "ffn_norm",
    "feed_forward.w1": "ffn_gate",
    "feed_forward.w2": "ffn_down",
    "feed_forward.w3": "ffn_up",
}
_EXAONE = {
    "ln_1": "attn_norm",
    "ln_2": "ffn_norm",
    "attn.attention.q_proj": "attn_q",
    "attn.attention.k_proj": "attn_k",
    "attn.attention.v_proj": "attn_v",
    "attn.attention.out_proj": "attn_output",
    "mlp.c_fc_0": "ffn_gate",
    "mlp.c_fc_1": "ffn_up",
    "mlp.c_proj": "ffn_down",
}

_GPT_2 = {
    "ln_1": "attn_norm",
    "ln_2": "ffn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
_MPT = {
    "norm_1": "attn_norm",
    "norm_2": "ffn_norm",
    "attn.Wqkv": "attn_qkv",
    "attn.out_proj": "attn_output",
    "ffn.up_proj": "ffn_up",
    "ffn.down_proj": "ffn_down",
}
_FIRST_QWEN = {
    "ln_1": "attn_norm",
    "ln_2": "ffn_norm",
    "attn.c_proj": "attn_output",
    "mlp.w1": "ffn_up",
    "mlp.w2": "ffn_gate",
    "mlp.c_proj": "ffn_down",
}

_LATENT = {
    "self_attn.q_a_proj": "attn_q_a",
    "self_attn.q_a_layernorm": "attn_q_a_norm",
    "self_attn.q_b_proj": "attn_q_b",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "self_attn.kv_b_proj": "attn_kv_b",
}
"""Of the last one DeepSeek's GGUF has two: see fused.py."""
_STATE_SPACE = {
    "in_proj": "ssm_in",
    "conv1d": "ssm_conv1d",
    "norm": "ssm_norm",
    "out_proj": "ssm_out",
}
_SELECTIVE_SCAN = {
    "in_proj": "ssm_in",
    "conv1d": "ssm_conv1d",
    "x_proj": "ssm_x",
    "dt_proj": "ssm_dt",
    "out_proj": "ssm_out",
}
_JAMBA = {
    **{f"mamba.{part}": name for part, name in _SELECTIVE_SCAN.items()},
    **{f"mamba.{part}_layernorm": f"ssm_{part}_norm" for part in ("dt", "b", "c")},
    "pre_ff_layernorm": "ffn_norm",
    "feed_forward.router": "ffn_gate_inp",
    **{f"feed_forward.{part}_proj": f"ffn_{part}" for part in ("gate", "up", "down")},
}
_GRANITE_HYBRID = {f"mamba.{part}": name for part, name in _STATE_SPACE.items()}
_FALCON_H1 = {
    **_GRANITE_HYBRID,
    "pre_ff_layernorm": "ffn_norm",
    "feed_forward.gate_proj": "ffn_gate",
    "feed_forward.up_proj": "ffn_up",
    "feed_forward.down_proj": "ffn_down",
}
_NEMOTRON_H = {
    **{f"mixer.{part}": name for part, name in _STATE_SPACE.items()},
    "norm": "attn_norm",
    "mixer.q_proj": "attn_q",
    "mixer.k_proj": "attn_k",
    "mixer.v_proj": "attn_v",
    "mixer.o_proj": "attn_output",
    "mixer.up_proj": "ffn_up",
    "mixer.down_proj": "ffn_down",
    "mixer.gate": "ffn_gate_inp",
    "mixer.shared_experts.up_proj": "ffn_up_shexp",
    "mixer.shared_experts.down_proj": "ffn_down_shexp",
}

_VECTORS = {
    **{f"{place}.A_log": "ssm_a" for place in ("mamba", "mixer")},
    **{f"{place}.D": "ssm_d" for place in ("mamba", "mixer")},
    **{f"{place}.dt_bias": "ssm_dt.bias" for place in ("mamba", "mixer")},
    "mixer.gate.e_score_correction_bias": "exp_probs_b.bias",
    "linear_attn.A_log": "ssm_a",
    "linear_attn.dt_bias": "ssm_dt.bias",
    "self_attn.sinks": "attn_sinks.weight",
    "mlp.gate.expert_bias": "exp_probs_b.bias",
    "mlp.gate.e_score_correction_bias": "exp_probs_b.bias",
    "mlp.moe_statics.e_score_correction_bias": "exp_probs_b.bias",
    "feed_forward.expert_bias": "exp_probs_b.bias",
    "mlp.e_score_correction_bias": "exp_probs_b.bias",
    "block_sparse_moe.e_score_correction_bias": "exp_probs_b.bias",
    "mlp.expert_bias": "exp_probs_b.bias",
    "layer_scalar": "layer_output_scale.weight",
    "altup.correct_output_scale": "altup_correct_scale.weight",
    "router.scale": "ffn_gate_inp.scale",
    "router.per_expert_scale": "ffn_down_exps.scale",
}
"""Parts of a layer whose names say neither weight nor bias."""

_OTHERWISE = {
    "granitehybrid": _GRANITE_HYBRID,
    "falcon-h1": _FALCON_H1,
    "nemotron_h": _NEMOTRON_H,
    "nemotron_h_moe": _NEMOTRON_H,
    "mamba2": _NEMOTRON_H,
    "mamba": {"norm": "attn_norm", **{f"mixer.{part}": name for part, name in _SELECTIVE_SCAN.items()}},
    "jamba": _JAMBA,
    "lfm2": _LFM2,
    "lfm2moe": _LFM2,
    "qwen35": _QWEN35,
    "qwen35moe": _QWEN35,
    "qwen3next": _QWEN3_NEXT,
    "bailingmoe": _BAILING,
    "bailingmoe2": _BAILING,
    "gptneox": _GPT_NEOX,
    "falcon": _FALCON,
    "bloom": _FALCON,
    "starcoder": _GPT_2,
    "gpt2": _GPT_2,
    "jais": _GPT_2 | {"mlp.c_fc2": "ffn_gate"},
    "mpt": _MPT,
    "qwen2": _FIRST_QWEN,
    "smallthinker": {"block_sparse_moe.primary_router": "ffn_gate_inp"},
    "apertus": {"attention_layernorm": "attn_norm", "feedforward_layernorm": "ffn_norm"},
    "internlm2": _INTERNLM2,
    "exaone": _EXAONE,
    "deepseek2": _LATENT,
    "minicpm3": _LATENT,
    "plm": _LATENT,
    "hy_v3": {"mlp.router.gate": "ffn_gate_inp"},
    "afmoe": {
        "self_attn.gate_proj": "attn_gate",
        "post_attention_layernorm": "post_attention_norm",
        "pre_mlp_layernorm": "ffn_norm",
        "mlp.router.gate": "ffn_gate_inp",
    },
    "llama4": _LLAMA4,
    "deci": {"self_attn.linear_attn": "attn_output"},
    "gemma2": _GEMMA,
    "gemma3": _GEMMA,
    "gemma3n": _GEMMA3N,
    "gemma4": _GEMMA4,
    "olmo2": _GEMMA,
    "exaone4": _GEMMA,
    "phi2": {"self_attn.dense": "attn_output", "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down"},
    "starcoder2": {"mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"},
    "seed_oss": {"post_attention_layernorm": "post_attention_norm"},
    "gpt-oss": {"post_attention_layernorm": "post_attention_norm"},
    "glm4moe": {"post_attention_layernorm": "post_attention_norm"},
}
"""Parts of a layer that an architecture has under other names; the last three's norm is one before the feed-forward
layer."""

_EXPERT = re.compile(r"(?:block_sparse_moe|mlp|feed_forward|mixer)\.experts\.(\d{1,4})\.(\w+)")
_EXPERT_PARTS = {
    "w1": "ffn_gate",
    "w2": "ffn_down",
    "w3": "ffn_up",
    "gate_proj": "ffn_gate",
    "down_proj": "ffn_down",
    "up_proj": "ffn_up",
    "gate": "ffn_gate",
    "down": "ffn_down",
    "up": "ffn_up",
}

_STACK = re.compile(r"(?:block_sparse_moe|mlp|feed_forward|mixer)\.switch_mlp\.(\w+)")
_STACK_PARTS = {
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
    "fc1": "ffn_up",
    "fc2": "ffn_down",
}
"""All experts in one tensor, as MLX's folders have them."""

_HEAD_NORM = re.compile(r"self_attn\.([qk])_layernorm\.norms\.(\d{1,4})")
"""The norm of one head of several."""

_NOT_WEIGHTS = re.compile(
    r"rope\.freqs$|relative_pe\.slopes$|rotary_emb\.inv_freq$|rotary\.inv_freq$|\.masked_bias$|(?<!ln_)(?<!c_)att(?:entio)?n\.bias$"
    r"|\.act_fn\.(?:alpha_[np]|beta|eps)$"
    r"|^(?:model\.)?mtp[._]"
    r"|^(?:model\.)?image_newline$"
    r"|^(?:model\.)?(?:visual|connector|mlp1|vision_model|(?:vision|audio)_(?:tower|embedder)|embed_(?:vision|audio)|multi_modal_projector)\."
)

_PREFIXES = re.compile(r"^(?:(?:(?:language_|text_)?model|gpt_neox|transformer|backbone)\.)*")

_VECTOR = re.compile(rf"(?:layers|h|blocks)\.(\d{{1,4}})\.({'|'.join(map(re.escape, _VECTORS))})")
_ANY_LAYER = re.compile(r"(?:layers|h|blocks)\.(\d{1,4})\.")
_LAYER = re.compile(r"(?:layers|h|blocks)\.(\d{1,4})\.(.+)\.(weight|bias)")


def from_meta(name: str) -> str | None:
    """GGUF's name of a tensor that Meta's code calls `name`, None if there is none."""
    return _translated(name, _META_OUTSIDE, _META_LAYER)


def from_hugging_face(name: str, architecture: str) -> str | None:
    """GGUF's name of a tensor that transformers calls `name`, None if there is none."""
    layer = _HUGGING_FACE_LAYER | _OTHERWISE.get(architecture, {})
    found = _translated(without_prefixes(name), _HUGGING_FACE_OUTSIDE, layer)
    if found is not None and found.endswith(f".{USUAL_CHOICE_BIAS}") and architecture in ARCHITECTURES:
        return found.removesuffix(USUAL_CHOICE_BIAS) + ARCHITECTURES[architecture].choice_bias
    return found


def layer_of(name: str) -> int:
    """The number of the layer that a tensor of transformers' name is of, -1 outside of them."""
    found = _ANY_LAYER.match(without_prefixes(name))
    return int(found[1]) if found else -1


def without_prefixes(name: str) -> str:
    """The name that a tensor has inside the language model.

    Whoever saved a model without its output, a LlamaModel, has the names without `model.` before them; beside what
    sees, a language model has `language_model.` before or behind that.
    """
    return _PREFIXES.sub("", name)


def is_no_weight(name: str) -> bool:
    """Whether a tensor is none of the language model's: rotary frequencies, masks, and what guesses, sees or hears."""
    return _NOT_WEIGHTS.search(name) is not None


def _translated(name: str, outside: Mapping[str, str], layer: Mapping[str, str]) -> str | None:
    if name in outside:
        return outside[name]
    if vector := _VECTOR.fullmatch(name):
        return f"blk.{int(vector[1])}.{_VECTORS[vector[2]]}"
    found = _LAYER.fullmatch(name)
    if found is None:
        return None
    part = layer.get(found[2]) or _numbered_part(found[2])
    return f"blk.{int(found[1])}.{part}.{found[3]}" if part else None


def _numbered_part(part: str) -> str | None:
    """One of several feed-forward layers, of which each token goes through some; or one of several heads' norms."""
    if head := _HEAD_NORM.fullmatch(part):
        return f"attn_{head[1]}_norm.{int(head[2])}"
    if (stack := _STACK.fullmatch(part)) and stack[1] in _STACK_PARTS:
        return f"{_STACK_PARTS[stack[1]]}_exps"
    found = _EXPERT.fullmatch(part)
    name = _EXPERT_PARTS.get(found[2]) if found else None
    return f"{name}.{int(found[1])}" if found and name else None
