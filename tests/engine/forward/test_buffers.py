"""What the steps of a forward pass read lies in their buffers."""

from __future__ import annotations

import pytest

from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import open_checkpoint
from engine.forward.buffers import Buffers
from engine.forward.kv_cache import KVCache
from engine.forward.program import Program
from engine.forward.weight_loading import load_weights
from engine.kernels.sizes import BLOCK


@pytest.mark.parametrize(("dim", "n_heads"), [(32, 16), (30, 15), (136, 4)])
def test_the_last_head_of_a_row_is_read_in_whole_blocks_of_it(dim, n_heads, write_model, tmp_path):
    checkpoint = open_checkpoint(write_model(tmp_path / "a.gguf", dim=dim, n_heads=n_heads, n_kv_heads=n_heads))
    config = config_from_gguf(checkpoint.metadata, checkpoint.tensors)
    weights = load_weights(checkpoint, config, None, 1, lambda _done, _total: None)
    buffers = Buffers(Program(8), config, weights, KVCache(config, 8, 256, "f16"), None)
    attention = config.attention[0]
    read_at_once = -(-attention.head_dim // BLOCK) * BLOCK
    assert 4 * (attention.qkv_dim - attention.head_dim + read_at_once) <= buffers.qkv.stride
    weights.close()
