"""The oracle of models with Kimi Delta Attention, position by position."""

from __future__ import annotations

import numpy as np

from tests.engine.recurrent_reference import convolve, sigmoid, silu
from tests.engine.reference_latent import LatentModel


class KimiModel(LatentModel):
    """As LatentModel, with states in most layers; nothing is turned."""

    def __init__(self, path, context=None) -> None:
        super().__init__(path, context)
        self.shares_normed = True

    def angles(self, n, local):
        return np.zeros((n, self.rope_dim // 2)), 1.0

    def attention(self, x, layer):
        block = f"blk.{layer}."
        if block + "ssm_a" in self.tensors:
            return kimi_delta(self.tensors, block, x, self.n_heads, self.eps)
        return super().attention(x, layer)


def kimi_delta(t, block, x, heads, eps):
    mixed = []
    for part in "qkv":
        taps = t[f"{block}ssm_conv1d_{part}.weight"]
        made = x @ t[f"{block}attn_{part}.weight"].T
        values = silu(convolve(made, taps.reshape(-1, taps.shape[-1])))
        mixed.append(values.reshape(len(x), heads, -1).astype(np.float64))
    q, k, v = mixed
    dim = q.shape[-1]
    q, k = (part / np.sqrt((part * part).sum(-1, keepdims=True) + eps) for part in (q, k))
    q = q * dim**-0.5
    decays, gates = (x @ t[f"{block}ssm_{part}_a.weight"].T @ t[f"{block}ssm_{part}_b.weight"].T for part in "fg")
    times = np.log1p(np.exp(decays + t[block + "ssm_dt.bias"])).reshape(q.shape)
    decay = np.exp(times * t[block + "ssm_a"].reshape(heads, 1))
    beta = sigmoid(x @ t[block + "ssm_beta.weight"].T)
    state, out = np.zeros((heads, dim, dim)), np.zeros(v.shape)
    for i in range(len(x)):
        state *= decay[i][..., None]
        said = np.einsum("hkv,hk->hv", state, k[i])
        state += np.einsum("hk,hv->hkv", k[i], beta[i][:, None] * (v[i] - said))
        out[i] = np.einsum("hkv,hk->hv", state, q[i])
    out = out / np.sqrt((out * out).mean(-1, keepdims=True) + eps) * t[block + "ssm_norm.weight"]
    return (out.reshape(len(x), -1) * sigmoid(gates)).astype(np.float32) @ t[block + "attn_output.weight"].T
