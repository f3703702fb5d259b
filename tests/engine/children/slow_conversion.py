"""A conversion whose source is on a slow disk: every few rows take a while. Otherwise `python -m engine.conversion`."""

from __future__ import annotations

import dataclasses
import sys
import time

from engine.checkpoints import open_checkpoint
from engine.checkpoints.rows import read_rows
from engine.conversion import __main__ as conversion
from engine.conversion import plan

PIECE_S = 0.05


def slow(tensor):
    def make_rows(first, count):
        time.sleep(PIECE_S)
        return read_rows(tensor, first, count)

    return dataclasses.replace(tensor, make_rows=make_rows)


def open_slowly(path, base):
    checkpoint = open_checkpoint(path, base)
    return dataclasses.replace(checkpoint, tensors={name: slow(t) for name, t in checkpoint.tensors.items()})


plan.open_checkpoint = open_slowly
plan.PIECE_WEIGHTS = 1 << 10
sys.exit(conversion.main())
