"""The package as others install it, and the pins as everybody gets them."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[1]
PIN = re.compile(r"([A-Za-z0-9._-]+)==\S+")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return project


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    lines = [line for line in (CHECKOUT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not PIN.match(line)] == []
    return {normal(line.split("==")[0]): line.split("==")[1] for line in lines}


def test_every_requirement_is_pinned_exactly(project: dict[str, Any], pins: dict[str, str]) -> None:
    required = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = [normal(re.split(r"[<>=~! ;\[]", requirement)[0]) for requirement in required]
    assert [name for name in names if name not in pins] == []


def test_the_two_places_with_pins_agree(project: dict[str, Any], pins: dict[str, str]) -> None:
    exact = dict(requirement.split("==") for requirement in project["dependencies"] if "==" in requirement)
    assert exact
    assert {name: pins[normal(name)] for name in exact} == exact


@pytest.mark.slow
def test_the_wheel_has_all_that_runs_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*command, tmp_path, CHECKOUT], check=True, timeout=120)
    [wheel] = tmp_path.glob("llm_tui-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        [metadata] = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "llm-tui = tui.__main__:main" in archive.read(metadata).decode()
    tracked = subprocess.run(
        ["git", "ls-files", "engine", "storage", "tui"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    if tracked.returncode == 0:
        assert set(tracked.stdout.splitlines()) - names == set()
    assert {name.split("/")[0] for name in names} == {"engine", "storage", "tui"}
    assert any(name.endswith(".tcss") for name in names)
    assert not any(name.endswith(".pyc") for name in names)
