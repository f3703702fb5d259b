"""What goes into a program is what the kernels and the team can count."""

from __future__ import annotations

import pytest

from engine.errors import UnsupportedModelError
from engine.forward.program import Program
from engine.kernels.records import FIXED, MOST_UNITS
from engine.machine_code import step


def test_a_step_has_no_more_units_than_a_claim_has_room_for():
    program = Program(1)
    program.add(step("softcap.cap_logits"), FIXED, MOST_UNITS, 1)
    with pytest.raises(UnsupportedModelError, match=f"{MOST_UNITS + 1} units of work"):
        program.add(step("softcap.cap_logits"), FIXED, MOST_UNITS + 1, 1)
