"""`llm-tui ask`: with a scripted engine for what can go wrong, and with the real one for what must go right."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.protocol import Sampling, Token
from storage import tree
from storage.answer_tokens import answer_tokens
from storage.connections import open_database
from storage.errors import DatabaseAccessError
from storage.transactions import transaction
from tests.tui.conftest import CLI_ENGINE
from tui.commands.ask_session import AskSession
from tui.paths import user_paths
from tui.services.answer import Answer

Cli = Callable[..., Any]


def test_the_answer_goes_to_stdout_and_nothing_else(cli: Cli, model: Path) -> None:
    ran = cli("ask", "-m", model, "Capital of France?")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "Paris is the capital.\x1b[31m Yes.\n"


def test_what_was_held_back_until_the_end_belongs_to_the_answer(cli: Cli, model: Path) -> None:
    assert cli("ask", "-m", model, "TAIL").out == "Paris is the capital.\x1b[31m Yes. There\n"
    saved = json.loads(cli("ask", "-m", model, "--save", "--json", "TAIL").out)
    assert saved["text"].endswith("Yes. There")
    assert (
        json.loads(cli("sessions", "show", saved["session"], "--json").out)["messages"][-1]["content"] == saved["text"]
    )


def test_an_answer_goes_on_where_the_model_would_end_it(cli: Cli, model: Path) -> None:
    assert cli("ask", "-m", model, "--ignore-eos", "x").out.count("Paris") == 40


def test_answers_of_which_nothing_came_are_not_read_again(home: Path) -> None:
    with AskSession.new(model="m", system="", sampling=Sampling(), template=None, text="Capital?") as session:
        session.ask("Capital?", "m", Sampling())
        session.finish(Answer(""), None, "failed")
        assert [(said.role, said.content) for said in session.messages()] == [("user", "Capital?")]


def test_a_terminal_is_not_obeyed(cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert cli("ask", "-m", model, "x").out == "Paris is the capital.␛[31m Yes.\n"


def test_a_log_that_cannot_be_written_is_no_reason_not_to_answer(cli: Cli, model: Path, home: Path) -> None:
    (home / "log").touch()
    ran = cli("ask", "-m", model, "Capital of France?")
    assert (ran.code, ran.out) == (0, "Paris is the capital.\x1b[31m Yes.\n")
    assert ran.err.count("\n") == 1
    assert "log/engine.log cannot be written" in ran.err


def test_json(cli: Cli, model: Path) -> None:
    ran = cli("ask", "-m", model, "--json", "--max-tokens", "2", "--logprobs", "2", "Hello")
    assert json.loads(ran.out) == {
        "text": "Paris is",
        "model": "Scripted",
        "session": None,
        "prompt_tokens": 5,
        "generated_tokens": 2,
        "finish_reason": "length",
        "prompt_ms": 100.0,
        "generate_ms": 200.0,
        "tokens": [
            {"id": 0, "text": "Paris", "logprob": -0.5, "top": [[0, -0.5], [900, -1.5]]},
            {"id": 1, "text": " is", "logprob": -0.5, "top": [[1, -0.5], [900, -1.5]]},
        ],
    }
    assert "tokens" not in json.loads(cli("ask", "-m", model, "--json", "Hello").out)


@pytest.mark.parametrize(
    ("arguments", "stdin", "prompt"),
    [
        (["ECHO a"], "", "system: You are a helpful assistant. | user: ECHO a"),
        ([], "ECHO b\n", "system: You are a helpful assistant. | user: ECHO b"),
        (["What?"], "ECHO c\n", "system: You are a helpful assistant. | user: ECHO c\n\nWhat?"),
        (["--system", "Be brief.", "ECHO d"], "", "system: Be brief. | user: ECHO d"),
        (["--system", "", "ECHO e"], "", "user: ECHO e"),
        (["--raw", "ECHO f "], "", "ECHO f "),
        (["--raw"], "  ECHO g\n", "  ECHO g\n"),
        (["--raw", "more"], "ECHO h\n", "ECHO h\nmore"),
        ([], b"ECHO \xff\xc3\xa9", "system: You are a helpful assistant. | user: ECHO \N{REPLACEMENT CHARACTER}é"),
    ],
)
def test_where_the_prompt_comes_from(
    cli: Cli, model: Path, arguments: list[str], stdin: str | bytes, prompt: str
) -> None:
    ran = cli("ask", "-m", model, *arguments, stdin=stdin)
    assert ran.out.partition(" Sampling(")[0] == prompt


def test_settings_and_options_decide_the_sampling(cli: Cli, model: Path, home: Path) -> None:
    (home / "settings.toml").write_text(
        '[sampling]\ntemperature = 0.5\ntop_k = 7\n[chat]\nsystem_prompt = "Rhyme."\nheat = 1\n'
    )
    ran = cli("ask", "-m", model, "--temperature", "0", "--seed", "9", "ECHO")
    assert ran.out.startswith("system: Rhyme. | user: ECHO Sampling(temperature=0.0, top_k=7, top_p=0.95")
    assert "seed=9" in ran.out
    assert ran.err.endswith("line 6: the setting chat.heat is unknown and ignored.\n")


def test_save_and_go_on(cli: Cli, model: Path) -> None:
    first = json.loads(cli("ask", "-m", model, "--save", "--json", "--temperature", "0.25", "First question").out)
    second = cli("ask", "-m", model, "--session", first["session"], "ECHO two")
    assert second.out.startswith(
        "system: You are a helpful assistant. | user: First question | assistant: Paris is the capital.\x1b[31m Yes. | "
        "user: ECHO two Sampling(temperature=0.25"
    )
    shown = json.loads(cli("sessions", "show", first["session"], "--json").out)
    assert shown["title"] == "First question"
    assert shown["model"] == "Scripted"
    assert [(message["role"], message["state"]) for message in shown["messages"]] == [
        ("user", "complete"),
        ("assistant", "complete"),
    ] * 2
    answer = shown["messages"][1]
    assert answer["content"] == first["text"]
    assert answer["settings"]["temperature"] == 0.25
    assert (answer["prompt_tokens"], answer["generated_tokens"]) == (5, 7)
    assert answer["tokens_per_second"] == pytest.approx(30)


def test_a_template_is_taken_and_stays_with_the_session(cli: Cli, model: Path) -> None:
    assert cli("ask", "-m", model, "--template", "alpaca", "ECHO").out.startswith("alpaca> system: ")
    saved = json.loads(cli("ask", "-m", model, "--save", "--json", "--template", "alpaca", "x").out)["session"]
    assert cli("ask", "-m", model, "--session", saved, "ECHO").out.startswith("alpaca> system: ")
    assert cli("ask", "-m", model, "--session", saved, "--template", "zephyr", "ECHO").out.startswith(
        "zephyr> system: "
    )


@pytest.mark.parametrize(("options", "state"), [((), "stopped"), (("--max-tokens", "3"), "complete")])
def test_an_answer_that_the_context_cuts_short_is_stored_as_one_that_can_go_on(
    cli: Cli, model: Path, options: tuple[str, ...], state: str
) -> None:
    saved = json.loads(cli("ask", "-m", model, "--save", "--json", *options, "FULL").out)
    assert (saved["text"], saved["finish_reason"]) == ("Paris is the", "length")
    answer = json.loads(cli("sessions", "show", saved["session"], "--json").out)["messages"][-1]
    assert (answer["content"], answer["state"]) == ("Paris is the", state)


def test_the_tokens_of_a_kept_answer_are_there_for_tints(cli: Cli, model: Path) -> None:
    saved = json.loads(cli("ask", "-m", model, "--save", "--json", "Question").out)["session"]
    db = open_database(user_paths().database)
    *_, last = tree.path(db, saved)
    kept = answer_tokens(db, last.message.id)
    db.close()
    assert kept is not None
    assert list(kept.ids) == list(range(7))
    assert list(kept.lengths) == [len(word) for word in ("Paris", " is", " the", " capital", ".\x1b[31m", " Yes", ".")]
    assert list(kept.chances) == [pytest.approx(math.exp(-0.5), abs=0.01)] * 7


def test_an_answer_goes_on_while_the_database_is_in_use(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.connections.BUSY_TIMEOUT_S", 0.01)
    written = Answer("")
    written.add(Token(request_id="", id=1, text="Paris", logprob=0.0))
    session = AskSession.new(model="m", system="", sampling=Sampling(), template=None, text="Capital?")
    with closing(open_database(user_paths().database)) as other:
        with session:
            session.ask("Capital?", "m", Sampling())
            with transaction(other):
                session.keep(written)
            session.finish(written, None, "stopped")
            other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
        assert [step.message.content for step in tree.path(other, session.id)] == ["Capital?", "Paris"]


def test_without_save_nothing_is_stored(cli: Cli, model: Path, home: Path) -> None:
    cli("ask", "-m", model, "Hello")
    assert not (home / "data" / "sessions.db").exists()


def test_what_had_to_be_left_out_is_told(cli: Cli, model: Path) -> None:
    ran = cli("ask", "-m", model, "--json", "LONG")
    assert ran.code == 0
    assert json.loads(ran.out)["text"].startswith("Paris")
    assert ran.err == "The context is full: the oldest 2 turns were left out.\nThe template failed.\n"


def test_an_unknown_session_is_told_before_the_engine_starts(
    cli: Cli, model: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.client.ENGINE_COMMAND", ["/nowhere"])
    ran = cli("ask", "-m", model, "--session", "nosuchsession000", "x")
    assert ran.code == 1
    assert ran.err == (
        "llm-tui: There is no session nosuchsession000. `llm-tui sessions list` shows those that there are.\n"
    )


@pytest.mark.parametrize(
    ("prompt", "said", "state"),
    [("FAIL", "The prompt is too long. Shorten it.", "failed"), ("DIE", "exit code 3", "interrupted")],
)
def test_an_engine_that_fails_is_told_and_the_session_kept(
    cli: Cli, model: Path, prompt: str, said: str, state: str
) -> None:
    ran = cli("ask", "-m", model, "--save", prompt)
    assert ran.code == 1
    assert said in ran.err
    assert ran.err.count("\n") == 1
    listed = json.loads(cli("sessions", "list", "--json").out)
    messages = json.loads(cli("sessions", "show", listed["id"], "--json").out)["messages"]
    assert messages[0]["content"] == prompt
    assert messages[1]["state"] == state
    assert (messages[1]["first_token_ms"] is not None) == bool(messages[1]["content"])


def test_a_model_that_is_refused_is_told(cli: Cli, model: Path) -> None:
    refused = model.with_name("refused.gguf")
    refused.touch()
    ran = cli("ask", "-m", refused, "x")
    assert (ran.code, ran.out, ran.err) == (1, "", "llm-tui: It is cut off. Fetch it anew.\n")


def test_no_model_at_all_is_told(cli: Cli, home: Path) -> None:
    ran = cli("ask", "x")
    assert ran.code == 1
    assert "llm-tui models pull smollm2" in ran.err


def test_the_last_model_is_taken_where_none_is_named(cli: Cli, model: Path) -> None:
    cli("ask", "-m", model, "x")
    assert cli("ask", "x").out.startswith("Paris")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_keeps_what_came_and_leaves_no_engine(cli: Cli, model: Path, home: Path, number: int) -> None:
    # Whoever runs the tests under nohup has them ignore SIGHUP, and what they start.
    program = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        f"import engine.client; engine.client.ENGINE_COMMAND = {CLI_ENGINE!r}\nfrom tui.__main__ import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "ask", "-m", str(model), "--save", "WAIT"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.read(5) == b"Paris"
    children = psutil.Process(process.pid).children()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert children
    gone, alive = psutil.wait_procs(children, timeout=30)
    assert (len(gone), alive) == (len(children), [])
    session = json.loads(cli("sessions", "list", "--json").out)
    answer = json.loads(cli("sessions", "show", session["id"], "--json").out)["messages"][-1]
    assert (answer["content"], answer["state"]) == ("Paris", "stopped")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_was_answered_until_a_signal_is_told_as_json(cli: Cli, model: Path, home: Path, number: int) -> None:
    program = (
        f"import engine.client; engine.client.ENGINE_COMMAND = {CLI_ENGINE!r}\nfrom tui.__main__ import main; main()"
    )
    with (
        closing(open_database(user_paths().database)) as db,
        subprocess.Popen(
            [sys.executable, "-c", program, "ask", "-m", str(model), "--save", "--json", "--logprobs", "1", "WAIT"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        ) as process,
    ):
        while not db.execute("SELECT 1 FROM messages WHERE content = 'Paris'").fetchall():
            with suppress(subprocess.TimeoutExpired):
                pytest.fail(f"it ended with {process.wait(0.02)}")
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
        [(session,)] = db.execute("SELECT id FROM sessions").fetchall()
    assert process.returncode == 130
    told = json.loads(out)
    assert told.pop("prompt_ms") > 0
    assert told == {
        "text": "Paris",
        "model": "Scripted",
        "session": session,
        "prompt_tokens": 5,
        "generated_tokens": 1,
        "finish_reason": "stopped",
        "generate_ms": 0.0,
        "tokens": [{"id": 0, "text": "Paris", "logprob": -0.5, "top": [[0, -0.5]]}],
    }


def test_what_was_answered_until_the_engine_died_is_told_as_json(cli: Cli, model: Path) -> None:
    ran = cli("ask", "-m", model, "--json", "DIE")
    told = json.loads(ran.out)
    assert (ran.code, told["text"], told["finish_reason"]) == (1, "Paris", "failed")
    assert "exit code 3" in ran.err
    assert cli("ask", "-m", model, "--json", "FAIL").out == ""


def test_an_answer_that_cannot_be_stored_is_told_as_json(
    cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise DatabaseAccessError("The disk is full.", "Make room.")

    monkeypatch.setattr("storage.answers.finish_answer", full)
    ran = cli("ask", "-m", model, "--save", "--json", "x")
    assert (ran.code, ran.err) == (1, "llm-tui: The disk is full. Make room.\n")
    assert json.loads(ran.out)["finish_reason"] == "stop"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_does_not_break_into_storing(cli: Cli, model: Path, home: Path, number: int) -> None:
    """As a closed terminal sends it: the kernel to all, and the shell to its own."""
    program = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        f"import engine.client; engine.client.ENGINE_COMMAND = {CLI_ENGINE!r}\n"
        "from storage import answers; finish = answers.finish_answer\n"
        "def signalled(*values, **more):\n"
        f"    signal.raise_signal({int(number)})\n"
        "    finish(*values, **more)\n"
        "answers.finish_answer = signalled\n"
        "from tui.__main__ import main; main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, "ask", "-m", str(model), "--save", "WAIT"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(5) == b"Paris"
        process.send_signal(number)
        process.wait(timeout=60)
    assert process.returncode == 130
    session = json.loads(cli("sessions", "list", "--json").out)
    answer = json.loads(cli("sessions", "show", session["id"], "--json").out)["messages"][-1]
    assert (answer["content"], answer["state"]) == ("Paris", "stopped")


def test_a_reader_that_goes_away_is_quiet(model: Path) -> None:
    program = (
        f"import engine.client; engine.client.ENGINE_COMMAND = {CLI_ENGINE!r}\nfrom tui.__main__ import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "ask", "-m", str(model), "--ignore-eos", "x"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait(timeout=60)


@pytest.mark.slow
def test_a_real_model_knows_the_capital_of_france(cli: Cli, warm_home: Path, starter_model: Path) -> None:
    arguments = ["-m", starter_model, "--temperature", "0", "--max-tokens", "24", "--json", "--logprobs", "3"]
    ran = cli("ask", *arguments, "What is the capital of France?")
    assert ran.code == 0, ran.err
    answer = json.loads(ran.out)
    assert "Paris" in answer["text"]
    assert answer["text"] == "".join(token["text"] for token in answer["tokens"])
    for token in answer["tokens"]:
        assert token["top"][0] == [token["id"], pytest.approx(token["logprob"], abs=1e-4)]
        assert len(token["top"]) == 3
