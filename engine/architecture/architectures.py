"""The architectures that the engine runs."""

from __future__ import annotations

from dataclasses import replace

from engine.architecture.architecture import Architecture

_QWEN35 = Architecture(
    "qwen35",
    rope_order="neox",
    qk_norms=True,
    ffn_norm="post_attention_norm",
    recurrent="delta net",
    query_gates=True,
)

_STARCODER2 = Architecture(
    "starcoder2", rope_order="neox", activation="gelu", norm="layer", norm_biases=True, ungated=True
)

ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture("llama", rope_order="normal"),
        Architecture("qwen2", rope_order="neox"),
        Architecture("qwen3", rope_order="neox", qk_norms=True),
        Architecture("qwen3moe", rope_order="neox", qk_norms=True),
        Architecture("gemma", rope_order="neox", activation="gelu", scaled_embedding=True),
        Architecture(
            "gemma2",
            rope_order="neox",
            activation="gelu",
            post_norms=True,
            scaled_embedding=True,
            window=4096,
            window_every=2,
            attn_softcap=50.0,
            final_softcap=30.0,
            wide_queries_at=46,
        ),
        Architecture(
            "gemma3",
            rope_order="neox",
            activation="gelu",
            qk_norms=True,
            post_norms=True,
            scaled_embedding=True,
            window_every=6,
            local_rope_theta=10_000.0,
            final_softcap=0.0,
            wide_queries_at=62,
        ),
        Architecture(
            "gemma4",
            rope_order="neox",
            activation="gelu",
            qk_norms=True,
            post_norms=True,
            scaled_embedding=True,
            window_every=6,
            local_rope_theta=10_000.0,
            final_softcap=0.0,
            unit_values=True,
            shared_keys=True,
            unscaled_queries=True,
            layer_scales=True,
            dense_beside_experts=True,
        ),
        Architecture(
            "gpt-oss",
            rope_order="neox",
            activation="clamped",
            window=128,
            window_every=2,
            sinks=True,
            ffn_norm="post_attention_norm",
        ),
        Architecture("phi3", rope_order="neox", gate_in_up=True),
        Architecture("mistral3", rope_order="normal"),
        Architecture("smollm3", rope_order="normal", unturned_every=4),
        Architecture("granite", rope_order="normal", scales_in_file=True, turning_in_file=True),
        Architecture("granitemoe", rope_order="normal", scales_in_file=True),
        Architecture("glm4", rope_order="normal", post_norms=True, gate_in_up=True),
        Architecture("chatglm", rope_order="normal", gate_in_up=True),
        Architecture("ernie4_5", rope_order="normal"),
        Architecture("internlm2", rope_order="normal"),
        Architecture("exaone", rope_order="neox"),
        Architecture("qwen2vl", rope_order="neox"),
        Architecture("qwen3vl", rope_order="neox", qk_norms=True),
        Architecture("qwen3vlmoe", rope_order="neox", qk_norms=True),
        Architecture("qwen2moe", rope_order="neox", normed_shares=False, gated_shared=True),
        Architecture("ernie4_5-moe", rope_order="normal"),
        Architecture(
            "glm4moe",
            rope_order="neox",
            qk_norms=None,
            ffn_norm="post_attention_norm",
            gating="sigmoid",
            routing_in_file=True,
        ),
        Architecture("bailingmoe2", rope_order="neox", qk_norms=True, gating="sigmoid", routing_in_file=True),
        Architecture("dots1", rope_order="neox", qk_norms=True, gating="sigmoid", routing_in_file=True),
        Architecture("deepseek", rope_order="normal", normed_shares=False),
        Architecture("hunyuan-moe", rope_order="neox", qk_norms=True, late_qk_norms=True),
        Architecture("hunyuan-dense", rope_order="neox", qk_norms=True, late_qk_norms=True),
        Architecture("seed_oss", rope_order="neox", ffn_norm="post_attention_norm"),
        Architecture("arcee", rope_order="normal", activation="relu2", ungated=True),
        Architecture("minicpm", rope_order="normal", scales_in_file=True, minicpm_scales=True),
        Architecture(
            "olmo2",
            rope_order="neox",
            qk_norms=True,
            wide_qk_norms=True,
            pre_norms=False,
            post_norms=True,
            window_every=4,
            local_rope_theta=0.0,
        ),
        Architecture(
            "exaone4",
            rope_order="neox",
            qk_norms=True,
            pre_norms=False,
            post_norms=True,
            window_every=4,
            unturned_without_window=True,
        ),
        Architecture(
            "command-r", rope_order="normal", qk_norms=None, norm="layer", parallel=True, multiplied_logits=True
        ),
        Architecture(
            "cohere2",
            rope_order="normal",
            norm="layer",
            parallel=True,
            multiplied_logits=True,
            window_every=4,
            unturned_without_window=True,
        ),
        Architecture("stablelm", rope_order="neox", qk_norms=None, norm="layer", norm_biases=True, parallel=None),
        Architecture(
            "phi2",
            rope_order="neox",
            activation="gelu",
            norm="layer",
            norm_biases=True,
            parallel=True,
            ungated=True,
            output_bias=True,
        ),
        _STARCODER2,
        replace(_STARCODER2, name="nemotron", activation="relu2"),
        replace(_STARCODER2, name="gptneox", parallel_in_file=True),
        Architecture("olmoe", rope_order="neox", qk_norms=True, wide_qk_norms=True, normed_shares=False),
        Architecture("lfm2", rope_order="neox", qk_norms=True, recurrent="convolution", output_norm="token_embd_norm"),
        Architecture(
            "lfm2moe",
            rope_order="neox",
            qk_norms=True,
            recurrent="convolution",
            output_norm="token_embd_norm",
            gating="sigmoid",
        ),
        _QWEN35,
        replace(_QWEN35, name="qwen35moe", gated_shared=True),
        replace(_QWEN35, name="qwen3next", gated_shared=True, grouped_gates=True),
    )
}
"""By the name that GGUF has for each. Mistral and Mixtral are llama there, from Ministral 3 on mistral3. Of models that
see, the part that reads and writes text; its positions are those of any other text."""
