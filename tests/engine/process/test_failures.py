"""What is said of a command that failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.process.failures import failure


def test_what_the_system_refuses_is_said_in_its_words_and_not_in_pythons(tmp_path: Path) -> None:
    with pytest.raises(OSError) as refused:
        (tmp_path / "nowhere").read_bytes()
    said = failure(refused.value, "r").message
    assert said == f"The system refused: {tmp_path / 'nowhere'}: No such file or directory."


def test_a_refusal_of_no_file_is_said_as_it_is() -> None:
    assert failure(OSError("no threads"), "r").message == "The system refused: no threads."
