"""The sizes of Mamba-2's layers, and of Mamba-1's, by a file's metadata."""

from __future__ import annotations

from engine.architecture.architecture import Architecture
from engine.architecture.selective import SelectiveScan
from engine.architecture.state_space import StateSpace
from engine.checkpoints import Metadata
from engine.checkpoints.limits import MAX_HEADS, MAX_WIDTH
from engine.errors import UnsupportedModelError
from engine.kernels.sizes import BLOCK, LANES

MOST_TAPS = 16
"""Positions that the convolution sees; models have 4."""

MOST_STATE_DIM = 512
"""Width of what is written and read; models have 128 or 256."""

LEAST_STEP_DIM = 64
"""Width of what PLaMo 2 makes time steps of, in models that are less than 16 times as wide. Source: llama.cpp."""


def state_space_from_gguf(meta: Metadata, architecture: Architecture) -> StateSpace:
    """The sizes that the file says.

    Raises ModelFileError for numbers that do not fit, UnsupportedModelError for sizes that the kernels do not take.
    """
    arch = architecture.name
    groups = meta.integer(f"{arch}.ssm.group_count", low=1, high=MAX_HEADS)
    heads = meta.integer(f"{arch}.ssm.time_step_rank", low=1, high=MAX_HEADS)
    inner = meta.integer(f"{arch}.ssm.inner_size", low=1, high=MAX_WIDTH)
    state_dim = meta.integer(f"{arch}.ssm.state_size", low=1, high=MOST_STATE_DIM)
    if heads % groups:
        raise meta.error(f"{heads} heads cannot be in {groups} equal groups ({arch}.ssm.group_count).")
    if inner % heads:
        raise meta.error(f"{arch}.ssm.inner_size is {inner}, which {heads} heads do not share evenly.")
    _check_multiple(meta, "the state of a head", inner // heads, LANES)
    _check_multiple(meta, f"{arch}.ssm.state_size", state_dim, LANES)
    _check_multiple(meta, f"{arch}.ssm.inner_size", inner, BLOCK)
    return StateSpace(
        taps=meta.integer(f"{arch}.ssm.conv_kernel", low=2, high=MOST_TAPS),
        dim=inner,
        key_heads=groups,
        value_heads=heads,
        state_dim=state_dim,
        beside_attention=architecture.beside_attention,
    )


def selective_scan_from_gguf(meta: Metadata, architecture: Architecture) -> SelectiveScan:
    """The same of Mamba-1's layers, and of PLaMo 2's: there the file has heads for the width of time steps."""
    arch = architecture.name
    inner = meta.integer(f"{arch}.ssm.inner_size", low=1, high=MAX_WIDTH)
    state_dim = meta.integer(f"{arch}.ssm.state_size", low=1, high=MOST_STATE_DIM)
    step_dim = heads = meta.integer(f"{arch}.ssm.time_step_rank", low=1, high=MAX_WIDTH)
    if architecture.scan_by_head:
        step_dim = max(LEAST_STEP_DIM, meta.integer(f"{arch}.embedding_length", low=1, high=MAX_WIDTH) // 16)
        if inner % heads:
            raise meta.error(f"{arch}.ssm.inner_size is {inner}, which {heads} heads do not share evenly.")
        _check_multiple(meta, "the state of a head", inner // heads, LANES)
    _check_multiple(meta, f"{arch}.ssm.inner_size", inner, BLOCK)
    _check_multiple(meta, f"{arch}.ssm.state_size", state_dim, LANES)
    _check_multiple(meta, "what time steps are made of", step_dim, LANES)
    return SelectiveScan(
        taps=meta.integer(f"{arch}.ssm.conv_kernel", low=2, high=MOST_TAPS),
        dim=inner,
        key_heads=1,
        value_heads=heads if architecture.scan_by_head else inner,
        by_head=architecture.scan_by_head,
        state_dim=state_dim,
        step_dim=step_dim,
        norms="weights"
        if architecture.step_norms
        else "unit"
        if meta.flag(f"{arch}.ssm.dt_b_c_rms", False)
        else "none",
    )


def _check_multiple(meta: Metadata, what: str, value: int, multiple: int) -> None:
    if value % multiple:
        raise UnsupportedModelError(
            f"{meta.path or 'The model'}: {what} is {value} wide; this engine wants a multiple of {multiple} there.",
            "Choose another model.",
        )
