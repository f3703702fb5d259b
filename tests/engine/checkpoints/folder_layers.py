"""Parts of a layer: their names in GGUF, and those of Hugging Face's format, by architecture."""

from __future__ import annotations

from tests.engine.checkpoints.selective_folders import SELECTIVE_NAMES
from tests.engine.checkpoints.state_space_folders import STATE_SPACE_NAMES

LAYER = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_sub_norm": "self_attn.attn_sub_norm",
    "ffn_sub_norm": "mlp.ffn_sub_norm",
    "attn_sinks.weight": "self_attn.sinks",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate_inp": "mlp.gate",
    "exp_probs_b.bias": "mlp.gate.e_score_correction_bias",
}
"""Parts of a layer, whole with what follows the part where the foreign name says neither weight nor bias."""


def shared(place: str) -> dict[str, str]:
    return {f"ffn_{part}_shexp": f"mlp.{place}.{part}_proj" for part in ("gate", "up", "down")}


NORM_BEHIND = {"post_attention_norm": "post_attention_layernorm"}
GEMMA_2 = NORM_BEHIND | {"ffn_norm": "pre_feedforward_layernorm", "post_ffw_norm": "post_feedforward_layernorm"}
GEMMA_4 = GEMMA_2 | {
    "post_ffw_norm_1": "post_feedforward_layernorm_1",
    "pre_ffw_norm_2": "pre_feedforward_layernorm_2",
    "post_ffw_norm_2": "post_feedforward_layernorm_2",
    "ffn_gate_inp": "router.proj",
    "ffn_gate_inp.scale": "router.scale",
    "ffn_down_exps.scale": "router.per_expert_scale",
    "ffn_gate_up_exps.weight": "experts.gate_up_proj",
    "ffn_down_exps.weight": "experts.down_proj",
    "layer_output_scale.weight": "layer_scalar",
    "inp_gate": "per_layer_input_gate",
    "proj": "per_layer_projection",
    "post_norm": "post_per_layer_input_norm",
}
GEMMA_3N = GEMMA_4 | {
    "altup_router": "altup.modality_router",
    "altup_router_norm": "altup.router_norm",
    "altup_predict_coef": "altup.prediction_coefs",
    "altup_correct_coef": "altup.correction_coefs",
    "altup_correct_scale.weight": "altup.correct_output_scale",
    "laurel_l": "laurel.linear_left",
    "laurel_r": "laurel.linear_right",
    "laurel_post_norm": "laurel.post_laurel_norm",
}
LFM2 = {
    "attn_norm": "operator_norm",
    "ffn_norm": "ffn_norm",
    "attn_output": "self_attn.out_proj",
    "attn_q_norm": "self_attn.q_layernorm",
    "attn_k_norm": "self_attn.k_layernorm",
    "shortconv": "conv",
    "ffn_gate": "feed_forward.w1",
    "ffn_down": "feed_forward.w2",
    "ffn_up": "feed_forward.w3",
    "ffn_gate_inp": "feed_forward.gate",
    "exp_probs_b.bias": "feed_forward.expert_bias",
}
QWEN_SHARED = shared("shared_expert") | {"ffn_gate_inp_shexp": "mlp.shared_expert_gate"}
QWEN35_LAYER = {
    **NORM_BEHIND,
    **QWEN_SHARED,
    "attn_qkv": "linear_attn.in_proj_qkv",
    "attn_gate": "linear_attn.in_proj_z",
    "ssm_ba": "linear_attn.in_proj_ba",
    "ssm_beta": "linear_attn.in_proj_b",
    "ssm_alpha": "linear_attn.in_proj_a",
    "ssm_conv1d": "linear_attn.conv1d",
    "ssm_norm": "linear_attn.norm",
    "ssm_out": "linear_attn.out_proj",
    "ssm_a": "linear_attn.A_log",
    "ssm_dt.bias": "linear_attn.dt_bias",
}
HUNYUAN = {"attn_q_norm": "self_attn.query_layernorm", "attn_k_norm": "self_attn.key_layernorm"}
NEOX = {
    "attn_output": "attention.dense",
    "ffn_up": "mlp.dense_h_to_4h",
    "ffn_down": "mlp.dense_4h_to_h",
}
FALCON = NEOX | {"attn_output": "self_attention.dense"}
INTERNLM2 = {
    "attn_output": "attention.wo",
    "attn_norm": "attention_norm",
    "ffn_norm": "ffn_norm",
    "ffn_gate": "feed_forward.w1",
    "ffn_down": "feed_forward.w2",
    "ffn_up": "feed_forward.w3",
}
EXAONE = {
    "attn_norm": "ln_1",
    "ffn_norm": "ln_2",
    "attn_q": "attn.attention.q_proj",
    "attn_k": "attn.attention.k_proj",
    "attn_v": "attn.attention.v_proj",
    "attn_output": "attn.attention.out_proj",
    "ffn_gate": "mlp.c_fc_0",
    "ffn_up": "mlp.c_fc_1",
    "ffn_down": "mlp.c_proj",
}
LATENT = {
    "attn_q_a": "self_attn.q_a_proj",
    "attn_q_a_norm": "self_attn.q_a_layernorm",
    "attn_q_b": "self_attn.q_b_proj",
    "attn_kv_a_mqa": "self_attn.kv_a_proj_with_mqa",
    "attn_kv_a_norm": "self_attn.kv_a_layernorm",
    "attn_kv_b": "self_attn.kv_b_proj",
}
GPT_2 = {
    "attn_norm": "ln_1",
    "ffn_norm": "ln_2",
    "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}
NAMES = {
    "gpt2": GPT_2,
    "jais": GPT_2 | {"ffn_gate": "mlp.c_fc2"},
    "mpt": {
        "attn_norm": "norm_1",
        "ffn_norm": "norm_2",
        "attn_qkv": "attn.Wqkv",
        "attn_output": "attn.out_proj",
        "ffn_up": "ffn.up_proj",
        "ffn_down": "ffn.down_proj",
    },
    "qwen2-first": GPT_2 | {"ffn_up": "mlp.w1", "ffn_gate": "mlp.w2"},
    "deepseek2": LATENT | shared("shared_experts"),
    "minicpm3": LATENT,
    "plm": LATENT,
    "gptneox": NEOX,
    "falcon": FALCON,
    "falcon-40b": FALCON | {"attn_norm": "ln_mlp", "attn_norm_2": "ln_attn"},
    "internlm2": INTERNLM2,
    "exaone": EXAONE,
    "exaone-moe": shared("shared_experts") | {"exp_probs_b.bias": "mlp.e_score_correction_bias"},
    "hy_v3": shared("shared_mlp") | {"ffn_gate_inp": "mlp.router.gate", "exp_probs_b": "mlp.expert_bias"},
    "afmoe": {
        **shared("shared_experts"),
        "attn_gate": "self_attn.gate_proj",
        "post_attention_norm": "post_attention_layernorm",
        "ffn_norm": "pre_mlp_layernorm",
        "post_ffw_norm": "post_mlp_layernorm",
        "ffn_gate_inp": "mlp.router.gate",
        "exp_probs_b.bias": "mlp.expert_bias",
    },
    "minimax-m2": {
        "ffn_gate_inp": "block_sparse_moe.gate",
        "exp_probs_b.bias": "block_sparse_moe.e_score_correction_bias",
    },
    "llama": {"ffn_gate_inp": "block_sparse_moe.gate"},
    "phi3": {"ffn_up": "mlp.gate_up_proj"},
    "chatglm": {"ffn_up": "mlp.gate_up_proj"},
    "glm4": {
        "post_attention_norm": "post_self_attn_layernorm",
        "post_ffw_norm": "post_mlp_layernorm",
        "ffn_up": "mlp.gate_up_proj",
    },
    "glm4moe": NORM_BEHIND | shared("shared_experts"),
    "gemma2": GEMMA_2,
    "gemma3": GEMMA_2,
    "apertus": {"attn_norm": "attention_layernorm", "ffn_norm": "feedforward_layernorm"},
    "bloom": FALCON,
    "smallthinker": {"ffn_gate_inp": "block_sparse_moe.primary_router"},
    "starcoder": GPT_2,
    "gemma3n": GEMMA_3N,
    "gemma4": GEMMA_4,
    "olmo2": GEMMA_2,
    "exaone4": GEMMA_2,
    "seed_oss": NORM_BEHIND,
    "gpt-oss": NORM_BEHIND | {"ffn_gate_inp": "mlp.router"},
    "phi2": {"attn_output": "self_attn.dense", "ffn_up": "mlp.fc1", "ffn_down": "mlp.fc2"},
    "starcoder2": {"ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"},
    "qwen2moe": QWEN_SHARED,
    "qwen35": QWEN35_LAYER,
    "qwen35moe": QWEN35_LAYER,
    "qwen3next": QWEN35_LAYER,
    "ernie4_5-moe": shared("shared_experts") | {"exp_probs_b.bias": "mlp.moe_statics.e_score_correction_bias"},
    "dots1": shared("shared_experts"),
    "deepseek": shared("shared_experts"),
    "bailingmoe": {**shared("shared_experts"), "attn_output": "attention.dense"},
    "bailingmoe2": {
        **shared("shared_experts"),
        "attn_qkv": "attention.query_key_value",
        "attn_output": "attention.dense",
        "attn_q_norm": "attention.query_layernorm",
        "attn_k_norm": "attention.key_layernorm",
        "exp_probs_b.bias": "mlp.gate.expert_bias",
    },
    "granitemoe": {"ffn_gate_inp": "block_sparse_moe.router.layer", "ffn_down_shexp": "shared_mlp.output_linear"},
    "hunyuan-dense": HUNYUAN,
    "hunyuan-moe": HUNYUAN | shared("shared_mlp") | {"ffn_gate_inp": "mlp.gate.wg"},
    "lfm2": LFM2,
    "lfm2moe": LFM2,
    **STATE_SPACE_NAMES,
    **SELECTIVE_NAMES,
}
"""What other architectures than most have under other names."""
