"""The oracle of layers that do not attend, position by position."""

from __future__ import annotations

import numpy as np


def silu(x):
    return x / (1 + np.exp(-x))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def convolve(x, weights):
    """Each channel's sum over the last positions; x: (positions, channels), weights: (channels, taps)."""
    taps = weights.shape[1]
    padded = np.concatenate([np.zeros((taps - 1, x.shape[1]), x.dtype), x])
    return sum(padded[tap : tap + len(x)] * weights[:, tap] for tap in range(taps))


def short_convolution(t, block, x):
    before, after, values = np.split(x @ t[block + "shortconv.in_proj.weight"].T, 3, axis=1)
    return (after * convolve(before * values, t[block + "shortconv.conv.weight"])) @ t[
        block + "shortconv.out_proj.weight"
    ].T


def first_matrices(t, block, n_keys, dim):
    """What makes queries, keys and values, and gates; in early files both of each key head are one below the other."""
    if block + "ssm_in.weight" not in t:
        return t[block + "attn_qkv.weight"], t[block + "attn_gate.weight"]
    heads = t[block + "ssm_in.weight"].reshape(n_keys, -1, t[block + "ssm_in.weight"].shape[1])
    ends = [dim, 2 * dim, (heads.shape[1] + 2 * dim) // 2]
    *qkv, gates = (part.reshape(-1, heads.shape[2]) for part in np.split(heads, ends, axis=1))
    return np.concatenate(qkv), gates


def delta_net(t, block, x, get):
    """get: a key of the file, without the architecture's name."""
    n_keys, n_values, dim = get("ssm.group_count"), get("ssm.time_step_rank"), get("ssm.state_size")
    qkv_rows, gate_rows = first_matrices(t, block, n_keys, dim)
    mixed = silu(convolve(x @ qkv_rows.T, t[block + "ssm_conv1d.weight"]))
    parts = np.split(mixed, [n_keys * dim, 2 * n_keys * dim], axis=1)
    q, k, v = (part.reshape(len(x), -1, dim).astype(np.float64) for part in parts)
    eps = get("attention.layer_norm_rms_epsilon")
    q, k = (part / np.sqrt((part * part).sum(-1, keepdims=True) + eps) for part in (q, k))
    q = q * dim**-0.5
    if block + "ssm_ba.weight" in t:
        q, k = (np.repeat(part, n_values // n_keys, 1) for part in (q, k))
        both = (x @ t[block + "ssm_ba.weight"].T).reshape(len(x), n_keys, 2, -1)
        betas, alphas = (both[:, :, i].reshape(len(x), -1) for i in (0, 1))
    else:
        q, k = (np.tile(part, (1, n_values // n_keys, 1)) for part in (q, k))
        betas, alphas = (x @ t[f"{block}ssm_{name}.weight"].T for name in ("beta", "alpha"))
    beta = sigmoid(betas)
    time = np.log1p(np.exp(alphas + t[block + "ssm_dt.bias"]))
    decay = np.exp(time * t[block + "ssm_a"])
    state, out = np.zeros((n_values, dim, dim)), np.zeros((len(x), n_values, dim))
    for i in range(len(x)):
        state *= decay[i][:, None, None]
        said = np.einsum("hkv,hk->hv", state, k[i])
        state += np.einsum("hk,hv->hkv", k[i], beta[i][:, None] * (v[i] - said))
        out[i] = np.einsum("hkv,hk->hv", state, q[i])
    out = out / np.sqrt((out * out).mean(-1, keepdims=True) + eps) * t[block + "ssm_norm.weight"]
    gates = silu(x @ gate_rows.T)
    return (out.reshape(len(x), -1) * gates).astype(np.float32) @ t[block + "ssm_out.weight"].T
