"""Conversion in this process: what is in the new file, what is refused, and that the new model answers."""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import dequantize, quantize

from engine.checkpoints import open_checkpoint
from engine.conversion import plan as planning
from engine.conversion.messages import Conversion
from engine.conversion.plan import ConversionError, plan_conversion, write_error
from engine.conversion.run import run
from engine.conversion.stopping import Stop, StoppedError
from engine.errors import EngineError, ModelFileError, UnsupportedModelError
from engine.loading import load
from engine.protocol import Load
from engine.quantize.mixes import MIXES
from tests.engine import tiny_models
from tests.engine.few_threads import give_threads

pytestmark = pytest.mark.slow

PLAIN = ("F32", "F16", "BF16")


def convert(source: Path, target: Path, kind: str, *, threads: int = 2, force: bool = False, stop: Stop | None = None):
    """Convert here; returns the progress that was told."""
    progress: list = []
    plan = plan_conversion(Conversion(source=str(source), target=str(target), type=kind, force=force))
    run(plan, threads, stop or Stop(), progress.append)
    return progress


@pytest.fixture
def source(write_model, tmp_path):
    """A tiny model in F32 with rows of whole superblocks."""
    return write_model(tmp_path / "source.gguf", dim=256, n_heads=4, n_kv_heads=2, hidden_dim=512)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Several pieces to a tensor, tiny as it is."""
    monkeypatch.setattr(planning, "PIECE_WEIGHTS", 40 * 256)


def tensors(path):
    return {tensor.name: tensor for tensor in GGUFReader(path).tensors}


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        ("falcon-h1", "blk.2.ffn_norm"),
        ("plamo2-untied", "blk.0.ssm_dt_norm"),
        ("plamo3", "blk.2.post_attention_norm"),
        ("plamo3", "blk.2.post_ffw_norm"),
    ],
)
def test_names_that_llama_cpp_asks_for(tmp_path, name, norm):
    """Some norms of these are called otherwise here than in their files."""
    source = tiny_models.write_tiny(tmp_path / "source.gguf", name)
    convert(source, tmp_path / "target.gguf", "Q8_0")
    assert tensors(tmp_path / "target.gguf").keys() == tensors(source).keys()
    assert norm in tensors(source)
    check_answers_alike(source, tmp_path / "target.gguf")


def check_answers_alike(*paths):
    """The logits of two models are nearly the same."""
    logits = []
    for path in paths:
        model = load(Load(path=str(path)), lambda *_: None)
        logits.append(model.evaluate([1, 5, 9], 0).copy())
        model.close()
    assert np.abs(logits[0] - logits[1]).mean() < 0.05 * logits[0].std()


def as_bytes(array):
    return np.ascontiguousarray(array).view(np.uint8).reshape(-1)


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "F16", "BF16", "F32"])
def test_every_tensor_is_what_the_reference_package_makes_of_it(kind, source, tmp_path):
    convert(source, tmp_path / "new.gguf", kind)
    old, new = tensors(source), tensors(tmp_path / "new.gguf")
    assert list(new) == list(old)
    for name, tensor in new.items():
        expected = GGMLQuantizationType.F32 if old[name].data.ndim == 1 else GGMLQuantizationType[kind]
        if name == "token_embd.weight" and kind.startswith(("Q4", "Q5")):
            expected = GGMLQuantizationType.Q6_K
            assert np.allclose(dequantize(tensor.data, expected), old[name].data, atol=0.01)
        else:
            assert np.array_equal(as_bytes(tensor.data), as_bytes(quantize(old[name].data, expected))), name
        assert tensor.tensor_type == expected


@pytest.mark.parametrize("kind", MIXES)
def test_a_converted_model_answers_like_its_source(kind, source, tmp_path):
    convert(source, tmp_path / "new.gguf", kind)
    ids = [1, 5, 300, 17, 704, 42]
    old, new = (load(Load(path=str(p)), lambda *_: None) for p in (source, tmp_path / "new.gguf"))
    assert new.card.quantization == kind
    expected, found = (np.array(model.evaluate(ids, 0)) for model in (old, new))
    for model in (old, new):
        model.close()
    limit = {"F32": 0.02, "F16": 0.02, "BF16": 0.03, "Q8_0": 0.05, "Q2_K": 0.6}.get(kind, 0.35)
    assert np.abs(found - expected).mean() < limit * expected.std()


def test_the_result_does_not_depend_on_threads_or_pieces(source, tmp_path, monkeypatch):
    convert(source, tmp_path / "one.gguf", "Q4_K_M", threads=1)
    monkeypatch.setattr(planning, "PIECE_WEIGHTS", 1)
    convert(source, tmp_path / "many.gguf", "Q4_K_M", threads=5)
    assert (tmp_path / "one.gguf").read_bytes() == (tmp_path / "many.gguf").read_bytes()


@pytest.mark.parametrize("n_threads", [0, 1])
def test_few_threads_or_none_convert_as_well(source, tmp_path, monkeypatch, n_threads):
    convert(source, tmp_path / "many.gguf", "Q8_0", threads=3)
    give_threads(monkeypatch, n_threads)
    convert(source, tmp_path / "few.gguf", "Q8_0", threads=3)
    assert (tmp_path / "few.gguf").read_bytes() == (tmp_path / "many.gguf").read_bytes()


def test_what_has_the_type_already_is_copied_bit_for_bit(source, tmp_path):
    convert(source, tmp_path / "once.gguf", "Q5_K_M")
    convert(tmp_path / "once.gguf", tmp_path / "twice.gguf", "Q5_K_M")
    assert (tmp_path / "once.gguf").read_bytes() == (tmp_path / "twice.gguf").read_bytes()


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_1", "Q5_1", "Q6_K", "Q3_K_S", "BF16", "F16"])
def test_quantised_sources(kind, source, tmp_path):
    convert(source, tmp_path / "first.gguf", kind)
    convert(tmp_path / "first.gguf", tmp_path / "second.gguf", "F32")
    first, second = tensors(tmp_path / "first.gguf"), tensors(tmp_path / "second.gguf")
    for name, tensor in first.items():
        assert np.array_equal(
            second[name].data, dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1])
        )
    plan = plan_conversion(
        Conversion(source=str(tmp_path / "first.gguf"), target=str(tmp_path / "third.gguf"), type="Q4_0")
    )
    assert bool(plan.requantized) == (kind not in PLAIN)


def test_the_keys_are_carried_over(write_model, tmp_path):
    keys = {"general.name": "Käse", "custom.texts": ["a", "b"], "custom.flag": True, "custom.number": 7}
    source = write_model(tmp_path / "source.gguf", dim=256, set_keys=keys)
    convert(source, tmp_path / "new.gguf", "q4_k")
    old, new = GGUFReader(source).fields, GGUFReader(tmp_path / "new.gguf").fields
    changed = {"general.file_type": 15, "general.quantization_version": 2}
    assert {name: new[name].contents() for name in changed} == changed
    for name, field in old.items():
        if not name.startswith("GGUF.") and name not in changed:
            assert (new[name].contents(), new[name].types) == (field.contents(), field.types), name


def test_the_alignment_is_kept(raw_gguf, tmp_path):
    raw = raw_gguf(alignment=256, data=bytes(4096)).key("general.alignment", 4, 256)
    source = raw.tensor("a.weight", [32, 5]).tensor("b.weight", [32, 4], offset=768).write(tmp_path / "source.gguf")
    convert(source, tmp_path / "new.gguf", "Q4_0")
    assert [tensor.offset % 256 for tensor in open_checkpoint(tmp_path / "new.gguf").tensors.values()] == [0, 0]


def test_parts_become_one_file(source, tmp_path):
    reader = GGUFReader(source)
    fields = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    for part, half in enumerate((reader.tensors[:7], reader.tensors[7:])):
        writer = GGUFWriter(tmp_path / f"model-{part + 1:05d}-of-00002.gguf", "llama")
        for key, field in fields.items() if part == 0 else ():
            if key != "general.architecture":
                value = field.contents()
                writer.add_array(key, value) if isinstance(value, list) else writer.add_key_value(
                    key, value, field.types[0]
                )
        writer.add_uint16("split.no", part)
        writer.add_uint16("split.count", 2)
        writer.add_int32("split.tensors.count", len(reader.tensors))
        for tensor in half:
            writer.add_tensor(tensor.name, tensor.data)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    convert(tmp_path / "model-00002-of-00002.gguf", tmp_path / "joined.gguf", "Q8_0")
    convert(source, tmp_path / "whole.gguf", "Q8_0")
    joined, whole = open_checkpoint(tmp_path / "joined.gguf"), tensors(tmp_path / "whole.gguf")
    assert not [key for key in joined.metadata if key.startswith("split.")]
    found = tensors(tmp_path / "joined.gguf")
    assert {n: t.data.tobytes() for n, t in found.items()} == {n: t.data.tobytes() for n, t in whole.items()}


def test_stacked_matrices_of_experts(write_model, tmp_path):
    experts = np.random.default_rng(3).standard_normal((3, 20, 256), np.float32)
    source = write_model(tmp_path / "source.gguf", dim=256, set_tensors={"blk.0.ffn_up_exps.weight": experts})
    convert(source, tmp_path / "new.gguf", "Q5_1")
    found = tensors(tmp_path / "new.gguf")["blk.0.ffn_up_exps.weight"]
    assert np.array_equal(as_bytes(found.data), as_bytes(quantize(experts, GGMLQuantizationType.Q5_1)))


def test_a_matrix_of_one_row_is_a_vector(tmp_path):
    source = tiny_models.write_tiny(tmp_path / "source.gguf", "qwen2moe", leading_ones=True)
    convert(source, tmp_path / "target.gguf", "Q4_0")
    gate = open_checkpoint(tmp_path / "target.gguf").tensors["blk.0.ffn_gate_inp_shexp.weight"]
    assert (gate.shape, gate.type.name) == ((64,), "F32")


@pytest.mark.parametrize("name", ["deepseek2-dense", "minicpm3"])
def test_what_makes_keys_and_values_of_a_latent_vector_is_converted_as_the_file_has_it(tmp_path, name):
    source = tiny_models.write_tiny(tmp_path / "source.gguf", name)
    convert(source, tmp_path / "new.gguf", "Q8_0")
    old, new = tensors(source), tensors(tmp_path / "new.gguf")
    assert old.keys() == new.keys()
    assert new[next(key for key in new if "_b.weight" in key)].tensor_type == GGMLQuantizationType.Q8_0
    check_answers_alike(source, tmp_path / "new.gguf")


def test_all_parts_of_a_layer_with_experts_are_converted(tmp_path):
    source = tiny_models.write_tiny(tmp_path / "source.gguf", "glm4moe")
    convert(source, tmp_path / "new.gguf", "Q8_0")
    old, new = tensors(source), tensors(tmp_path / "new.gguf")
    assert old.keys() == new.keys()
    for part in ("ffn_up_exps", "ffn_up_shexp"):
        assert new[f"blk.1.{part}.weight"].tensor_type == GGMLQuantizationType.Q8_0
    for kept in ("ffn_gate_inp.weight", "exp_probs_b.bias"):
        assert new[f"blk.1.{kept}"].tensor_type == GGMLQuantizationType.F32
    check_answers_alike(source, tmp_path / "new.gguf")


@pytest.mark.parametrize("name", ["stablelm-parallel", "phi2"])
def test_norms_and_biases_are_kept(tmp_path, name):
    """Also where norms of heads are a matrix."""
    source = tiny_models.write_tiny(tmp_path / "source.gguf", name)
    convert(source, tmp_path / "new.gguf", "Q8_0")
    old, new = tensors(source), tensors(tmp_path / "new.gguf")
    assert old.keys() == new.keys()
    kept = [tensor for tensor in old if "norm" in tensor or tensor.endswith("bias")]
    assert kept == [tensor for tensor, its in new.items() if its.tensor_type == GGMLQuantizationType.F32]
    for tensor in kept:
        assert np.array_equal(new[tensor].data, old[tensor].data)
    check_answers_alike(source, tmp_path / "new.gguf")


@pytest.mark.parametrize(("dim", "hidden"), [(96, 160), (48, 80)])
@pytest.mark.parametrize("kind", ["Q4_K_M", "Q2_K", "Q4_0", "Q6_K"])
def test_rows_that_are_not_whole_blocks(dim, hidden, kind, write_model, tmp_path):
    source = write_model(tmp_path / "source.gguf", dim=dim, hidden_dim=hidden)
    convert(source, tmp_path / "new.gguf", kind)
    old, new = tensors(source), tensors(tmp_path / "new.gguf")
    for name, tensor in new.items():
        weights = dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1])
        assert np.allclose(weights, old[name].data, atol=0.07), name
    model = load(Load(path=str(tmp_path / "new.gguf")), lambda *_: None)
    assert model.card.quantization == kind
    model.close()


def test_progress_is_in_bytes_of_the_source(source, tmp_path):
    progress = convert(source, tmp_path / "new.gguf", "Q4_0")
    assert [stage for stage, _ in itertools.groupby(p.stage for p in progress)] == ["compiling", "converting", "saving"]
    total = open_checkpoint(source).weights_bytes
    assert {p.total_bytes for p in progress} == {total}
    done = [p.done_bytes for p in progress]
    assert done == sorted(done)
    assert done[-1] == total


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_existing_file_is_kept_unless_forced(source, tmp_path):
    target = tmp_path / "new.gguf"
    target.write_bytes(b"precious")
    with pytest.raises(ConversionError, match=r"exists already.*--force"):
        convert(source, target, "Q4_0")
    assert target.read_bytes() == b"precious"
    convert(source, target, "Q4_0", force=True)
    assert tensors(target)
    assert names(tmp_path) == ["new.gguf", "source.gguf"]


@pytest.mark.parametrize("name", ["source.gguf", "sub/../source.gguf", "link.gguf", "hard.gguf"])
def test_the_source_itself_is_never_the_target(name, source, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.gguf").symlink_to(source)
    os.link(source, tmp_path / "hard.gguf")
    before = source.read_bytes()
    with pytest.raises(ConversionError, match="is the model that is to be converted"):
        convert(source, tmp_path / name, "Q4_0", force=True)
    assert source.read_bytes() == before


def test_a_target_without_a_folder_or_that_is_one(source, tmp_path):
    with pytest.raises(ConversionError, match="does not exist"):
        convert(source, tmp_path / "no" / "new.gguf", "Q4_0")
    with pytest.raises(ConversionError, match="is a folder"):
        convert(source, tmp_path, "Q4_0")


def test_too_little_room_is_told_before_anything_is_written(source, tmp_path, monkeypatch):
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr(planning.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ConversionError, match="GB left"):
        convert(source, tmp_path / "new.gguf", "Q4_0")
    assert names(tmp_path) == ["source.gguf"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_name_their_tensor(bad, write_model, tmp_path):
    weights = np.ones((512, 256), np.float32)
    weights[300, 7] = bad
    source = write_model(
        tmp_path / "source.gguf", dim=256, hidden_dim=512, set_tensors={"blk.1.ffn_up.weight": weights}
    )
    with pytest.raises(ModelFileError, match=r"blk\.1\.ffn_up\.weight has weights that are infinite or no numbers"):
        convert(source, tmp_path / "new.gguf", "Q4_K_M")
    assert names(tmp_path) == ["source.gguf"]


def test_weights_that_are_too_large_name_what_holds_them(write_model, tmp_path):
    weights = np.full((64, 32), 1e6, np.float32)
    source = write_model(tmp_path / "source.gguf", set_tensors={"blk.1.ffn_up.weight": weights})
    with pytest.raises(UnsupportedModelError, match=r"up to 1e\+06, which F16 cannot hold.*BF16"):
        convert(source, tmp_path / "new.gguf", "F16")
    assert names(tmp_path) == ["source.gguf"]


def test_types_that_cannot_be_read(raw_gguf, tmp_path):
    iq2_xxs = 16
    source = raw_gguf(data=bytes(66)).tensor("output.weight", [256], iq2_xxs).write(tmp_path / "source.gguf")
    assert plan_conversion(Conversion(source=str(source), target=str(tmp_path / "a"), type="Q4_0")).pieces
    source = raw_gguf(data=bytes(132)).tensor("output.weight", [256, 2], iq2_xxs).write(tmp_path / "source.gguf")
    with pytest.raises(UnsupportedModelError, match="IQ2_XXS, which cannot be converted"):
        convert(source, tmp_path / "new.gguf", "Q4_0")


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_file_is_never_replaced(force, source, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(ConversionError, match="is a device or a pipe"):
            convert(source, tmp_path / name, "Q4_0", force=force)
    assert (tmp_path / "link").is_fifo()


def test_targets_that_cannot_be(source, tmp_path):
    (tmp_path / "ring").symlink_to("ring")
    for target in (tmp_path / ("x" * 300), tmp_path / ("x" * 300) / "y", tmp_path / "ring" / "y"):
        with pytest.raises(ConversionError, match=r"cannot be written|does not exist"):
            convert(source, target, "Q4_0")
    with pytest.raises(ConversionError, match="exists already"):
        convert(source, tmp_path / "ring", "Q4_0")
    assert names(tmp_path) == ["ring", "source.gguf"]


@pytest.mark.parametrize("stage", ["compiling", "converting", "saving"])
def test_a_source_that_is_replaced_meanwhile_is_told(stage, source, write_model, tmp_path):
    plan = plan_conversion(Conversion(source=str(source), target=str(tmp_path / "new.gguf"), type="Q4_0"))
    other = write_model(tmp_path / "other.gguf", dim=256, n_heads=4, n_kv_heads=2, hidden_dim=512)

    def report(progress):
        if progress.stage == stage and other.exists():
            other.replace(source)

    with pytest.raises(ConversionError, match="changed while it was converted"):
        run(plan, 2, Stop(), report)
    assert names(tmp_path) == ["source.gguf"]


@pytest.mark.parametrize(
    ("happens", "told"),
    [
        (lambda source: os.truncate(source, 4096), "has become shorter."),
        (os.unlink, f"cannot be read any more: {os.strerror(errno.ENOENT)}."),
    ],
)
def test_a_source_that_becomes_shorter_or_goes_away_is_told(source, tmp_path, happens, told):
    plan = plan_conversion(Conversion(source=str(source), target=str(tmp_path / "new.gguf"), type="Q4_0"))
    happens(source)
    with pytest.raises(ModelFileError) as raised:
        run(plan, 2, Stop(), lambda _: None)
    assert raised.value.message == f"{source} {told}"
    assert "new.gguf" not in names(tmp_path)


@pytest.mark.parametrize("stage", ["compiling", "converting", "saving"])
def test_stopped_at_any_stage_it_leaves_nothing(stage, source, tmp_path):
    stop = Stop()
    plan = plan_conversion(Conversion(source=str(source), target=str(tmp_path / "new.gguf"), type="Q4_K_M"))
    with pytest.raises(StoppedError):
        run(plan, 2, stop, lambda progress: stop.set() if progress.stage == stage else None)
    assert names(tmp_path) == ["source.gguf"]


@pytest.mark.parametrize("stage", ["converting", "saving"])
def test_a_report_that_nobody_hears_is_no_fault_of_the_file(stage, source, tmp_path):
    def report(progress):
        if progress.stage == stage:
            raise BrokenPipeError

    plan = plan_conversion(Conversion(source=str(source), target=str(tmp_path / "new.gguf"), type="Q4_0"))
    with pytest.raises(BrokenPipeError):
        run(plan, 2, Stop(), report)
    assert names(tmp_path) == ["source.gguf"]


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "only be read"), (errno.EIO, "Input/output error")],
)
def test_what_the_system_says_becomes_a_sentence(number, words, tmp_path):
    error = write_error(tmp_path / "new.gguf", OSError(number, os.strerror(number)))
    assert isinstance(error, EngineError)
    assert words in error.message
    assert error.hint
