"""The oracle: the forward pass of every architecture in plain NumPy, slow and obvious, on dequantised weights."""

from __future__ import annotations

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

from tests.engine.recurrent_reference import delta_net, short_convolution
from tests.engine.reference_positions import alibi, xielu
from tests.engine.tiny_recurrent import CONVOLUTIONS, DELTA_NETS
from tests.engine.tiny_traits import CENTRED, CHOICE_BIAS, FFN_NORM, UNGATED

NEIGHBOURS = {
    "llama",
    "llama4",
    "deci",
    "nanbeige",
    "granite_swa",
    "mistral3",
    "smollm3",
    "granite",
    "granitemoe",
    "glm4",
    "chatglm",
    "ernie4_5",
    "internlm2",
    "ernie4_5-moe",
    "arcee",
    "minicpm",
    "deepseek",
    "command-r",
    "cohere2",
    "cohere2moe",
    "muse-glimmer",
    "bailingmoe",
    "maincoder",
    "xverse",
    "granitehybrid",
    "baichuan",
    "olmo",
}
"""Architectures that turn neighbouring pairs."""


PATTERNED = ("maple", "laguna", "spark2_5", "cohere2moe", "muse-glimmer")
"""Architectures whose files may say which layers have a window."""

TURNED_IN_WINDOWS = ("maple", "cohere2moe", "muse-glimmer")
"""Of those, the ones that turn in these layers alone."""

MULTIPLIED = ("cohere2moe", "muse-glimmer", "talkie")
"""Architectures whose logits are multiplied by what the file says."""


class ReferenceModel:
    """Weights as float32 by GGUF name, and the forward pass over a whole sequence.

    context: positions provided for, which decides between Phi's two sets of rotary divisors.
    """

    def __init__(self, path, context=None) -> None:
        reader = GGUFReader(path)
        named = {t.name: dequantize(t.data, t.tensor_type).astype(np.float32) for t in reader.tensors}
        self.tensors = {f"{name}.weight" if name.endswith("_norm") else name: values for name, values in named.items()}
        self.arch = arch = reader.fields["general.architecture"].contents()

        def get(key, default=None):
            field = reader.fields.get(f"{arch}.{key}")
            return default if field is None else field.contents()

        self.gemma = arch.startswith("gemma")
        scaled = self.gemma or arch == "afmoe"
        self.get = get
        self.n_layers = get("block_count") - get("nextn_predict_layers", 0)
        self.n_heads = np.max(get("attention.head_count"))
        self.n_kv_heads = np.max(get("attention.head_count_kv", self.n_heads))
        self.dim = get("embedding_length")
        self.head_dim = get("attention.key_length", self.dim // max(1, self.n_heads))
        self.rope_dim = get("rope.dimension_count", 0) or self.head_dim
        larger = get("rope.scaling.alpha", 1.0) ** (self.head_dim / (self.head_dim - 2))
        self.theta = get("rope.freq_base", 10000.0) * larger
        self.centred = arch in CENTRED and not (arch == "cohere2moe" and get("attention.layer_norm_rms_epsilon"))
        usual = get("attention.layer_norm_epsilon")
        self.eps = usual if self.centred else get("attention.layer_norm_rms_epsilon", usual)
        self.norm = layer_norm if self.centred else rms_norm
        self.attn_softcap = get("attn_logit_softcapping", 0.0)
        self.final_softcap = get("final_logit_softcapping", 0.0)
        self.window = get("attention.sliding_window", 0)
        windows_every = {"gemma2": 2, "gemma3": 6, "gpt-oss": 2, "olmo2": 4, "exaone4": 4, "cohere2": 4}
        windows_every |= {"exaone-moe": 4, "mellum": 4, "afmoe": 4, "llama4": 4, "plamo3": 8}
        self.window_every = windows_every.get(arch, 1)
        self.ffn_norm = FFN_NORM.get(arch, "ffn_norm")
        self.n_experts = get("expert_count", 0)
        self.n_experts_used = get("expert_used_count", 0)
        by_softmax = ("bailingmoe", "deepseek2-ocr")
        in_file = arch in (
            "glm4moe",
            "bailingmoe2",
            "dots1",
            "exaone-moe",
            "hy_v3",
            "afmoe",
            "laguna",
            "cohere2moe",
            "k2-horizon",
            *by_softmax,
        )
        in_doubt = sigmoid if (in_file and arch not in by_softmax) or arch == "lfm2moe" else softmax
        self.gating = {0: in_doubt, 1: softmax, 2: sigmoid}[get("expert_gating_func", 0)]
        self.shares_normed = (
            get("expert_weights_norm", False) if in_file else arch not in ("qwen2moe", "olmoe", "deepseek")
        )
        self.share_scale = get("expert_weights_scale", 1.0)
        self.expert_groups = get("expert_group_count", 1), get("expert_group_used_count", 1)
        self.scaling = get("rope.scaling.type", "linear")
        self.factor = get("rope.scaling.factor", 1.0)
        self.attn_factor = get("rope.scaling.attn_factor", 1.0)
        self.original = get("rope.scaling.original_context_length", get("context_length"))
        self.long_context = (context or get("context_length")) > self.original
        wide = (arch, self.n_layers) in (("gemma2", 46), ("gemma3", 62))
        self.query_scale = get("attention.scale", (self.dim // self.n_heads if wide else self.head_dim) ** -0.5)
        self.query_growth = get("attention.temperature_scale", 0.0)
        mini = arch == "minicpm"
        self.embedding_scale = get("embedding_scale", self.dim**0.5 if scaled else 12.0 if mini else 1.0)
        self.residual_scale = get("residual_scale", 1.4 / self.n_layers**0.5 if mini else 1.0)
        self.logit_divisor = get("logit_scale", self.dim / 256 if mini else 1.0) ** (
            -1 if self.centred or arch in MULTIPLIED else 1
        )
        self.parallel = arch == "gptneox" and get("use_parallel_residual", True)
        self.gelu = self.gemma or arch in (
            "phi2",
            "spark2_5",
            "starcoder2",
            "gptneox",
            "falcon",
            "starcoder",
            "codeshell",
            "gpt2",
            "bloom",
            "mpt",
        )
        self.log_multiplier = get("rope.scaling.yarn_log_multiplier", 0.0)
        self.turns = arch not in ("granite", "granitehybrid") or get("rope.scaling.finetuned", True)
        by_distance = arch in ("refact", "bloom") or (arch, self.n_layers) == ("baichuan", 40)
        self.alibi = 8.0 if by_distance else get("attention.max_alibi_bias", 0.0)
        self.turns = self.turns and not by_distance and arch not in ("mpt", "jais", "starcoder", "gpt2")
        self.query_scale = 1 / self.head_dim if arch == "jais" else self.query_scale
        self.limit = get("attention.clamp_kqv", np.inf)
        fields = [reader.fields.get(f"xielu.{name}") for name in ("alpha_n", "alpha_p", "beta")]
        self.xielu = [field.contents() for field in fields if field is not None]
        self.has_sections = get("rope.dimension_sections") is not None

    def logits(self, ids):
        """float32 (len(ids), vocab_size)."""
        t = self.tensors
        x = t.get("token_embd.weight", t.get("output.weight"))[ids] * np.float32(self.embedding_scale)
        x = x + t["position_embd.weight"][: len(ids)] if "position_embd.weight" in t else x
        if self.arch in ("muse-glimmer", "talkie"):
            x = rms_norm(x, 1.0, self.eps)
        embedding = x
        if self.arch == "bloom":
            x = self.pre_norm(x, "token_embd_norm.weight")
        for number, layer in enumerate([*range(self.n_layers)] * self.get("num_loops", 1)):
            if number and layer == 0 and not self.get("skip_loop_final_norm", False):
                x = self.pre_norm(x, "output_norm.weight")
            block, self.stream = f"blk.{layer}.", x
            y = both = self.pre_norm(x, block + "attn_norm.weight")
            if block + "attn_norm_2.weight" in t:
                y = self.pre_norm(x, block + "attn_norm_2.weight")
            if block + "shortconv.conv.weight" in t:
                y = short_convolution(t, block, y)
            elif block + "ssm_conv1d.weight" in t:
                y = self.state(y, block)
            else:
                y = self.attention(y, layer)
            y = y if self.ffn_norm == "post_attention_norm" else self.post_norm(y, block + "post_attention_norm.weight")
            before, x = x, x + self.residual_scale * y
            if (self.centred and f"{block}{self.ffn_norm}.weight" not in t and self.arch != "olmo") or self.arch in (
                "plamo",
                "cohere2moe",
            ):
                y = both
            else:
                y = self.pre_norm(before if self.parallel else x, f"{block}{self.ffn_norm}.weight")
            y = self.experts(y, block) if f"{block}ffn_gate_inp.weight" in t else self.feed_forward(y, block)
            x = x + self.residual_scale * self.post_norm(y, block + "post_ffw_norm.weight")
            x = x + t[block + "layer_output_scale.weight"] * embedding if self.arch == "talkie" else x
        norm = "token_embd_norm.weight" if self.arch in CONVOLUTIONS else "output_norm.weight"
        logits = self.pre_norm(x, norm) / self.logit_divisor @ t.get("output.weight", t.get("token_embd.weight")).T
        return softcap(logits + t.get("output.bias", 0), self.final_softcap)

    def state(self, x, block):
        return delta_net(self.tensors, block, x, self.get)

    def pre_norm(self, x, name):
        bias = self.tensors.get(name.replace("weight", "bias"), 0)
        if self.arch == "olmo":
            return layer_norm(x, 1.0, self.eps)
        if self.arch == "talkie":
            return rms_norm(x, 1.0, self.eps)
        if self.arch == "k2-horizon":
            parts = x.reshape(len(x), self.get("attention.group_norm_groups", 1), -1)
            return rms_norm(parts, 1.0, self.eps).reshape(x.shape) * self.tensors[name]
        return self.norm(x, self.tensors[name], self.eps) + bias if name in self.tensors else x

    def post_norm(self, x, name):
        eps = 1e-8 if self.arch == "muse-glimmer" else self.eps
        return rms_norm(x, self.tensors[name], eps) if name in self.tensors else x

    def qkv(self, x, block):
        """Queries, keys and values, (positions, heads, head_dim) each."""
        t, n = self.tensors, len(x)
        if block + "attn_qkv.weight" in t:
            ends = np.cumsum([self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim])
            joined = x @ t[block + "attn_qkv.weight"].T + t.get(block + "attn_qkv.bias", 0)
            parts = np.split(joined, ends, axis=1)
        else:
            parts = [self.product(x, f"{block}attn_{c}") for c in "qkv"]
        parts = [part + t.get(f"{block}attn_{c}.bias", 0) for c, part in zip("qkv", parts, strict=True)]
        return [np.clip(part, -self.limit, self.limit).reshape(n, -1, self.head_dim) for part in parts]

    def attention(self, x, layer):
        t, n, block = self.tensors, len(x), f"blk.{layer}."
        heads, kv_heads = self.get("attention.head_count"), self.get("attention.head_count_kv")
        self.n_heads = heads[layer] if isinstance(heads, list) else self.n_heads
        self.n_kv_heads = kv_heads[layer] if isinstance(kv_heads, list) else self.n_kv_heads
        q, k, v = self.qkv(x, block)
        gates, late = 1.0, self.arch.startswith(("hunyuan", "maincoder"))
        if self.arch in DELTA_NETS:
            q, gates = np.split(q.reshape(n, self.n_heads, -1), 2, axis=-1)
        if block + "attn_gate.weight" in t:
            gates = (x @ t[block + "attn_gate.weight"].T).reshape(n, self.n_heads, -1)
        if not late:
            names = f"{block}attn_q_norm.weight", f"blk.{self.stored_by(layer)}.attn_k_norm.weight"
            q, k = (self.qk_norm(part, name) for part, name in zip((q, k), names, strict=True))
        windowed = self.window and (self.window_every == 1 or layer % self.window_every < self.window_every - 1)
        if self.arch in ("smallthinker", "granite_swa", "laguna", "cohere2moe"):
            windowed = self.window and layer % 4 > 0
        if self.arch in PATTERNED and (pattern := self.get("attention.sliding_window_pattern")):
            windowed = pattern[layer] * self.window
        angles, magnitude = self.angles(
            n, local=windowed and self.arch in ("gemma3", "gemma3n", "gemma4", "olmo2", "mellum", "plamo3", *PATTERNED)
        )
        turn = rotate_pairs if self.arch in NEIGHBOURS and not self.has_sections else rotate_halves
        everywhere = self.arch not in ("exaone4", "exaone-moe", "cohere2", "smallthinker", "llama4", *TURNED_IN_WINDOWS)
        if self.arch == "cohere2moe":
            everywhere = layer < self.get("leading_dense_block_count")
        fourth = self.arch in ("smollm3", "afmoe")
        unturned = layer % 4 == 3 if fourth else not (everywhere or windowed)
        if pattern := self.get("attention.rope_pattern"):
            unturned = not pattern[layer]
        if self.turns and not (unturned and (self.window or fourth)):
            q, k = (turn(part, angles, magnitude) for part in (q, k))
        if late:
            q, k = (self.qk_norm(part, f"{block}attn_{c}_norm.weight") for part, c in ((q, "q"), (k, "k")))
        growth = self.growth(np.arange(n), layer)
        q = in_blocks((q * self.query_scale * growth[:, None, None]).astype(np.float32), as_activations)
        k, step = in_blocks(k, lambda x: as_words(x)[0]), as_words(v)[1]  # as the cache keeps them
        group = self.n_heads // self.n_kv_heads
        k, v, step = (np.repeat(part, group, 1) for part in (k, as_words(v)[0], step))
        scores = softcap(np.einsum("qhd,khd->hqk", q, k), self.attn_softcap)
        distance = np.arange(n)[:, None] - np.arange(n)
        scores = scores - alibi(self.n_heads, self.alibi)[:, None, None] * np.abs(distance)
        seen = (distance >= 0) & (self.in_window(n) if windowed else True)
        scores = np.where(seen, scores, -np.inf)
        sinks = t.get(block + "attn_sinks.weight", np.full(self.n_heads, -np.inf))[:, None, None]
        top = np.maximum(scores.max(-1, keepdims=True), sinks)
        weights = np.exp(scores - top)
        rounded = in_blocks(weights * step[:, :, 0].T[:, None], as_activations) / step[:, :, 0].T[:, None]
        rounded /= weights.sum(-1, keepdims=True) + np.exp(sinks - top)
        out = np.einsum("hqk,khd->qhd", rounded, v)
        out = (out * self.opened(gates) if np.ndim(gates) else out).reshape(n, -1).astype(np.float32)
        out = self.post_norm(out, block + "attn_sub_norm.weight")
        return self.product(out, block + "attn_output") + t.get(block + "attn_output.bias", 0)

    def opened(self, gates):
        """What attention's results are multiplied by."""
        if self.arch == "k2-horizon":
            return np.log2(1 + 2**gates)
        return np.log1p(np.exp(gates)) if self.arch == "laguna" else sigmoid(gates)

    def growth(self, positions, layer):
        """What queries are multiplied by."""
        return 1 + self.query_growth * np.log(1 + positions // self.original)

    def in_window(self, n):
        """Which positions a query sees where there is a window, if they are not after it."""
        return np.arange(n)[:, None] - np.arange(n) < self.window

    def product(self, x, name):
        """By a matrix, and by the number that it may have."""
        return x @ self.tensors[f"{name}.weight"].T * self.tensors.get(f"{name}.scale", np.float32(1))

    def qk_norm(self, x, name):
        """The norm of each head, by its own weight if there are such, or of all heads where the weight is as long."""
        if self.arch == "talkie":
            return rms_norm(x, self.tensors.get(name, 1.0), self.eps)
        if name not in self.tensors:
            return x
        if self.arch == "k2-horizon":
            return rms_norm(x, self.tensors[name].reshape(x.shape[1:]), self.eps)
        weight = self.tensors[name]
        rows = x if weight.shape[-1] == self.head_dim else x.reshape(len(x), -1)
        return self.norm(rows, weight, self.eps).reshape(x.shape)

    def stored_by(self, layer):
        """The layer whose keys and values a layer reads."""
        return layer

    def feed_forward(self, x, block, ending=""):
        t = self.tensors
        names = [f"{block}ffn_{part}{ending}" for part in ("gate", "up", "down")]
        if self.arch in UNGATED:
            up = x @ t[f"{names[1]}.weight"].T + t.get(f"{names[1]}.bias", 0)
            if self.xielu:
                up = xielu(up, *(numbers[int(block.split(".")[1])] for numbers in self.xielu))
            else:
                up = gelu(up) if self.gelu else np.maximum(up, 0) ** 2
            return up @ t[f"{names[2]}.weight"].T + t.get(f"{names[2]}.bias", 0)
        if f"{names[0]}.weight" in t:
            gate, up = (self.product(x, name) + t.get(f"{name}.bias", 0) for name in names[:2])
        else:
            gate, up = np.split(x @ t[f"{names[1]}.weight"].T, 2, axis=1)
        if self.arch == "bitnet-b1.58":
            hidden = np.maximum(gate, 0) ** 2 * up
        else:
            hidden = (gelu if self.gelu else silu)(gate) * up
        hidden = self.post_norm(hidden, block + "ffn_sub_norm.weight")
        return self.product(hidden, names[2]) + t.get(f"{names[2]}.bias", 0)

    def experts(self, x, block):
        gates, ups, downs = (self.expert_matrices(f"{block}ffn_{name}") for name in ("gate", "up", "down"))
        none = np.zeros((self.n_experts, 1))
        biases = [self.tensors.get(f"{block}ffn_{name}_exps.bias", none) for name in ("gate", "up", "down")]
        routed = self.stream if self.arch == "smallthinker" else x
        logits = routed @ self.tensors[block + "ffn_gate_inp.weight"].T + self.tensors.get(
            block + "ffn_gate_inp.bias", 0
        )
        probabilities = self.gating(logits)
        choice = self.tensors.get(block + CHOICE_BIAS.get(self.arch, "exp_probs_b.bias"), 0)
        scores = self.in_best_groups(probabilities + choice)
        out = self.shared(x, block)
        for i, row in enumerate(x):
            chosen = np.argsort(-scores[i], kind="stable")[: self.n_experts_used]
            shares = self.share_scale * probabilities[i, chosen]
            shares = shares / probabilities[i, chosen].sum() if self.shares_normed else shares
            for expert, share in zip(chosen, shares, strict=True):
                gate, up = (its[expert] @ row + bias[expert] for its, bias in zip((gates, ups), biases, strict=False))
                gate, up = self.limited(gate, up, int(block.split(".")[1]))
                out[i] += self.expert(share, gate, up, downs[expert]) + share * biases[2][expert]
        return out / 2 if self.arch == "cohere2moe" and f"{block}ffn_up_shexp.weight" in self.tensors else out

    def limited(self, gate, up, layer):
        """An expert's gates and ups within a layer's limit."""
        limit = self.get("swiglu_clamp_exp", [0.0] * self.n_layers)[layer] or np.inf
        return np.minimum(gate, limit), np.clip(up, -limit, limit)

    def expert(self, share, gate, up, down):
        """What an expert adds."""
        return share * (down @ self.unit(gate, up))

    def unit(self, gate, up):
        """Of an expert."""
        if self.arch == "gpt-oss":
            return clamped(gate, up)
        return (np.maximum(gate, 0) if self.arch == "smallthinker" else silu(gate)) * up

    def in_best_groups(self, scores):
        """Scores, minus infinity outside of the groups from which experts may come."""
        groups, used = self.expert_groups
        if groups <= 1:
            return scores
        apart = scores.reshape(len(scores), groups, -1)
        together = np.sort(apart, -1)[..., -2:].sum(-1)
        best = np.argsort(-together, kind="stable")[:, :used]
        inside = (np.arange(groups) == best[..., None]).any(1)
        return np.where(inside[..., None], apart, -np.inf).reshape(scores.shape)

    def shared(self, x, block):
        """What all tokens go through beside their experts."""
        if block + "ffn_up_shexp.weight" not in self.tensors:
            return np.zeros_like(x)
        out = self.feed_forward(x, block, "_shexp")
        gate = self.tensors.get(block + "ffn_gate_inp_shexp.weight")
        return out if gate is None else out * sigmoid(x @ gate)[:, None]

    def expert_matrices(self, name):
        """All experts' matrices, by expert; early files have a tensor for each."""
        if f"{name}_exps.weight" in self.tensors:
            return self.tensors[f"{name}_exps.weight"]
        return [self.tensors[f"{name}.{expert}.weight"] for expert in range(self.n_experts)]

    def angles(self, n, local):
        """Angle of each pair at each position, (n, rope_dim / 2), and what cosines and sines are multiplied by."""
        width = self.get("rope.dimension_count_swa", self.rope_dim) if local else self.rope_dim
        pairs = np.arange(0, width, 2) / width
        if local:
            theta = self.theta if self.arch in ("olmo2", "mellum", *PATTERNED) else 10000.0
            theta = self.get("rope.freq_base_swa", theta)
            return np.arange(n)[:, None] * theta**-pairs, 1.0
        frequencies = self.theta**-pairs
        lengths = "long" if self.long_context else "short"
        for name in ("rope_freqs.weight", f"rope_factors_{lengths}.weight"):
            frequencies = frequencies / self.tensors.get(name, 1.0)
        magnitude = self.attn_factor
        if self.scaling == "yarn":
            low, high = (
                self.rope_dim * np.log(self.original / (beta * 2 * np.pi)) / (2 * np.log(self.theta))
                for beta in (32, 1)
            )
            low, high = max(np.floor(low), 0), min(np.ceil(high), self.rope_dim - 1)
            ramp = np.clip((np.arange(len(pairs)) - low) / max(high - low, 0.001), 0, 1)
            frequencies = frequencies * (1 - ramp) + frequencies / self.factor * ramp
            magnitude *= (1 + 0.1 * np.log(self.factor)) / (1 + 0.1 * self.log_multiplier * np.log(self.factor))
        elif self.scaling != "none":
            frequencies = frequencies / self.factor
        return np.arange(n)[:, None] * frequencies, magnitude


def as_words(x):
    """Numbers in steps of 2**-12 of the power of two of the last axis' largest, and that step."""
    peak = np.abs(x).max(-1, keepdims=True).astype(np.float64)
    step = 2.0 ** (np.floor(np.log2(peak, out=np.zeros_like(peak), where=peak > 0)) - 12)
    return np.rint(x / step) * step, step


def as_activations(x):
    """Numbers in 8,191 steps to the last axis' largest."""
    step = np.abs(x).max(-1, keepdims=True) / 8191
    return np.rint(np.divide(x, step, out=np.zeros_like(x), where=step > 0)) * step


def in_blocks(x, rounded):
    """Round each 32 of the last axis by themselves."""
    return np.concatenate([rounded(x[..., i : i + 32]) for i in range(0, x.shape[-1], 32)], axis=-1)


def layer_norm(x, weight, eps):
    return rms_norm(x - x.mean(-1, keepdims=True), weight, eps)


def rms_norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def softmax(x):
    weights = np.exp(x - x.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def clamped(gate, up):
    gate = np.minimum(gate, 7)
    return gate / (1 + np.exp(-1.702 * gate)) * (np.clip(up, -7, 7) + 1)


def softcap(x, cap):
    return cap * np.tanh(x / cap) if cap else x


def rotate_pairs(x, angles, magnitude):
    """Turn neighbouring pairs of the first dimensions of (positions, heads, head_dim)."""
    cos, sin = (magnitude * f(angles)[:, None] for f in (np.cos, np.sin))
    out = x.copy()
    end = 2 * angles.shape[1]
    even, odd = x[..., 0:end:2], x[..., 1:end:2]
    out[..., 0:end:2] = even * cos - odd * sin
    out[..., 1:end:2] = even * sin + odd * cos
    return out.astype(np.float32)


def rotate_halves(x, angles, magnitude):
    """Turn dimension i with dimension i + half."""
    cos, sin = (magnitude * f(angles)[:, None] for f in (np.cos, np.sin))
    out = x.copy()
    half = angles.shape[1]
    low, high = x[..., :half], x[..., half : 2 * half]
    out[..., :half] = low * cos - high * sin
    out[..., half : 2 * half] = low * sin + high * cos
    return out.astype(np.float32)
