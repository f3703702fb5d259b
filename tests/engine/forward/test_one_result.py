"""One seed, one result: the same bits however many threads compute and however the text is cut into batches."""

from __future__ import annotations

from itertools import cycle

import msgspec
import numpy as np
import pytest

from engine.answers.generation import generate
from engine.control import Control
from engine.forward.buffers import MAX_OUTPUTS
from engine.loading import load
from engine.protocol import Finished, Generate, Load, Sampling, Token, TokenPrompt
from tests.engine import tiny_models

N_TOKENS = 300
"""More than one range of the cache."""

MODELS = (
    "llama mistral qwen3 gemma2 gemma3 gemma4 gemma4-e gemma4-moe gemma3n phi3-long mixtral qwen3moe qwen2moe"
    " bailingmoe2 olmo2 arcee bitnet cohere2 hunyuan-moe stablelm-parallel phi2 gptneox bloom mpt apertus"
    " deepseek2 deepseek2-in-one minicpm3 plm"
    " lfm2 qwen35 lfm2moe qwen3next granitehybrid-moe falcon-h1 nemotron_h_moe mamba2"
    " mamba-normed jamba-moe kimi-linear plamo2 laguna cohere2moe maple"
).split()
IN_8_BITS = "llama mistral gemma2 gemma4-e phi3-long bloom deepseek2 qwen35 falcon-h1".split()
"""Those of which every other attends as one of them does; they are tried with a cache of 8 bits, too."""

TYPES = ("Q4_0", "Q8_0", "F16", "Q5_1", "BF16", "Q4_1", "Q5_0", "F32")
IDS = np.random.default_rng(21).integers(3, 705, N_TOKENS).tolist()


def write_model(folder, name):
    windows = {"attention__sliding_window": 40} if name in ("mistral", "gemma3") else {}
    return tiny_models.write_tiny(folder / "tiny.gguf", name, types=TYPES, context_length=512, **windows)


def open_model(path, **options):
    return load(Load(path=str(path), **options), lambda *_: None)


def bits_of_logits(model, steps):
    """By position, what is read in batches of these sizes, in turn; of long batches, the end."""
    rows, at, sizes = {}, 0, cycle(steps)
    while at < N_TOKENS:
        batch = IDS[at : at + next(sizes)]
        at += len(batch)
        n_out = min(len(batch), MAX_OUTPUTS)
        for i, row in enumerate(model.transformer.evaluate_last(batch, at - len(batch), n_out)):
            rows[at - n_out + i] = row.tobytes()
    return rows


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kv_type"), [*((m, "f16") for m in MODELS), *((m, "q8_0") for m in IN_8_BITS)])
def test_logits_of_every_position_are_the_same_bits(tmp_path, name, kv_type):
    path = write_model(tmp_path, name)
    expected = {}
    for threads, steps in ((1, [1]), (2, [N_TOKENS]), (3, [7, 1, 2, 30]), (5, [5, 17, 64])):
        model = open_model(path, kv_type=kv_type, threads=threads)
        rows = bits_of_logits(model, steps)
        model.close()
        expected = expected or rows
        assert [at for at, row in rows.items() if row != expected[at]] == []
    assert len(expected) == N_TOKENS


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
@pytest.mark.parametrize("temperature", [0.0, 1.3])
def test_one_seed_gives_one_answer(tmp_path, monkeypatch, kv_type, temperature):
    path = write_model(tmp_path, "qwen3")
    command = Generate(
        prompt=TokenPrompt(ids=IDS[:60] * 3),
        sampling=Sampling(temperature=temperature, max_new_tokens=60),
        seed=5,
        ignore_eos=True,
    )
    answers = []
    for threads, batch, speculate in ((1, 256, True), (2, 16, False), (3, 48, True), (2, 256, False)):
        monkeypatch.setattr("engine.loading.BATCH_SIZE", batch)
        model = open_model(path, kv_type=kv_type, threads=threads)
        assert model.batch_size == batch
        events = []
        generate(
            model,
            msgspec.structs.replace(command, speculate=speculate),
            Control(sampling=command.sampling),
            events.append,
        )
        model.close()
        assert isinstance(events[-1], Finished)
        answers.append([(event.id, event.logprob) for event in events if isinstance(event, Token)])
    assert len(answers[0]) == 60
    assert all(answer == answers[0] for answer in answers)
