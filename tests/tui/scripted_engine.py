"""A small program that speaks the engine's protocol with answers from a script, for tests of the app.

Run as `python scripted_engine.py SCRIPT.json`; the script's keys are the fields of Script. What it is told goes to
SCRIPT.json.heard, one command a line, so that a test sees what reached the engine.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import msgspec

from engine.protocol import (
    PROTOCOL_VERSION,
    AnyCommand,
    Candidate,
    ChatPrompt,
    EngineStats,
    Failed,
    Finished,
    FinishReason,
    Generate,
    Hello,
    Load,
    LoadProgress,
    Look,
    Looked,
    ModelCard,
    ModelReady,
    PromptProgress,
    Shutdown,
    Stop,
    Token,
    Tokenize,
    Tokenized,
    Tune,
)
from engine.protocol.lines import command_decoder, command_encoder, event_encoder


class Script(msgspec.Struct):
    """What the engine does. gate: a file that loading waits for. die_after: tokens until the process kills itself.

    hold_after: tokens after which it waits for Stop or Tune before it goes on. hold_prompt: it waits for Stop in the
    middle of the prompt, and then for the file SCRIPT.json.chunk. unread: tokens that looking needs read.
    """

    answers: list[str] = msgspec.field(default_factory=lambda: ["Paris is the capital of France."])
    token_delay_s: float = 0.0
    gate: str = ""
    die_after: int | None = None
    hold_after: int | None = None
    hold_prompt: bool = False
    load_error: str = ""
    answer_error: str = ""
    last_words: str = ""
    look_error: str = ""
    unread: int = 0
    dropped_turns: int = 0
    reason: FinishReason = "stop"
    note: str = ""
    text_tail: str = ""
    no_greeting: bool = False


def pieces(text: str) -> list[str]:
    """Words with the space before them: what tokens look like."""
    words = text.split(" ")
    return [words[0], *(f" {word}" for word in words[1:])]


class Engine:
    """Reads commands on the main thread, answers on another."""

    def __init__(self, script_path: Path) -> None:
        self.script = msgspec.json.decode(script_path.read_bytes(), type=Script)
        self.heard = Path(f"{script_path}.heard")
        self.chunk = Path(f"{script_path}.chunk")
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.tuned = threading.Event()
        self.writing = False
        self.loading: Load | None = None
        self.running = ""
        self.n_answers = 0
        self.looked: list[str] = []
        self.has_read = False

    def say(self, event: object) -> None:
        with self.lock:
            sys.stdout.buffer.write(event_encoder.encode(event) + b"\n")
            sys.stdout.buffer.flush()

    def run(self) -> None:
        if self.script.no_greeting:
            sys.exit(3)
        self.say(Hello(protocol_version=PROTOCOL_VERSION, engine_version="0", pid=os.getpid(), cpu="scripted"))
        threading.Thread(target=self.beat, daemon=True).start()
        for line in sys.stdin.buffer:
            command = self.hear(line)
            match command:
                case Load():
                    threading.Thread(target=self.load, args=(command,), daemon=True).start()
                case Generate():
                    self.running = command.request_id
                    self.stopped.clear()
                    self.tuned.clear()
                    threading.Thread(target=self.generate, args=(command,), daemon=True).start()
                # What is to be stopped may also be a question that was answered meanwhile.
                case Stop() if command.request_id == self.running:
                    self.stopped.set()
                case Tune():
                    self.tuned.set()
                case Tokenize():
                    words = pieces(command.text)
                    self.say(Tokenized(request_id=command.request_id, ids=list(range(len(words))), pieces=words))
                case Look():
                    self.look(command)
                case Shutdown():
                    return

    def hear(self, line: bytes) -> AnyCommand:
        command = command_decoder.decode(line)
        if isinstance(command, Load):
            self.loading = command
        with self.heard.open("ab") as file:
            file.write(command_encoder.encode(command) + b"\n")
        return command

    def look(self, command: Look) -> None:
        """A word of the answer is a token; at every place it and two others are likely."""
        if self.script.look_error:
            self.say(Failed(request_id=command.request_id, kind="ContextFullError", message=self.script.look_error))
            return
        if command.prompt is not None:
            text = command.prompt.answer_text
            self.looked = pieces(text) if text else []
        at = len(self.looked) if command.at is None else command.at
        told = Looked(request_id=command.request_id, at=at)
        if command.prompt is not None:
            told = msgspec.structs.replace(told, ids=list(range(len(self.looked))), pieces=self.looked)
        if self.script.unread and not command.read and not self.has_read:
            self.say(msgspec.structs.replace(told, n_unread=self.script.unread))
            return
        self.has_read = self.has_read or command.read
        followed = self.looked[at] if at < len(self.looked) else "<|im_end|>"
        hot = command.sampling.temperature > 1
        found = [Candidate(at, followed, 0.6, 0.5 if hot else 0.9), Candidate(90, " Lyon", 0.2, 0.4 if hot else 0.1)]
        found += [Candidate(91, " Rome", 0.05, 0.1 if hot else 0.0), *OTHERS]
        self.say(msgspec.structs.replace(told, candidates=found[: command.n_candidates]))

    def beat(self) -> None:
        while True:
            self.say(EngineStats(**(WRITING if self.writing else READY)))
            time.sleep(0.5)

    def load(self, command: Load) -> None:
        if self.script.load_error:
            self.say(Failed(request_id=command.request_id, kind="ModelFileError", message=self.script.load_error))
            return
        self.say(LoadProgress(request_id=command.request_id, stage="preparing", done=45, total=100))
        while self.loading is command and self.script.gate and not Path(self.script.gate).exists():
            time.sleep(0.01)
        if self.loading is not command:
            self.say(Failed(request_id=command.request_id, kind="LoadStoppedError", message="Loading was stopped."))
            return
        name = Path(command.path).stem
        card = ModelCard(
            name=name,
            path=command.path,
            format="gguf",
            architecture="llama",
            quantization="Q4_1",
            parameters=135_000_000,
            size_bytes=98_000_000,
            context=1000,
            max_context=8192,
            layers=30,
            vocab=49152,
            template="chatml",
            template_source="file",
            weights_bytes=90_000_000,
            kv_bytes_per_token=23040,
            threads=2,
        )
        self.say(ModelReady(request_id=command.request_id, card=card, load_s=0.1))

    def generate(self, command: Generate) -> None:
        request = command.request_id
        if self.script.answer_error:
            self.say(Failed(request_id=request, kind="TemplateError", message=self.script.answer_error))
            return
        earlier = len(command.prompt.answer_ids) if isinstance(command.prompt, ChatPrompt) else 0
        words = pieces(self.script.answers[self.n_answers % len(self.script.answers)])
        self.n_answers += not earlier
        self.say(PromptProgress(request_id=request, done=0, total=12, reused=0))
        if self.script.hold_prompt:
            self.say(PromptProgress(request_id=request, done=4, total=12, reused=0))
            self.stopped.wait()
            while not self.chunk.exists():
                time.sleep(0.005)
            self.say(PromptProgress(request_id=request, done=8, total=12, reused=0))
            words = []
        else:
            self.say(PromptProgress(request_id=request, done=12, total=12, reused=0))
        written = 0
        chosen = [CHOSEN[token_id] for token_id in command.first_ids]
        words[earlier : earlier + len(chosen)] = chosen
        for at, word in enumerate(words[earlier:], start=earlier):
            if self.stopped.is_set():
                break
            if self.script.die_after is not None and at >= self.script.die_after:
                sys.stderr.write(f"{self.script.last_words}\n")
                sys.stderr.flush()
                os.kill(os.getpid(), 9)
            if self.script.hold_after is not None and at == self.script.hold_after:
                self.writing = True
                self.say(EngineStats(**WRITING))
                while not (self.stopped.is_set() or self.tuned.is_set()):
                    time.sleep(0.005)
                if self.stopped.is_set():
                    break
            time.sleep(self.script.token_delay_s)
            self.say(Token(request_id=request, id=at, text=word, logprob=-0.5, candidates=candidates(word)))
            written += 1
        self.writing = False
        self.say(
            Finished(
                request_id=request,
                reason="stopped" if self.stopped.is_set() else self.script.reason,
                text_tail=self.script.text_tail,
                prompt_tokens=12,
                reused_tokens=0,
                generated_tokens=written,
                prompt_ms=14,
                generate_ms=max(written - 1, 0) * 8.5,
                first_token_ms=95 if written else 0,
                seed=7,
                dropped_turns=self.script.dropped_turns,
                note=self.script.note,
            )
        )


READY: dict[str, object] = {
    "state": "ready",
    "tokens_per_second": 0,
    "prompt_tokens_per_second": 870,
    "rss_bytes": 200_000_000,
    "context_used": 310,
    "context": 1000,
    "cpu_percent": 12,
}
WRITING: dict[str, object] = {
    "state": "writing",
    "tokens_per_second": 118,
    "prompt_tokens_per_second": 870,
    "rss_bytes": 200_000_000,
    "context_used": 330,
    "context": 1000,
    "cpu_percent": 195,
}


CHOSEN = {90: " Lyon", 91: " Rome"}
OTHERS = [Candidate(100 + n, f" word{n}", 0.01 / (n + 1), 0.0) for n in range(12)]


def candidates(word: str) -> list[Candidate]:
    return [
        Candidate(1, word, 0.61, 0.72),
        Candidate(2, " Lyon", 0.2, 0.28),
        Candidate(3, " Rome", 0.02, 0.0),
    ]


if __name__ == "__main__":
    Engine(Path(sys.argv[1])).run()
