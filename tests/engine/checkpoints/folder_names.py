"""Names of tensors in Hugging Face's format, from those of GGUF."""

from __future__ import annotations

from tests.engine.checkpoints.folder_layers import LAYER, NAMES

ONE_PART_LAYERS = ("nemotron_h", "nemotron_h_moe", "mamba2", "mamba")
MIXTRAL_EXPERT = {"ffn_gate": "w1", "ffn_down": "w2", "ffn_up": "w3"}
EXPERT = {
    "smallthinker": {f"ffn_{part}": f"block_sparse_moe.{{}}.{part}" for part in ("gate", "up", "down")},
    "minimax-m2": {part: f"block_sparse_moe.{{}}.{name}" for part, name in MIXTRAL_EXPERT.items()},
    "llama": {part: f"block_sparse_moe.{{}}.{name}" for part, name in MIXTRAL_EXPERT.items()},
    "nemotron_h_moe": {f"ffn_{part}": f"mixer.{{}}.{part}_proj" for part in ("up", "down")},
    "jamba": {f"ffn_{part}": f"feed_forward.{{}}.{part}_proj" for part in ("gate", "up", "down")},
    "lfm2moe": {part: f"feed_forward.{{}}.{name}" for part, name in MIXTRAL_EXPERT.items()},
}
"""The name of an expert's matrix, around `experts.NUMBER`."""
USUAL_EXPERT = {f"ffn_{part}": f"mlp.{{}}.{part}_proj" for part in ("gate", "up", "down")}
OUTSIDE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output_norm.bias": "model.norm.bias",
    "token_embd_norm.weight": "model.embedding_norm.weight",
    "per_layer_proj_norm.weight": "model.per_layer_projection_norm.weight",
    "per_layer_token_embd.weight": "model.embed_tokens_per_layer.weight",
    "per_layer_model_proj.weight": "model.per_layer_model_projection.weight",
    "output.weight": "lm_head.weight",
    "output.bias": "lm_head.bias",
}
OUTSIDE_OTHERWISE = {
    ("bailingmoe", "token_embd.weight"): "model.word_embeddings.weight",
    ("bailingmoe2", "token_embd.weight"): "model.word_embeddings.weight",
    ("jamba", "output_norm.weight"): "model.final_layernorm.weight",
    ("falcon-h1", "output_norm.weight"): "model.final_layernorm.weight",
    **{(name, "token_embd.weight"): "backbone.embeddings.weight" for name in ONE_PART_LAYERS},
    **{(name, "output_norm.weight"): "backbone.norm_f.weight" for name in ONE_PART_LAYERS},
    ("gptneox", "token_embd.weight"): "gpt_neox.embed_in.weight",
    ("gptneox", "output_norm.weight"): "gpt_neox.final_layer_norm.weight",
    ("gptneox", "output_norm.bias"): "gpt_neox.final_layer_norm.bias",
    ("gptneox", "output.weight"): "embed_out.weight",
    ("falcon", "token_embd.weight"): "transformer.word_embeddings.weight",
    ("falcon", "output_norm.weight"): "transformer.ln_f.weight",
    ("falcon", "output_norm.bias"): "transformer.ln_f.bias",
    ("bloom", "token_embd.weight"): "transformer.word_embeddings.weight",
    ("bloom", "token_embd_norm.weight"): "transformer.word_embeddings_layernorm.weight",
    ("bloom", "token_embd_norm.bias"): "transformer.word_embeddings_layernorm.bias",
    ("bloom", "output_norm.weight"): "transformer.ln_f.weight",
    ("bloom", "output_norm.bias"): "transformer.ln_f.bias",
    ("starcoder", "token_embd.weight"): "transformer.wte.weight",
    ("starcoder", "position_embd.weight"): "transformer.wpe.weight",
    ("starcoder", "output_norm.weight"): "transformer.ln_f.weight",
    ("starcoder", "output_norm.bias"): "transformer.ln_f.bias",
    ("jais", "token_embd.weight"): "transformer.wte.weight",
    ("jais", "output_norm.weight"): "transformer.ln_f.weight",
    ("jais", "output_norm.bias"): "transformer.ln_f.bias",
    ("gpt2", "token_embd.weight"): "wte.weight",
    ("gpt2", "position_embd.weight"): "wpe.weight",
    ("gpt2", "output_norm.weight"): "ln_f.weight",
    ("gpt2", "output_norm.bias"): "ln_f.bias",
    ("mpt", "token_embd.weight"): "transformer.wte.weight",
    ("mpt", "position_embd.weight"): "transformer.wpe.weight",
    ("mpt", "output_norm.weight"): "transformer.norm_f.weight",
    ("mpt", "output_norm.bias"): "transformer.norm_f.bias",
    ("qwen2-first", "token_embd.weight"): "transformer.wte.weight",
    ("qwen2-first", "output_norm.weight"): "transformer.ln_f.weight",
    ("exaone", "token_embd.weight"): "transformer.wte.weight",
    ("exaone", "output_norm.weight"): "transformer.ln_f.weight",
    ("internlm2", "token_embd.weight"): "model.tok_embeddings.weight",
    ("internlm2", "output.weight"): "output.weight",
    ("phi2", "output_norm.weight"): "model.final_layernorm.weight",
    ("phi2", "output_norm.bias"): "model.final_layernorm.bias",
}
LAYERS = {
    **dict.fromkeys(ONE_PART_LAYERS, "backbone.layers"),
    **dict.fromkeys(("falcon", "exaone", "bloom", "starcoder"), "transformer.h"),
    "gptneox": "gpt_neox.layers",
    "gpt2": "h",
    "jais": "transformer.h",
    "mpt": "transformer.blocks",
    "qwen2-first": "transformer.h",
}


def foreign_name(name: str, architecture: str, model: str = "") -> str:
    """model: its name in MODELS, where that has other names than most of its architecture."""
    if not name.startswith("blk."):
        return OUTSIDE_OTHERWISE.get((model, name)) or OUTSIDE_OTHERWISE.get((architecture, name)) or OUTSIDE[name]
    _, layer, part, *rest = name.split(".")
    names = LAYER | NAMES.get(model, NAMES.get(architecture, {}))
    layers = LAYERS.get(model, LAYERS.get(architecture, "model.layers"))
    whole = names.get(".".join([part, *rest]))
    return ".".join([layers, layer, whole] if whole else [layers, layer, names.get(part, part), *rest])


def expert_name(name: str, architecture: str) -> str:
    """With a place for `experts.NUMBER`."""
    _, layer, part, _ = name.split(".")
    layers = LAYERS.get(architecture, "model.layers")
    return f"{layers}.{layer}.{EXPERT.get(architecture, USUAL_EXPERT)[part.removesuffix('_exps')]}.weight"
