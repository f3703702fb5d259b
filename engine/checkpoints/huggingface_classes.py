"""The classes of transformers whose models are known in Hugging Face's format, and GGUF's names for what they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.checkpoints.huggingface_state_space import STATE_SPACES, architecture_of_hybrid

CLASSES = {
    "LlamaForCausalLM": "llama",
    "LLaMAForCausalLM": "llama",
    "Llama4ForCausalLM": "llama4",
    "Llama4ForConditionalGeneration": "llama4",
    "NanbeigeForCausalLM": "nanbeige",
    "DeciLMForCausalLM": "deci",
    "MistralForCausalLM": "llama",
    "MixtralForCausalLM": "llama",
    "Ministral3ForCausalLM": "mistral3",
    "Mistral3ForConditionalGeneration": "llama",
    "QWenLMHeadModel": "qwen2",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen2MoeForCausalLM": "qwen2moe",
    "Qwen2VLForConditionalGeneration": "qwen2vl",
    "Qwen2_5_VLForConditionalGeneration": "qwen2vl",
    "Qwen3ForCausalLM": "qwen3",
    "Qwen3MoeForCausalLM": "qwen3moe",
    "Qwen3VLForConditionalGeneration": "qwen3vl",
    "Qwen3VLMoeForConditionalGeneration": "qwen3vlmoe",
    "Qwen3NextForCausalLM": "qwen3next",
    "Qwen3_5ForCausalLM": "qwen35",
    "Qwen3_5ForConditionalGeneration": "qwen35",
    "Qwen3_5MoeForCausalLM": "qwen35moe",
    "Qwen3_5MoeForConditionalGeneration": "qwen35moe",
    "GemmaForCausalLM": "gemma",
    "Gemma2ForCausalLM": "gemma2",
    "Gemma3ForCausalLM": "gemma3",
    "Gemma3ForConditionalGeneration": "gemma3",
    "Gemma4ForCausalLM": "gemma4",
    "Gemma4ForConditionalGeneration": "gemma4",
    "Gemma4UnifiedForCausalLM": "gemma4",
    "Gemma4UnifiedForConditionalGeneration": "gemma4",
    "Gemma3nForCausalLM": "gemma3n",
    "Gemma3nForConditionalGeneration": "gemma3n",
    "GptOssForCausalLM": "gpt-oss",
    "Phi3ForCausalLM": "phi3",
    "SmallThinkerForCausalLM": "smallthinker",
    "SmolLM3ForCausalLM": "smollm3",
    "GraniteForCausalLM": "granite",
    "GraniteMoeForCausalLM": "granitemoe",
    "GraniteMoeSharedForCausalLM": "granitemoe",
    "GlmForCausalLM": "chatglm",
    "Glm4ForCausalLM": "glm4",
    "Glm4MoeForCausalLM": "glm4moe",
    "Ernie4_5ForCausalLM": "ernie4_5",
    "Ernie4_5_ForCausalLM": "ernie4_5",
    "Ernie4_5_MoeForCausalLM": "ernie4_5-moe",
    "BailingMoeForCausalLM": "bailingmoe",
    "BailingMoeV2ForCausalLM": "bailingmoe2",
    "Dots1ForCausalLM": "dots1",
    "DeepseekForCausalLM": "deepseek",
    "DeepseekV2ForCausalLM": "deepseek2",
    "DeepseekV3ForCausalLM": "deepseek2",
    "Glm4MoeLiteForCausalLM": "deepseek2",
    "KimiVLForConditionalGeneration": "deepseek2",
    "YoutuForCausalLM": "deepseek2",
    "MiniCPM3ForCausalLM": "minicpm3",
    "PLMForCausalLM": "plm",
    "ApertusForCausalLM": "apertus",
    "GPT2LMHeadModel": "gpt2",
    "GPT2Model": "gpt2",
    "MPTForCausalLM": "mpt",
    "MptForCausalLM": "mpt",
    "BaichuanForCausalLM": "baichuan",
    "BaiChuanForCausalLM": "baichuan",
    "XverseForCausalLM": "xverse",
    "AquilaForCausalLM": "llama",
    "AquilaModel": "llama",
    "BloomForCausalLM": "bloom",
    "BloomModel": "bloom",
    "GPTBigCodeForCausalLM": "starcoder",
    "JAISLMHeadModel": "jais",
    "Jais2ForCausalLM": "jais2",
    "OlmoForCausalLM": "olmo",
    "Olmo2ForCausalLM": "olmo2",
    "Olmo3ForCausalLM": "olmo2",
    "OlmoeForCausalLM": "olmoe",
    "AfmoeForCausalLM": "afmoe",
    "MellumForCausalLM": "mellum",
    "MiniMaxM2ForCausalLM": "minimax-m2",
    "HYV3ForCausalLM": "hy_v3",
    "HunYuanDenseV1ForCausalLM": "hunyuan-dense",
    "HunYuanMoEV1ForCausalLM": "hunyuan-moe",
    "ExaoneForCausalLM": "exaone",
    "Exaone4ForCausalLM": "exaone4",
    "Exaone4_5_ForConditionalGeneration": "exaone4",
    "ExaoneMoEForCausalLM": "exaone-moe",
    "ExaoneMoeForCausalLM": "exaone-moe",
    "InternLMForCausalLM": "llama",
    "InternLM2ForCausalLM": "internlm2",
    "InternLM3ForCausalLM": "llama",
    "GPTNeoXForCausalLM": "gptneox",
    "FalconForCausalLM": "falcon",
    "RWForCausalLM": "falcon",
    "OrionForCausalLM": "orion",
    "MaincoderForCausalLM": "maincoder",
    "PanguEmbeddedForCausalLM": "pangu-embedded",
    "SeedOssForCausalLM": "seed_oss",
    "CohereForCausalLM": "command-r",
    "Cohere2ForCausalLM": "cohere2",
    "ArceeForCausalLM": "arcee",
    "BitNetForCausalLM": "bitnet-b1.58",
    "StableLmForCausalLM": "stablelm",
    "StableLMEpochForCausalLM": "stablelm",
    "PhiForCausalLM": "phi2",
    "Starcoder2ForCausalLM": "starcoder2",
    "NemotronForCausalLM": "nemotron",
    "MiniCPMForCausalLM": "minicpm",
    "Lfm2ForCausalLM": "lfm2",
    "Lfm2MoeForCausalLM": "lfm2moe",
    "GraniteMoeHybridForCausalLM": "granitehybrid",
    "FalconH1ForCausalLM": "falcon-h1",
    "NemotronHForCausalLM": "nemotron_h",
    "Mamba2ForCausalLM": "mamba2",
    "MambaForCausalLM": "mamba",
    "FalconMambaForCausalLM": "mamba",
    "JambaForCausalLM": "jamba",
}
"""By the name in `architectures`."""

SEEING = (
    "LlavaForConditionalGeneration",
    "LlavaNextForConditionalGeneration",
    "LlavaOnevisionForConditionalGeneration",
    "Idefics2ForConditionalGeneration",
    "Idefics3ForConditionalGeneration",
    "SmolVLMForConditionalGeneration",
    "InternVLForConditionalGeneration",
    "AyaVisionForConditionalGeneration",
    "Cohere2VisionForConditionalGeneration",
)
"""Classes of models that see with any language model, of which the configuration names the kind."""

_TEXTS = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "qwen3_moe": "qwen3moe",
    "gpt_oss": "gpt-oss",
    "cohere2": "cohere2",
}
"""The `model_type` of these language models, and GGUF's name for it."""

TEXT_PARTS = ("text_config", "llm_config")
"""Where a configuration has that of the language model; the second is InternVL's own, and names its class too."""

_BY_TEXT = {"ministral3": "mistral3"}
"""By the `model_type` of the part that writes text, where one class has several."""


def architecture_of(values: Mapping[str, Any]) -> tuple[object, str | None]:
    """The class that a configuration names, and GGUF's name of its architecture if it is known."""
    names, own = values.get("architectures"), values.get(TEXT_PARTS[1])
    if isinstance(own, dict):
        names = own.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    kind = values.get("model_type")
    if name in SEEING:
        return name, _TEXTS.get(str(kind))
    if not isinstance(name, str) or name not in CLASSES:
        return name, None
    if CLASSES[name] in STATE_SPACES:
        return name, architecture_of_hybrid(values, CLASSES[name])
    return name, _BY_TEXT.get(kind) if isinstance(kind, str) and kind in _BY_TEXT else CLASSES[name]
