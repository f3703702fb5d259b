"""Which type each tensor gets: counted against what published files of well-known models have."""

from __future__ import annotations

from array import array
from collections import Counter
from pathlib import Path

import pytest

from engine.checkpoints import TYPE_BY_NAME, Metadata, TensorInfo
from engine.errors import UnsupportedModelError
from engine.quantization import FILE_TYPES
from engine.quantize.mixes import MIXES, choose_types, find_mix


def model(layers, dim, hidden, heads, kv_heads, *, tied=False, experts=0):
    """Metadata and tensors of a llama of this shape, in F16."""
    kv_dim = dim * kv_heads // heads
    shapes = {"token_embd.weight": (32000, dim), "output_norm.weight": (dim,)}
    if not tied:
        shapes["output.weight"] = (32000, dim)
    for layer in range(layers):
        block = f"blk.{layer}."
        shapes |= {block + f"attn_{part}.weight": (dim, dim) for part in ("q", "output")}
        shapes |= {block + f"attn_{part}.weight": (kv_dim, dim) for part in ("k", "v")}
        shapes |= {block + f"{part}_norm.weight": (dim,) for part in ("attn", "ffn")}
        if experts:
            shapes[block + "ffn_gate_inp.weight"] = (experts, dim)
            shapes |= {block + f"ffn_{part}_exps.weight": (experts, hidden, dim) for part in ("gate", "up")}
            shapes[block + "ffn_down_exps.weight"] = (experts, dim, hidden)
        else:
            shapes |= {block + f"ffn_{part}.weight": (hidden, dim) for part in ("gate", "up")}
            shapes[block + "ffn_down.weight"] = (dim, hidden)
    keys = {
        "general.architecture": "llama",
        "llama.block_count": layers,
        "llama.attention.head_count": heads,
        "llama.attention.head_count_kv": kv_heads,
    }
    if experts:
        keys["llama.expert_count"] = experts
    half = TYPE_BY_NAME["F16"]
    tensors = {name: TensorInfo(name, shape, half, Path("x"), 0, 0) for name, shape in shapes.items()}
    return Metadata(keys), tensors


def counts(name, *shape, **options):
    types = choose_types(find_mix(name), *model(*shape, **options))
    return Counter(kind.name for kind in types.values())


LLAMA_2_7B = (32, 4096, 11008, 32, 32)
LLAMA_3_8B = (32, 4096, 14336, 32, 8)


@pytest.mark.parametrize(
    ("mix", "expected"),
    [
        ("Q4_0", {"Q4_0": 225, "Q6_K": 1}),
        ("Q4_1", {"Q4_1": 225, "Q6_K": 1}),
        ("Q5_0", {"Q5_0": 225, "Q6_K": 1}),
        ("Q5_1", {"Q5_1": 225, "Q6_K": 1}),
        ("Q8_0", {"Q8_0": 226}),
        ("Q2_K", {"Q2_K": 129, "Q3_K": 96, "Q6_K": 1}),
        ("Q3_K_S", {"Q3_K": 225, "Q6_K": 1}),
        ("Q3_K_M", {"Q3_K": 129, "Q4_K": 92, "Q5_K": 4, "Q6_K": 1}),
        ("Q3_K_L", {"Q3_K": 129, "Q5_K": 96, "Q6_K": 1}),
        ("Q4_K_S", {"Q4_K": 217, "Q5_K": 8, "Q6_K": 1}),
        ("Q4_K_M", {"Q4_K": 193, "Q6_K": 33}),
        ("Q5_K_S", {"Q5_K": 225, "Q6_K": 1}),
        ("Q5_K_M", {"Q5_K": 193, "Q6_K": 33}),
        ("Q6_K", {"Q6_K": 226}),
        ("F16", {"F16": 226}),
        ("BF16", {"BF16": 226}),
        ("F32", {"F32": 226}),
    ],
)
def test_llama_2_7b(mix, expected):
    found = counts(mix, *LLAMA_2_7B)
    vectors = found["F32"] - expected.get("F32", 0)
    assert vectors == 65
    assert {kind: n for kind, n in found.items() if kind != "F32" or "F32" in expected} == {
        kind: n + (65 if kind == "F32" else 0) for kind, n in expected.items()
    }


def test_values_of_grouped_heads_get_more_bits_in_q2_k():
    assert counts("Q2_K", *LLAMA_3_8B) == {"F32": 65, "Q2_K": 129, "Q3_K": 64, "Q4_K": 32, "Q6_K": 1}


def test_heads_given_layer_by_layer_are_the_first_layer_s():
    metadata, tensors = model(*LLAMA_3_8B)
    keys = {f"llama.attention.head_count{part}": array("i", [n] * 32) for part, n in (("", 32), ("_kv", 8))}
    listed = choose_types(find_mix("Q2_K"), Metadata({**metadata, **keys}), tensors)
    assert listed == choose_types(find_mix("Q2_K"), metadata, tensors)
    assert listed["blk.0.attn_v.weight"].name == "Q4_K"


def test_the_layers_that_get_more_bits():
    types = choose_types(find_mix("q4_k_m"), *model(*LLAMA_2_7B))
    for part in ("attn_v", "ffn_down"):
        more = [n for n in range(32) if types[f"blk.{n}.{part}.weight"].name == "Q6_K"]
        assert more == [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]


def test_values_of_a_70b_model():
    types = choose_types(find_mix("Q4_K_M"), *model(80, 8192, 28672, 64, 8))
    assert {types[f"blk.{n}.attn_v.weight"].name for n in range(80)} == {"Q5_K", "Q6_K"}


def test_rows_that_are_no_superblocks_fall_back():
    types = choose_types(find_mix("Q4_K_M"), *model(30, 576, 1536, 9, 3, tied=True))
    assert types["token_embd.weight"].name == "Q8_0"
    assert types["blk.9.attn_q.weight"].name == "Q5_0"
    assert {types[f"blk.{n}.attn_v.weight"].name for n in range(30)} == {"Q5_0", "Q8_0"}
    assert {types[f"blk.{n}.ffn_down.weight"].name for n in range(30)} == {"Q4_K", "Q6_K"}
    assert counts("Q2_K", 2, 576, 1536, 9, 3) == {"F32": 5, "Q4_0": 13, "Q8_0": 1, "Q3_K": 2}
    assert counts("Q5_K_S", 2, 576, 1536, 9, 3) == {"F32": 5, "Q5_1": 13, "Q8_0": 1, "Q5_K": 2}


def test_rows_that_are_no_blocks_at_all_stay_plain():
    assert counts("Q4_0", 1, 48, 80, 4, 4) == {"F32": 3, "F16": 9}
    assert counts("Q4_K_M", 1, 48, 80, 4, 4) == {"F32": 3, "F16": 9}


def test_tied_embeddings_are_the_output():
    assert choose_types(find_mix("Q4_0"), *model(2, 256, 512, 4, 4, tied=True))["token_embd.weight"].name == "Q6_K"
    assert choose_types(find_mix("Q4_0"), *model(2, 256, 512, 4, 4))["token_embd.weight"].name == "Q4_0"


def test_per_layer_embeddings_are_as_the_embedding():
    metadata, tensors = model(2, 256, 512, 4, 4, tied=True)
    name = "per_layer_token_embd.weight"
    tensors[name] = TensorInfo(name, (32000, 512), TYPE_BY_NAME["F16"], Path("x"), 0, 0)
    assert choose_types(find_mix("Q4_0"), metadata, tensors)[name].name == "Q6_K"


def test_mixtures_of_experts():
    types = choose_types(find_mix("Q4_K_M"), *model(32, 4096, 14336, 32, 8, experts=8))
    assert {types[f"blk.{n}.attn_v.weight"].name for n in range(32)} == {"Q8_0"}
    assert {types[f"blk.{n}.attn_k.weight"].name for n in range(32)} == {"Q8_0"}
    assert types["blk.5.attn_output.weight"].name == "Q5_K"
    assert types["blk.5.ffn_gate_inp.weight"].name == "F16"
    assert types["blk.0.ffn_down_exps.weight"].name == "Q6_K"
    assert types["blk.5.ffn_up_exps.weight"].name == "Q4_K"


@pytest.mark.parametrize(
    ("asked", "found"), [("q4_k", "Q4_K_M"), ("Q5_K", "Q5_K_M"), ("q3_k", "Q3_K_M"), ("f16", "F16")]
)
def test_names_in_any_case_and_short(asked, found):
    assert find_mix(asked).name == found


def test_an_unknown_name_is_refused_with_those_that_are_known():
    with pytest.raises(UnsupportedModelError, match=r"no type IQ2_XS.*Q4_K_M"):
        find_mix("IQ2_XS")


def test_file_types_are_those_that_files_are_named_by():
    assert {mix.file_type: mix.name for mix in MIXES.values()}.items() <= FILE_TYPES.items()
