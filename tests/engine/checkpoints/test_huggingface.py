"""Folders of Hugging Face's format: configurations, tokenizers, templates, and what is wrong in them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import sentencepiece

from engine.architecture.config import Attention
from engine.architecture.gguf_config import config_from_gguf
from engine.checkpoints import open_checkpoint
from engine.checkpoints.huggingface_config import HuggingFaceConfig
from engine.checkpoints.rows import read_rows
from engine.checkpoints.sentencepiece_model import read_sentencepiece
from engine.errors import EngineError, ModelFileError, UnsupportedModelError


@pytest.fixture
def folder(tmp_path: Path, write, tiny_llama) -> Path:
    return write.write_hugging_face(tmp_path / "model", tiny_llama)


def change(path: Path, **values: object) -> None:
    """Change keys of a JSON file; None takes one out."""
    found = json.loads(path.read_text()) if path.is_file() else {}
    found |= values
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))


class TestConfig:
    """What config.json becomes."""

    def test_the_first_llama_folders_name_other_ids_than_their_tokenizer(self, folder: Path) -> None:
        change(folder / "config.json", bos_token_id=0, eos_token_id=1)
        change(folder / "tokenizer_config.json", bos_token="", eos_token="", unk_token="")
        metadata = open_checkpoint(folder).metadata
        assert [metadata[f"tokenizer.ggml.{name}_token_id"] for name in ("unknown", "bos", "eos")] == [0, 1, 2]

    def test_the_keys_of_llama(self, folder: Path) -> None:
        checkpoint = open_checkpoint(folder)
        config = config_from_gguf(checkpoint.metadata, checkpoint.tensors)
        assert config.attention == (Attention(n_heads=8, n_kv_heads=8, head_dim=32, rope_dim=32),) * 2
        assert (config.dim, config.hidden_dims, config.vocab_size, config.max_seq_len) == (256, (512, 512), 696, 2048)
        assert (config.norm_eps, config.rope_theta, config.tied) == (1e-6, 10_000.0, False)
        assert checkpoint.format == "Hugging Face (safetensors)"

    def test_rope_scaling_of_llama_3_becomes_a_tensor(self, folder: Path) -> None:
        scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
        scaling["original_max_position_embeddings"] = 8192
        change(folder / "config.json", rope_scaling=scaling, rope_theta=500000.0)
        tensor = open_checkpoint(folder).tensors["rope_freqs.weight"]
        divisors = read_rows(tensor, 0, 1).view(np.float32)[0]
        assert tensor.shape == (16,)
        for i, divisor in enumerate(divisors):
            wavelength = 2 * math.pi * 500000.0 ** (2 * i / 32)
            if wavelength < 8192 / 4:
                assert divisor == 1
            elif wavelength > 8192:
                assert divisor == 8
            else:
                assert 1 < divisor < 8
        assert {1.0, 8.0} < set(divisors.tolist())

    @pytest.mark.parametrize("kind", ["linear", "yarn"])
    def test_other_scaling_becomes_keys(self, folder: Path, kind: str) -> None:
        change(folder / "config.json", rope_scaling={"type": kind, "factor": 4.0})
        checkpoint = open_checkpoint(folder)
        scaling = config_from_gguf(checkpoint.metadata, checkpoint.tensors).rope_scaling
        assert (scaling.type, scaling.factor) == (kind, 4.0)

    def test_what_stretches_only_beyond_the_context_stretches_nothing(self, folder: Path) -> None:
        change(folder / "config.json", rope_scaling={"type": "dynamic", "factor": 2.0}, max_position_embeddings=512)
        checkpoint = open_checkpoint(folder)
        config = config_from_gguf(checkpoint.metadata, checkpoint.tensors)
        assert (config.rope_scaling.type, config.max_seq_len) == ("none", 512)

    def test_the_newer_place_of_rope(self, folder: Path) -> None:
        change(folder / "config.json", rope_parameters={"rope_type": "default", "rope_theta": 1e6})
        assert open_checkpoint(folder).metadata["llama.rope.freq_base"] == 1e6

    def test_the_oldest_name_and_context(self, folder: Path) -> None:
        change(folder / "config.json", architectures=["LLaMAForCausalLM"], max_position_embeddings=None)
        change(folder / "config.json", max_sequence_length=1024)
        assert open_checkpoint(folder).metadata["llama.context_length"] == 1024

    def test_a_tied_output(self, folder: Path) -> None:
        change(folder / "config.json", tie_word_embeddings=True)
        assert "output.weight" not in open_checkpoint(folder).tensors

    @pytest.mark.parametrize(
        ("values", "match"),
        [
            ({"architectures": ["GPTJForCausalLM"]}, "GPTJForCausalLM"),
            ({"architectures": None}, "None"),
            (
                {"quantization_config": {"quant_method": "aqlm"}},
                r"for a GPU \(aqlm\): weights are sums of",
            ),
            ({"rope_scaling": {"rope_type": "spiral", "factor": 2.0}}, "spiral"),
            ({"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0]}}, "a list of 16 numbers"),
            (
                {"rope_scaling": {"rope_type": "longrope", "short_factor": ["1"] * 16}},
                "short_factor should be a number",
            ),
            ({"hidden_size": -1}, "hidden_size is -1"),
            ({"hidden_size": "256"}, "hidden_size should be an integer"),
            ({"num_attention_heads": 0}, "num_attention_heads is 0"),
            ({"num_attention_heads": 3}, "3 heads do not share evenly"),
            ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
            ({"rms_norm_eps": float("nan")}, "rms_norm_eps is nan"),
            ({"rope_theta": 0}, "rope_theta is 0"),
        ],
    )
    def test_what_is_refused(self, folder: Path, values: dict[str, object], match: str) -> None:
        change(folder / "config.json", **values)
        with pytest.raises(EngineError, match=match) as caught:
            open_checkpoint(folder)
        assert str(folder) in str(caught.value)

    def test_options_of_other_architectures(self) -> None:
        values = {"architectures": ["Gemma2ForCausalLM"], "hidden_size": 64, "num_hidden_layers": 2}
        values |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "intermediate_size": 128}
        values |= {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "sliding_window": 4096}
        config = HuggingFaceConfig(values | {"max_position_embeddings": 8192}, Path("config.json"))
        keys = config.metadata()
        assert keys["gemma2.attention.key_length"] == 32
        assert keys["gemma2.attention.sliding_window"] == 4096
        assert keys["gemma2.attn_logit_softcapping"] == 50.0
        assert config.tied


class TestWeights:
    """One file, several, and files that are not what they should be."""

    def test_a_missing_part(self, tmp_path: Path, write, tiny_llama) -> None:
        folder = write.write_hugging_face(tmp_path / "model", tiny_llama, n_parts=3)
        (folder / "model-00002-of-00003.safetensors").unlink()
        with pytest.raises(ModelFileError, match=r"model-00002-of-00003\.safetensors is missing"):
            open_checkpoint(folder)

    def test_parts_without_an_index(self, tmp_path: Path, write, tiny_llama) -> None:
        folder = write.write_hugging_face(tmp_path / "model", tiny_llama, kind="bin", n_parts=3)
        (folder / "pytorch_model.bin.index.json").unlink()
        checkpoint = open_checkpoint(folder / "pytorch_model-00002-of-00003.bin")
        assert checkpoint.format == "Hugging Face (PyTorch), 3 parts"
        assert len(checkpoint.tensors) == 21
        (folder / "pytorch_model-00001-of-00003.bin").unlink()
        with pytest.raises(ModelFileError, match="has 2 of 3 parts"):
            open_checkpoint(folder)

    @pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "a\\b", "", 7, None, "..", "x" * 256])
    def test_an_index_that_points_outside(self, folder: Path, name: object) -> None:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
        with pytest.raises(ModelFileError, match="no plain file name"):
            open_checkpoint(folder)

    def test_a_tensor_that_is_not_known(self, folder: Path, write, tiny_llama) -> None:
        tensors = write.hugging_face_tensors(tiny_llama)
        tensors["model.layers.0.mystery.weight"] = np.zeros((4, 4), np.float16)
        write.write_safetensors(folder / "model.safetensors", tensors)
        with pytest.raises(UnsupportedModelError, match=r"model\.layers\.0\.mystery\.weight is not part of a llama"):
            open_checkpoint(folder)

    def test_rotary_frequencies_are_passed_over(self, folder: Path, write, tiny_llama) -> None:
        tensors = write.hugging_face_tensors(tiny_llama)
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.zeros(16, np.float32)
        write.write_safetensors(folder / "model.safetensors", tensors)
        assert len(open_checkpoint(folder).tensors) == 21

    def test_names_of_a_model_saved_without_its_output(self, folder: Path, write, tiny_llama) -> None:
        plain = open_checkpoint(folder).tensors
        tensors = {
            name.removeprefix("model."): tensor for name, tensor in write.hugging_face_tensors(tiny_llama).items()
        }
        write.write_safetensors(folder / "model.safetensors", tensors)
        assert open_checkpoint(folder).tensors.keys() == plain.keys()

    def test_weights_alone_say_what_is_missing(self, tmp_path: Path, write, tiny_llama) -> None:
        path = write.write_safetensors(tmp_path / "model.safetensors", write.hugging_face_tensors(tiny_llama))
        with pytest.raises(ModelFileError, match=r"weights only.*config\.json"):
            open_checkpoint(path)

    def test_a_folder_without_weights(self, folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        with pytest.raises(UnsupportedModelError, match=r"has config\.json, but no model\.safetensors"):
            open_checkpoint(folder)

    def test_a_folder_in_both_formats_is_hugging_faces(self, folder: Path, write, tiny_llama) -> None:
        meta = write.write_meta(folder.parent / "LLaMA" / "7B", tiny_llama)
        for name in ("consolidated.00.pth", "params.json"):
            (meta / name).replace(folder / name)
        assert open_checkpoint(folder).format == "Hugging Face (safetensors)"
        (folder / "model.safetensors").unlink()
        assert open_checkpoint(folder).format == "PyTorch (Meta)"
        (folder / "consolidated.00.pth").unlink()
        (folder / "config.json").unlink()
        with pytest.raises(UnsupportedModelError, match=r"has params\.json, but no consolidated"):
            open_checkpoint(folder)

    def test_a_folder_without_a_tokenizer(self, folder: Path) -> None:
        (folder / "tokenizer.model").unlink()
        with pytest.raises(ModelFileError, match=r"neither tokenizer\.model nor tokenizer\.json"):
            open_checkpoint(folder)

    @pytest.mark.parametrize(("first", "count"), [(0, 256), (5, 1), (30, 5), (31, 1), (32, 64), (255, 1)])
    def test_rows_in_rotary_order_are_those_of_all(self, folder: Path, tiny_llama, first: int, count: int) -> None:
        tensor = open_checkpoint(folder).tensors["blk.1.attn_k.weight"]
        expected = tiny_llama.tensors["blk.1.attn_k"][first : first + count].astype(np.float16)
        np.testing.assert_array_equal(read_rows(tensor, first, count).copy().view(np.float16), expected)


class TestTemplate:
    """The chat template, in each place that it was ever kept."""

    def test_as_a_text(self, folder: Path) -> None:
        change(folder / "tokenizer_config.json", chat_template="{{ bos_token }}<|im_start|>")
        assert open_checkpoint(folder).metadata["tokenizer.chat_template"] == "{{ bos_token }}<|im_start|>"

    def test_as_one_of_several(self, folder: Path) -> None:
        several = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]
        change(folder / "tokenizer_config.json", chat_template=several)
        assert open_checkpoint(folder).metadata["tokenizer.chat_template"] == "yes"

    def test_as_a_file(self, folder: Path) -> None:
        change(folder / "tokenizer_config.json", chat_template="no")
        (folder / "chat_template.jinja").write_text("yes")
        assert open_checkpoint(folder).metadata["tokenizer.chat_template"] == "yes"

    @pytest.mark.parametrize("nonsense", [7, [], [1], [{"name": "default"}], [{"name": [], "template": "x"}], {"a": 1}])
    def test_nonsense_is_none(self, folder: Path, nonsense: object) -> None:
        change(folder / "tokenizer_config.json", chat_template=nonsense)
        assert "tokenizer.chat_template" not in open_checkpoint(folder).metadata


class TestSentencePiece:
    """tokenizer.model, read without the library that it belongs to."""

    def test_as_the_library_reads_it(self, tmp_path: Path, write, tiny_llama) -> None:
        path = write.write_tokenizer(tmp_path / "tokenizer.model", tiny_llama.pieces)
        library = sentencepiece.SentencePieceProcessor(model_file=str(path))
        model = read_sentencepiece(path)
        assert len(model.tokens) == library.vocab_size()
        for id_, token in enumerate(model.tokens):
            assert token == library.id_to_piece(id_)
            assert model.scores[id_] == pytest.approx(library.get_score(id_))
            assert (model.types[id_] == 6) == library.is_byte(id_)
            assert (model.types[id_] == 3) == library.is_control(id_)
        assert (model.unknown_id, model.bos_id, model.eos_id) == (0, 1, 2)

    def test_one_that_the_library_trained(self, tmp_path: Path) -> None:
        text = tmp_path / "text.txt"
        text.write_text("\n".join(f"the river number {i} flows to the sea over {i * i} stones" for i in range(500)))
        options = {"vocab_size": 340, "model_type": "bpe", "byte_fallback": True, "pad_id": -1, "minloglevel": 2}
        sentencepiece.SentencePieceTrainer.train(input=str(text), model_prefix=str(tmp_path / "tokenizer"), **options)
        path = tmp_path / "tokenizer.model"
        library = sentencepiece.SentencePieceProcessor(model_file=str(path))
        model = read_sentencepiece(path)
        assert model.tokens == [library.id_to_piece(id_) for id_ in range(library.vocab_size())]
        assert list(model.scores) == pytest.approx([library.get_score(id_) for id_ in range(len(model.tokens))])

    def test_added_tokens_are_named(self, folder: Path, write, tiny_llama) -> None:
        write.write_tokenizer(folder / "tokenizer.model", tiny_llama.pieces[:693])
        change(folder / "added_tokens.json", **{"<|im_start|>": 693})
        change(folder / "tokenizer_config.json", added_tokens_decoder={"694": {"content": "[PAD]", "special": True}})
        metadata = open_checkpoint(folder).metadata
        assert list(metadata["tokenizer.ggml.tokens"][-3:]) == ["<|im_start|>", "[PAD]", "[PAD695]"]
        assert list(metadata["tokenizer.ggml.token_type"][-3:]) == [3, 3, 5]

    def test_added_tokens_in_the_place_of_pieces(self, folder: Path, tiny_llama) -> None:
        """As InternLM 2 has what begins a turn."""
        added = {"690": {"content": "<|im_start|>", "special": True}, "691": {"content": "plain", "special": False}}
        change(folder / "tokenizer_config.json", added_tokens_decoder=added)
        metadata = open_checkpoint(folder).metadata
        assert metadata["tokenizer.ggml.tokens"][690:692] == ["<|im_start|>", tiny_llama.pieces[691][0]]
        assert metadata["tokenizer.ggml.token_type"][690] == 3

    def test_one_of_another_model(self, folder: Path, write, tiny_llama) -> None:
        write.write_tokenizer(folder / "tokenizer.model", [*tiny_llama.pieces, ("more", -900.0, 1)])
        with pytest.raises(ModelFileError, match="has 697 tokens, but the model knows 696"):
            open_checkpoint(folder)

    @pytest.mark.parametrize(
        "raw", [b"", b"nonsense", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a" + b"\xff" * 12, b"\x0a\x02\x0a\x05", b"\x0b"]
    )
    def test_nonsense(self, tmp_path: Path, raw: bytes) -> None:
        path = tmp_path / "tokenizer.model"
        path.write_bytes(raw)
        with pytest.raises(EngineError, match="SentencePiece"):
            read_sentencepiece(path)

    def test_llama_3s_own_format_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "tokenizer.model"
        path.write_bytes(b"IQ== 0\nIg== 1\n")
        with pytest.raises(UnsupportedModelError, match="Llama 3 in Meta's own format"):
            read_sentencepiece(path)
