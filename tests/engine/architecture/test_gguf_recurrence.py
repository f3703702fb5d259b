"""Which layers do not attend and what they do instead, by a file's metadata; and what is refused."""

from __future__ import annotations

import pytest

from engine.architecture.gguf_config import config_from_gguf
from engine.architecture.recurrence import Recurrence
from engine.checkpoints import open_checkpoint
from engine.errors import ModelFileError, UnsupportedModelError
from tests.engine import tiny_models


def config_of(tmp_path, name, **changes):
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", name, **changes))
    return config_from_gguf(checkpoint.metadata, checkpoint.tensors)


def test_convolutions_where_there_are_no_key_value_heads(tmp_path):
    config = config_of(tmp_path, "lfm2")
    assert config.recurrent_layers == (0, 1, 3)
    assert config.recurrence == Recurrence(taps=3, dim=64)
    assert config.recurrence.channels == 64
    assert config.first_dim(0) == 3 * 64
    assert config.first_dim(2) == 64 + 2 * 32


def test_delta_nets_by_interval_or_layer(tmp_path):
    config = config_of(tmp_path, "qwen35")
    assert config.recurrent_layers == (0, 2, 4)
    assert config.recurrence == Recurrence(taps=4, dim=128, key_heads=4, value_heads=4, state_dim=32)
    assert config.first_dim(0) == 3 * 128 + 128 + 2 * 4
    assert config.first_dim(1) == 2 * 128 + 2 * 64
    config = config_of(tmp_path, "qwen35-shared")
    assert (config.n_layers, config.recurrent_layers) == (4, (0, 1, 3))
    assert config_of(tmp_path, "qwen35", full_attention_interval=None).recurrent_layers == (0, 1, 2, 4)


@pytest.mark.parametrize(
    ("name", "key", "value", "match"),
    [
        ("lfm2", "shortconv__l_cache", 1, r"lfm2\.shortconv\.l_cache is 1"),
        ("lfm2", "shortconv__l_cache", 1 << 30, r"lfm2\.shortconv\.l_cache is 1073741824"),
        ("lfm2", "shortconv__l_cache", None, r"lfm2\.shortconv\.l_cache is missing"),
        ("lfm2", "head_count_kv", [0] * 5, "none of its layers attends"),
        ("lfm2", "head_count_kv", [0, 0, 2, 0], r"head_count_kv has 4 elements, it should have 5"),
        ("lfm2", "head_count_kv", [0, 0, -2, 0, 2], r"head_count_kv is -2"),
        ("qwen35", "ssm__state_size", 96, r"ssm\.state_size is 96, it should be between 1 and 64"),
        ("qwen35", "ssm__group_count", 3, "4 heads of values cannot share 3 heads of keys"),
        ("qwen35", "ssm__group_count", 0, r"ssm\.group_count is 0"),
        ("qwen35", "ssm__time_step_rank", 1 << 31, r"ssm\.time_step_rank is 2147483648"),
        ("qwen35", "ssm__inner_size", 160, r"ssm\.inner_size is 160, 4 heads of 32"),
        ("qwen35", "ssm__conv_kernel", 1 << 20, r"ssm\.conv_kernel is 1048576"),
        ("qwen35", "full_attention_interval", 0, r"full_attention_interval is 0"),
        ("qwen35", "attention__recurrent_layers", [True], r"recurrent_layers has 1 elements, it should have 5"),
        ("qwen35", "attention__recurrent_layers", True, "recurrent_layers should be a list"),
        ("qwen35", "attention__recurrent_layers", [0.5] * 5, "recurrent_layers should say yes or no of each layer"),
        ("qwen35", "attention__recurrent_layers", ["no"] * 5, "recurrent_layers should"),
        ("qwen35", "nextn_predict_layers", 5, r"nextn_predict_layers is 5"),
    ],
)
def test_numbers_that_do_not_fit_are_named(tmp_path, name, key, value, match):
    checkpoint = open_checkpoint(tiny_models.write_tiny(tmp_path / "tiny.gguf", name))
    key = {"head_count_kv": "attention.head_count_kv"}.get(key, key.replace("__", "."))
    changed = open_checkpoint(changed_copy(tmp_path, name, key, value))
    with pytest.raises(ModelFileError, match=match):
        config_from_gguf(changed.metadata, checkpoint.tensors)


def changed_copy(tmp_path, name, key, value):
    """A file with another number, whose tensors are what they are."""
    from gguf import GGUFReader, GGUFWriter

    reader = GGUFReader(tmp_path / "tiny.gguf")
    arch = reader.fields["general.architecture"].contents()
    writer = GGUFWriter(tmp_path / "changed.gguf", arch)
    values = {field: reader.fields[field].contents() for field in reader.fields if not field.startswith("GGUF.")}
    values[f"{arch}.{key}"] = value
    for field, content in values.items():
        kind = {bool: writer.add_bool, int: writer.add_int64, float: writer.add_float32, str: writer.add_string}
        if field != "general.architecture" and content is not None:
            kind.get(type(content), writer.add_array)(field, content)
    writer.add_tensor("token_embd.weight", reader.tensors[0].data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "changed.gguf"


@pytest.mark.parametrize(
    ("name", "changes", "match"),
    [
        ("lfm2", {"dim": 80}, r"lfm2\.embedding_length is 80; this engine wants a multiple of 32"),
        ("qwen35", {"ssm__state_size": 16, "ssm__inner_size": 64}, r"qwen35\.ssm\.state_size is 16"),
        ("qwen35", {"head_dim": 24}, "gates for heads of 24"),
    ],
)
def test_sizes_that_the_kernels_do_not_take_are_refused(tmp_path, name, changes, match):
    with pytest.raises(UnsupportedModelError, match=match):
        config_of(tmp_path, name, **changes)
