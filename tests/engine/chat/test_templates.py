"""Templates from strangers: whatever they do, an error comes back in time and the next template works."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from engine.chat.templates import ChatTemplate, TemplateProcess
from engine.errors import TemplateError

LIMIT_S = 1.0
NESTED = "{% for i in range(99999) %}{% for j in range(99999) %}BODY{% endfor %}{% endfor %}"


@pytest.fixture(scope="module")
def process() -> Iterator[TemplateProcess]:
    process = TemplateProcess(limit_s=LIMIT_S)
    process.start()
    yield process
    process.close()


def render(process: TemplateProcess, source: str) -> str:
    return ChatTemplate(source, process).render([{"role": "user", "content": "Hi"}], {})


@pytest.mark.parametrize(
    ("source", "match"),
    [
        (NESTED.replace("BODY", ""), "it took more than 1 s"),
        ("{{ 7 ** 77777777 }}", "it took more than 1 s"),
        (NESTED.replace("BODY", "x" * 50), "wrote more than"),
        ("{{ 'x' * 10 ** 10 }}", "needed more than|all memory"),
        ("{{ ''.zfill(10 ** 11) }}", "needed more than|all memory"),
        ("{{ '%999999999d' % 1 }}{{ '%999999999d' % 1 }}", "needed more than|all memory"),
        (
            "{% set n = namespace(x='a' * 1000) %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
            "needed more than|all memory",
        ),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion|all memory"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{{ raise_exception('no') }}", r"failed: no\."),
        ("{{ undefined_thing.x }}", "undefined"),
        ("{% if %}", "failed: Expected an expression"),
        ("{% include 'other' %}", "failed"),
        ("{{ range(10 ** 9) }}", "Range too big"),
    ],
)
def test_bad_templates_end(process: TemplateProcess, source: str, match: str) -> None:
    with pytest.raises(TemplateError, match=match):
        render(process, source)
    assert render(process, "{{ messages[0].content }}") == "Hi"


def test_the_limit_of_a_template_has_no_part_for_the_helpers_start_or_for_waiting() -> None:
    process = TemplateProcess(limit_s=0.05)
    try:
        assert render(process, "{{ messages[0].content }}") == "Hi"
    finally:
        process.close()


def test_a_helper_that_does_nothing_is_not_waited_for_without_end() -> None:
    process = TemplateProcess(answer_limit_s=0.2)
    process.start()
    assert process._process is not None
    process._process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(TemplateError, match=r"it took more than 0\.2 s"):
            render(process, "a")
    finally:
        process.close()


def test_the_memory_stays_small() -> None:
    process = TemplateProcess(limit_s=LIMIT_S)
    process.start()
    try:
        with pytest.raises(TemplateError):
            render(process, "{{ 'x' * 10 ** 10 }}")
        assert process._process is not None
        assert psutil.Process(process._process.pid).memory_info().rss < 600 << 20
    finally:
        process.close()


def test_a_helper_that_died_is_started_again(process: TemplateProcess) -> None:
    assert render(process, "a") == "a"
    assert process._process is not None
    process._process.kill()
    process._process.wait()
    assert render(process, "b") == "b"


def test_long_texts_go_through(process: TemplateProcess) -> None:
    content = "é\n" * 500_000
    text = ChatTemplate("{{ messages[0].content }}", process).render([{"role": "user", "content": content}], {})
    assert text == content


def test_no_helper_remains() -> None:
    code = (
        "from engine.chat.templates import TemplateProcess; p = TemplateProcess(); p.render('x', {})\n"
        "print(p._process.pid, flush=True)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not psutil.pid_exists(int(ran.stdout))


def test_jinja_is_not_imported_by_the_engine() -> None:
    code = "import engine.chat, sys; sys.exit('jinja2' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
