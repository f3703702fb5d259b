"""Soft caps against NumPy's tanh."""

from __future__ import annotations

import numpy as np

from engine.machine_code import step


def test_what_is_not_finite_stays_so(run_step):
    logits = np.ones((1, 16), np.float32)
    logits[0, 3:6] = np.nan, np.inf, -np.inf
    run_step(
        step("softcap.cap_logits"),
        [logits.ctypes.data, logits.strides[0], int(np.float32(30.0).view(np.int32))],
        1,
        n_out=1,
    )
    assert np.flatnonzero(~np.isfinite(logits)).tolist() == [3, 4, 5]
    np.testing.assert_allclose(logits[0, 6:], 30 * np.tanh(1 / 30), rtol=1e-6)


def test_logits_are_capped_and_the_rest_is_left_alone(run_step):
    logits = np.random.default_rng(0).standard_normal((3, 64), np.float32) * 100
    logits[0, :4] = (0.0, 1e30, -1e30, 1e-6)
    before = logits.copy()
    run_step(
        step("softcap.cap_logits"),
        [logits.ctypes.data, logits.strides[0], int(np.float32(30.0).view(np.int32))],
        3,
        n_out=2,
    )
    expected = 30 * np.tanh(before.astype(np.float64) / 30)
    np.testing.assert_allclose(logits[:2, :48], expected[:2, :48], rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(logits[:, 48:], before[:, 48:])
    np.testing.assert_array_equal(logits[2], before[2])
