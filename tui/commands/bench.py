"""`llm-tui bench`: how fast a model is here, and what it takes."""

from __future__ import annotations

import random
import statistics
import time
from contextlib import suppress

import click
import msgspec

from engine.client import EngineClient
from engine.errors import EngineError
from engine.model_info import inspect_model
from engine.process.peak_memory import peak_rss_bytes
from engine.protocol import Failed, Finished, Generate, Load, ModelCard, Sampling, TokenPrompt
from tui.commands.configured import chosen_load, user_settings
from tui.commands.engine_run import loaded_engine
from tui.commands.options import base_option, json_option, model_option, not_empty, threads_option
from tui.commands.output import CommandError, ProgressLine, table, write_json, write_text
from tui.commands.stopping import run_stoppable
from tui.language import _
from tui.sentences import sentences

SPARE_POSITIONS = 16
"""Context beyond the prompt and the answer, so that no run ever has to make room."""


class Run(msgspec.Struct, frozen=True):
    """One repeat."""

    prompt_tps: float
    gen_tps: float
    first_token_s: float


class BenchResult(msgspec.Struct, frozen=True, kw_only=True):
    """Medians over the repeats. load_s: from the process's start to ready, kernels compiled and panels prepared."""

    model: str
    quantization: str
    threads: int
    load_s: float
    prompt_tps: float
    gen_tps: float
    peak_rss_mb: float
    first_token_s: float


@click.command()
@click.argument("model", required=False, callback=not_empty)
@model_option
@base_option
@click.option(
    "--prompt-tokens", type=click.IntRange(min=1), default=128, show_default=True, help="Length of the prompt."
)
@click.option("--gen-tokens", type=click.IntRange(min=2), default=64, show_default=True, help="Length of the answer.")
@threads_option
@click.option("--repeat", type=click.IntRange(min=1), default=3, show_default=True, help="Runs to take the median of.")
@json_option
def command(
    model: str | None,
    model_name: str | None,
    base: str | None,
    prompt_tokens: int,
    gen_tokens: int,
    threads: int | None,
    repeat: int,
    as_json: bool,
) -> None:
    """Measure speed and memory: medians over fresh random prompts, after one run to warm up."""
    if model is not None and model_name is not None:
        raise click.UsageError(_("The model is named twice: give MODEL or -m, not both."))
    load = chosen_load(model or model_name, user_settings(), threads=threads, context=None, base=base)
    load = msgspec.structs.replace(load, context=needed_context(load, prompt_tokens, gen_tokens))
    result = run_stoppable(measure(load, prompt_tokens, gen_tokens, repeat))
    if as_json:
        write_json(result)
        return
    rows = [
        [_("model"), f"{result.model} {result.quantization}"],
        [_("threads"), str(result.threads)],
        [_("ready after"), _("{seconds:.2f} s", seconds=result.load_s)],
        [_("prompt"), _("{speed:.1f} tokens/s", speed=result.prompt_tps)],
        [_("answer"), _("{speed:.1f} tokens/s", speed=result.gen_tps)],
        [_("first token after"), _("{seconds:.3f} s", seconds=result.first_token_s)],
        [_("memory at most"), _("{size:.0f} MB", size=result.peak_rss_mb)],
    ]
    write_text(table(rows))


def needed_context(load: Load, prompt_tokens: int, gen_tokens: int) -> int:
    """The context for these runs. Raises CommandError where the model's own is too small."""
    most = 0
    # What is the matter with a file, the engine says.
    with suppress(EngineError):
        most = inspect_model(load.path, base=load.base).context
    wanted = prompt_tokens + gen_tokens
    if wanted > most > 0:
        raise CommandError(
            _(
                "{prompt_tokens} tokens of prompt and {gen_tokens} of answer are more than the model's context of"
                " {most}. Ask for fewer.",
                prompt_tokens=prompt_tokens,
                gen_tokens=gen_tokens,
                most=most,
            )
        )
    return min(wanted + SPARE_POSITIONS, most or wanted)


async def measure(load: Load, prompt_tokens: int, gen_tokens: int, repeat: int) -> BenchResult:
    """Prepare panels and kernels in one engine, then measure in another."""
    generator = random.Random()
    async with loaded_engine(load) as (client, card):
        await run_once(client, random_ids(card, prompt_tokens, generator), gen_tokens)
    started_s = time.perf_counter()
    async with loaded_engine(load) as (client, card):
        load_s = time.perf_counter() - started_s
        runs = []
        with ProgressLine() as line:
            for number in range(repeat + 1):
                line.show(
                    _("Run {number} of {repeat} …", number=number, repeat=repeat) if number else _("Warming up …")
                )
                runs.append(await run_once(client, random_ids(card, prompt_tokens, generator), gen_tokens))
        peak_rss_mb = peak_rss_bytes(client.pid) / 1e6
    return BenchResult(
        model=card.name,
        quantization=card.quantization,
        threads=card.threads,
        load_s=round(load_s, 3),
        prompt_tps=round(statistics.median(run.prompt_tps for run in runs[1:]), 2),
        gen_tps=round(statistics.median(run.gen_tps for run in runs[1:]), 2),
        peak_rss_mb=round(peak_rss_mb, 1),
        first_token_s=round(statistics.median(run.first_token_s for run in runs[1:]), 4),
    )


async def run_once(client: EngineClient, ids: list[int], gen_tokens: int) -> Run:
    """Read one prompt from its first token on and write one answer of gen_tokens."""
    command = Generate(
        prompt=TokenPrompt(ids=ids),
        sampling=Sampling(temperature=0.0, max_new_tokens=gen_tokens),
        ignore_eos=True,
        reuse=False,
        speculate=False,
    )
    async for event in client.ask(command):
        if isinstance(event, Failed):
            raise CommandError(sentences(event.message, event.hint))
        if isinstance(event, Finished):
            return _figures(event, len(ids), gen_tokens)
    raise CommandError(_("The engine ended an answer without saying so. Its log has more."))


def _figures(finished: Finished, prompt_tokens: int, gen_tokens: int) -> Run:
    ran = (finished.prompt_tokens, finished.reused_tokens, finished.generated_tokens)
    if ran != (prompt_tokens, 0, gen_tokens):
        raise CommandError(
            _(
                "The run does not count: it had {prompt} tokens of prompt, {cached} of them from the cache,"
                " and {answer} of answer instead of {prompt_tokens} and {gen_tokens}."
                " Ask for fewer tokens than the model's context.",
                prompt=ran[0],
                cached=ran[1],
                answer=ran[2],
                prompt_tokens=prompt_tokens,
                gen_tokens=gen_tokens,
            )
        )
    return Run(
        prompt_tps=prompt_tokens / finished.prompt_ms * 1000,
        gen_tps=finished.tokens_per_second() or 0.0,
        first_token_s=finished.first_token_ms / 1000,
    )


def random_ids(card: ModelCard, n_tokens: int, generator: random.Random) -> list[int]:
    """Make a prompt that no cache knows; speed does not depend on what it says."""
    return [generator.randrange(card.vocab) for _ in range(n_tokens)]
