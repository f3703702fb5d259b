"""`config.json` of Hugging Face's format as the metadata of a GGUF.

Source: the configurations in the transformers repository, and convert_hf_to_gguf.py in llama.cpp's.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.architecture.architectures import ARCHITECTURES
from engine.checkpoints.huggingface_classes import CLASSES, SEEING, TEXT_PARTS, architecture_of
from engine.checkpoints.huggingface_deci import deci_keys
from engine.checkpoints.huggingface_experts import expert_keys
from engine.checkpoints.huggingface_gemma3n import gemma3n_keys
from engine.checkpoints.huggingface_gemma4 import gemma4_keys, proportional_divisors, wide_head_dim
from engine.checkpoints.huggingface_latent import latent_defaults, latent_keys, latent_yarn
from engine.checkpoints.huggingface_llama4 import llama4_keys
from engine.checkpoints.huggingface_other_names import UNIT_OUTPUT, with_usual_names
from engine.checkpoints.huggingface_recurrence import CONVOLUTIONS, DELTA_NETS, convolution_keys, delta_net_keys
from engine.checkpoints.huggingface_selective import SELECTIVE_SCANS, selective_keys
from engine.checkpoints.huggingface_state_space import STATE_SPACES, granite_turning, state_space_keys
from engine.checkpoints.limits import MAX_CONTEXT, MAX_LAYERS, MAX_WIDTH
from engine.checkpoints.llama import llama_3_divisors
from engine.checkpoints.metadata import Metadata
from engine.checkpoints.quantized import unpacker_of
from engine.errors import UnsupportedModelError

_OF_THE_WHOLE = ("architectures", "tie_word_embeddings")
"""What counts for the whole model, where what it says of its text is in a part of its own."""

_GUESSING = ("num_nextn_predict_layers", "num_mtp_layers")
"""Names of the number of layers behind the last that guess further tokens."""

LLAMA_CONTEXT = 2048
"""What LLaMA reads; its first configurations did not say so."""

_NORM_EPS = ("rms_norm_eps", "norm_eps", "layer_norm_eps", "norm_epsilon")
_OPTIONAL_REALS = {
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "rope_local_base_freq": "rope.freq_base_swa",
    "embedding_multiplier": "embedding_scale",
    "attention_multiplier": "attention.scale",
    "residual_multiplier": "residual_scale",
    "logits_scaling": "logit_scale",
    "logit_scale": "logit_scale",
    "clip_qkv": "attention.clamp_kqv",
}
_DEFAULTS: dict[str, dict[str, object]] = {
    "gemma3": {
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 131_072,
        "rope_theta": 1e6,
        "sliding_window": 4096,
    },
    "olmo": {"layer_norm_eps": 1e-5},
    "jais": {"layer_norm_eps": 1e-5, "max_position_embeddings": 1024},
    "gpt2": {"layer_norm_eps": 1e-5, "max_position_embeddings": 1024},
    "mpt": {"layer_norm_eps": 1e-5},
    "starcoder": {"max_position_embeddings": 1024},
}
"""What transformers has where a configuration says nothing, of architectures whose configurations count on it."""

_LLAMA_7B = {"hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 32, "num_attention_heads": 32}
"""What LLaVA's say nothing of, where it is the same."""

QWEN_SECTIONS = [11, 11, 10]
"""How Qwen 3.5 shares the turned pairs among the numbers of a place, if the file does not say."""

_TIED = ("gemma", "lfm2", "starcoder", "falcon", "bloom", "gpt2", "mpt")
"""How architectures begin whose output is their embedding, if the configuration does not say."""

_WINDOWED = (
    "llama", "gemma2", "gemma3", "gemma3n", "phi3", "gpt-oss", "gemma4", "olmo2", "exaone4", "exaone-moe", "cohere2",
    "starcoder2", "mellum", "afmoe", "smallthinker", "llama4",
)  # fmt: skip
"""Architectures whose window counts; Qwen's configurations name one that is not used."""

_TURNED_SHARES = {
    **dict.fromkeys((*DELTA_NETS, "gemma4", "stablelm", "gptneox"), 0.25),
    **dict.fromkeys(("glm4moe", "bailingmoe2", "phi2", "nemotron"), 0.5),
}
"""The part of a head that is turned, if the configuration does not say."""

LONG_ROPE = ("longrope", "su")
UNSTRETCHED = ("default", "llama3", "dynamic", "proportional", "mrope")
"""No scaling among the keys: llama3's and Gemma 4's are divisors, dynamic stretches nothing up to
max_position_embeddings, and mrope is for places in pictures."""

WINDOWED, UNWINDOWED = "sliding_attention", "full_attention"
_LAYER_TYPES = {WINDOWED: True, UNWINDOWED: False}
"""What `layer_types` says of each layer, and whether that has a window."""


class HuggingFaceConfig:
    """A model's configuration, with every number checked when it is read."""

    def __init__(self, values: Mapping[str, Any], path: Path) -> None:
        self.path = path
        text = next((values[part] for part in TEXT_PARTS if isinstance(values.get(part), dict)), None)
        if text is not None:
            values = {**text, **values} | {key: text[key] for key in text if key not in _OF_THE_WHOLE}
        name, architecture = architecture_of(values)
        given = {key: value for key, value in values.items() if value is not None}
        given = with_usual_names(given, architecture or "")
        self.has_latent = architecture in ARCHITECTURES and ARCHITECTURES[architecture].latent
        defaults = latent_defaults(name) if self.has_latent else _DEFAULTS.get(architecture or "", {})
        if name in SEEING:
            defaults = _LLAMA_7B | defaults
        self.values = Metadata({**defaults, **given}, path)
        if architecture is None:
            raise UnsupportedModelError(
                f"{path}: the architecture {name!r} is not known here.", f"These are: {', '.join((*CLASSES, *SEEING))}."
            )
        how = self.values.get("quantization_config")
        self.unpack = None if how is None else unpacker_of(how, self.values)
        self.architecture = architecture
        self.dim = self.values.integer("hidden_size", low=1, high=MAX_WIDTH)
        self.n_layers = self.values.integer("num_hidden_layers", low=1, high=MAX_LAYERS)
        name = next((name for name in _GUESSING if name in self.values), _GUESSING[0])
        guessing = self.values.integer(name, 0, low=0, high=MAX_LAYERS)
        self.guessing_layers = range(self.n_layers, self.n_layers + guessing)
        self.n_heads = self.values.integer("num_attention_heads", low=1, high=self.dim)
        self.n_kv_heads = self.values.integer("num_key_value_heads", self.n_heads, low=1, high=self.n_heads)
        self.head_dim = self.values.integer("head_dim", self.dim // self.n_heads, low=1, high=MAX_WIDTH)
        tied = self.values.flag("tie_embedding", self.architecture.startswith(_TIED))
        self.tied = self.values.flag("tie_word_embeddings", tied)
        self.unit_output = self.values.flag(UNIT_OUTPUT, False)
        self.rope = self._rope_parameters()
        turned = _TURNED_SHARES.get(self.architecture, 1.0)
        source = self.rope if "partial_rotary_factor" in self.rope else self.values
        self.turned_share = source.real("partial_rotary_factor", turned, low=0.0, high=1.0)
        rope_dim = int(self.head_dim * self.turned_share)
        self.rope_dim = self.values.integer("rotary_dim", rope_dim, low=0, high=self.head_dim)
        if self.has_latent:
            self.rope_dim = self.values.integer("qk_rope_head_dim", low=2, high=MAX_WIDTH)
        self.rope_theta = self._rope_theta()

    def metadata(self) -> dict[str, object]:
        """Keys of a GGUF."""
        arch = self.architecture
        values = self.values
        context = values.integer("max_position_embeddings", self._older_context(), low=1, high=MAX_CONTEXT)
        keys: dict[str, object] = {
            "general.architecture": arch,
            f"{arch}.context_length": context,
            f"{arch}.embedding_length": self.dim,
            f"{arch}.block_count": self.n_layers,
            f"{arch}.feed_forward_length": self._hidden_dim(),
            f"{arch}.attention.head_count": self.n_heads,
            f"{arch}.attention.head_count_kv": self.n_kv_heads,
            **self._norm_eps(),
            f"{arch}.rope.dimension_count": self.rope_dim,
            f"{arch}.rope.freq_base": self.rope_theta,
        }
        if self.head_dim * self.n_heads != self.dim or "head_dim" in values:
            keys |= {f"{arch}.attention.key_length": self.head_dim, f"{arch}.attention.value_length": self.head_dim}
        if arch in CONVOLUTIONS:
            keys |= self._named(convolution_keys(values, self.n_layers, self.n_kv_heads))
        if arch in DELTA_NETS:
            keys |= self._named(delta_net_keys(values))
        if self.has_latent:
            keys |= self._named(latent_keys(values, arch, self.n_heads, self.dim))
        keys |= self._named(granite_turning(values, arch))
        if arch in (*STATE_SPACES, *SELECTIVE_SCANS):
            keys_of_states = state_space_keys if arch in STATE_SPACES else selective_keys
            keys |= self._named(keys_of_states(values, arch, self.dim, self.n_layers, self.n_kv_heads))
        if ARCHITECTURES[arch].minicpm_scales:
            keys |= self._minicpm_scales()
        keys |= self._named(self._own_keys())
        return (
            keys | expert_keys(values, arch) | self._loops() | self._optional() | self._alibi() | self._rope_scaling()
        )

    def _own_keys(self) -> dict[str, object]:
        """What architectures have that no other has."""
        match self.architecture:
            case "llama4":
                return llama4_keys(self.values)
            case "deci":
                return deci_keys(self.values, self.n_layers, self.n_heads, self.dim)
            case "gemma3n":
                return gemma3n_keys(self.values, self.n_layers)
            case "gemma4":
                sizes = self.head_dim, self.n_kv_heads, self._hidden_dim()
                return gemma4_keys(self.values, self._windowed_layers(), *sizes)
        return {}

    def _named(self, keys: Mapping[str, object]) -> dict[str, object]:
        """By the names that they have in GGUF."""
        return {f"{self.architecture}.{key}": value for key, value in keys.items()}

    def _norm_eps(self) -> dict[str, object]:
        name = next((name for name in _NORM_EPS if name in self.values), _NORM_EPS[0])
        kind = "rms_" if ARCHITECTURES[self.architecture].norm == "rms" else ""
        key = f"{self.architecture}.attention.layer_norm_{kind}epsilon"
        return {key: self.values.real(name, 1e-6, low=0.0, high=1.0)}

    def _minicpm_scales(self) -> dict[str, object]:
        depth, base, embedding = (
            self.values.real(name, default, low=1e-6, high=1e6)
            for name, default in (("scale_depth", 1.4), ("dim_model_base", 256.0), ("scale_emb", 12.0))
        )
        return {
            f"{self.architecture}.embedding_scale": embedding,
            f"{self.architecture}.residual_scale": depth / math.sqrt(self.n_layers),
            f"{self.architecture}.logit_scale": self.dim / base,
        }

    def _hidden_dim(self) -> int:
        """The feed-forward width, which LFM2 may make of a larger number. Source: Lfm2MLP in transformers."""
        # Where all layers have experts alone, Qwen 3.5 says the width of those only.
        names = ("block_ff_dim", "intermediate_size", "moe_intermediate_size")
        name = next((name for name in names if name in self.values), "intermediate_size")
        has_own = "block_configs" in self.values  # each layer has a width of its own
        width = self.values.integer(name, 1 if has_own else None, low=1, high=MAX_WIDTH)
        if self.architecture != "lfm2" or not self.values.flag("block_auto_adjust_ff_dim", True):
            return width
        width = int(self.values.real("block_ffn_dim_multiplier", 1.0, low=0.0, high=64.0) * (2 * width // 3))
        multiple = self.values.integer("block_multiple_of", 256, low=1, high=MAX_WIDTH)
        return -(-width // multiple) * multiple

    def rope_divisors(self) -> dict[str, list[float]]:
        """What rotary frequencies are divided by, under the names of GGUF's tensors."""
        kind = self._rope_kind()
        if kind == "llama3":
            return {"rope_freqs.weight": self._llama_3_divisors()}
        if self.architecture == "gemma4":
            head_dim = wide_head_dim(self.values, self._windowed_layers())
            return {"rope_freqs.weight": proportional_divisors(head_dim, self.turned_share)}
        if kind in LONG_ROPE:
            return {f"rope_factors_{name}.weight": self._factors(f"{name}_factor") for name in ("short", "long")}
        return {}

    def _llama_3_divisors(self) -> list[float]:
        factor = self._rope_number("factor", 8.0)
        low, high = self._rope_number("low_freq_factor", 1.0), self._rope_number("high_freq_factor", 4.0)
        original = self._rope_number("original_max_position_embeddings", 8192.0)
        if high <= low:
            raise self.values.error(f"high_freq_factor is {high:g}, it should be more than low_freq_factor, {low:g}.")
        return llama_3_divisors(self.rope_dim, self.rope_theta, factor, original, low, high)

    def _factors(self, name: str) -> list[float]:
        """A list of divisors that the configuration itself has, as Phi's."""
        found, count = self.rope.get(name), self.rope_dim // 2
        if not isinstance(found, list) or len(found) != count:
            raise self.values.error(f"{name} should be a list of {count} numbers.")
        return [Metadata({name: value}, self.path).real(name, low=1e-3, high=1e6) for value in found]

    def _older_context(self) -> int:
        return self.values.integer("max_sequence_length", LLAMA_CONTEXT, low=1, high=MAX_CONTEXT)

    def _optional(self) -> dict[str, object]:
        keys: dict[str, object] = {}
        if isinstance(self.values.get("sliding_window_pattern"), int):
            every = self.values.integer("sliding_window_pattern", low=0, high=MAX_LAYERS)
            keys[f"{self.architecture}.attention.sliding_window_pattern"] = every
        for name, key in _OPTIONAL_REALS.items():
            # Falcon-H1's tensors are multiplied instead.
            if name in self.values and self.architecture != "falcon-h1":
                keys[f"{self.architecture}.{key}"] = self.values.real(name, low=0.0, high=1e12)
        if ARCHITECTURES[self.architecture].parallel_in_file and "use_parallel_residual" in self.values:
            key = f"{self.architecture}.use_parallel_residual"
            keys[key] = self.values.flag("use_parallel_residual", True)
        used = self.architecture in _WINDOWED and self.values.flag("use_sliding_window", True)
        if "sliding_window" in self.values and used:
            window = self.values.integer("sliding_window", low=0, high=MAX_CONTEXT)
            keys[f"{self.architecture}.attention.sliding_window"] = window
            if windowed := self._windowed_layers():
                keys[f"{self.architecture}.attention.sliding_window_pattern"] = windowed
        if (local := self._rope_of(WINDOWED)) and "rope_theta" in local:
            keys[f"{self.architecture}.rope.freq_base_swa"] = local.real("rope_theta", low=1.0, high=1e12)
        if sections := self._rope_sections():
            keys[f"{self.architecture}.rope.dimension_sections"] = array("i", [*sections, 0])
        if "llama_4_scaling_beta" in self.rope:
            keys[f"{self.architecture}.attention.temperature_scale"] = self._rope_number("llama_4_scaling_beta", 0.0)
        return keys

    def _alibi(self) -> dict[str, object]:
        """How much the first head thinks less of what is distant, where the configuration says that heads do."""
        if self.values.get("alibi") is not True or ARCHITECTURES[self.architecture].alibi is None:
            return {}
        most = self.values.real("alibi_bias_max", 8.0, low=1e-3, high=1e3)
        return self._named({"attention.max_alibi_bias": most})

    def _loops(self) -> dict[str, object]:
        """How often a text goes through all layers, where that may be more than once."""
        if not ARCHITECTURES[self.architecture].loops:
            return {}
        times = self.values.integer("num_loops", 1, low=1, high=MAX_LAYERS)
        skips = self.values.flag("skip_loop_final_norm", False)
        return self._named({"num_loops": times, "skip_loop_final_norm": skips})

    def _rope_sections(self) -> list[int]:
        """How models that see share the turned pairs among the numbers of a place; Qwen 3.5 always does."""
        found = self.rope.get("mrope_section")
        if isinstance(found, list) and len(found) == 3 and all(n in range(MAX_WIDTH) for n in found):
            return list(map(int, found))
        return QWEN_SECTIONS if self.architecture in ("qwen35", "qwen35moe") else []

    def _windowed_layers(self) -> tuple[bool, ...]:
        """Which layers have a window, where the configuration names each one's kind; Gemma 4's have a default."""
        types = self.values.get("layer_types")
        if types is None and self.architecture == "gemma4":
            types = [WINDOWED if (i + 1) % 6 else UNWINDOWED for i in range(self.n_layers)]
        if not isinstance(types, list) or not all(isinstance(kind, str) and kind in _LAYER_TYPES for kind in types):
            return ()
        return tuple(_LAYER_TYPES[kind] for kind in types)

    def _rope_parameters(self) -> Metadata:
        """Of layers without a window, where those have their own."""
        return self._rope_of(UNWINDOWED) or self._rope_of(None)

    def _rope_of(self, layer_type: str | None) -> Metadata:
        """By the name that the version of transformers used; since version 5, a kind of layers may have its own."""
        for name in ("rope_parameters", "rope_scaling"):
            found = self.values.get(name)
            if isinstance(found, dict) and layer_type is not None:
                found = found.get(layer_type)
            if isinstance(found, dict):
                return Metadata({key: value for key, value in found.items() if value is not None}, self.path)
        return Metadata({}, self.path)

    def _rope_theta(self) -> float:
        """The rotary base; Hunyuan's is stretched by alpha at any length. Source: HunYuanDenseV1RotaryEmbedding."""
        theta = self._rope_number("rope_theta", self.values.real("rope_theta", 10_000.0, low=1.0, high=1e12))
        if not self.architecture.startswith("hunyuan") or "alpha" not in self.rope or self.head_dim <= 2:
            return theta
        return float(theta * self._rope_number("alpha", 1.0) ** (self.head_dim / (self.head_dim - 2)))

    def _rope_number(self, name: str, default: float) -> float:
        return self.rope.real(name, default, low=1e-6, high=1e12)

    def _rope_kind(self) -> str:
        return self.rope.text("rope_type", self.rope.text("type", "default"))

    def _rope_scaling(self) -> dict[str, object]:
        kind, arch = self._rope_kind(), self.architecture
        if kind in UNSTRETCHED:
            return {}
        if kind in LONG_ROPE:
            return self._long_rope()
        if kind not in ("linear", "yarn"):
            raise UnsupportedModelError(
                f"{self.path}: positions are stretched by {kind!r}, which is not read here.",
                "Choose the model as GGUF, or another one.",
            )
        keys: dict[str, object] = {
            f"{arch}.rope.scaling.type": kind,
            f"{arch}.rope.scaling.factor": self._rope_number("factor", 1.0),
        }
        original = self.rope.optional_integer("original_max_position_embeddings", low=1, high=MAX_CONTEXT)
        if original is not None:
            keys[f"{arch}.rope.scaling.original_context_length"] = original
        return keys | (self._yarn() if kind == "yarn" else {})

    def _yarn(self) -> dict[str, object]:
        """YaRN's own numbers. attention_factor is the whole factor, GGUF's comes on top of YaRN's 1 + log / 10.

        DeepSeek's mscale and mscale_all_dim, of which each alone says nothing, make two: one is divided by the other.
        """
        scaling = f"{self.architecture}.rope.scaling"
        keys: dict[str, object] = {
            f"{scaling}.yarn_{name}": self._rope_number(name, 1.0)
            for name in ("beta_fast", "beta_slow")
            if name in self.rope
        }
        if "truncate" in self.rope:
            keys[f"{scaling}.yarn_truncate"] = self.rope.flag("truncate", True)
        if ARCHITECTURES[self.architecture].yarn_in_queries:
            return keys | self._named(latent_yarn(self.rope))
        growth = math.log(max(1.0, self._rope_number("factor", 1.0))) / 10
        larger, all_larger = (self.rope.real(name, 0.0, low=0.0, high=1e6) for name in ("mscale", "mscale_all_dim"))
        if "attention_factor" in self.rope:
            keys[f"{scaling}.attn_factor"] = self._rope_number("attention_factor", 1.0) / (1 + growth)
        elif larger and all_larger:
            factor = (1 + larger * growth) / (1 + all_larger * growth)
            keys[f"{scaling}.attn_factor"] = factor / (1 + growth)
        return keys

    def _long_rope(self) -> dict[str, object]:
        """Phi's long contexts: two lists of divisors, and a factor on what is turned. Source: Ding et al. 2024."""
        context = self.values.integer("max_position_embeddings", low=1, high=MAX_CONTEXT)
        given = self.rope if "original_max_position_embeddings" in self.rope else self.values
        original = given.integer("original_max_position_embeddings", context, low=2, high=MAX_CONTEXT)
        stretched = context / original
        factor = math.sqrt(1 + math.log(stretched) / math.log(original)) if stretched > 1 else 1.0
        scaling = f"{self.architecture}.rope.scaling"
        return {f"{scaling}.original_context_length": original, f"{scaling}.attn_factor": factor}
