"""An engine that speaks the wire by hand and breaks in the way that argv[1] names."""

import json
import os
import signal
import subprocess
import sys

HELLO = {"type": "hello", "protocol_version": 1, "engine_version": "0", "pid": os.getpid(), "cpu": "test"}


def write(text: str) -> None:
    os.write(1, text.encode())


def say(**event: object) -> None:
    write(json.dumps(event) + "\n")


def complain(text: str) -> None:
    os.write(2, text.encode() + b"\n")


def token(text: str, request_id: str = "a") -> None:
    say(type="token", request_id=request_id, id=1, text=text, logprob=-0.5)


def next_command() -> dict[str, object]:
    line = sys.stdin.readline()
    if not line:
        os._exit(0)
    return json.loads(line)


def sleep_forever() -> None:
    while True:
        signal.pause()


def never_greets() -> None:
    complain("still waiting for a disk")
    sleep_forever()


def ends_at_once() -> None:
    complain("ModuleNotFoundError: No module named 'msgspec'")
    os._exit(1)


def wrong_version() -> None:
    say(**{**HELLO, "protocol_version": 99})
    next_command()


def garbage() -> None:
    say(**HELLO)
    write("Segmentation fault? no, just a print\n")
    os.write(1, b"\xff\xfe\x00\n")
    write("{}\n[]\n\n")
    write('{"type": "token", "request_id": "nobody"}\n')
    write('{"type": "engine_died", "exit_code": 0, "signal": null, "message": "I am dead"}\n')
    write("[" * 100_000 + "\n")
    name = str(next_command()["request_id"])
    write('{"type": "token", "request')
    write(f'_id": "{name}", "id": 1, "text": "caf')
    os.write(1, "é".encode()[:1])
    os.write(1, "é".encode()[1:])
    write('", "logprob": -0.5}\n{"type":')
    write(f'"failed", "request_id": "{name}", "kind": "NoModelError", "message": "No."}}\n')
    while True:
        next_command()


def endless_line() -> None:
    say(**HELLO)
    while True:
        write("x" * 65536)


def unreadable() -> None:
    say(**HELLO)
    while True:
        name = str(next_command()["request_id"])
        say(type="prompt_progress", request_id=name, done=None)
        say(type="token", request_id=name, id=1, text="Once", logprob=None)
        token(" upon", name)


def long_line() -> None:
    token = {"type": "token", "request_id": "a", "id": 1, "text": "x" * 5_000_000, "logprob": -0.5}
    write(f"{json.dumps(HELLO)}\n{json.dumps(token)}\n")
    next_command()


def waits_for_its_reader() -> None:
    say(**HELLO)
    name = str(next_command()["request_id"])
    say(type="prompt_progress", request_id=name, done=5, total=5, reused=0)
    next_command()
    token("Once", name)
    next_command()


def floods_stderr() -> None:
    say(**HELLO)
    for i in range(20_000):
        complain(f"warning {i}: " + "x" * 200)
    name = str(next_command()["request_id"])
    say(type="detokenized", request_id=name, text="calm")
    next_command()


def dies() -> None:
    say(**HELLO)
    name = str(next_command()["request_id"])
    token("Once ", name)
    token("upon", name)
    complain("about to go")
    how = sys.argv[2]
    if how.startswith("SIG"):
        os.kill(os.getpid(), signal.Signals[how])
        sleep_forever()
    os._exit(int(how))


def leaves_a_grandchild() -> None:
    say(**HELLO)
    keeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    token(str(keeper.pid))
    os._exit(3)


def closes_stdout() -> None:
    say(**HELLO)
    token("last words")
    os.close(1)
    sleep_forever()


def stubborn() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say(**HELLO)
    sleep_forever()


def ignores_stdin() -> None:
    say(**HELLO)
    sleep_forever()


def mute() -> None:
    say(**HELLO)
    next_command()
    token("back")
    sleep_forever()


if __name__ == "__main__":
    globals()[sys.argv[1]]()
