"""Which products ask for their weights ahead: what was faster on each kind of processor."""

from __future__ import annotations

import platform

import pytest

from engine.kernels import cpu
from engine.kernels.matmul import asks_ahead

INTEL = {"avx2", "fma"}
ZEN_3 = INTEL | {"sse4a"}
ZEN_4 = ZEN_3 | {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni"}


@pytest.mark.skipif(platform.machine().lower() not in {"x86_64", "amd64"}, reason="x86-64's processors")
@pytest.mark.parametrize(
    ("features", "tokens", "asks"),
    [(INTEL, 1, True), (ZEN_3, 1, True), (ZEN_3, 4, True), (ZEN_4, 1, False), (ZEN_4, 2, True)],
)
def test_who_asks(monkeypatch, features, tokens, asks):
    monkeypatch.setattr(cpu, "features", lambda: frozenset(features))
    assert asks_ahead(tokens) is asks
