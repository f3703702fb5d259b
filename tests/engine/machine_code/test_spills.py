"""Where registers are few, those that a product puts aside lie within cache lines: their function aligns its stack."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import msgspec
import pytest

from engine.machine_code.files import read_object
from engine.machine_code.orders import Order

FEW_REGISTERS = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+f16c,+bmi,+bmi2"}

ALIGN_TO_LINES = bytes.fromhex("4883e4c0")
"""The instruction `and rsp, -64`."""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine().lower() not in {"x86_64", "amd64"}, reason="x86-64's registers and instructions")
def test_a_product_of_words_aligns_its_stack(tmp_path):
    path = tmp_path / "product.o"
    order = Order("matmul", "matmul", ("BF16",), "void", ("int64",) * 5, str(path))
    done = subprocess.run(
        [sys.executable, "-P", "-m", "engine.kernels"],
        input=msgspec.json.encode(order) + b"\n",
        stdout=subprocess.PIPE,
        env={**os.environ, **FEW_REGISTERS},
        timeout=120,
        check=True,
    )
    assert done.stdout == b"\n"
    assert ALIGN_TO_LINES in read_object(path)
