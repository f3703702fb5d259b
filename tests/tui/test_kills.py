"""SIGKILL at random moments: a smaller number of what bench/kills.py does, which also measures what is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.tui.conftest import Stage

CHECKOUT = Path(__file__).parents[2]
ENGINE = Path(__file__).with_name("scripted_engine.py")


@pytest.mark.slow
def test_kills_cost_no_message_damage_nothing_and_leave_no_process(stage: Stage) -> None:
    stage.set_script(answers=[" ".join(f"number{n}" for n in range(3000))], token_delay_s=0.01)
    command = [sys.executable, str(CHECKOUT / "bench" / "kills.py"), "--model", str(stage.model), "--kills", "6"]
    engine = f"{sys.executable} {ENGINE} {stage.script}"
    ran = subprocess.run([*command, "--engine", engine], capture_output=True, text=True, check=False, timeout=300)
    assert ran.stdout, ran.stderr
    found = json.loads(ran.stdout)
    assert (found["kills"], found["damaged"], found["messages_lost"], found["orphans"]) == (6, 0, 0, 0), ran.stdout
    assert found["messages_sent"] >= 3
