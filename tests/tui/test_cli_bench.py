"""`llm-tui bench`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.model_info import inspect_model
from engine.protocol import Load
from tests.engine.tiny_models import write_tiny
from tui.commands.bench import SPARE_POSITIONS, needed_context

Cli = Callable[..., Any]
FIELDS = ["model", "quantization", "threads", "load_s", "prompt_tps", "gen_tps", "peak_rss_mb", "first_token_s"]


def test_figures_come_from_what_the_engine_measured(cli: Cli, model: Path) -> None:
    ran = cli("bench", model, "--prompt-tokens", "50", "--gen-tokens", "21", "--threads", "3", "--json")
    assert (ran.code, ran.err) == (0, "")
    result = json.loads(ran.out)
    assert list(result) == FIELDS
    assert (result["model"], result["quantization"], result["threads"]) == ("Scripted", "Q4_1", 3)
    assert (result["prompt_tps"], result["gen_tps"], result["first_token_s"]) == (500.0, 100.0, 0.11)
    assert 0 < result["load_s"] < 60
    assert 1 < result["peak_rss_mb"] < 1000


def test_the_table_is_for_people(cli: Cli, model: Path) -> None:
    out = cli("bench", "-m", model, "--gen-tokens", "21").out
    assert "Scripted Q4_1" in out
    assert "100.0 tokens/s" in out


def test_a_run_that_was_cut_short_does_not_count(cli: Cli, model: Path) -> None:
    ran = cli("bench", model, "--gen-tokens", "1000")
    assert ran.code == 1
    assert "The run does not count" in ran.err


def test_what_the_context_has_no_room_for_is_told_in_the_words_of_the_question(cli: Cli, model: Path) -> None:
    write_tiny(model, "llama")
    limit = inspect_model(model).context
    ran = cli("bench", model, "--prompt-tokens", limit - 20, "--gen-tokens", "21")
    assert (ran.code, ran.out) == (1, "")
    assert f"{limit - 20} tokens of prompt and 21 of answer are more than the model's context of {limit}." in ran.err
    ran = cli("bench", model, "--prompt-tokens", limit - 21, "--gen-tokens", "21")
    assert (ran.code, ran.err) == (0, "")


def test_a_run_opens_the_model_with_no_more_context_than_it_has(model: Path) -> None:
    write_tiny(model, "llama")
    limit = inspect_model(model).context
    load = Load(path=str(model))
    assert [needed_context(load, tokens, 21) for tokens in (limit - 21, 50)] == [limit, 71 + SPARE_POSITIONS]


@pytest.mark.slow
def test_a_real_model_is_measured(cli: Cli, warm_home: Path, starter_model: Path) -> None:
    ran = cli("bench", starter_model, "--prompt-tokens", "64", "--gen-tokens", "8", "--repeat", "1", "--json")
    assert ran.code == 0, ran.err
    result = json.loads(ran.out)
    assert list(result) == FIELDS
    assert result["quantization"] == "Q4_1"
    assert all(result[name] > 0 for name in FIELDS[2:])
