"""Which products ask for their weights ahead: what was faster on each kind of processor."""

from __future__ import annotations

import platform

import pytest

from engine.kernels import cpu
from engine.kernels.formats import panel_format
from engine.kernels.matmul import asks_ahead

INTEL = {"avx2", "fma"}
ZEN_3 = INTEL | {"sse4a"}
ZEN_4 = ZEN_3 | {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni"}


@pytest.mark.skipif(platform.machine().lower() not in {"x86_64", "amd64"}, reason="x86-64's processors")
@pytest.mark.parametrize(
    ("features", "name", "tokens", "asks"),
    [
        (INTEL, "Q4_0", 1, True),
        (INTEL, "BF16", 1, True),
        (ZEN_3, "Q4_0", 1, True),
        (ZEN_3, "Q6_K", 1, True),
        (ZEN_3, "Q8_0", 1, False),
        (ZEN_3, "BF16", 1, False),
        (ZEN_3, "BF16", 4, True),
        (ZEN_4, "Q4_0", 1, False),
        (ZEN_4, "Q4_0", 2, True),
        (ZEN_4, "BF16", 4, True),
    ],
)
def test_who_asks(monkeypatch, features, name, tokens, asks):
    monkeypatch.setattr(cpu, "features", lambda: frozenset(features))
    assert asks_ahead(panel_format(name), tokens) is asks
