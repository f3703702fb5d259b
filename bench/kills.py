"""Kill the app with SIGKILL at random moments of a chat and look what is left; prints one JSON object.

python bench/kills.py --model FILE                         200 kills with the real engine
python bench/kills.py --model FILE --kills 10 --engine "python scripted_engine.py script.json"

After each kill: the database is whole, every message that was sent is in it, of the answer at most a second is
missing, and no process is left behind. The exit code is 1 where that does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from pseudo_terminal import start

PATIENCE_S = 60.0
KILLS_A_SESSION = 8
LONGEST_WAIT_S = 2.0
BEGUN = "riting …"
"""Said above an answer, and of the engine, from the moment on at which the question is stored and asked."""

ENGINE = [sys.executable, "-P", "-m", "engine"]


@dataclass
class Outcome:
    """What was found after all kills. missing_s: how old the first lost token of an answer was when the kill came."""

    kills: int = 0
    damaged: int = 0
    messages_sent: int = 0
    messages_lost: int = 0
    answers_cut: int = 0
    orphans: int = 0
    missing_s: list[float] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether all that is promised was kept."""
        return not (self.damaged or self.messages_lost or self.orphans) and max(self.missing_s, default=0) <= 1.0

    def as_json(self) -> str:
        """All figures in one line."""
        fields = {name: value for name, value in vars(self).items() if name != "missing_s"}
        return json.dumps({**fields, "most_missing_s": round(max(self.missing_s, default=0), 3), "holds": self.holds})


class Terminal:
    """The app on a pseudo-terminal of its own."""

    def __init__(self, arguments: list[str]) -> None:
        # The size is the terminal's, whatever these say.
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        environment["TERM"] = "xterm-256color"
        self.process, self.master = start(arguments, (100, 30), environment)
        self.output = b""

    def read(self, for_s: float) -> None:
        """Take what is written within this time."""
        limit = time.monotonic() + for_s
        while (left := limit - time.monotonic()) > 0:
            if select.select([self.master], [], [], left)[0]:
                self.output += os.read(self.master, 65536)

    def wait_for(self, text: str, start: int = 0) -> None:
        """Read until the app has written a text."""
        limit = time.monotonic() + PATIENCE_S
        while text.encode() not in self.output[start:]:
            if time.monotonic() > limit or self.process.poll() is not None:
                raise RuntimeError(f"The app never wrote {text!r}: {self.output[-800:]!r}")
            self.read(0.02)

    def kill(self) -> tuple[float, list[psutil.Process]]:
        """Kill the app; returns when that was, and the processes that have to end now."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGKILL)
        killed_s = time.time()
        self.process.wait()
        os.close(self.master)
        return killed_s, children


def play(model: Path, n_kills: int, engine: list[str], seed: int) -> Outcome:
    """Chat and kill so many times in a home of its own."""
    outcome = Outcome()
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="llm-tui-kills-") as home:
        os.environ["LLM_TUI_HOME"] = home
        log = Path(home) / "tokens"
        sent: list[str] = []
        for number in range(n_kills):
            log.write_bytes(b"")
            arguments = ["--app", str(model), str(log), "new" if number % KILLS_A_SESSION == 0 else "last", *engine]
            terminal = Terminal([sys.executable, __file__, *arguments])
            terminal.wait_for("ready")
            question = f"question{number:04d} Tell me a long story about a river."
            typed_at = len(terminal.output)
            os.write(terminal.master, question.encode() + b"\r")
            if moments.random() < 0.9:
                terminal.wait_for(BEGUN, typed_at)
            terminal.read(moments.uniform(0, LONGEST_WAIT_S))
            if BEGUN.encode() in terminal.output[typed_at:]:
                sent.append(question)
            killed_s, children = terminal.kill()
            outcome.kills += 1
            outcome.orphans += len(psutil.wait_procs(children, timeout=20)[1])
            look(Path(home) / "data" / "sessions.db", log, sent, killed_s, outcome)
            sys.stderr.write(f"\r{outcome.as_json()}")
    sys.stderr.write("\n")
    return outcome


def look(file: Path, log: Path, sent: list[str], killed_s: float, outcome: Outcome) -> None:
    """Count what is wrong with a database after a kill."""
    from storage.connections import check, open_database
    from storage.records import unpack_token_ids

    db = open_database(file)
    try:
        outcome.damaged += bool(check(db))
        stored = [row[0] for row in db.execute("SELECT content FROM messages WHERE role = 'user'").fetchall()]
        outcome.messages_sent = len(sent)
        # Behind what an app had not sent yet when it was killed: that comes back into the box.
        lost_ones = [question for question in sent if not any(text.endswith(question) for text in stored)]
        outcome.messages_lost = len(lost_ones)
        for question in lost_ones:
            sys.stderr.write(f"\n{question!r} is not among {stored}\n")
        cut = db.execute(
            "SELECT u.token_ids FROM messages m LEFT JOIN unfinished u ON u.message_key = m.key"
            " WHERE m.state = 'writing' ORDER BY m.key DESC LIMIT 1"
        ).fetchone()
    finally:
        db.close()
    if cut is not None:
        outcome.answers_cut += 1
        n_stored = len(unpack_token_ids(cut[0] or b""))
        noted = (line.split() for line in log.read_text().splitlines())
        # A title may have been made, too; of answers there is one in each run.
        times = [float(when) for when, request in noted if request.startswith("answer-")]
        lost = [when for when in times[n_stored:] if when < killed_s]
        outcome.missing_s.append(killed_s - lost[0] if lost else 0.0)


def run_app(model: str, log: str, session: str, engine: list[str]) -> int:
    """The real app, whose engine's tokens are noted down as they come."""
    from tui.app import run
    from tui.options import AppOptions

    options = AppOptions(model=model, continue_last=session == "last", new=session == "new")
    return run(options, engine_command=[sys.executable, __file__, "--listen", log, *engine])


def listen(log: str, engine: list[str]) -> int:
    """Stand between the app and its engine, and note when each token came, of which request."""
    process = subprocess.Popen(engine, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with open(log, "a", encoding="ascii", buffering=1) as file:
        for line in process.stdout:
            os.write(1, line)
            if b'"type":"token"' in line:
                file.write(f"{time.time()} {json.loads(line)['request_id']}\n")
    return process.wait()


def main() -> int:
    """Read the options, or be one of the two processes that the benchmark starts of itself."""
    if sys.argv[1:2] == ["--app"]:
        return run_app(sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:])
    if sys.argv[1:2] == ["--listen"]:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return listen(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--engine", type=shlex.split, default=ENGINE, help="another program that speaks the protocol")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    outcome = play(options.model, options.kills, options.engine, options.seed)
    sys.stdout.write(outcome.as_json() + "\n")
    return 0 if outcome.holds else 1


if __name__ == "__main__":
    sys.exit(main())
