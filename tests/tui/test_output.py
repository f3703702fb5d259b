"""What commands write to a terminal takes the columns that it seems to, also in scripts whose characters are wide."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from tui.commands.output import ProgressLine, table


def test_columns_stand_below_each_other() -> None:
    rows = [["Rivers", "7", "a"], ["日本の川", "12", "b"], ["한강", "3", "c"]]
    assert table(rows, right=frozenset({1})).splitlines() == [
        "Rivers     7  a",
        "日本の川  12  b",
        "한강       3  c",
    ]


def test_a_progress_line_fits_and_nothing_of_it_stays(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("tui.commands.output.PROGRESS_PERIOD_S", 0)
    with ProgressLine() as line:
        line.show("川" * 60)
        line.show("done")
    _, wide, short, spaces, end = capfd.readouterr().err.split("\r")
    assert cell_len(wide) == cell_len(short) == 79
    assert short.rstrip() == "done"
    assert (spaces, end) == ("    ", "")
