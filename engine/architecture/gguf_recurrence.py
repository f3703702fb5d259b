"""What stands in place of attention, or beside it, by a file's metadata, with every number checked."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from engine.architecture.architecture import Architecture
from engine.architecture.config import Attention
from engine.architecture.gguf_state_space import selective_scan_from_gguf, state_space_from_gguf
from engine.architecture.kimi_delta import KimiDelta
from engine.architecture.recurrence import Recurrence
from engine.checkpoints import Metadata
from engine.checkpoints.limits import MAX_HEADS, MAX_LAYERS
from engine.errors import UnsupportedModelError
from engine.kernels.sizes import BLOCK

MOST_TAPS = 16
"""Positions that a convolution sees; models have 3 or 4."""

MOST_STATE_DIM = 512
"""Width of a delta net's heads; models have 128."""

DEFAULT_INTERVAL = 4
"""Of so many layers the last attends, if the file does not say which do."""


def delta_net_layers(meta: Metadata, arch: str, n_layers: int) -> Sequence[bool]:
    """Which layers are delta nets."""
    key = f"{arch}.attention.recurrent_layers"
    flags = meta.get(key)
    if isinstance(flags, (tuple, array)):
        # Layers behind the last may be counted too.
        if not n_layers <= len(flags) <= MAX_LAYERS:
            raise meta.error(f"{key} has {len(flags)} elements, it should have {n_layers}.")
        if not all(isinstance(flag, int) for flag in flags):
            raise meta.error(f"{key} should say yes or no of each layer.")
        return [bool(flag) for flag in flags[:n_layers]]
    if flags is not None:
        raise meta.error(f"{key} should be a list with yes or no for each layer.")
    every = meta.integer(f"{arch}.full_attention_interval", DEFAULT_INTERVAL, low=1, high=MAX_LAYERS)
    return [(i + 1) % every != 0 for i in range(n_layers)]


def recurrence_from_gguf(
    meta: Metadata, architecture: Architecture, attention: Sequence[Attention], dim: int
) -> Recurrence | None:
    """What layers do that do not attend, or beside that; None where all attend and do nothing else.

    Raises ModelFileError for numbers that do not fit, UnsupportedModelError for sizes that the kernels do not take.
    """
    if architecture.recurrent == "state space":
        return state_space_from_gguf(meta, architecture)
    if architecture.recurrent == "selective scan":
        return selective_scan_from_gguf(meta, architecture)
    if all(layer.n_kv_heads for layer in attention):
        return None
    if not any(layer.n_kv_heads for layer in attention):
        raise meta.error("none of its layers attends.")
    if architecture.skips:
        return None
    arch = architecture.name
    if architecture.recurrent == "convolution":
        _check_multiple(meta, f"{arch}.embedding_length", dim)
        return Recurrence(taps=meta.integer(f"{arch}.shortconv.l_cache", low=2, high=MOST_TAPS), dim=dim)
    if architecture.recurrent == "kimi delta":
        return _kimi_delta(meta, arch, dim)
    # A state is a square of this: no wider than the model, it is in proportion to the weights.
    state_dim = meta.integer(f"{arch}.ssm.state_size", low=1, high=min(MOST_STATE_DIM, dim))
    key_heads = meta.integer(f"{arch}.ssm.group_count", low=1, high=MAX_HEADS)
    value_heads = meta.integer(f"{arch}.ssm.time_step_rank", low=1, high=MAX_HEADS)
    inner = meta.integer(f"{arch}.ssm.inner_size", low=1, high=MAX_HEADS * MOST_STATE_DIM)
    _check_multiple(meta, f"{arch}.ssm.state_size", state_dim)
    if value_heads % key_heads:
        raise meta.error(f"{value_heads} heads of values cannot share {key_heads} heads of keys evenly.")
    if inner != value_heads * state_dim:
        raise meta.error(f"{arch}.ssm.inner_size is {inner}, {value_heads} heads of {state_dim} have another width.")
    return Recurrence(
        taps=meta.integer(f"{arch}.ssm.conv_kernel", low=2, high=MOST_TAPS),
        dim=inner,
        key_heads=key_heads,
        value_heads=value_heads,
        state_dim=state_dim,
        keys_in_turn=not architecture.grouped_gates,
        gates_by_key_head=architecture.grouped_gates,
    )


def _kimi_delta(meta: Metadata, arch: str, dim: int) -> KimiDelta:
    """As many heads as attention has, all of one width."""
    heads = meta.integer(f"{arch}.attention.head_count", low=1, high=MAX_HEADS)
    head_dim = meta.integer(f"{arch}.kda.head_dim", low=1, high=min(MOST_STATE_DIM, dim))
    _check_multiple(meta, f"{arch}.kda.head_dim", head_dim)
    taps = meta.integer(f"{arch}.ssm.conv_kernel", low=2, high=MOST_TAPS)
    return KimiDelta(taps=taps, dim=heads * head_dim, key_heads=heads, value_heads=heads, state_dim=head_dim)


def _check_multiple(meta: Metadata, key: str, value: int) -> None:
    if value % BLOCK:
        raise UnsupportedModelError(
            f"{meta.path or 'The model'}: {key} is {value}; this engine wants a multiple of {BLOCK} there.",
            "Choose another model.",
        )
