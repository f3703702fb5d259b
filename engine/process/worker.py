"""What the engine does: takes in commands on one thread, carries them out on another, and answers with events.

The working thread alone touches the model. The pulse has a thread of its own.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import msgspec

from engine.control import Control
from engine.errors import LoadStoppedError, NoModelError
from engine.process.failures import failure, never_run, not_a_command
from engine.process.inbox import Inbox
from engine.process.pulse import Activity, Pulse
from engine.process.wire import Wire
from engine.protocol import (
    PROTOCOL_VERSION,
    AnyEvent,
    Detokenize,
    Detokenized,
    Generate,
    Hello,
    Load,
    LoadProgress,
    LoadStage,
    Look,
    ModelReady,
    Request,
    Score,
    Shutdown,
    Tokenize,
    Tokenized,
)
from engine.protocol.lines import command_decoder
from engine.reports import ReportStage
from engine.version import VERSION

if TYPE_CHECKING:
    from engine.answers.looking import Looker
    from engine.model import LanguageModel

log = logging.getLogger(__name__)

EXIT_GRACE_S = 1.0
"""At the end, the running answer may finish its token and give the model back; a long kernel is not waited for."""

STACK_BYTES = 16 << 20
"""Kernels and NumPy need little, LLVM's loader more; some systems give a thread half a megabyte."""

KEEP_AFTER_S = 1.0
"""Idle so long, the session's cache goes to disk: whoever reads an answer takes longer."""

PROGRESS_INTERVAL_S = 0.05
"""Loading reports at most this often within a stage: as fast as a screen can show."""

WORK_ENDED = 70
"""The exit code of a process whose working thread has ended unasked. Source: EX_SOFTWARE in sysexits.h."""

OpenModel = Callable[[Load, ReportStage], "LanguageModel"]


def processor_name() -> str:
    """The processor's name as the system tells it, without asking LLVM."""
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


class Worker:
    """The model, the thread that uses it, and the line of commands before it."""

    def __init__(self, wire: Wire, open_model: OpenModel, prepare: Callable[[], None]) -> None:
        self._emit = wire.emit
        self._open_model = open_model
        self._prepare = prepare
        self._inbox = Inbox()
        self._activity = Activity()
        self._model: LanguageModel | None = None
        self._looker: Looker | None = None
        threading.stack_size(STACK_BYTES)
        self._thread = threading.Thread(target=self._work, name="work", daemon=True)

    def start(self) -> None:
        """Greet, then begin to work."""
        self._emit(
            Hello(protocol_version=PROTOCOL_VERSION, engine_version=VERSION, pid=os.getpid(), cpu=processor_name())
        )
        self._thread.start()
        threading.stack_size(0)
        Pulse(self._activity, self._emit).start()

    def read(self, commands: Iterable[bytes]) -> None:
        """Take in commands until their end or Shutdown."""
        for line in commands:
            try:
                command = command_decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                log.warning("A line is no command (%s): %.200r", error, line)
                self._emit(not_a_command(line, error))
                continue
            if isinstance(command, Shutdown):
                return
            for removed in self._inbox.post(command):
                self._emit(never_run(removed))

    def finish(self) -> None:
        """Stop what is running, and wait for it a little."""
        for removed in self._inbox.close():
            self._emit(never_run(removed))
        # The end may come before the thread is started.
        if self._thread.is_alive():
            self._thread.join(EXIT_GRACE_S)

    def _work(self) -> None:
        """Work until the inbox closes. Any other end of this thread is the process's: the app hears that it died."""
        try:
            self._carry_out_all()
        except BaseException:
            log.critical("The working thread has ended; so does the engine.", exc_info=True)
            os._exit(WORK_ENDED)

    def _carry_out_all(self) -> None:
        """Carry out one command after the other until the inbox closes."""
        try:
            self._prepare()
        except Exception:
            # Whatever it is, it comes again when a model is opened, and is answered there; this thread has to go on.
            log.exception("Preparing failed; opening a model will say why.")
        while (entry := self._inbox.take()) is not None:
            self._carry_out(*entry)
            self._activity.enter("empty" if self._model is None else "ready")
            if self._model is not None and not self._inbox.wait(KEEP_AFTER_S):
                self._keep_session(self._model)
        self._close_model()

    @staticmethod
    def _keep_session(model: LanguageModel) -> None:
        try:
            model.keep_session()
        except Exception:
            # The session is read anew when its user comes back; no command asked for this, so none is answered.
            log.exception("The cache of a session could not be kept.")

    def _carry_out(self, command: Request, control: Control) -> None:
        try:
            match command:
                case Load():
                    self._load(command, control)
                case Generate():
                    self._generate(command, control)
                case Look():
                    self._look(command, control)
                case Score():
                    self._score(command, control)
                case Tokenize():
                    self._tokenize(command)
                case Detokenize():
                    self._detokenize(command)
                case _:
                    assert_never(command)
        except Exception as error:  # noqa: BLE001 - one command's failure must not end the engine
            self._emit(failure(error, command.request_id))

    def _load(self, command: Load, control: Control) -> None:
        self._close_model()
        self._activity.enter("loading")
        last_stage, last_s = "", 0.0

        def report(stage: LoadStage, done: int, total: int, detail: str = "") -> None:
            nonlocal last_stage, last_s
            if control.stopped:
                raise LoadStoppedError("Loading was stopped.", "Open a model to go on.")
            now_s = time.monotonic()
            if stage != last_stage or done >= total or now_s - last_s >= PROGRESS_INTERVAL_S:
                last_stage, last_s = stage, now_s
                self._emit(
                    LoadProgress(request_id=command.request_id, stage=stage, done=done, total=total, detail=detail)
                )

        model = self._open_model(command, report)
        self._model = model
        self._activity.context = model.max_seq_len
        load_s = time.monotonic() - control.arrived_s
        self._emit(ModelReady(request_id=command.request_id, card=model.card, load_s=load_s))

    def _generate(self, command: Generate, control: Control) -> None:
        from engine.answers.generation import generate

        def emit(event: AnyEvent) -> None:
            self._tell(event)
            while (question := self._inbox.take_question()) is not None:
                self._carry_out(question, Control())

        generate(self._need_model(), command, control, emit)

    def _look(self, command: Look, control: Control) -> None:
        from engine.answers.looking import Looker

        self._looker = self._looker or Looker(self._need_model())
        self._emit(self._looker.look(command, control, self._emit))

    def _score(self, command: Score, control: Control) -> None:
        from engine.answers.scoring import score

        score(self._need_model(), command, control, self._tell)

    def _tell(self, event: AnyEvent) -> None:
        """Emit an event that the pulse learns from."""
        self._activity.observe(event)
        self._emit(event)

    def _tokenize(self, command: Tokenize) -> None:
        tokenizer = self._need_model().tokenizer
        ids = tokenizer.encode(command.text, add_bos=command.add_bos, parse_special=command.parse_special)
        pieces = [tokenizer.token_text(token_id) for token_id in ids] if command.with_pieces else []
        self._emit(Tokenized(request_id=command.request_id, ids=ids, pieces=pieces))

    def _detokenize(self, command: Detokenize) -> None:
        tokenizer = self._need_model().tokenizer
        text = tokenizer.decode(command.ids)
        wanted = command.ids if command.with_pieces else []
        stand_for = [tokenizer.piece_bytes(i) or tokenizer.token_text(i).encode() for i in wanted]
        self._emit(Detokenized(request_id=command.request_id, text=text, pieces=stand_for))

    def _need_model(self) -> LanguageModel:
        if self._model is None:
            raise NoModelError
        return self._model

    def _close_model(self) -> None:
        if self._model is None:
            return
        model, self._model = self._model, None
        self._looker = None
        self._activity.context = self._activity.context_used = 0
        self._activity.prompt_tokens_per_second = 0.0
        model.close()
        del model
        gc.collect()
