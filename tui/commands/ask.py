"""`llm-tui ask`: one answer, streamed to stdout."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import click

from engine.errors import EngineGoneError
from engine.interface import Engine
from engine.protocol import (
    ChatMessage,
    ChatPrompt,
    Failed,
    Finished,
    FinishReason,
    Generate,
    ModelCard,
    Notice,
    PromptProgress,
    TextPrompt,
    Token,
)
from tui.commands.ask_result import Written
from tui.commands.configured import chosen_load, user_settings
from tui.commands.engine_run import loaded_engine, server_engine
from tui.commands.options import (
    TEXT,
    base_option,
    context_option,
    json_option,
    model_option,
    not_empty,
    sampling_options,
    server_option,
    threads_option,
)
from tui.commands.output import CommandError, ProgressLine, percent, say, write_json, write_text
from tui.commands.question import Question, check_usage, read_prompt
from tui.commands.stopping import run_stoppable
from tui.language import _, ngettext
from tui.model_choice import remember_model
from tui.paths import user_paths
from tui.sentences import sentence, sentences
from tui.settings import Settings

if TYPE_CHECKING:
    from storage.records import FinalState
    from tui.commands.ask_session import AskSession


@click.command()
@click.argument("prompt", required=False, type=TEXT)
@model_option
@base_option
@server_option
@click.option("--raw", is_flag=True, help="Continue the text as it is, without the chat template.")
@click.option(
    "--system",
    type=TEXT,
    metavar="TEXT",
    help="System prompt; '' for none, but the model's template may add its own; else the session's or the settings'.",
)
@click.option("--template", type=TEXT, metavar="NAME", help="Chat template instead of the model's own.")
@sampling_options
@click.option("--seed", type=click.IntRange(min=0), help="The same seed and settings give the same answer.")
@click.option("--ignore-eos", is_flag=True, help="Go on where the model would end its answer.")
@threads_option
@context_option
@click.option(
    "--session",
    "session_id",
    type=TEXT,
    metavar="ID",
    callback=not_empty,
    help="Go on with this session, and store the answer in it.",
)
@click.option("--save", is_flag=True, help="Store question and answer as a new session.")
@click.option(
    "--logprobs",
    "n_logprobs",
    type=click.IntRange(0),
    metavar="N",
    help="With --json: each token, and the N leading ones.",
)
@json_option
def command(prompt: str | None, **options: Any) -> int:
    """Write one answer to PROMPT, to the text on stdin, or to both (stdin first).

    Log-probabilities are of the model's own distribution, before any sampler.
    """
    check_usage(**options)
    question = Question(text=read_prompt(prompt, raw=options["raw"]), **options)
    return run_stoppable(_ask(question))


async def _ask(question: Question) -> int:
    settings = user_settings()
    with ExitStack() as stack:
        session = _stored_session(stack, question) if question.session_id else None
        async with _engine(question, settings) as (client, card):
            if question.save:
                session = _new_session(stack, question, settings, card)
            why = await _answer(client, question, _generate(question, settings, session, card), card, session)
    return 1 if why == "failed" else 0


@asynccontextmanager
async def _engine(question: Question, settings: Settings) -> AsyncIterator[tuple[Engine, ModelCard]]:
    """The server's engine where one is named, else this machine's."""
    if question.server is not None:
        async with server_engine(question.server, question.model_name or "", settings) as opened:
            yield opened
        return
    load = chosen_load(
        question.model_name, settings, threads=question.threads, context=question.context, base=question.base
    )
    async with loaded_engine(load) as opened:
        remember_model(load.path, user_paths())
        yield opened


def _stored_session(stack: ExitStack, question: Question) -> AskSession:
    from tui.commands.ask_session import AskSession

    return stack.enter_context(AskSession.stored(question.session_id or ""))


def _new_session(stack: ExitStack, question: Question, settings: Settings, card: ModelCard) -> AskSession:
    from tui.commands.ask_session import AskSession

    return stack.enter_context(
        AskSession.new(
            model=card.name,
            system=settings.chat.system_prompt if question.system is None else question.system,
            sampling=question.sampling(question.default_sampling(settings, card)),
            template=question.template,
            text=question.text,
        )
    )


def _generate(question: Question, settings: Settings, session: AskSession | None, card: ModelCard) -> Generate:
    sampling = question.default_sampling(settings, card)
    prompt: ChatPrompt | TextPrompt
    if question.raw:
        prompt = TextPrompt(text=question.text)
    else:
        messages: list[ChatMessage] = []
        system = settings.chat.system_prompt if question.system is None else question.system
        template = question.template
        if session is not None:
            messages = session.messages()
            system = session.system if question.system is None else question.system
            template = template or session.template
            sampling = session.sampling(sampling)
        messages.append(ChatMessage(role="user", content=question.text))
        if system:
            messages.insert(0, ChatMessage(role="system", content=system))
        prompt = ChatPrompt(messages=messages, template=template)
    return Generate(
        prompt=prompt,
        sampling=question.sampling(sampling),
        seed=question.seed,
        n_top=question.n_logprobs or 0,
        ignore_eos=question.ignore_eos,
    )


async def _answer(
    client: Engine, question: Question, generate: Generate, card: ModelCard, session: AskSession | None
) -> FinishReason:
    """Have the answer written, and stored and told as far as it came; returns why it has ended."""
    written = Written()
    finished: Finished | None = None
    state: FinalState = "stopped"
    if session is not None:
        session.ask(question.text, card.name, generate.sampling, system=question.system)
    try:
        finished = await _write(client, generate, written, session, shown=not question.as_json)
    except CommandError:
        state = "failed"
        raise
    except EngineGoneError:
        state = "interrupted"
        raise
    finally:
        try:
            if session is not None:
                session.finish(written.answer, finished, state)
        finally:
            # Of an answer that failed before it began, there is nothing to tell but why.
            if question.as_json and (finished is not None or state == "stopped" or written.begun):
                _write_result(written, finished, state, question, card, session)
    return finished.reason


def _write_result(
    written: Written,
    finished: Finished | None,
    state: FinalState,
    question: Question,
    card: ModelCard,
    session: AskSession | None,
) -> None:
    write_json(
        written.result(
            finished,
            "stopped" if state == "stopped" else "failed",
            model=card.name,
            session=None if session is None else session.id,
            with_tokens=question.n_logprobs is not None,
        )
    )


async def _write(
    client: Engine, generate: Generate, written: Written, session: AskSession | None, *, shown: bool
) -> Finished:
    """Take in the answer's events, showing the text as it comes."""
    answer = written.answer
    with ProgressLine() as line:
        async for event in client.ask(generate):
            match event:
                case PromptProgress():
                    written.read(event)
                    line.show(_("Reading the prompt … {percent}", percent=percent(event.done, event.total)))
                case Token():
                    line.clear()
                    written.add(event)
                    if shown:
                        write_text(answer.take_unshown(), newline=False)
                    if session is not None and session.is_due:
                        session.keep(answer)
                case Finished():
                    answer.add_text(event.text_tail)
                    if shown:
                        write_text(answer.take_unshown(), newline=not answer.content.endswith("\n"))
                    _say_notes(event)
                    return event
                case Notice():
                    line.clear()
                    say(sentence(event.text))
                case Failed():
                    raise CommandError(sentences(event.message, event.hint))
                case _:
                    pass
    raise CommandError(_("The engine ended the answer without saying so; its log has more. Try again."))


def _say_notes(finished: Finished) -> None:
    if finished.dropped_turns:
        say(
            ngettext(
                "The context is full: the oldest turn was left out.",
                "The context is full: the oldest {n} turns were left out.",
                finished.dropped_turns,
            )
        )
    if finished.note:
        say(sentence(finished.note))
