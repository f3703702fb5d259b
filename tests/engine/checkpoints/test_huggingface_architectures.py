"""Every architecture in Hugging Face's format: the same configuration and the same weights as its GGUF."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader

from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import open_checkpoint
from engine.checkpoints.derived import read_floats
from engine.checkpoints.huggingface import read_weights
from engine.checkpoints.rows import read_rows
from engine.conversion.messages import Conversion
from engine.conversion.plan import plan_conversion
from engine.conversion.run import run
from engine.conversion.stopping import Stop
from engine.errors import ModelFileError, UnsupportedModelError
from tests.engine import tiny_models
from tests.engine.checkpoints.folder_configs import MODELS
from tests.engine.checkpoints.folder_tensors import values_of
from tests.engine.checkpoints.folders import write_folder

pytestmark = pytest.mark.slow


def convert(source: Path, target: Path) -> Path:
    run(plan_conversion(Conversion(source=str(source), target=str(target), type="Q8_0")), 2, Stop(), lambda _: None)
    return target


@pytest.mark.parametrize("name", MODELS)
def test_as_its_gguf(tmp_path: Path, write, decode, name: str) -> None:
    path = tiny_models.write_tiny(tmp_path / "twin.gguf", name)
    twin = open_checkpoint(path)
    folder = write_folder(tmp_path / "model", twin, write, name)
    found = open_checkpoint(folder)
    expected, config = (config_from_gguf(model.metadata, model.tensors) for model in (twin, found))
    for field in expected.__slots__:
        value = getattr(expected, field)
        if field not in ("name", "rope_scaling"):
            assert getattr(config, field) == (pytest.approx(value) if isinstance(value, float) else value), field
    assert config.rope_scaling.original_max_seq_len == expected.rope_scaling.original_max_seq_len
    behind = f"blk.{config.n_layers}."
    known = {key: tensor for key, tensor in twin.tensors.items() if not key.startswith(behind)}
    assert found.tensors.keys() == known.keys()
    for key, tensor in known.items():
        values = read_floats(found.tensors[key], 0, tensor.n_rows)
        np.testing.assert_allclose(values, read_floats(tensor, 0, tensor.n_rows), rtol=3e-7, atol=2e-7, err_msg=key)
    if not name.startswith("phi3"):
        assert decode(folder) == decode(path)


def test_mxfp4_as_in_a_gguf(tmp_path: Path, write) -> None:
    """Bit for bit, read in pieces that begin and end amid an expert's rows."""
    twin = open_checkpoint(tiny_models.write_tiny(tmp_path / "twin.gguf", "gpt-oss", types=("MXFP4",)))
    folder = write_folder(tmp_path / "model", twin, write, "gpt-oss")
    config = json.loads((folder / "config.json").read_text()) | {"quantization_config": {"quant_method": "mxfp4"}}
    (folder / "config.json").write_text(json.dumps(config))
    found = open_checkpoint(folder).tensors
    assert {name for name, tensor in found.items() if tensor.type.name == "MXFP4"} == {
        f"blk.{layer}.ffn_{part}_exps.weight" for layer in range(4) for part in ("gate", "up", "down")
    }
    for name, tensor in found.items():
        if tensor.type.name == "MXFP4":
            assert tensor.shape == twin.tensors[name].shape
            pieces = [read_rows(tensor, first, min(37, tensor.n_rows - first)) for first in range(0, tensor.n_rows, 37)]
            np.testing.assert_array_equal(np.concatenate(pieces), read_rows(twin.tensors[name], 0, tensor.n_rows))


def test_columns_as_rows_are_seen_by_their_shape(tmp_path: Path, write) -> None:
    """As Qwen3-VL's were given out at first; newer versions of transformers write rows."""
    twin = open_checkpoint(tiny_models.write_tiny(tmp_path / "twin.gguf", "qwen3vlmoe"))
    folder = write_folder(tmp_path / "model", twin, write, "qwen3vlmoe")
    stacks = {part: values_of(twin, f"blk.1.ffn_{part}_exps.weight") for part in ("gate", "up", "down")}
    gate_up = np.concatenate([stacks["gate"], stacks["up"]], axis=1)
    for turned in (False, True):
        tensors = {
            f"model.layers.1.mlp.experts.{name}_proj": np.ascontiguousarray(values.swapaxes(1, 2) if turned else values)
            for name, values in (("gate_up", gate_up), ("down", stacks["down"]))
        }
        plain = {
            name: read_floats(t, 0, t.n_rows).reshape(t.shape)
            for name, t in read_weights([folder / "model.safetensors"]).items()
            if "layers.1.mlp.experts" not in name
        }
        write.write_safetensors(folder / "model.safetensors", plain | tensors)
        found = open_checkpoint(folder).tensors
        for part, values in stacks.items():
            tensor = found[f"blk.1.ffn_{part}_exps.weight"]
            pieces = [
                read_floats(tensor, first, min(37, tensor.n_rows - first)) for first in range(0, tensor.n_rows, 37)
            ]
            np.testing.assert_array_equal(np.concatenate(pieces).reshape(values.shape), values)


def test_layers_that_the_configuration_does_not_count_are_not_left_out(tmp_path: Path, write) -> None:
    twin = open_checkpoint(tiny_models.write_tiny(tmp_path / "twin.gguf", "qwen3"))
    folder = write_folder(tmp_path / "model", twin, write, "qwen3")
    config = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": 1}
    (folder / "config.json").write_text(json.dumps(config))
    found = open_checkpoint(folder)
    with pytest.raises(UnsupportedModelError, match=r"blk\.1\.\w+\.weight is not part of a qwen3 model"):
        config_from_gguf(found.metadata, found.tensors)


def test_the_factor_of_phis_long_contexts(tmp_path: Path, write) -> None:
    twin = open_checkpoint(tiny_models.write_tiny(tmp_path / "twin.gguf", "phi3-long"))
    folder = write_folder(tmp_path / "model", twin, write, "phi3-long")
    factor = open_checkpoint(folder).metadata["phi3.rope.scaling.attn_factor"]
    assert factor == pytest.approx(np.sqrt(1 + np.log(256 / 64) / np.log(64)))


def test_the_window_of_starcoder_2(tmp_path: Path, write) -> None:
    """Its GGUFs do not have it, since llama.cpp does without."""
    twin = open_checkpoint(tiny_models.write_tiny(tmp_path / "twin.gguf", "starcoder2"))
    folder = write_folder(tmp_path / "model", twin, write, "starcoder2")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"sliding_window": 16}))
    model = open_checkpoint(folder)
    assert [layer.window for layer in config_from_gguf(model.metadata, model.tensors).attention] == [16, 16]


@pytest.mark.parametrize("name", ["mixtral", "qwen3moe"])
def test_experts_convert_as_those_of_the_gguf(tmp_path: Path, write, decode, monkeypatch, name: str) -> None:
    """In pieces that begin and end amid an expert's rows."""
    monkeypatch.setattr("engine.conversion.plan.PIECE_WEIGHTS", 37 * 64)
    path = tiny_models.write_tiny(tmp_path / "twin.gguf", name)
    folder = write_folder(tmp_path / "model", open_checkpoint(path), write, name)
    new, same = (convert(source, tmp_path / f"{source.stem}-q8.gguf") for source in (folder, path))
    content = [
        {
            key: (t.shape, t.type.name, read_rows(t, 0, t.n_rows).tobytes())
            for key, t in open_checkpoint(file).tensors.items()
        }
        for file in (new, same)
    ]
    assert content[0] == content[1]
    assert content[0]["blk.1.ffn_down_exps.weight"][0][0] == 8
    assert decode(new) == decode(same)


def test_an_early_gguf_of_experts_converts_to_a_stacked_one(tmp_path: Path, decode) -> None:
    early = tiny_models.write_tiny(tmp_path / "early.gguf", "mixtral-apart")
    late = tiny_models.write_tiny(tmp_path / "late.gguf", "mixtral")
    new = convert(early, tmp_path / "new.gguf")
    assert {tensor.name for tensor in GGUFReader(new).tensors} == {tensor.name for tensor in GGUFReader(late).tensors}
    assert decode(new) == decode(convert(late, tmp_path / "same.gguf"))


def test_a_missing_expert_is_named(tmp_path: Path, write) -> None:
    path = tiny_models.write_tiny(tmp_path / "twin.gguf", "qwen3moe")
    twin = open_checkpoint(path)
    folder = write_folder(tmp_path / "model", twin, write, "qwen3moe")
    tensors = {
        name: read_floats(t, 0, t.n_rows).reshape(t.shape)
        for name, t in read_weights([folder / "model.safetensors"]).items()
    }
    del tensors["model.layers.1.mlp.experts.5.up_proj.weight"]
    write.write_safetensors(folder / "model.safetensors", tensors)
    with pytest.raises(ModelFileError, match=r"of the experts of blk\.1\.ffn_up_exps\.weight number 5 is missing"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"down_proj_scales": None}, r"the scales of .*\.down_proj_blocks, of shape .8, 64, 2, 16., are missing or"),
        ({"down_proj_scales": (8, 64, 3)}, r"the scales of .*\.down_proj_blocks, .* or do not fit"),
        ({"down_proj_blocks": (8, 128, 16)}, r"down_proj_blocks, of shape .8, 128, 16., are missing or do not fit"),
        ({"gate_up_proj_bias": (8, 127)}, r"gate_up_proj_bias, of shape .8, 127., cannot be taken apart"),
    ],
)
def test_experts_in_one_that_do_not_fit(tmp_path: Path, write, changed, match: str) -> None:
    twin = open_checkpoint(tiny_models.write_tiny(tmp_path / "twin.gguf", "gpt-oss", types=("MXFP4",)))
    folder = write_folder(tmp_path / "model", twin, write, "gpt-oss")
    tensors = {
        name: np.zeros(t.shape, np.uint8 if name.endswith(("_blocks", "_scales")) else np.float16)
        for name, t in read_weights([folder / "model.safetensors"]).items()
    }
    for name, shape in changed.items():
        foreign = f"model.layers.1.mlp.experts.{name}"
        like = tensors.pop(foreign)
        tensors |= {foreign: np.zeros(shape, like.dtype)} if shape else {}
    write.write_safetensors(folder / "model.safetensors", tensors)
    with pytest.raises(ModelFileError, match=match):
        open_checkpoint(folder)


def test_a_delta_nets_first_matrix_that_does_not_fit(tmp_path: Path, write) -> None:
    twin = open_checkpoint(tiny_models.write_tiny(tmp_path / "twin.gguf", "qwen3next"))
    folder = write_folder(tmp_path / "model", twin, write, "qwen3next")
    config = json.loads((folder / "config.json").read_text()) | {"linear_num_key_heads": 4}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFileError, match=r"in_proj_qkvz\.weight, of shape .384, 64., cannot be taken apart"):
        open_checkpoint(folder)


def test_groups_of_heads_that_do_not_fit(tmp_path: Path, write) -> None:
    twin = open_checkpoint(tiny_models.write_tiny(tmp_path / "twin.gguf", "internlm2"))
    folder = write_folder(tmp_path / "model", twin, write, "internlm2")
    config = json.loads((folder / "config.json").read_text()) | {"num_key_value_heads": 4}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        ModelFileError, match=r"wqkv\.weight, of shape .128, 64., is not 4 heads of 16 with keys and val"
    ):
        open_checkpoint(folder)


def test_norms_of_heads_of_which_one_is_missing(tmp_path: Path, write) -> None:
    twin = open_checkpoint(tiny_models.write_tiny(tmp_path / "twin.gguf", "stablelm-parallel"))
    folder = write_folder(tmp_path / "model", twin, write, "stablelm-parallel")
    tensors = {
        name: read_floats(tensor, 0, tensor.n_rows).reshape(tensor.shape)
        for name, tensor in read_weights([folder / "model.safetensors"]).items()
        if "layers.1.self_attn.q_layernorm.norms.2." not in name
    }
    write.write_safetensors(folder / "model.safetensors", tensors)
    with pytest.raises(ModelFileError, match=r"the norms of heads blk\.1\.attn_q_norm\.weight are not whole"):
        open_checkpoint(folder)


SLIDING = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("qwen3moe", {"norm_topk_prob": False}, "shares of experts do not add up to one .norm_topk_prob."),
        ("qwen2moe", {"norm_topk_prob": True}, "shares of experts are made to add up .norm_topk_prob."),
        ("qwen2moe", {"decoder_sparse_step": 2}, "some layers are without experts .mlp_only_layers, decoder_sparse"),
        ("qwen3moe", {"mlp_only_layers": [1]}, "some layers are without experts .mlp_only_layers, decoder_sparse"),
        ("hunyuan-moe", {"moe_topk": [2, 3]}, "layers have different experts .moe_topk."),
        ("llama", {"hidden_act": "gelu"}, "activation is 'gelu' .hidden_act., .* in a llama model"),
        ("gemma2", {"hidden_act": "gelu", "hidden_activation": "silu"}, "'silu' .hidden_activation., .* in a gemma2"),
        ("nemotron", {"hidden_act": "relu"}, "activation is 'relu' .hidden_act., .* in a nemotron model"),
        ("gpt-oss", {"swiglu_limit": 10.0}, "activation has 10 .swiglu_limit.; only 7"),
        ("gemma2", {"query_pre_attn_scalar": 224}, "scaled by 224 .query_pre_attn_scalar.; only 32"),
        ("qwen2", SLIDING, "no more than 4 tokens .use_sliding_window., .* in a qwen2 model"),
        ("qwen3", SLIDING | {"layer_types": ["full_attention", "sliding_attention"]}, "no more than 4 tokens"),
        ("qwen3moe", SLIDING | {"max_window_layers": 2}, "no more than 4 tokens"),
        ("smollm3", {"use_sliding_window": True, "sliding_window": 4}, "no more than 4 tokens .* in a smollm3 model"),
        ("smollm3", SLIDING | {"layer_types": ["full_attention", "sliding_attention"]}, "no more than 4 tokens"),
        ("smollm3", {"no_rope_layers": [1, 1, 1, 1, 1]}, "other layers than every 4th .* .no_rope_layers."),
        ("smallthinker", {"rope_layout": [1, 1, 1, 1, 0]}, "other layers than those with a window .*rope_layout"),
        ("smallthinker", {"moe_enable_early_router": False}, "moe_enable_early_router is false"),
        ("bloom", {"apply_residual_connection_post_layernorm": True}, "post_layernorm is true"),
        ("starcoder", {"multi_query": False}, "multi_query is false"),
    ],
)
def test_what_would_be_computed_otherwise_is_refused(tmp_path: Path, write, name: str, options, match: str) -> None:
    twin = open_checkpoint(tiny_models.write_tiny(tmp_path / "twin.gguf", name))
    folder = write_folder(tmp_path / "model", twin, write, name)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | options))
    with pytest.raises(UnsupportedModelError, match=match):
        open_checkpoint(folder)


def test_a_number_of_a_layers_activation_is_missing(tmp_path: Path, write) -> None:
    """What is learned has to be there; what is not has its usual value."""
    twin = open_checkpoint(tiny_models.write_tiny(tmp_path / "twin.gguf", "apertus"))
    folder = write_folder(tmp_path / "model", twin, write, "apertus")
    found = read_weights([folder / "model.safetensors"])
    tensors = {name: read_floats(tensor, 0, tensor.n_rows).reshape(tensor.shape) for name, tensor in found.items()}
    del tensors["model.layers.1.mlp.act_fn.beta"]
    write.write_safetensors(folder / "model.safetensors", tensors)
    assert open_checkpoint(folder).metadata["xielu.beta"][1] == 0.5
    del tensors["model.layers.1.mlp.act_fn.alpha_n"]
    write.write_safetensors(folder / "model.safetensors", tensors)
    with pytest.raises(ModelFileError, match=r"a layer's act_fn\.alpha_n is missing"):
        open_checkpoint(folder)
