"""What tensors the layers of an architecture have, beyond what its keys say."""

from __future__ import annotations

from tests.engine.tiny_recurrent import CONVOLUTIONS, DELTA_NETS

NORMED = (
    "qwen3",
    "qwen3moe",
    "qwen3vl",
    "qwen3vlmoe",
    "gemma3",
    "gemma3n",
    "apertus",
    "bailingmoe2",
    "dots1",
    "exaone-moe",
    "hy_v3",
    "minimax-m2",
    "mellum",
    "maincoder",
    "afmoe",
    "olmoe",
    "olmo2",
    "exaone4",
    "hunyuan-dense",
    "hunyuan-moe",
    "plamo2",
    "hunyuan_vl",
    "plamo3",
    "maple",
    "laguna",
    "muse-glimmer",
    *CONVOLUTIONS,
    *DELTA_NETS,
)
"""Architectures with norms of queries and keys."""

WIDE_NORMED = ("olmoe", "olmo2", "minimax-m2")
"""Of those, the ones that norm all heads together."""

EACH_NORMED = ("k2-horizon",)
"""Those that have a weight for each head."""

WITHOUT_NORM_WEIGHTS = ("olmo", "talkie")
"""Architectures whose norms have no weights."""

WITHOUT_PRE_NORMS = ("olmo2", "exaone4")
"""Architectures that norm results alone."""

BIASED_NORMS = (
    "stablelm",
    "phi2",
    "starcoder2",
    "nemotron",
    "gptneox",
    "falcon",
    "orion",
    "jais",
    "jais2",
    "starcoder",
    "codeshell",
    "gpt2",
    "bloom",
)
"""Architectures whose norms take the mean away and add something afterwards."""

CENTRED = ("command-r", "cohere2", "olmo", "mpt", "dbrx", "cohere2moe", *BIASED_NORMS)
"""Those, and the ones that do not add anything."""

WITHOUT_FFN_NORMS = (
    *WITHOUT_PRE_NORMS,
    "command-r",
    "cohere2",
    "cohere2moe",
    "phi2",
    "plamo",
    "nemotron_h",
    "nemotron_h_moe",
)
"""Architectures that do not norm what feed-forward layers read, or once for these and attention."""

UNGATED = (
    "arcee",
    "plm",
    "phi2",
    "starcoder2",
    "nemotron",
    "gptneox",
    "falcon",
    "apertus",
    "jais2",
    "starcoder",
    "codeshell",
    "gpt2",
    "bloom",
    "mpt",
    "nemotron_h",
    "nemotron_h_moe",
)
"""Architectures whose feed-forward layers have no gate."""

FFN_NORM = {
    **dict.fromkeys(("gpt-oss", "glm4moe", "seed_oss", *DELTA_NETS), "post_attention_norm"),
    "dbrx": "attn_output_norm",
}
"""Architectures that have another name for the norm before the feed-forward layer."""

POST_NORMED = ("gemma2", "gemma3", "gemma3n", "glm4", "afmoe", "plamo2", "plamo3", "muse-glimmer", *WITHOUT_PRE_NORMS)
"""Architectures that norm the results of both."""

GATED = ("afmoe", "laguna", "muse-glimmer", "spark2_5", "k2-horizon")
"""Architectures with a matrix of gates for what attention gives."""

BARE_NORMS = {
    "falcon-h1": ("ffn_norm",),
    "plamo2": ("post_attention_norm", "post_ffw_norm", "ssm_dt_norm", "ssm_b_norm", "ssm_c_norm"),
    "plamo3": ("post_attention_norm", "post_ffw_norm"),
}
"""Norms whose names do not say that they are weights."""

GATE_IN_UP = ("phi3", "glm4", "chatglm", "plamo2", "plamo3")
"""Architectures that have gate and up in one tensor."""

SUB_NORMED = ("bitnet", "bitnet-b1.58")
"""Architectures that norm what the last matrices of attention and of the feed-forward layer read."""

LEADING_ONES = ("exp_probs_b.bias", "ffn_gate_inp_shexp.weight")
"""Endings of the vectors that llama.cpp's converter writes as matrices of one row."""

CHOICE_BIAS = {"hy_v3": "exp_probs_b"}
"""Architectures that have another name for it."""
