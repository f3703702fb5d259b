"""The oracle of models with Mamba-2's layers, position by position."""

from __future__ import annotations

import numpy as np

from tests.engine.recurrent_reference import convolve, sigmoid, silu
from tests.engine.reference import ReferenceModel, rms_norm


class StateSpaceModel(ReferenceModel):
    """As ReferenceModel, with layers that have one part, or attention and a state side by side."""

    def __init__(self, path, context=None) -> None:
        super().__init__(path, context)
        self.one_part = self.arch.startswith(("nemotron_h", "mamba2"))
        self.is_ungated = self.arch.startswith("nemotron_h")
        self.turns = self.arch == "falcon-h1" or (self.arch == "granitehybrid" and self.turns)
        if self.arch == "nemotron_h_moe":
            self.gating, self.shares_normed = sigmoid, self.get("expert_weights_norm")

    def logits(self, ids):
        """float32 (len(ids), vocab_size)."""
        t = self.tensors
        x = t["token_embd.weight"][ids] * np.float32(self.embedding_scale)
        for layer in range(self.n_layers):
            block = f"blk.{layer}."
            y = self.pre_norm(x, block + "attn_norm.weight")
            mixed = np.zeros_like(x)
            if block + "attn_q.weight" in t:
                mixed += self.attention(y, layer)
            if block + "ssm_in.weight" in t:
                mixed += self.state(y, block)
            x = x + self.residual_scale * mixed
            if not self.one_part:
                y = rms_norm(x, t[block + "ffn_norm.weight"], self.eps)
            if block + "ffn_gate_inp.weight" in t:
                x = x + self.residual_scale * self.experts(y, block)
            elif block + "ffn_up.weight" in t:
                x = x + self.residual_scale * self.feed_forward(y, block)
        logits = self.pre_norm(x, "output_norm.weight") / self.logit_divisor
        return logits @ t.get("output.weight", t["token_embd.weight"]).T

    def state(self, y, block):
        return state_space(self.tensors, block, y, self.get, self.eps)

    def expert_matrices(self, name):
        return super().expert_matrices(name.replace("gate", "up") if self.is_ungated else name)

    def unit(self, gate, up):
        return np.maximum(up, 0) ** 2 if self.is_ungated else super().unit(gate, up)


def state_space(t, block, x, get, eps):
    """get: a key of the file, without the architecture's name."""
    groups, heads, inner = get("ssm.group_count"), get("ssm.time_step_rank"), get("ssm.inner_size")
    n, dim, head_dim = len(x), get("ssm.state_size"), inner // heads
    gates, mixed, times = np.split(x @ t[block + "ssm_in.weight"].T, [inner, -heads], axis=1)
    mixed = silu(convolve(mixed, t[block + "ssm_conv1d.weight"]) + t.get(block + "ssm_conv1d.bias", 0))
    values, written, read = np.split(mixed.astype(np.float64), [inner, inner + groups * dim], axis=1)
    values = values.reshape(n, heads, head_dim)
    written, read = (np.repeat(part.reshape(n, groups, dim), heads // groups, 1) for part in (written, read))
    times = np.log1p(np.exp(times + t[block + "ssm_dt.bias"]))
    decays = np.exp(times * t[block + "ssm_a"].ravel())
    state, out = np.zeros((heads, head_dim, dim)), np.zeros((n, heads, head_dim))
    for i in range(n):
        state *= decays[i][:, None, None]
        state += np.einsum("hv,hk->hvk", values[i] * times[i][:, None], written[i])
        out[i] = np.einsum("hvk,hk->hv", state, read[i])
    out = (out + values * t[block + "ssm_d"].ravel()[:, None]).reshape(n, inner) * silu(gates)
    if block + "ssm_norm.weight" in t:
        out = rms_norm(out.reshape(n, groups, -1), t[block + "ssm_norm.weight"], eps).reshape(n, inner)
    return out.astype(np.float32) @ t[block + "ssm_out.weight"].T
