"""Renders chat templates in a process of its own, which templates.py starts: one JSON line in, one out.

Its argument is how many seconds of processor time each may take.

A template is a program from a stranger. jinja2's sandbox keeps it from Python's insides but not from looping or filling
the memory, so it runs where both can be ended without harm. Run as a file, it imports nothing of the engine.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import signal
import sys
from collections.abc import Iterator
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

MAX_MEMORY_BYTES = 512 << 20
MAX_OUTPUT_CHARS = 16 << 20


class _GenerationTag(jinja2.ext.Extension):
    """`{% generation %}` … `{% endgeneration %}`: marks the assistant's words for training; only its body counts."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it so

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        """Read the block and keep its body."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _now(layout: str) -> str:
    return datetime.datetime.now().astimezone().strftime(layout)


@functools.lru_cache(maxsize=4)
def _compile(source: str) -> jinja2.Template:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, _GenerationTag]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _now
    return environment.from_string(source)


def _pieces(source: str, variables: dict[str, Any]) -> Iterator[str]:
    n_chars = 0
    for piece in _compile(source).generate(**variables):
        n_chars += len(piece)
        if n_chars > MAX_OUTPUT_CHARS:
            raise jinja2.TemplateError(f"it wrote more than {MAX_OUTPUT_CHARS} characters")
        yield piece


def render(source: str, variables: dict[str, Any]) -> dict[str, str]:
    """{"text": …}, or {"error": …} with the reason."""
    try:
        return {"text": "".join(_pieces(source, variables))}
    except MemoryError:
        return {"error": f"it needed more than {MAX_MEMORY_BYTES >> 20} MB"}
    except Exception as error:  # noqa: BLE001 - whatever a template does wrong is its failure, not ours
        return {"error": str(error) or type(error).__name__}


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))


def main() -> None:
    """Answer requests until stdin ends; an interrupt is for the engine to handle."""
    limit_s = float(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_memory()
    for line in sys.stdin.buffer:
        # SIGPROF ends the process, also amid a long step of Python's own that no handler would interrupt.
        signal.setitimer(signal.ITIMER_PROF, limit_s)
        request = json.loads(line)
        answer = json.dumps(render(request["source"], request["variables"]))
        sys.stdout.buffer.write(answer.encode() + b"\n")
        sys.stdout.buffer.flush()
        signal.setitimer(signal.ITIMER_PROF, 0)


if __name__ == "__main__":
    main()
