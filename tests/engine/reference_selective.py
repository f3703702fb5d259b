"""The oracle of models with Mamba-1's layers, position by position."""

from __future__ import annotations

import numpy as np

from tests.engine.recurrent_reference import convolve, silu
from tests.engine.reference import ReferenceModel, rms_norm
from tests.engine.reference_state_space import StateSpaceModel


class SelectiveModel(StateSpaceModel):
    """As StateSpaceModel, with states that are scanned channel by channel."""

    def __init__(self, path, context=None) -> None:
        super().__init__(path, context)
        self.one_part, self.turns, self.shares_normed = self.arch == "mamba", False, False

    def state(self, y, block):
        return selective_scan(self.tensors, block, y, self.get, self.eps)


class Plamo2(ReferenceModel):
    """As ReferenceModel, with states in every other layer."""

    def __init__(self, path, context=None) -> None:
        super().__init__(path, context)
        norms = {f"{name}.weight": values for name, values in self.tensors.items() if name.endswith("norm")}
        self.tensors |= norms

    def state(self, x, block):
        return scan_by_head(self.tensors, block, x, self.get, self.eps)


def selective_scan(t, block, x, get, eps):
    """get: a key of the file, without the architecture's name."""
    dim, steps = get("ssm.state_size"), get("ssm.time_step_rank")
    values, gates = np.split(x @ t[block + "ssm_in.weight"].T, 2, axis=1)
    values = silu(convolve(values, t[block + "ssm_conv1d.weight"]) + t.get(block + "ssm_conv1d.bias", 0))
    parts = np.split(values @ t[block + "ssm_x.weight"].T, [steps, steps + dim], axis=1)
    if get("ssm.dt_b_c_rms") or block + "ssm_dt_norm.weight" in t:
        weights = (t.get(f"{block}ssm_{part}_norm.weight", 1) for part in ("dt", "b", "c"))
        parts = [rms_norm(part, weight, eps) for part, weight in zip(parts, weights, strict=True)]
    low, written, read = (part.astype(np.float64) for part in parts)
    times = np.log1p(np.exp(low @ t[block + "ssm_dt.weight"].T + t[block + "ssm_dt.bias"]))
    state, out = np.zeros((values.shape[1], dim)), np.zeros(values.shape)
    for i in range(len(x)):
        state *= np.exp(times[i][:, None] * t[block + "ssm_a"])
        state += (times[i] * values[i])[:, None] * written[i]
        out[i] = state @ read[i]
    out = (out + values * t[block + "ssm_d"]) * silu(gates)
    return out.astype(np.float32) @ t[block + "ssm_out.weight"].T


def scan_by_head(t, block, x, get, eps):
    dim, heads = get("ssm.state_size"), get("ssm.time_step_rank")
    both = (x @ t[block + "ssm_in.weight"].T).reshape(len(x), heads, 2, -1)
    gates, values = both[:, :, 0], both[:, :, 1]
    mixed = silu(convolve(values.reshape(len(x), -1), t[block + "ssm_conv1d.weight"]))
    values = mixed.reshape(values.shape)
    parts = np.split(mixed @ t[block + "ssm_x.weight"].T, [dim, 2 * dim], axis=1)
    weights = (t[f"{block}ssm_{part}_norm.weight"] for part in ("b", "c", "dt"))
    written, read, low = (rms_norm(part, weight, eps) for part, weight in zip(parts, weights, strict=True))
    times = np.log1p(np.exp(low @ t[block + "ssm_dt.weight"].T + t[block + "ssm_dt.bias"]))
    decays = np.exp(times * t[block + "ssm_a"])
    state, out = np.zeros((*values.shape[1:], dim)), np.zeros(values.shape)
    for i in range(len(x)):
        state *= decays[i][:, None, None]
        state += (times[i][:, None] * values[i])[..., None] * written[i]
        out[i] = state @ read[i]
    out = (out + values * t[block + "ssm_d"][:, None]) * silu(gates)
    return out.reshape(len(x), -1).astype(np.float32) @ t[block + "ssm_out.weight"].T
